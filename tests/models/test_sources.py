"""Folders that are no models say what they are."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shiqbench.base.errors import ConfigError
from shiqbench.models.sources import find_model


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder as peft writes it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(target_modules=["q_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(parameter)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        find_model(str(folder))
    return caught.value.line()


def test_an_adapter_is_refused_with_a_command_that_merges_it(adapter: Path, tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    line = refusal(adapter)
    assert line.startswith(f"this is an adapter of {tiny_model}, not a whole model ({adapter}")
    _, _, command = line.partition("tokenizer: ")
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True, capture_output=True)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(f"{adapter}-merged")(ids).logits
        base = AutoModelForCausalLM.from_pretrained(tiny_model)(ids).logits
        own = AutoModelForCausalLM.from_pretrained(adapter)(ids).logits  # transformers joins the two by itself
    torch.testing.assert_close(merged, own, atol=1e-4, rtol=1e-4)
    assert (merged - base).abs().max() > 1e-2


def test_an_adapter_next_to_files_of_its_model_is_an_adapter_too(adapter: Path, tiny_model: Path) -> None:
    for file in tiny_model.iterdir():
        (adapter / file.name).write_bytes(file.read_bytes())
    assert "this is an adapter" in refusal(adapter)
