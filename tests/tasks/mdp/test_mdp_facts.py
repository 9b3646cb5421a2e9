"""What theory says about the losses, on problems with a known answer.

Mutations tried by hand; each makes at least one test here fail: beta or gamma left out of a sweep, V at the end not 0,
the reference's logits taken for its log-probabilities, weights of trajectories ignored, v(s_t) detached.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from mdp_support import BETA, mdp_task, regrets, shiq, trained
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from shiqbench_tasks.mdp import solve
from shiqbench_tasks.mdp.config import MdpTrainConfig
from shiqbench_tasks.mdp.task import MdpTask
from shiqbench_tasks.mdp.train import TableTrainer
from torch import Tensor

from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.algorithm import Algorithm
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.registry import registry


class FirstToken(Shiq):
    """The t = 0 term alone."""

    def residual(self, batch: Batch) -> Tensor:
        first = torch.zeros_like(batch.valid_EA)
        first[:, 0] = True
        return super().residual(batch) * first


class DetachedValue(Shiq):
    """No gradient through v(s_t)."""

    def residual(self, batch: Batch) -> Tensor:
        hidden = batch.lse_EA - batch.lse_EA.detach()  # 0, with the gradient that is taken away
        return super().residual(batch) + self.config.beta * hidden * batch.valid_EA


FORMS: dict[str, tuple[type[Shiq], dict[str, Any]]] = {
    "shiq": (Shiq, {}),
    "no shift": (Shiq, {"shift": False}),
    "stop_future": (Shiq, {"stop_future": True}),
    "first token": (FirstToken, {}),
    "first token, no shift": (FirstToken, {"shift": False}),
    "one step": (Shiq, {"multi_step": False}),
    "neither": (Shiq, {"shift": False, "multi_step": False}),
    "detached": (DetachedValue, {}),
}


def form(name: str, **settings: Any) -> Shiq:
    kind, switches = FORMS[name]
    return kind(ShiqConfig(**{"beta": BETA, **switches, **settings}))


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("name", [n for n in FORMS if n != "detached"])
@pytest.mark.parametrize("kind", ["tree", "chain", "random"])
def test_every_form_has_its_minimum_at_the_optimum(kind: str, name: str, gamma: float) -> None:
    task = mdp_task(mdp=kind, horizon=4, reward="dense", reference="random", logit_offset=1.0, gamma=gamma)
    algorithm = form(name, gamma=gamma)
    trainer = task.trainer(algorithm, MdpTrainConfig(clip=1e9), 0)
    best, logit = task.solve(), trainer.tables.logit_SNA
    if algorithm.config.shift:
        logit.data.copy_(task.mdp.ref_logit_SNA + best.q_SNA / BETA)
    else:
        logit.data.copy_(best.logp_SNA + best.value_SN[..., None] / BETA)
    torch.testing.assert_close(logit.log_softmax(-1), best.logp_SNA, rtol=0, atol=1e-13)
    line = trainer.update()
    assert line["loss"] < 1e-28
    assert line["grad_norm"] < 1e-13


CLAIMING = []
for _name in registry().algorithms:
    _plan = make_plan(Request(_name, "mdp"))
    if _plan.cell.algorithm.load()(_plan.cell.algo).temperature is not None:
        CLAIMING.append(_name)


def test_shiq_claims_an_optimum() -> None:
    assert "shiq" in CLAIMING


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["sparse", "dense"])
@pytest.mark.parametrize("name", CLAIMING)
def test_what_claims_an_optimum_finds_it_with_the_defaults(name: str, reward: str) -> None:
    plan = make_plan(Request(name, "mdp", settings={"task.seeds": 6, "task.reward": reward}))
    algorithm: Algorithm[Any] = plan.cell.algorithm.load()(plan.cell.algo)
    task = plan.task
    assert isinstance(task, MdpTask)
    task.check(algorithm)
    trainer = task.trainer(algorithm, plan.cell.train, 0)
    while trainer.done < trainer.config.updates:
        trainer.update()
    assert (regrets(trainer) < 1e-3).all()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"mdp": "bandit"}, {"mdp": "chain"}, {"mdp": "random"}, {"mdp": "tree"}])
def test_trained_logits_carry_the_value_function(settings: dict[str, Any]) -> None:
    for switches in ({}, {"multi_step": False}):
        task = mdp_task(**settings, reference="random", logit_offset=2.0, beta=1.0)
        trainer = trained(task, shiq(beta=1.0, **switches), updates=600)
        error = solve.value_error(task.mdp, task.solve(), trainer.tables.logit_SNA.detach())
        assert (error < 1e-3).all()
        assert (solve.value_error(task.mdp, task.solve(), task.mdp.ref_logit_SNA) > 0.01).all()


# Gradient descent, 100 steps, each form at the best of the learning rates 1, 2, 4, ..., 128.
RATES = {
    "sparse": {
        "shiq": 64,
        "no shift": 64,
        "stop_future": 64,
        "first token": 64,
        "one step": 32,
        "neither": 32,
        "detached": 32,
    },
    "dense": {
        "shiq": 32,
        "no shift": 32,
        "stop_future": 64,
        "first token": 32,
        "one step": 32,
        "neither": 4,
        "detached": 32,
    },
}


@cache
def descended(reward: str, name: str) -> float:
    """Mean relative regret of a form after 100 steps on a tree of 729 leaves."""
    task = mdp_task(mdp="tree", horizon=6, reward=reward, logit_offset=3.0)
    settings: dict[str, Any] = {"optimizer": "sgd", "lr": RATES[reward][name], "schedule": "constant", "clip": 1e9}
    return float(regrets(trained(task, form(name), updates=100, **settings)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["sparse", "dense"])
def test_the_order_of_the_forms_after_as_many_steps(reward: str) -> None:
    found = [descended(reward, n) for n in ("shiq", "no shift", "stop_future", "first token", "one step", "neither")]
    assert found == sorted(found)
    assert found[0] < 0.06
    assert all(later > 1.01 * earlier for earlier, later in pairwise(found)), found


@pytest.mark.slow
def test_neither_shift_nor_multi_step_is_worse_than_the_reference_first() -> None:
    assert descended("sparse", "neither") > 1


@pytest.mark.slow
@pytest.mark.parametrize(("reward", "left"), [("sparse", 0.25), ("dense", 0.15)])
def test_without_the_gradient_through_the_value_descent_stalls(reward: str, left: float) -> None:
    task = mdp_task(mdp="tree", horizon=4, reward=reward)
    settings: dict[str, Any] = {"optimizer": "sgd", "lr": 8, "schedule": "constant", "clip": 1e9}
    stalled = [float(regrets(trained(task, form("detached"), updates=n, **settings)).mean()) for n in (150, 300)]
    assert stalled[1] > 0.95 * stalled[0] > 0.5 * left
    assert float(regrets(trained(task, form("shiq"), updates=150, **settings)).mean()) < 0.01


@pytest.mark.slow
def test_random_transitions_bias_the_full_gradient_and_stop_future_removes_it() -> None:
    task = mdp_task(mdp="tree", horizon=3, noise=1.0, seeds=8, reward="dense")
    biased, unbiased = (regrets(trained(task, form(n))) for n in ("shiq", "stop_future"))
    assert (biased > 3e-3).all()
    assert float(biased.mean()) > 0.02
    assert (unbiased < 1e-8).all()
    quiet = mdp_task(mdp="tree", horizon=3, seeds=8, reward="dense")
    assert (regrets(trained(quiet, form("shiq"))) < 1e-8).all()


def unseen_mass(offset: float) -> float:
    arms = (0.5, -0.5, *[0.0] * 8)
    task = mdp_task(mdp="bandit", arm_rewards=arms, coverage=0.2, offset=offset, seeds=2)
    return trained(task, shiq(), updates=400).evaluation()["unseen_mass"]


@pytest.mark.slow
def test_unseen_arms_keep_q_zero_so_the_offset_of_the_reward_matters() -> None:
    masses = [unseen_mass(c) for c in (-2.0, 0.0, 2.0)]
    assert masses == pytest.approx([0.993, 0.722, 0.045], abs=5e-4)
    exact = [8 / (8 + math.exp((c + 0.5) / BETA) + math.exp((c - 0.5) / BETA)) for c in (-2.0, 0.0, 2.0)]
    assert masses == pytest.approx(exact, abs=1e-6)


def curve(trainer: TableTrainer) -> list[float]:
    found = []
    while trainer.done < trainer.config.updates:
        trainer.update()
        found.append(trainer.evaluation()["relative_regret"])
    return found


def test_constants_per_state_on_policy_and_reference_change_nothing_under_the_shift() -> None:
    plain, moved = (mdp_task(horizon=4, reference="random", logit_offset=c) for c in (0.0, 3.0))
    config = MdpTrainConfig(updates=40)
    same = [curve(t.trainer(form("shiq"), config, 0)) for t in (plain, moved)]
    assert same[0] == pytest.approx(same[1], abs=1e-9)
    other = [curve(t.trainer(form("no shift"), config, 0)) for t in (plain, moved)]
    assert max(abs(a - b) for a, b in zip(*other, strict=True)) > 0.05


def test_weights_are_an_expectation() -> None:
    """A batch of draws estimates the gradient of the weighted whole."""
    task = mdp_task(mdp="chain", horizon=4, reference="peaked")
    whole, drawn = (task.trainer(shiq(), MdpTrainConfig(batch_episodes=b), 0) for b in (None, 40_000))
    for trainer in (whole, drawn):
        trainer.tables.logit_SNA.data.add_(
            0.1 * torch.randn(trainer.mdp.reward_SNA.shape, generator=torch.manual_seed(0))
        )
    values = [t.update()["loss"] for t in (whole, drawn)]
    assert values[0] == pytest.approx(values[1], rel=0.02)
    uneven = replace(whole.data, weight_SE=torch.full_like(whole.data.weight_SE, 1 / 16))
    assert not torch.allclose(uneven.weight_SE, whole.data.weight_SE)
