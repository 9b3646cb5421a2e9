"""The training loop: reduction, resume, and the numbers at the reference, on a tiny real model in fp32."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from shiqbench_algorithms.copg import Copg, CopgConfig
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.sft import Sft, SftConfig
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from support import TOY
from tiny_training import Lines, trainer, weights

from shiqbench.base.errors import ConfigError, RunError
from shiqbench.episodes.rendering import Renderer
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.registry import registry
from shiqbench.training.layout import make_batch
from shiqbench.training.loop import TrainingPlan, learning_rate, plan_training
from shiqbench.training.policy import trainable
from shiqbench.training.reference import ReferenceCache
from shiqbench.training.units import make_units


def test_dpo_starts_at_ln_2_and_moves_after_one_update(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(tiny_model, tmp_path / "a", Dpo(DpoConfig()))
    seen = Lines()
    t.run(seen)
    assert seen.lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert seen.lines[-1]["loss"] < math.log(2) - 1e-4


def test_the_residual_of_shiq_starts_as_the_return_to_go_and_moves(tiny_model: Path, tmp_path: Path) -> None:
    algorithm = Shiq(ShiqConfig(beta=0.1))
    t = trainer(tiny_model, tmp_path / "a", algorithm)

    def residuals() -> tuple[torch.Tensor, torch.Tensor]:
        units = t.plan.batches[0]
        members = [t.rendered[i] for u in units for i in u.rows]
        with torch.no_grad():
            rows = t.policy([s for r in members for s in r.sequences])
        batch = make_batch(units, t.rendered, rows, [t.reference(r) for r in members])
        to_go = batch.reward_EA.flip(-1).cumsum(-1).flip(-1) * batch.valid_EA
        return algorithm.residual(batch), to_go

    delta, to_go = residuals()
    torch.testing.assert_close(delta, to_go, atol=1e-5, rtol=0)
    t._update(0)
    delta, to_go = residuals()
    assert (delta - to_go).abs().max() > 1e-3


@pytest.mark.parametrize("algorithm", [Shiq(ShiqConfig(normalize="token")), Dpo(DpoConfig()), Sft(SftConfig())])
def test_one_pass_of_eight_equals_eight_passes_of_one(tiny_model: Path, tmp_path: Path, algorithm: Any) -> None:
    whole = trainer(tiny_model, tmp_path / "a", algorithm, batch_episodes=8, micro_tokens=100_000, updates=3)
    split = trainer(tiny_model, tmp_path / "b", algorithm, batch_episodes=8, micro_tokens=1, updates=3)
    a, b = Lines(), Lines()
    whole.run(a)
    split.run(b)
    for x, y in zip(a.lines, b.lines, strict=True):
        assert x["loss"] == pytest.approx(y["loss"], rel=1e-4, abs=1e-6)
        assert x["grad_norm"] == pytest.approx(y["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4}])
def test_an_interrupted_training_resumed_equals_an_undisturbed_one_bit_for_bit(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    algorithm = Shiq(ShiqConfig(beta=0.1))
    undisturbed = trainer(tiny_model, tmp_path / "a", algorithm, **settings)
    undisturbed.run(Lines())
    first = trainer(tiny_model, tmp_path / "b", algorithm, **settings)
    with pytest.raises(KeyboardInterrupt):
        first.run(Lines(stop_after=5))
    resumed = trainer(tiny_model, tmp_path / "b", algorithm, **settings)
    assert resumed.done == 4  # the newest checkpoint; update 5 is done again
    resumed.run(Lines())
    wanted, found = weights(undisturbed), weights(resumed)
    assert all(torch.equal(wanted[k], found[k]) for k in wanted)

    def log(name: str) -> list[dict[str, Any]]:
        lines = [json.loads(x) for x in (tmp_path / name / "train.jsonl").read_text().splitlines()]
        return [{k: v for k, v in x.items() if k != "seconds"} for x in lines]

    assert log("a") == log("b")


def test_a_loss_that_is_not_finite_stops_the_run_with_a_reason(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(tiny_model, tmp_path / "a", Shiq(ShiqConfig()))
    t.reference = lambda r: type(t.policy([r.sequences[0]])[0])(
        torch.full((r.actions,), float("nan")), torch.zeros(r.actions), None
    )
    with pytest.raises(RunError, match="at update 1"):
        t.run(Lines())


def test_lora_trains_adapters_alone(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), lora_rank=2)
    before = weights(t)
    t.run(Lines())
    changed = {k for k, v in weights(t).items() if not torch.equal(v, before[k])}
    assert changed
    assert all("lora_" in k for k in changed)


@pytest.mark.parametrize("rank", [0, 2])
def test_top_layers_leave_those_below_alone(tiny_model: Path, tmp_path: Path, rank: int) -> None:
    t = trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), lora_rank=rank, top_layers=1)
    before = weights(t)
    t.run(Lines())
    changed = {k for k, v in weights(t).items() if not torch.equal(v, before[k])}
    assert changed
    assert all(".layers.1." in k for k in changed)
    assert any(".q_proj." in k for k in changed)
    assert any(".down_proj." in k for k in changed)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt"])
def test_the_top_layer_is_found_under_any_name(family: str) -> None:
    import transformers

    of = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "bos_token_id": 0}
    config = transformers.AutoConfig.for_model(family, **of, eos_token_id=0, pad_token_id=0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model = trainable(model, TrainConfig(top_layers=1, share_prefix=False))
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert names
    assert all(".2." in n for n in names)


def test_more_top_layers_than_there_are_is_one_clear_line(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the model has 2 layers"):
        trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), top_layers=3)


def test_bf16_keeps_fp32_weights(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), precision="bf16", updates=2)
    seen = Lines()
    t.run(seen)
    assert {v.dtype for v in weights(t).values()} == {torch.float32}
    assert seen.lines[1]["loss"] < seen.lines[0]["loss"]


def plan(tiny_model: Path, **settings: Any) -> TrainingPlan:
    config = TrainConfig.model_validate({"updates": 5, **settings})
    spec = registry((TOY,)).task("toy")
    episodes = spec.load()(spec.load_config()()).episodes("train")
    renderer = Renderer(tiny_model)
    rendered = [renderer.render(e) for e in episodes]
    return plan_training(make_units(Sft(SftConfig()), episodes), rendered, config, 1, seed=settings.get("seed", 0))


def test_a_token_budget_ends_with_the_update_that_reaches_it(tiny_model: Path) -> None:
    by_tokens = plan(tiny_model, updates=None, tokens=500)
    assert sum(by_tokens.tokens) >= 500 > sum(by_tokens.tokens[:-1])


def test_every_episode_is_met_once_an_epoch(tiny_model: Path) -> None:
    rows = [r for b in plan(tiny_model, updates=6, batch_episodes=4).batches for u in b for r in u.rows]
    assert len(rows) == 24
    whole = [r for b in plan(tiny_model, updates=12, batch_episodes=4).batches for u in b for r in u.rows]
    assert all(abs(whole.count(r) - 2) <= 1 for r in range(24))


def test_the_learning_rate_warms_up_and_decays() -> None:
    config = TrainConfig(lr=1.0, warmup=0.1, schedule="linear")
    assert learning_rate(config, 0.05) == pytest.approx(0.5)
    assert learning_rate(config, 0.1) == pytest.approx(1.0)
    assert learning_rate(config, 0.55) == pytest.approx(0.5)
    assert learning_rate(config, 1.0) == 0.0
    assert learning_rate(config.model_copy(update={"schedule": "cosine"}), 0.55) == pytest.approx(0.5)
    assert learning_rate(config.model_copy(update={"schedule": "constant"}), 0.9) == 1.0
    assert learning_rate(config, 0.55, peak=4.0) == pytest.approx(2.0)


def test_the_reference_is_computed_once(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), cache=tmp_path / "cache")
    policy = t.accelerator.unwrap_model(t.policy)
    again = ReferenceCache(tmp_path / "cache", "tiny", policy)
    visited = [t.rendered[i] for i in t.plan.rows]
    computed, found = again.fill(visited, lambda done, total: None)
    assert (computed, found) == (0, len(visited))
    other = ReferenceCache(tmp_path / "cache", "other weights", policy)
    assert other.fill(visited, lambda done, total: None) == (len(visited), 0)


@pytest.mark.parametrize("algorithm", [Shiq(ShiqConfig(beta=0.1)), Dpo(DpoConfig()), Copg(CopgConfig(k=2))])
def test_every_algorithm_logs_the_log_ratio_and_how_it_follows_the_returns(
    tiny_model: Path, tmp_path: Path, algorithm: Any
) -> None:
    seen = Lines()
    t = trainer(tiny_model, tmp_path / "a", algorithm, updates=3, micro_tokens=1)
    units = t.plan.batches[2]
    t.done = 0
    t.run(seen)
    first, last = seen.lines[0], seen.lines[2]
    assert (first["logratio"], first["logratio_advantage"]) == pytest.approx((0, 0), abs=1e-5)
    returns = [sum(r.rewards) for r in t.rendered]
    groups = [r.episode.group for r in t.rendered]
    mean = {g: fmean(x for x, other in zip(returns, groups, strict=True) if other == g) for g in groups}
    own = [(returns[i] - mean[groups[i]]) ** 2 for u in units for i in u.rows]
    assert last["advantage_square"] == pytest.approx(fmean(own), rel=1e-6)
    assert last["advantage_square"] > 0
    assert abs(last["logratio"]) > 1e-4


def test_without_the_reference_nothing_is_said_about_the_log_ratio(tiny_model: Path, tmp_path: Path) -> None:
    seen = Lines()
    trainer(tiny_model, tmp_path / "a", Sft(SftConfig()), updates=1).run(seen)
    assert not [name for name in seen.lines[0] if "logratio" in name or "advantage" in name]
