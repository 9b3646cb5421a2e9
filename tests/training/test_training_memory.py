"""The estimate of a training's memory: what is counted, what is traced, and the measured peak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import training_memory as benchmark
import pytest
import torch

from shiqbench.models.loading import without_weights
from shiqbench.plugin.config import TrainConfig
from shiqbench.training import memory
from shiqbench.training.logits import body_of
from shiqbench.training.memory import TrainingMemory, training_memory, typical_pass
from shiqbench.training.policy import Policy, load_model, plain


def estimate(folder: Path, **settings: Any) -> TrainingMemory:
    config = TrainConfig.model_validate({"precision": "fp32", "micro_tokens": 256, **settings})
    return training_memory(without_weights(folder), config)


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"top_layers": 1}])
def test_counted_are_the_tensors_of_a_training(tiny_model: Path, settings: dict[str, Any]) -> None:
    found = estimate(tiny_model, **settings)
    config = TrainConfig(**settings)
    policy = Policy(load_model(tiny_model, config), config)
    sizes = policy.sizes()
    buffers = sum(b.numel() * b.element_size() for b in policy.buffers())
    assert found.weights == 4 * sizes["parameters"] + buffers
    assert (found.gradients, found.optimizer) == (4 * sizes["trained_parameters"], 8 * sizes["trained_parameters"])
    assert found.total == sum(v for k, v in vars(found).items() if k != "traced")


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"checkpointing": True}, {"share_prefix": False}])
def test_traced_is_what_a_real_pass_keeps(tiny_model: Path, settings: dict[str, Any]) -> None:
    """A real pass keeps the same bytes for its backward pass, counted by the hooks of autograd."""
    config = TrainConfig.model_validate({"precision": "fp32", "micro_tokens": 256, **settings})
    policy = Policy(load_model(tiny_model, config), config)
    weights = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}
    held = []

    def keep(t: torch.Tensor) -> torch.Tensor:
        held.append(t)
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    at_body: list[int] = []
    body = body_of(plain(policy.model))
    body.register_forward_hook(lambda *_: at_body.append(sum(v for k, v in kept.items() if k not in weights)))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        policy(typical_pass(config))
    assert estimate(tiny_model, **settings).activations == pytest.approx(at_body[0], rel=0.1)


def test_a_deep_model_is_traced_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {**benchmark.TINY, "num_hidden_layers": 11}
    folder = benchmark.write_model(tmp_path, sizes)
    for settings in ({}, {"checkpointing": True, "lora_rank": 2}):
        in_part = estimate(folder, **settings)
        with monkeypatch.context() as patch:
            patch.setattr(memory, "TRACED", (4, 99))
            assert estimate(folder, **settings) == in_part


def test_settings_that_save_memory_do(tiny_model: Path) -> None:
    plain_, few = estimate(tiny_model), estimate(tiny_model, micro_tokens=128)
    assert few.activations == pytest.approx(plain_.activations / 2, rel=0.01)
    assert estimate(tiny_model, checkpointing=True).activations < plain_.activations / 3
    adapters = {"lora_rank": 2, "precision": "bf16"}
    fp32, bf16, int8 = (estimate(tiny_model, **adapters, base_weights=kind) for kind in ("fp32", "bf16", "int8"))
    assert int8.weights < bf16.weights < fp32.weights
    assert bf16.gradients == fp32.gradients < plain_.gradients / 3


def test_a_pass_that_depends_on_values_is_counted_only(tiny_model: Path) -> None:
    model = without_weights(tiny_model)
    model.model.layers[0].mlp.register_forward_hook(lambda m, i, out: out * float(out.sum()))
    found = training_memory(model, TrainConfig(precision="fp32"))
    assert not found.traced
    assert found.total == found.weights + found.gradients + found.optimizer > 0


@pytest.mark.slow
@pytest.mark.parametrize("size", benchmark.SIZES)
def test_the_estimate_is_near_the_measured_peak(tmp_path: Path, size: str) -> None:
    folder = benchmark.write_model(tmp_path, benchmark.SIZES[size])
    for name, settings in benchmark.SETTINGS.items():
        estimated, measured = benchmark.compare(folder, settings)
        assert estimated == pytest.approx(measured, rel=0.15), json.dumps([name, estimated, measured])
