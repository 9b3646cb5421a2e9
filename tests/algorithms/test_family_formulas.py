"""Each loss against its formula, written from scratch with Python loops over plain numbers, in fp64.

Each test fails for a loss that differs from its formula in a sign, a factor, a mask, an index or a mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from builders import FAMILY, full, rows

Row = SimpleNamespace
Formula = Callable[[list[Row], Any], tuple[float, float]]
"""The rows of one unit and the configuration to numerator and denominator, before the unit's weight."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def sft(unit: list[Row], c: Any) -> tuple[float, float]:
    return -sum(unit[0].logp), unit[0].n


def dpo(unit: list[Row], c: Any) -> tuple[float, float]:
    return -math.log(sigmoid(c.beta * (unit[0].h - unit[1].h))), 1


def dmpo(unit: list[Row], c: Any) -> tuple[float, float]:
    def discounted(x: Row) -> float:
        """The mean over turns, by weight gamma^k, of the log-ratio of all turns up to k."""
        turns = [sum(x.rho[k : k + 2]) for k in range(0, x.n, 2)]
        total = sum(c.gamma**k * sum(turns[: k + 1]) for k in range(len(turns)))
        return float(total / sum(c.gamma**k for k in range(len(turns))))

    return -math.log(sigmoid(c.beta * (discounted(unit[0]) - discounted(unit[1])))), 1


def shiq(unit: list[Row], c: Any) -> tuple[float, float]:
    (x,) = unit
    total = 0.0
    for t in range(x.n):
        delta = sum(x.r[k] - c.beta * x.rho[k] for k in range(t, x.n)) - c.beta * (x.v[t] - x.v_ref[t])
        total += delta**2
    return total / x.n, 1


def ipo(unit: list[Row], c: Any) -> tuple[float, float]:
    w, l = unit  # noqa: E741
    gap = w.h / w.n - l.h / l.n if c.length_average else w.h - l.h
    return (gap - 1 / (2 * c.beta)) ** 2, 1


def kto(unit: list[Row], c: Any) -> tuple[float, float]:
    (x,) = unit
    good = x.best if c.accept == "best" else c.threshold < x.R
    z = 0.17
    if good:
        return c.desirable_weight * (1 - sigmoid(c.beta * (x.h - z))), 1
    return c.undesirable_weight * (1 - sigmoid(c.beta * (z - x.h))), 1


def dro(unit: list[Row], c: Any) -> tuple[float, float]:
    (x,) = unit
    squared = (x.R - x.value[0] - c.tau * x.h) ** 2
    return 0.5 / c.tau * squared + 0.5 * squared, 1


def copg(unit: list[Row], c: Any) -> tuple[float, float]:
    scores = [x.R - c.beta * x.h for x in unit]
    return sum((a - b) ** 2 for a, b in combinations(scores, 2)) / (len(unit) - 1), 1


def rebel(unit: list[Row], c: Any) -> tuple[float, float]:
    i, j = unit
    return (i.h - j.h - c.eta * (i.R - j.R)) ** 2, 1


def qrpo(unit: list[Row], c: Any) -> tuple[float, float]:
    (x,) = unit
    tie = {"mid": 0.5, "inclusive": 1.0}[c.ties]

    def rank(r: float, among: list[float]) -> float:
        return sum(1.0 if o < r - 1e-9 else tie if abs(o - r) < 1e-9 else 0.0 for o in among) / len(among)

    n = len(x.references)
    own = [rank(x.references[j], x.references[:j] + x.references[j + 1 :]) for j in range(n)]
    z = sum(math.exp(u / c.beta) for u in own) / n
    return (rank(x.R, x.references) - c.beta * math.log(z) - c.beta * x.h) ** 2, 1


def reinforce(unit: list[Row], c: Any) -> tuple[float, float]:
    scores = [x.R - c.beta * x.h for x in unit]
    total = 0.0
    for i, x in enumerate(unit):
        baseline = sum(s for j, s in enumerate(scores) if j != i) / (len(unit) - 1)
        ratio = 1.0 if c.importance_clip is None else min(math.exp(sum(x.logp) - sum(x.mu)), c.importance_clip)
        total -= ratio * (scores[i] - baseline) * sum(x.logp)
    return total, len(unit)


def tbrm(unit: list[Row], c: Any) -> tuple[float, float]:
    return (unit[0].h - unit[0].R / c.beta + unit[0].v[0]) ** 2, 1


def reval(unit: list[Row], c: Any) -> tuple[float, float]:
    return (unit[0].h - unit[0].R / c.beta + unit[0].v[0] - unit[0].v_ref[0]) ** 2, 1


def oreo(unit: list[Row], c: Any) -> tuple[float, float]:
    (x,) = unit
    total = 0.0
    for t in range(x.n):
        of_value = (x.value[t] - sum(x.r[t:]) + c.beta * sum(x.rho[t:])) ** 2
        of_policy = (x.value[t] - sum(x.r[t:]) + c.beta * x.rho[t] + c.beta * sum(x.rho[t + 1 :])) ** 2
        total += of_value + of_policy + c.alpha * x.kl[t]
    return total / x.n, 1


def dqo(unit: list[Row], c: Any) -> tuple[float, float]:
    (x,) = unit
    return sum((x.value[t] - sum(x.r[t:]) + c.beta * sum(x.rho[t:])) ** 2 for t in range(x.n)) / x.n, 1


def ilql(unit: list[Row], c: Any) -> tuple[float, float]:
    (x,) = unit
    total = 0.0
    for t in range(x.n):
        after = x.value[t + 1] if t + 1 < x.n else 0.0
        total += (x.r[t] + c.gamma * after - x.q[t]) ** 2
        u = x.q_target[t] - x.value[t]
        total += (c.tau if u > 0 else 1 - c.tau) * u**2
        total += c.cql_weight * (x.q_lse[t] - x.q[t])
        total -= c.bc_weight * x.logp[t]
    return total, x.n


FORMULAS: dict[str, Formula] = {
    f.__name__: f
    for f in (sft, dpo, dmpo, shiq, ipo, kto, dro, copg, rebel, qrpo, reinforce, tbrm, reval, oreo, dqo, ilql)
}


@pytest.mark.parametrize("name", FAMILY)
def test_the_loss_is_its_formula(name: str) -> None:
    algorithm = FAMILY[name]
    b = full(algorithm)
    loss = algorithm.loss(b)
    every, k = rows(b), algorithm.group_size
    for u, weight in enumerate(b.weight_U.tolist()):
        unit = every[u * k : (u + 1) * k]
        numerator, denominator = FORMULAS[name.split()[0]](unit, algorithm.config)
        assert float(loss.numerator_U[u].detach()) == pytest.approx(weight * numerator, rel=1e-10)
        assert float(loss.denominator_U[u]) == pytest.approx(weight * denominator, rel=1e-12)
    assert not loss.denominator_U.requires_grad
    for metric in loss.metrics.values():
        assert metric.shape == b.weight_U.shape
        assert not metric.requires_grad
        assert torch.isfinite(metric).all()


# What each loss is before training, in terms of the rewards alone (h = 0 and v = v_ref there).
AT_REFERENCE: dict[str, Callable[[list[Row], Any], float]] = {
    "dpo": lambda u, c: math.log(2),
    "dmpo": lambda u, c: math.log(2),
    "dmpo whole": lambda u, c: math.log(2),
    "ipo": lambda u, c: 1 / (4 * c.beta**2),
    "ipo sums": lambda u, c: 1 / (4 * c.beta**2),
    "shiq": lambda u, c: sum(sum(u[0].r[t:]) ** 2 for t in range(u[0].n)) / u[0].n,
    "copg": lambda u, c: (u[0].R - u[1].R) ** 2,
    "rebel": lambda u, c: c.eta**2 * (u[0].R - u[1].R) ** 2,
    "tbrm": lambda u, c: (u[0].v_ref[0] - u[0].R / c.beta) ** 2,
    "reval": lambda u, c: (u[0].R / c.beta) ** 2,
    "oreo": lambda u, c: 2 * sum((u[0].value[t] - sum(u[0].r[t:])) ** 2 for t in range(u[0].n)) / u[0].n,
    "dqo": lambda u, c: sum((u[0].value[t] - sum(u[0].r[t:])) ** 2 for t in range(u[0].n)) / u[0].n,
    "dro": lambda u, c: (0.5 / c.tau + 0.5) * (u[0].R - u[0].value[0]) ** 2,
}


@pytest.mark.parametrize("name", AT_REFERENCE)
def test_the_loss_at_the_reference(name: str) -> None:
    algorithm = FAMILY[name]
    b = full(algorithm, at_reference=True)
    every, k = rows(b), algorithm.group_size
    found = algorithm.loss(b).numerator_U.detach() / b.weight_U
    for u in range(len(found)):
        unit = every[u * k : (u + 1) * k]
        assert float(found[u]) == pytest.approx(AT_REFERENCE[name](unit, algorithm.config), rel=1e-12)


def test_kto_is_half_its_weight_at_the_reference_where_the_reference_point_is_0() -> None:
    kto_ = FAMILY["kto"]
    b = full(kto_, at_reference=True)
    below_0 = torch.full_like(b.reward_EA[:, 0], -0.4)  # clamped to 0
    found = kto_.loss(type(b)(**{**vars(b), "mismatched_E": below_0})).numerator_U.detach() / b.weight_U
    half = [0.65 if r.R > 0.1 else 0.35 for r in rows(b)]
    assert found.tolist() == pytest.approx(half, rel=1e-12)
    assert len(set(half)) == 2
