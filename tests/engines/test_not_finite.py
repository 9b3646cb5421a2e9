"""Weights that compute no finite log-probability are refused by name, greedy answers and scores included."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from shiqbench.base.causes import CERTAIN, cause_of
from shiqbench.base.errors import DivergedError
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.generation import Sampling

PROMPTS = [[5, 9, 12], [7, 30, 2, 8]]
ANSWERS = (
    Sampling(3),
    Sampling(3, temperature=1.0),
    Sampling(3, temperature=1.0, top_p=0.5),
)
SAID = r"log-probabilities are not finite, such as nan \(.*broken\); look for values in the weights"


def broken(source: Path, folder: Path, name: str, value: float) -> Path:
    """A copy of a model with one value of one tensor replaced."""
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[0] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def refuses(engine: Any) -> None:
    for sampling in ANSWERS:
        with pytest.raises(DivergedError, match=SAID) as caught:
            engine.generate(PROMPTS, sampling)
        assert cause_of(caught.value) in CERTAIN  # no later attempt can succeed
    with pytest.raises(DivergedError, match=SAID):
        engine.score(PROMPTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.norm.weight", math.nan),
        ("model.norm.weight", math.inf),
        ("model.layers.0.mlp.down_proj.weight", math.nan),
        ("model.embed_tokens.weight", math.nan),  # of one token that no prompt holds: the head is tied to it
    ],
)
def test_transformers_refuses_them(tiny_model: Path, tmp_path: Path, name: str, value: float) -> None:
    folder = broken(tiny_model, tmp_path / "broken", name, value)
    refuses(TransformersEngine(folder, precision="fp32", max_context=64))


def test_weights_that_are_loaded_later_are_refused_with_their_own_folder(tiny_model: Path, tmp_path: Path) -> None:
    engine = TransformersEngine(tiny_model, precision="fp32", max_context=64)
    engine.generate(PROMPTS, ANSWERS[0])
    engine.load(broken(tiny_model, tmp_path / "broken", "model.norm.weight", math.nan))
    refuses(engine)


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_refuses_them(tmp_path: Path) -> None:
    from shiqbench.engines.vllm import VllmEngine
    from shiqbench.testing.tiny_model import make_tiny_model

    source = make_tiny_model(tmp_path / "source", hidden_size=128)
    engine = VllmEngine(source, precision="fp32", max_context=64)
    try:
        engine.generate(PROMPTS, ANSWERS[0])
        engine.load(broken(source, tmp_path / "broken", "model.norm.weight", math.nan))
        refuses(engine)
    finally:
        engine.close()
