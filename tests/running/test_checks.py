"""What a model or a setting cannot do is said in one line, before training and before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TOY
from transformers import AutoConfig, AutoModelForCausalLM

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.commands.common import parse_assignments
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.running import checks
from shiqbench.running.runner import prepare
from shiqbench.testing.tiny_model import CHATML, make_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Give every test its own cache."""


def model(folder: Path, kind: str = "llama", template: str = CHATML, rows: int = 259) -> Path:
    make_tokenizer(folder, template)
    sizes = {"intermediate_size": 64, **SIZES} if kind == "llama" else SIZES
    config = AutoConfig.for_model(kind, vocab_size=rows, eos_token_id=2, bos_token_id=1, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def plan(folder: Path, results: Path, *assignments: str, algo: str = "sft", **options: Any) -> Any:
    settings = parse_assignments(assignments)
    request = Request(algo, "toy", str(folder), settings=settings, plugins=(TOY,), results=results, **options)
    return make_plan(request)


def refused(folder: Path, results: Path, *assignments: str, **options: Any) -> str:
    """The one line of a refusal; nothing is written."""
    with pytest.raises(ConfigError) as caught:
        prepare(plan(folder, results, *assignments, **options))
    assert not results.exists()
    (line,) = caught.value.lines()
    return line


def test_more_layers_than_the_model_has(tiny_model: Path, tmp_path: Path) -> None:
    line = refused(tiny_model, tmp_path / "results", "train.top_layers=15")
    assert line == "the model has 2 layers (train.top_layers = 15); lower it"


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_lora_without_a_linear_map(tmp_path: Path, kind: str) -> None:
    folder = model(tmp_path / "model", kind)
    if kind == "llama":
        prepare(plan(folder, tmp_path / "results", "train.lora_rank=2"))
        return
    line = refused(folder, tmp_path / "results", "train.lora_rank=2")
    assert line.startswith("LoRA finds no linear maps in GPT2LMHeadModel (train.lora_rank); set it to 0")
    prepare(plan(folder, tmp_path / "results", "train.lora_rank=0"))


@pytest.mark.parametrize(("kind", "algo"), [("llama", "sft"), ("gpt2", "sft"), ("llama", "base")])
def test_a_tokenizer_larger_than_the_embedding(tmp_path: Path, kind: str, algo: str) -> None:
    folder = model(tmp_path / "model", kind, rows=100)
    line = refused(folder, tmp_path / "results", algo=algo)
    assert "the tokenizer has 259 tokens and the embedding 100 rows: none for 159 tokens, such as" in line
    assert str(folder) in line


def test_a_token_that_is_only_for_padding_needs_no_row(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    prepare(plan(folder, tmp_path / "results"))
    tokenizer.add_tokens("<tool>")
    tokenizer.save_pretrained(folder)
    assert "none for 1 tokens, such as '<tool>'" in refused(folder, tmp_path / "results")


def test_a_configuration_that_transformers_does_not_know(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "made_up"}))
    assert "cannot load the model" in refused(folder, tmp_path / "results")


NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML


def test_a_prompt_of_the_evaluation_that_the_template_refuses(tmp_path: Path) -> None:
    line = refused(model(tmp_path / "model", template=NO_SYSTEM), tmp_path / "results")
    assert "no system role" in line


def test_the_weights_are_not_read(tiny_model: Path, tmp_path: Path) -> None:
    """A check that loads a large model would take longer than it saves."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    before = torch.random.get_rng_state()
    prepare(plan(folder, tmp_path / "results", "train.lora_rank=2"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_process_checks_a_model_and_an_evaluation_once(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []

    def counting(name: str) -> Callable[..., Any]:
        real = getattr(checks, name)

        def call(*args: Any) -> Any:
            counted.append(name)
            return real(*args)

        return call

    for name in ("without_weights", "rehearse"):
        monkeypatch.setattr(checks, name, counting(name))
    checked: set[str] = set()
    for algo in ("sft", "shiq"):
        prepare(plan(tiny_model, tmp_path / "results", algo=algo), checked)
    assert counted == ["without_weights", "rehearse"]
    prepare(plan(tiny_model, tmp_path / "results", "train.lora_rank=2"), checked)
    prepare(plan(tiny_model, tmp_path / "results", "eval.max_tokens=4"), checked)
    assert counted[2:] == ["without_weights", "rehearse"]
    for _ in range(2):  # what was refused is refused again
        with pytest.raises(ConfigError, match="2 layers"):
            prepare(plan(tiny_model, tmp_path / "results", "train.top_layers=3"), checked)


def test_a_run_that_is_refused_is_not_a_cell(tiny_model: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with pytest.raises(ConfigError, match="2 layers"):
        shiqbench.run("sft", "toy", model=str(tiny_model), results=results, plugins=(TOY,), set={"train.top_layers": 3})
    assert not results.exists()
