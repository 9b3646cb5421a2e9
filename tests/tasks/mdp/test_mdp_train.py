"""The loop: instances are independent, every split of the work gives the same numbers, interruptions change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mdp_support import Hungry, HungryConfig, mdp_task, shiq, trained
from safetensors.torch import load_file
from shiqbench_algorithms.copg import Copg, CopgConfig
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.reval import Reval, RevalConfig
from shiqbench_algorithms.sft import Sft, SftConfig
from shiqbench_tasks.mdp.config import MdpTrainConfig
from shiqbench_tasks.mdp.train import TableTrainer

from shiqbench.base.errors import RunError
from shiqbench.plugin.algorithm import Algorithm, Loss
from shiqbench.plugin.batch import Batch
from shiqbench.training.given_model import train_model

ALGORITHMS: list[tuple[Algorithm[Any], dict[str, Any]]] = [
    (shiq(), {}),
    (shiq(normalize="token"), {"batch_episodes": 8}),
    (Dpo(DpoConfig(beta=0.5)), {"batch_episodes": 10}),
    (Hungry(HungryConfig()), {}),
    (Hungry(HungryConfig(size=4)), {"optimizer": "sgd", "lr": 0.01}),
]
SMALL: dict[str, Any] = {"mdp": "random", "horizon": 3, "reward": "dense"}


def tables(trainer: TableTrainer) -> dict[str, torch.Tensor]:
    return trainer.final()


@pytest.mark.parametrize(("algorithm", "settings"), ALGORITHMS)
def test_instances_do_not_see_each_other(algorithm: Algorithm[Any], settings: dict[str, Any]) -> None:
    few = tables(trained(mdp_task(**SMALL, seeds=2), algorithm, updates=6, **settings))
    many = tables(trained(mdp_task(**SMALL, seeds=5), algorithm, updates=6, **settings))
    assert set(few) == set(many)
    for name, table in few.items():
        torch.testing.assert_close(table, many[name][:2], rtol=0, atol=1e-12)


def test_the_loss_of_an_instance_is_its_numerators_over_its_denominators() -> None:
    task = mdp_task(mdp="grid", horizon=5, episodes=30)  # episodes of several lengths
    trainer = task.trainer(shiq(normalize="token"), MdpTrainConfig(), 0)
    loss = trainer.algorithm.loss(trainer.batch())
    by_hand = (loss.numerator_U.detach().view(4, 30).sum(-1) / loss.denominator_U.view(4, 30).sum(-1)).mean()
    assert trainer.update()["loss"] == pytest.approx(float(by_hand), rel=1e-12)


def test_each_gradient_norm_is_clipped_by_itself() -> None:
    settings: dict[str, Any] = {"optimizer": "sgd", "lr": 1.0, "schedule": "constant", "updates": 1}
    task = mdp_task(mdp="bandit", seeds=3)
    free = trained(task, shiq(), clip=1e9, **settings).final()["logits"]
    norms = free.flatten(1).norm(dim=1)
    limit = float(norms.median())
    clipped = trained(task, shiq(), clip=limit, **settings).final()["logits"].flatten(1)
    torch.testing.assert_close(clipped.norm(dim=1), norms.clamp(max=limit), rtol=1e-12, atol=0)
    torch.testing.assert_close(clipped / clipped.norm(dim=1, keepdim=True), free.flatten(1) / norms[:, None])


def test_the_seed_fixes_what_is_drawn_and_nothing_else() -> None:
    task, dpo = mdp_task(**SMALL), Dpo(DpoConfig(beta=0.5))
    first, again, other = (trained(task, dpo, seed, updates=3).final()["logits"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    exact = [trained(task, shiq(), seed, updates=3).final()["logits"] for seed in (0, 1)]
    assert torch.equal(*exact)  # the whole expectation: nothing is drawn


def test_heads_learn_at_their_own_rate_and_the_target_follows() -> None:
    task, algorithm = mdp_task(**{**SMALL, "reference": "random"}), Hungry(HungryConfig())
    settings: dict[str, Any] = {"updates": 1, "schedule": "constant"}
    final = trained(task, algorithm, lr=0.2, head_lr=0.05, **settings).final()
    moved = {k: float(final[k].abs().max()) for k in ("values", "q")}
    moved["logits"] = float((final["logits"] - task.mdp.ref_logit_SNA).abs().max())
    assert moved["values"] == pytest.approx(0.05, rel=1e-3)  # Adam's first step
    assert moved["q"] == pytest.approx(0.05, rel=1e-3)
    assert moved["logits"] == pytest.approx(0.2, rel=1e-3)
    torch.testing.assert_close(final["target_q"], 0.25 * final["q"], rtol=1e-12, atol=0)
    torch.testing.assert_close(final["sampled"], final["logits"] + 0.5 * final["q"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "factors"), [("constant", [1, 1]), ("linear", [0.75, 0.25]), ("cosine", [0.854, 0.146])]
)
def test_schedules(name: str, factors: list[float]) -> None:
    trainer = mdp_task(**SMALL).trainer(shiq(), MdpTrainConfig(updates=2, lr=1.0, schedule=name), 0)  # type: ignore[arg-type]
    assert [trainer.update()["lr"] for _ in range(2)] == pytest.approx(factors, abs=1e-3)


class InterruptedUpdateError(Exception):
    """Stands for a kill between two updates."""


def logged(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(x) for x in (folder / "train.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize(("algorithm", "settings"), ALGORITHMS)
@pytest.mark.parametrize("log_every", [1, 4])
def test_interrupted_training_continues_bit_for_bit(
    algorithm: Algorithm[Any], settings: dict[str, Any], log_every: int, tmp_path: Path
) -> None:
    config = MdpTrainConfig(updates=30, save_every=7, log_every=log_every, **settings)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    task = mdp_task(**SMALL)
    facts = task.train(algorithm, config, 0, whole, lambda line, total: None, train_model)
    assert facts["resumed_at_update"] == 0

    def stop(line: dict[str, Any], total: int) -> None:
        assert total == 30
        if line["update"] == 20:
            raise InterruptedUpdateError

    with pytest.raises(InterruptedUpdateError):
        task.train(algorithm, config, 0, broken, stop, train_model)
    assert (broken / "checkpoint" / "state.pt").exists()
    resumed = task.train(algorithm, config, 0, broken, lambda line, total: None, train_model)
    assert resumed["resumed_at_update"] == 14
    assert resumed["budget"] == facts["budget"]
    assert (whole / "checkpoint" / "model.safetensors").read_bytes() == (
        broken / "checkpoint" / "model.safetensors"
    ).read_bytes()
    assert logged(whole) == logged(broken)
    assert [p.name for p in (broken / "checkpoint").iterdir()] == ["model.safetensors"]


def test_the_log_is_a_learning_curve(tmp_path: Path) -> None:
    task = mdp_task(**SMALL)
    seen: list[int] = []
    config = MdpTrainConfig(updates=25, log_every=10)
    facts = task.train(shiq(), config, 0, tmp_path, lambda line, total: seen.append(line["update"]), train_model)
    lines = [json.loads(x) for x in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert seen == [line["update"] for line in lines] == [1, 10, 20, 25]
    needed = {"loss", "grad_norm", "return", "tokens", "seconds", "relative_regret", "residual_rms"}
    assert all(needed <= set(line) for line in lines)
    assert lines[-1]["relative_regret"] < lines[0]["relative_regret"] < 1
    records = task.evaluate_weights(tmp_path / "checkpoint")
    mean = sum(r["relative_regret"] for r in records) / len(records)
    assert lines[-1]["relative_regret"] == pytest.approx(mean, rel=1e-12)
    assert facts["budget"] == {"updates": 25, "tokens": 25 * 4 * 27 * 3, "episodes": 25 * 4 * 27}
    assert lines[-1]["tokens"] == facts["budget"]["tokens"]
    expected = float((task.trainer(shiq(), config, 0).data.return_SE / 27).sum(-1).mean())
    assert lines[0]["return"] == pytest.approx(expected, rel=1e-9)  # a uniform reference: equal weights
    assert set(load_file(tmp_path / "checkpoint" / "model.safetensors")) == {"logits", "sampled", "coverage"}


class Exploding(Algorithm[HungryConfig]):
    """Not finite in the second instance."""

    def loss(self, batch: Batch) -> Loss:
        bad = (batch.unit_E == batch.unit_E.max() // 2).to(batch.logit_EA.dtype)
        return Loss(batch.logp_EA.sum(-1) * (1 / (1 - bad)), batch.weight_U)


def test_a_loss_that_is_not_finite_names_its_instance() -> None:
    trainer = mdp_task(**SMALL).trainer(Exploding(HungryConfig()), MdpTrainConfig(), 0)
    with pytest.raises(
        RunError, match=r"loss .*inf with gradient norm .* in instance 1 at update 1 .*; lower train.lr"
    ):
        trainer.update()


@pytest.mark.parametrize(
    "algorithm", [shiq(), Copg(CopgConfig(beta=0.5)), Reval(RevalConfig(beta=0.5)), Dpo(DpoConfig(beta=0.5))]
)
def test_the_log_says_how_far_the_policy_followed_the_returns(algorithm: Algorithm[Any]) -> None:
    trainer = mdp_task(**SMALL, seeds=3).trainer(algorithm, MdpTrainConfig(updates=400, lr=0.1), 0)
    first = trainer.update()
    assert (first["logratio"], first["logratio_advantage"]) == pytest.approx((0, 0), abs=1e-12)
    while trainer.done < 400:
        last = trainer.update()
    moved = last["logratio_advantage"] / (last["advantage_square"] / 0.5)
    if algorithm.temperature is None:  # preferences without noise ask for more and more
        assert moved > 1
    else:
        assert moved == pytest.approx(1, abs=0.05)


def test_without_the_reference_the_log_has_no_log_ratio() -> None:
    line = trained(mdp_task(**SMALL), Sft(SftConfig()), updates=1).update()
    assert not [name for name in line if "logratio" in name or "advantage" in name]
