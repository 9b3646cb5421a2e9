"""An engine that computes something else than the model is stopped at the first evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TOY

import shiqbench
from shiqbench.base.errors import ConfigError, RunError
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.generation import Completion, Sampling
from shiqbench.episodes.journal import JournaledGenerator
from shiqbench.models.loading import causal_model
from shiqbench.plugin.config import EvalConfig
from shiqbench.running.engine_check import check_engine
from shiqbench.training import own_forward, policy

CONFIG = EvalConfig(engine="transformers", precision="fp32")


class Wrong(TransformersEngine):
    """Its sampled or its scored log-probabilities are wrong by a summand."""

    sampled = scored = 0.0

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        found = super().generate(prompts, sampling)
        return [Completion(c.ids, tuple(x + self.sampled for x in c.logprobs), c.stopped) for c in found]

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[0.0, *(x + self.scored for x in s[1:])] for s in super().score(sequences)]


def journaled(model: Path, folder: Path, **faults: float) -> JournaledGenerator:
    engine = Wrong(model, precision="fp32", max_context=64)
    vars(engine).update(faults)
    found = JournaledGenerator(engine, folder / "journal", "x")
    found.generate([tuple(range(5, 20)), (4, 5, 6)], Sampling(4))
    return found


def test_an_engine_that_computes_what_the_model_computes_passes(tiny_model: Path, tmp_path: Path) -> None:
    facts = check_engine(journaled(tiny_model, tmp_path), tiny_model, CONFIG)
    assert facts["tokens"] == 3 + 4 - 1  # the shortest
    assert facts["difference"] < 1e-5 < facts["tolerance"]


@pytest.mark.parametrize("fault", [{"sampled": -0.1}, {"scored": 0.1}])
def test_wrong_log_probabilities_are_stopped(tiny_model: Path, tmp_path: Path, fault: dict[str, float]) -> None:
    with pytest.raises(RunError, match=r"the engine transformers computes other .* than LlamaForCausalLM.*differ by"):
        check_engine(journaled(tiny_model, tmp_path, **fault), tiny_model, CONFIG)


@pytest.mark.parametrize(("fault", "passes"), [(0.04, True), (0.3, False)])
def test_in_bf16_the_mean_decides(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: float, passes: bool
) -> None:
    """One unlikely token may be far off by rounding, 0.7 nats were seen; all tokens by 0.3 nats are other weights."""
    config = EvalConfig(engine="transformers", precision="bf16")
    one = own_forward.own_logp

    def far_off(*given: Any) -> torch.Tensor:
        found = one(*given).clone()
        found[0] += 0.8
        return found

    monkeypatch.setattr("shiqbench.training.own_forward.own_logp", far_off)
    engine = journaled(tiny_model, tmp_path, sampled=fault, scored=fault)
    if passes:
        facts = check_engine(engine, tiny_model, config)
        assert facts["difference"] > 0.7
        assert facts["mean_difference"] < facts["mean_tolerance"] < facts["tolerance"]
    else:
        with pytest.raises(RunError, match=r"on average in bf16, the tolerances are 3 and 0\.2"):
            check_engine(engine, tiny_model, config)


def test_an_engine_that_kept_other_weights_is_stopped(tiny_model: Path, tmp_path: Path) -> None:
    engine = journaled(tiny_model, tmp_path)
    with torch.no_grad():
        engine.generator._model.lm_head.weight.mul_(1.5)  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="computes other log-probabilities"):
        check_engine(engine, tiny_model, CONFIG)


def test_a_model_whose_log_probabilities_are_no_numbers_is_stopped(tiny_model: Path, tmp_path: Path) -> None:
    model = causal_model(tiny_model, torch.float32)
    with torch.no_grad():
        model.lm_head.weight.view(-1)[-1] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    with pytest.raises(RunError, match="they differ by nan at most"):
        check_engine(journaled(tiny_model, tmp_path), tmp_path / "nan", CONFIG)


def run(model: Path, results: Path) -> shiqbench.RunResult:
    return shiqbench.run("dpo", "toy", model=str(model), results=results, plugins=(TOY,))


def test_a_run_records_what_it_compared(tiny_model: Path, tmp_path: Path, own_cache: Path) -> None:
    result = run(tiny_model, tmp_path)
    trained = json.loads((result.path / "manifest.json").read_text())
    evaluated = json.loads((Path(result.evaluation["path"]) / "manifest.json").read_text())
    for facts in (*trained["own_forward"].values(), evaluated["own_forward"]):
        assert 0 <= facts["difference"] < facts["tolerance"]


def test_a_run_whose_training_computes_something_else_stops(
    tiny_model: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(model: Any, hidden: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.get_output_embeddings()(hidden) / 2
        return found

    monkeypatch.setattr(policy, "logits", half)
    with pytest.raises(ConfigError, match=r"training would compute other log-probabilities than LlamaForCausalLM"):
        run(tiny_model, tmp_path)
    assert not list(tmp_path.rglob("dpo/**/train.jsonl"))
