"""A loss may follow a schedule: every batch says how much of the budget is spent, also after a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_training import Lines, trainer, weights

from shiqbench.plugin.registry import registry

RISING = """
from shiqbench.plugin import Algorithm, AlgorithmConfig, AlgorithmSpec, Loss, hookimpl


class RisingConfig(AlgorithmConfig):
    start: float = 0.5
    end: float = 2.0


class Rising(Algorithm[RisingConfig]):
    uses_reference = False

    def loss(self, batch):
        beta = self.config.start + (self.config.end - self.config.start) * batch.progress
        likelihood_E = beta * batch.logp_EA.sum(-1)
        beta_U = batch.weight_U.new_full(batch.weight_U.shape, beta)
        return Loss(-batch.weight_U * likelihood_E, batch.weight_U * batch.length_E, {"beta": beta_U})


@hookimpl
def shiqbench_register_algorithms():
    return [AlgorithmSpec.of(Rising, summary="a coefficient that rises with training")]
"""


@pytest.fixture
def rising(tmp_path: Path) -> Any:
    file = tmp_path / "rising.py"
    file.write_text(RISING)
    spec = registry((file,)).algorithm("rising")
    return spec.load()(spec.load_config()())


def betas(folder: Path) -> list[float]:
    return [json.loads(line)["beta"] for line in (folder / "train.jsonl").read_text().splitlines()]


def expected(shares: list[float]) -> Any:
    return pytest.approx([0.5 + 1.5 * share for share in shares], abs=1e-6)


def test_a_budget_in_updates(tiny_model: Path, tmp_path: Path, rising: Any) -> None:
    trainer(tiny_model, tmp_path / "a", rising, updates=6, micro_tokens=1).run(Lines())
    assert betas(tmp_path / "a") == expected([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


def test_a_budget_in_tokens(tiny_model: Path, tmp_path: Path, rising: Any) -> None:
    t = trainer(tiny_model, tmp_path / "a", rising, updates=None, tokens=1200)
    t.run(Lines())
    spent = [sum(t.plan.tokens[:done]) for done in range(len(t.plan.tokens))]
    assert len(spent) > 2
    assert spent[-1] < 1200 <= sum(t.plan.tokens)
    assert betas(tmp_path / "a") == expected([s / 1200 for s in spent])


def test_a_resumed_training_goes_on_where_the_schedule_was(tiny_model: Path, tmp_path: Path, rising: Any) -> None:
    undisturbed = trainer(tiny_model, tmp_path / "a", rising)
    undisturbed.run(Lines())
    with pytest.raises(KeyboardInterrupt):
        trainer(tiny_model, tmp_path / "b", rising).run(Lines(stop_after=5))
    resumed = trainer(tiny_model, tmp_path / "b", rising)
    assert resumed.done == 4
    resumed.run(Lines())
    assert betas(tmp_path / "b") == betas(tmp_path / "a") == expected([i / 6 for i in range(6)])
    wanted, found = weights(undisturbed), weights(resumed)
    assert all(wanted[name].equal(found[name]) for name in wanted)


def test_tables_follow_it_too(tmp_path: Path, rising: Any) -> None:
    spec = registry().task("mdp")
    task = spec.load()(spec.load_config()(seeds=2))
    settings = spec.load_sections()[0](updates=8, log_every=1, save_every=3)

    def train(stop_after: int | None) -> None:
        def report(line: dict[str, Any], total: int) -> None:
            if line["update"] == stop_after:
                raise KeyboardInterrupt

        assert task.trainer(rising, settings, 0).run(tmp_path, report) == (0 if stop_after else 3)

    with pytest.raises(KeyboardInterrupt):
        train(stop_after=5)
    train(stop_after=None)
    assert betas(tmp_path) == expected([i / 8 for i in range(8)])
