"""The tiny models of known families are whole: their files agree, and every call writes the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, OWN, build


def talk(*contents: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(contents)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_files_of_a_family_agree(family: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(build(family, tmp_path, weights=False))
    config = json.loads((tmp_path / "config.json").read_text())
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    ends = generation["eos_token_id"]
    stops = FAMILIES[family].stops or (FAMILIES[family].tokens.eos,)
    assert tokenizer.convert_ids_to_tokens(ends if isinstance(ends, list) else [ends]) == list(stops)
    assert len(tokenizer) <= config["vocab_size"] < len(tokenizer) + 64
    text = tokenizer.apply_chat_template(talk("hi", "yes", "more"), tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) < len(text), "words join characters"
    assert all(text.index(word) for word in ("hi", "yes", "more"))


@pytest.mark.parametrize("family", ["llama-2", "gemma-2"])
def test_every_call_writes_the_same(family: str, tmp_path: Path) -> None:
    first, second = build(family, tmp_path / "first"), build(family, tmp_path / "second")
    names = {file.name for file in first.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert [n for n in names if (first / n).read_bytes() != (second / n).read_bytes()] == []


def test_every_own_template_is_of_a_family() -> None:
    assert {file.stem for file in OWN.iterdir()} <= {family.template for family in FAMILIES.values()}
