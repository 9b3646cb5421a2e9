"""The bridge: trees spoken by tiny transformers, through the language models' own training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.sft import Sft, SftConfig
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from shiqbench_tasks.mdp import bridge, data, mdps, solve
from shiqbench_tasks.mdp.config import MdpConfig, MdpTrainConfig
from shiqbench_tasks.mdp.task import MdpTask
from shiqbench_tasks.mdp.train import TableTrainer
from shiqbench_tasks.mdp.transformer import node_logits, only, tables, transformer
from tiny_training import needy

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.plugin.config import TrainConfig
from shiqbench.training.given_model import train_model
from shiqbench.training.policy import Policy, row_statistics

SMALL = {"actions": 2, "horizon": 3}


def task(**settings: Any) -> MdpTask:
    return MdpTask(MdpConfig(policy="transformer", **settings))


def shiq(**settings: Any) -> Shiq:
    return Shiq(ShiqConfig(beta=0.5, **settings))


def trained(
    t: MdpTask, algorithm: Any, folder: Path, stop_after: int | None = None, **settings: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    lines: list[dict[str, Any]] = []

    def report(line: dict[str, Any], total: int) -> None:
        lines.append({**line, "total": total})
        if len(lines) == stop_after:
            raise KeyboardInterrupt

    folder.mkdir(exist_ok=True)
    return lines, t.train(algorithm, MdpTrainConfig(**settings), 0, folder, report, train_model)


def regret(t: MdpTask, weights: Path | None) -> list[float]:
    return [r["relative_regret"] for r in t.evaluate_weights(weights)]


@pytest.mark.slow
def test_shiq_with_full_coverage_ends_within_two_percent_of_the_exact_optimum(tmp_path: Path) -> None:
    t = task()
    assert regret(t, None) == pytest.approx([1.0])
    lines, facts = trained(t, shiq(), tmp_path)
    assert 1_000 < facts["parameters"] < 10_000
    assert facts["data"]["data"] == "exact"
    (found,) = regret(t, tmp_path / "checkpoint")
    assert found <= 0.02
    assert found == pytest.approx(lines[-1]["relative_regret"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("actions", "horizon"), [(2, 1), (2, 3), (3, 4)])
def test_the_table_is_what_the_policy_computes_at_every_node(actions: int, horizon: int) -> None:
    config = MdpConfig(policy="transformer", actions=actions, horizon=horizon, seeds=2)
    mdp = task(actions=actions, horizon=horizon, seeds=2).mdp
    found = data.every_trajectory(mdp, mdp.ref_logp_SNA)
    rendered = bridge._render(found, 1, actions, [])
    loop = TrainConfig(precision="fp32", share_prefix=False)
    with torch.no_grad():
        rows = row_statistics(Policy(transformer(config, 1), loop), rendered)
    for e, row in enumerate(rows):
        logits = mdp.ref_logit_SNA[1][found.state_SEH[1, e]]
        chosen = logits.gather(-1, found.action_SEH[1, e][:, None])[:, 0]
        torch.testing.assert_close(row.logit_N.double(), chosen, atol=1e-5, rtol=0)
        torch.testing.assert_close(row.lse_N.double(), logits.logsumexp(-1), atol=1e-5, rtol=0)


def test_every_node_is_a_state_of_its_own_even_along_repeated_actions() -> None:
    config = MdpConfig(policy="transformer")
    logits = node_logits(transformer(config, 0), config)
    assert logits.shape == (121, 3)
    assert logits.dtype == torch.float64
    different = (logits[:, None] - logits[None]).abs().amax(-1) + torch.eye(121)
    assert different.min() > 1e-4


def test_instances_differ_and_do_not_depend_on_how_many_there_are() -> None:
    two, three = task(**SMALL, seeds=2).mdp, task(**SMALL, seeds=3).mdp
    assert torch.equal(two.ref_logit_SNA, three.ref_logit_SNA[:2])
    assert not torch.equal(two.ref_logit_SNA[0], two.ref_logit_SNA[1])
    one = only(three, 1)
    assert torch.equal(one.ref_logit_SNA, three.ref_logit_SNA[1:2])
    assert torch.equal(solve.solve(one).value_SN, solve.solve(three).value_SN[1:2])


@pytest.mark.parametrize(
    "algorithm",
    [
        *(shiq(normalize=n) for n in ("sum", "sequence", "token")),
        shiq(multi_step=False, gamma=0.9),
        Sft(SftConfig(accept="threshold", threshold=0.3)),
        needy("critic"),
        needy("contrast"),
    ],
)
def test_the_first_loss_is_that_of_a_table_with_the_same_logits(tmp_path: Path, algorithm: Any) -> None:
    t = task(**SMALL, seeds=2, behaviour="mixture", reward="dense")
    offered = data.make_data(t.mdp, t.solve(), t.config, 0)
    tabular = TableTrainer(
        t.mdp, t.solve(), data.selected(offered, algorithm), algorithm, MdpTrainConfig(updates=1), 0
    ).update()
    lines, _ = trained(t, algorithm, tmp_path, updates=1)
    assert len(lines) == 2
    both = {
        k: (lines[0][k] + lines[1][k]) / 2 for k in tabular if k in lines[0] and k not in ("lr", "update", "tokens")
    }
    assert {"loss", "return"} <= both.keys()
    for name in both.keys() - {"grad_norm"}:  # of other parameters
        assert both[name] == pytest.approx(tabular[name], rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("settings", [{}, {"batch_episodes": 4}])
def test_an_interrupted_training_resumed_is_the_undisturbed_one_bit_for_bit(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    t, settings = task(**SMALL, seeds=2), {"updates": 6, "save_every": 2, "log_every": 3, **settings}
    undisturbed, facts = trained(t, shiq(), tmp_path / "a", **settings)
    assert facts["resumed_at_update"] == 0
    with pytest.raises(KeyboardInterrupt):
        trained(t, shiq(), tmp_path / "b", stop_after=9, **settings)
    resumed, facts = trained(t, shiq(), tmp_path / "b", **settings)
    assert facts["resumed_at_update"] == 6 + 2
    assert 0 < facts["own_forward"]["fp32"]["difference"] < facts["own_forward"]["fp32"]["tolerance"]
    assert [x["update"] for x in undisturbed] == list(range(1, 13))
    assert [x["update"] for x in resumed] == list(range(9, 13))
    assert {x["total"] for x in undisturbed} == {12}
    assert [x["tokens"] for x in undisturbed] == sorted(x["tokens"] for x in undisturbed)
    assert facts["budget"]["tokens"] == undisturbed[-1]["tokens"]
    files = [{f.name for f in (tmp_path / name / "checkpoint").iterdir()} for name in ("a", "b")]
    assert files == [{"model.safetensors"}] * 2
    a, b = (load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("a", "b"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    logs = []
    for name in ("a", "b"):
        lines = [json.loads(x) for x in (tmp_path / name / "train.jsonl").read_text().splitlines()]
        assert [x["instance"] for x in lines] == [0] * 6 + [1] * 6
        assert ["relative_regret" in x for x in lines] == [True, False, True, False, False, True] * 2
        logs.append([{k: v for k, v in x.items() if k != "seconds"} for x in lines])
    assert logs[0] == logs[1]


def test_what_is_scored_is_what_is_sampled_from(tmp_path: Path) -> None:
    t, algorithm = task(**SMALL), needy("critic", q_weight=-3.0)
    lines, _ = trained(t, algorithm, tmp_path, updates=5)
    weights = load_file(tmp_path / "checkpoint" / "model.safetensors")
    assert not torch.equal(weights["0.sampled_head"], weights["0.lm_head.weight"])
    found = tables(t.config, weights)
    plain, sampled = (solve.relative_regret(t.mdp, t.solve(), found[k].log_softmax(-1)) for k in ("logits", "sampled"))
    assert regret(t, tmp_path / "checkpoint") == pytest.approx(sampled.tolist())
    assert lines[-1]["relative_regret"] == pytest.approx(float(sampled), rel=1e-4)
    assert abs(float(plain) - float(sampled)) > 1e-3


def test_pairs_are_drawn_better_first_and_as_many_as_training_visits(tmp_path: Path) -> None:
    t = task(**SMALL)
    offered = data.make_data(t.mdp, t.solve(), t.config, 0)
    training = MdpTrainConfig(updates=3, batch_episodes=8).filled("transformer")
    (units,) = bridge._units(offered, Dpo(DpoConfig()), training, 0)
    assert len(units) == 12
    returns = offered.return_SE[0]
    assert all(returns[u.rows[0]] > returns[u.rows[1]] for u in units)
    lines, facts = trained(t, Dpo(DpoConfig(beta=0.5)), tmp_path, updates=3, batch_episodes=8)
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert facts["budget"] == {"updates": 3, "tokens": 3 * 8 * 4, "episodes": 24}


def test_reference_returns_are_the_completions_of_the_instance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    t, algorithm = task(**SMALL, completions=5), needy("contrast")
    monkeypatch.setattr(type(algorithm), "needs", frozenset({"reference_returns"}))
    seen = []

    def loss(batch: Any) -> Any:
        seen.append(batch.need("reference_return_EK"))
        return shiq().loss(batch)

    monkeypatch.setattr(algorithm, "loss", loss)
    trained(t, algorithm, tmp_path, updates=1)
    stream = data.random_stream(0, "completions")
    wanted = data.sample(t.mdp, t.mdp.ref_logp_SNA, 5, stream).return_SE
    torch.testing.assert_close(seen[0].double(), wanted.expand(8, 5), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"mdp": "random"}, "task.policy = transformer"),
        ({"noise": 0.5}, "task.policy = transformer"),
        ({"logit_offset": 1.0}, "task.logit_offset"),
        ({"reference": "uniform"}, "task.reference = uniform"),
        ({"policy": "table", "reference": "transformer"}, "task.reference = transformer"),
        ({"policy": "table", "seeds": 1}, "task.seeds = 1"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=f"{named} cannot be honoured"):
        MdpConfig(**{"policy": "transformer", **settings})


def test_defaults_of_training_follow_the_policy() -> None:
    assert MdpTrainConfig().filled("table").model_dump(include={"updates", "lr", "head_lr"}) == {
        "updates": 300,
        "lr": 0.3,
        "head_lr": 0.3,
    }
    assert MdpTrainConfig(lr=0.5).filled("transformer").lr == 0.5
    assert MdpTrainConfig().filled("transformer").updates == 600
    config = MdpConfig(policy="transformer")
    assert (config.seeds, config.reference) == (1, "transformer")
    assert MdpConfig(policy="transformer", seeds=3).seeds == 3
    assert (MdpConfig().seeds, MdpConfig().reference) == (20, "uniform")


def test_sgd_and_exact_divergences_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"train\.optimizer = sgd cannot be honoured"):
        trained(task(**SMALL), shiq(), tmp_path, optimizer="sgd")
    algorithm = needy("contrast")
    task().check(algorithm)
    monkeypatch.setattr(type(algorithm), "needs", frozenset({"kl"}))
    MdpTask(MdpConfig()).check(algorithm)
    with pytest.raises(ConfigError, match="needs kl"):
        task().check(algorithm)


def test_a_run_with_one_instance_and_a_table_with_the_same_reference_are_settings_apart(tmp_path: Path) -> None:
    settings = {"task.policy": "transformer", "task.horizon": 2, "train.updates": 3}
    result = shiqbench.run("shiq", "mdp", results=tmp_path, set=settings)
    again = shiqbench.run("shiq", "mdp", results=tmp_path, set=settings)
    assert again.cached
    assert result.primary["low"] is result.primary["high"] is None
    assert result.metrics["seeds"] == 1
    other = shiqbench.run("shiq", "mdp", results=tmp_path, set={**settings, "task.policy": "table"})
    assert other.evaluation["digest"] != result.evaluation["digest"]
    assert other.metrics["seeds"] == 20
    assert mdps.build(MdpConfig(horizon=2)).ref_logit_SNA.unique().tolist() == [0.0]  # type: ignore[no-untyped-call]
