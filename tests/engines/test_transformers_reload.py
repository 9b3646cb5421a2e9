"""New weights in the transformers engine: copied into the model at hand, or loaded anew, and never mixed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from shiqbench.engines.transformers import TransformersEngine


def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(folder, precision="fp32", max_context=64)


@pytest.fixture
def other(tiny_model: Path, tmp_path: Path) -> Path:
    """The same configuration, other weights."""
    folder = tmp_path / "other"
    shutil.copytree(tiny_model, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v * 1.5 for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_reloaded_weights_score_as_those_of_a_new_engine(tiny_model: Path, other: Path) -> None:
    ids = [[1, 5, 9, 12, 7]]
    reloaded = engine(tiny_model)
    model = reloaded._model
    before = reloaded.score(ids)
    reloaded.load(other)
    assert reloaded._model is model  # in place
    assert reloaded.score(ids) == engine(other).score(ids) != before
    reloaded.load(tiny_model)
    assert reloaded.score(ids) == before


def test_an_untied_head_or_another_configuration_is_loaded_anew(tiny_model: Path, other: Path) -> None:
    ids = [[1, 5, 9, 12, 7]]
    reloaded = engine(tiny_model)
    model = reloaded._model
    tensors = load_file(other / "model.safetensors")
    dropped = next(k for k in tensors if "layers.1" in k)
    kept = {k: v for k, v in tensors.items() if k != dropped}
    save_file(kept, other / "model.safetensors", metadata={"format": "pt"})
    reloaded.load(other)  # transformers fills the missing tensor and says so; no tensor of the old model is left
    assert reloaded._model is not model
    changed = (other / "config.json").read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.01')
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    (other / "config.json").write_text(changed)
    reloaded.load(other)
    assert reloaded.score(ids) == engine(other).score(ids)
    assert torch.equal(reloaded._model.lm_head.weight, reloaded._model.model.embed_tokens.weight)
