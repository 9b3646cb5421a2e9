"""What one update does, against closed forms: gradients before Adam hides their scale, and each setting by itself."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from shiqbench_algorithms.copg import Copg, CopgConfig
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.sft import Sft, SftConfig
from tiny_training import Lines, trainer, weights

from shiqbench.plugin.batch import Batch
from shiqbench.training.layout import make_batch
from shiqbench.training.loop import Trainer, learning_rate
from shiqbench.training.policy import row_statistics

FREE = 1e9  # a clip that changes nothing
LR, DECAY = 1e-3, 0.3
STEADY: dict[str, Any] = {"double": True, "updates": 1, "warmup": 0.0, "schedule": "constant", "lr": LR}


def first_batch(t: Trainer) -> Batch:
    units = t.plan.batches[0]
    members = [t.rendered[i] for u in units for i in u.rows]
    return make_batch(units, t.rendered, row_statistics(t.policy, members), [t.reference(r) for r in members])


def gradients(t: Trainer) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in t.policy.named_parameters() if p.grad is not None}


def norm(found: dict[str, torch.Tensor]) -> float:
    return math.sqrt(sum(float(g.square().sum()) for g in found.values()))


@pytest.mark.parametrize("algorithm", [Dpo(DpoConfig()), Sft(SftConfig())])
@pytest.mark.parametrize("micro_tokens", [1, 100_000])
def test_the_gradient_is_that_of_the_mean_loss(
    tiny_model: Path, tmp_path: Path, algorithm: Any, micro_tokens: int
) -> None:
    t = trainer(tiny_model, tmp_path / "a", algorithm, clip=FREE, micro_tokens=micro_tokens, **STEADY)
    loss = algorithm.loss(first_batch(t))
    assert float(loss.denominator_U.sum()) > 1.5
    (loss.numerator_U.sum() / loss.denominator_U.sum()).backward()
    wanted = gradients(t)
    line = t._update(0)
    found = gradients(t)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=1e-9)
    assert line["grad_norm"] == pytest.approx(norm(wanted), rel=1e-9)


def test_a_gradient_is_clipped_to_the_norm_that_is_set(tiny_model: Path, tmp_path: Path) -> None:
    free = trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), clip=FREE, **STEADY)
    clipped = trainer(tiny_model, tmp_path / "b", Sft(SftConfig()), clip=0.01, **STEADY)
    assert free._update(0)["grad_norm"] == pytest.approx(clipped._update(0)["grad_norm"], rel=1e-9)
    whole, cut = gradients(free), gradients(clipped)
    assert norm(whole) > 0.1
    assert norm(cut) == pytest.approx(0.01, rel=1e-4)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient * (0.01 / norm(whole)), atol=1e-9, rtol=1e-4)


def test_weights_decay_by_their_share_of_the_learning_rate(tiny_model: Path, tmp_path: Path) -> None:
    before: dict[str, torch.Tensor] = {}
    after = []
    for decay in (0.0, DECAY):
        t = trainer(tiny_model, tmp_path / str(decay), Sft(SftConfig()), weight_decay=decay, **STEADY)
        before = weights(t)
        t._update(0)
        after.append(weights(t))
    for name, plain in after[0].items():
        torch.testing.assert_close(plain - after[1][name], LR * DECAY * before[name], atol=1e-12, rtol=1e-6)


@pytest.mark.parametrize("budget", [{"updates": 4}, {"updates": None, "tokens": 400}])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_each_update_has_the_learning_rate_of_its_middle(
    tiny_model: Path, tmp_path: Path, schedule: str, budget: dict[str, Any]
) -> None:
    settings = {**STEADY, **budget, "schedule": schedule, "batch_episodes": 2}
    t, seen = trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), **settings), Lines()
    t.run(seen)
    tokens, count = t.plan.tokens, len(t.plan.tokens)
    assert count > 1
    for i, line in enumerate(seen.lines):
        done = (i + 1) / count if "tokens" not in budget else sum(tokens[: i + 1]) / sum(tokens)
        share = done - 0.5 / count
        factor = 1 - share if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * share))
        assert line["lr"] == pytest.approx(LR * factor, rel=1e-12)


def test_the_cosine_falls_from_the_peak_to_0(tiny_model: Path, tmp_path: Path) -> None:
    config = trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), **{**STEADY, "schedule": "cosine"}).config
    assert [learning_rate(config, share, peak=2.0) for share in (0.0, 0.25, 1.0)] == pytest.approx(
        [2.0, 1 + math.sqrt(0.5), 0.0], abs=1e-12
    )


@pytest.mark.parametrize("micro_tokens", [1, 100_000])
def test_logged_metrics_are_means_over_units_and_the_return_one_over_episodes(
    tiny_model: Path, tmp_path: Path, micro_tokens: int
) -> None:
    algorithm = Copg(CopgConfig())
    settings = {**STEADY, "micro_tokens": micro_tokens, "batch_episodes": 6}
    plan = trainer(tiny_model, tmp_path / "plan", algorithm, **settings).plan
    uneven = tuple(replace(u, weight=w) for u, w in zip(plan.batches[0], (0.5, 1.0, 3.0), strict=True))
    t = trainer(tiny_model, tmp_path / "a", algorithm, plan=replace(plan, batches=(uneven,)), **settings)
    metrics = algorithm.loss(first_batch(t)).metrics
    line = t._update(0)
    for name, values in metrics.items():
        mean = sum(u.weight * float(v) for u, v in zip(uneven, values, strict=True)) / 4.5
        assert line[name] == pytest.approx(mean, rel=1e-9)
    returns = [u.weight * t.rendered[r].episode.total_reward for u in uneven for r in u.rows]
    assert line["return"] == pytest.approx(sum(returns) / 9, rel=1e-9)
    assert line["return"] != 0
