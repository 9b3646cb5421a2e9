"""One identity of a model folder: the sha256 over every file that can decide a number, wherever the folder lies.

The rule takes every file except what nothing reads, so that it cannot miss one. Left out are hidden files, words for
people, and weights in formats that neither transformers nor vllm loads. Where there is ``model.safetensors`` or its
index, both load that and no ``.bin`` or ``.pt`` file. Templates and the shards of an index may lie in sub-folders.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest, known_sha256
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TEMPLATES = "additional_chat_templates"
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
SECOND_CHOICE = (".bin", ".pt", ".bin.index.json")
UNREAD = re.compile(
    r"\..*|(readme|license|licence|notice|use_policy|changelog|citation)\b.*"
    r"|.*\.(md|gguf|pth|h5|msgpack|ot|onnx|tflite|png|jpe?g|gif|svg|webp|pdf|log)",
    re.IGNORECASE,
)
WEIGHTS = (".safetensors", ".bin", ".pt", ".index.json")
# Values in which two configurations of one model differ and that decide nothing; the precision is a setting of a run.
NO_ARCHITECTURE = ("_name_or_path", "transformers_version", "dtype", "use_cache")


def model_identity(folder: Path, known: Mapping[str, str] | None = None) -> str:
    """Return the sha256 over the files that decide what a model computes, writes and reads.

    Args:
        folder: Model folder.
        known: Sha256 by name of files that were just read.
    """
    return _digest(folder, deciding_files(folder), known or {})


def identity_beside_weights(folder: Path) -> str:
    """Return the sha256 over the deciding files except weights; they determine tokenizer and chat template."""
    return _digest(folder, [f for f in deciding_files(folder) if not f.name.endswith(WEIGHTS)], {})


def deciding_files(folder: Path) -> list[Path]:
    """Return the files of a model folder that can decide a number, sorted."""
    names = [n for n in _names(folder) if not UNREAD.fullmatch(n.rpartition("/")[2])]
    if any((folder / name).is_file() for name in SAFETENSORS):
        names = [n for n in names if not n.endswith(SECOND_CHOICE)]
    return [folder / name for name in sorted(set(names))]


def safetensors_of(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers loads from a folder; none if it loads others."""
    if read_json(folder / "config.json").get("transformers_weights"):
        return []
    single, index = (folder / name for name in SAFETENSORS)
    if single.is_file():
        return [single]
    return [folder / name for name in sorted(_named_by(index))] if index.is_file() else []


def architecture(folder: Path) -> dict[str, Any]:
    """Return the configuration of a model folder with its defaults; a running engine can load weights if it is equal.

    Raises:
        ConfigError: transformers cannot read the configuration.
    """
    from transformers import AutoConfig

    try:
        found: dict[str, Any] = _deciding(AutoConfig.from_pretrained(folder).to_dict())
    except (OSError, ValueError) as error:
        raise ConfigError(f"config.json cannot be read: {error}", where=str(folder), do="check the folder") from error
    return found


def _deciding(value: Any) -> Any:
    """The configuration without :data:`NO_ARCHITECTURE`, inside its parts too."""
    if not isinstance(value, dict):
        return value
    return {name: _deciding(inner) for name, inner in value.items() if name not in NO_ARCHITECTURE}


def _names(folder: Path) -> Iterator[str]:
    """Names of the files at the top, of templates, and of the weights that a file at the top names."""
    for file in folder.iterdir():
        if file.is_file():
            yield file.name
            if file.name == "config.json" or file.name.endswith(".index.json"):
                yield from (name for name in _named_by(file) if (folder / name).is_file())
    if (folder / TEMPLATES).is_dir():
        yield from (f"{TEMPLATES}/{file.name}" for file in (folder / TEMPLATES).iterdir() if file.is_file())


def _named_by(file: Path) -> set[str]:
    """Names of weights in an index or in a configuration.

    Raises:
        ConfigError: It is not JSON.
    """
    try:
        values = read_json(file)
    except ValueError as error:
        raise ConfigError(f"{file.name} is not JSON: {error}", where=str(file.parent), do="check the folder") from error
    return {*values.get("weight_map", {}).values(), *filter(None, [values.get("transformers_weights")])}


def _digest(folder: Path, files: list[Path], known: Mapping[str, str]) -> str:
    names = [(file, file.relative_to(folder).as_posix()) for file in files]
    return digest({name: known.get(name) or known_sha256(file) for file, name in names})
