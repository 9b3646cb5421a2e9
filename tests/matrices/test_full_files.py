"""The files of examples/full: each plans what it says, and fits the GPU that it is named after."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from shiqbench.matrices.plan import MatrixPlan, make_matrix
from shiqbench.planning.plan import ModelPlan
from shiqbench.running.memory import Room, check_stages, memory_stages
from shiqbench.testing.tiny_model import make_tokenizer

FULL = Path(__file__).parents[2] / "examples" / "full"
GIB = 2**30
# Sizes of the models that the files name, from their published configurations.
SIZES: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-3B-Instruct": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-7B-Instruct": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
    "Qwen/Qwen2.5-14B-Instruct": {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "vocab_size": 152064,
    },
}

pytestmark = pytest.mark.usefixtures("bfcl_root")


def model(folder: Path, name: str) -> Path:
    """A folder with the configuration of a model, and no weights of it."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2Config

    folder.mkdir()
    make_tokenizer(folder)
    Qwen2Config(**SIZES[name], max_position_embeddings=32768, dtype="bfloat16").save_pretrained(folder)
    save_file({"none": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def planned(name: str, tmp_path: Path) -> MatrixPlan:
    content = tomllib.loads((FULL / name).read_text())
    names = content["matrix"]["models"]
    content["matrix"]["models"] = [str(model(tmp_path / str(i), n)) for i, n in enumerate(names)]
    return make_matrix(content, results=tmp_path / "results")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gigabytes", "cells"), [("1x24gb.toml", 24, 4), ("1x80gb.toml", 80, 6), ("8x80gb.toml", 80, 38)]
)
def test_a_file_plans_the_official_setting_and_fits(tmp_path: Path, name: str, gigabytes: int, cells: int) -> None:
    plan = planned(name, tmp_path)
    assert sum(len(c) for c in plan.final.cells) == cells
    for family in plan.final.planned:
        asked = family.plan
        assert isinstance(asked, ModelPlan)
        assert not asked.cell.task_config.reduced()
        for cell in asked.trained:
            assert (cell.train.base_weights, cell.train.checkpointing, cell.train.lora_rank) == ("bf16", True, 16)
        check_stages(memory_stages(asked, Room("this GPU", gigabytes * GIB, gpu=True)))


@pytest.mark.slow
def test_training_all_weights_of_7b_does_not_fit_80_gb_and_lora_does(tmp_path: Path) -> None:
    from shiqbench.base.errors import ConfigError
    from shiqbench.planning.make import make_plan
    from shiqbench.planning.plan import Request

    folder = model(tmp_path / "7b", "Qwen/Qwen2.5-7B-Instruct")
    settings = {"train.lora_rank": 0, "train.base_weights": "fp32", "start": "none"}
    asked = make_plan(Request("dpo", "bfcl_v3", str(folder), preset="full", settings=settings, results=tmp_path))
    with pytest.raises(ConfigError) as error:
        check_stages(memory_stages(asked, Room("this GPU", 80 * GIB, gpu=True)))
    assert "train.lora_rank=16" in str(error.value.do)
    assert "train.base_weights=bf16" in str(error.value.do)
