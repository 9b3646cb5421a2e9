"""How many parameters a policy has and trains, counted from the shapes of the model's own weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from shiqbench.plugin.config import TrainConfig
from shiqbench.training.policy import Policy, load_model, pretrained


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"top_layers": 1}, {"lora_rank": 2, "top_layers": 1}])
def test_adapters_and_top_layers_are_what_is_trained(tiny_model: Path, settings: dict[str, Any]) -> None:
    shapes = {name: w.shape for name, w in pretrained(tiny_model).named_parameters()}
    every = sum(shape.numel() for shape in shapes.values())
    chosen = {n: s for n, s in shapes.items() if "layers.1." in n or "top_layers" not in settings}
    if rank := settings.get("lora_rank"):
        maps = [s for n, s in chosen.items() if "proj" in n]
        adapters = sum(rank * sum(shape) for shape in maps)
        expected = {"parameters": every + adapters, "trained_parameters": adapters}
    else:
        expected = {"parameters": every, "trained_parameters": sum(s.numel() for s in chosen.values())}
    config = TrainConfig(**settings)
    assert Policy(load_model(tiny_model, config), config).sizes() == expected


def test_heads_count(tiny_model: Path) -> None:
    config = TrainConfig()
    model = load_model(tiny_model, config)
    plain, critic = Policy(model, config).sizes(), Policy(model, config, {"values"})
    assert isinstance(critic.heads, torch.nn.Module)
    heads = sum(p.numel() for p in critic.heads.parameters())
    assert heads > 0
    assert critic.sizes() == {name: n + heads for name, n in plain.items()}
