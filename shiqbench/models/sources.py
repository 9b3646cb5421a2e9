"""The model from which a run starts, and its identity before it is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shiqbench.base.companions import check_companions
from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, read_text
from shiqbench.base.suggest import did_you_mean
from shiqbench.models.embedded import EMBEDDED_IDENTITY, EMBEDDED_MODEL, embedded_model
from shiqbench.models.identity import model_identity
from shiqbench.store.cell import CHECKPOINT, check_not_cleaned

ADAPTER = "adapter_config.json"
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
        revision: Commit of a hub's model.
        served: True if a server has the model; then there is no folder.
    """

    text: str
    identity: dict[str, Any]
    place: Path | None
    cell: Path | None = None
    template: dict[str, Any] = field(default_factory=dict)
    revision: str | None = None
    served: bool = False

    def with_template(self, arguments: dict[str, Any]) -> ModelSource:
        """The same model, whose chat template gets these keywords."""
        if not arguments:
            return self
        return replace(self, identity={**self.identity, "template": arguments}, template=arguments)

    def folder(self) -> Path:
        """Return the model's folder; fetch and convert the embedded model first.

        Raises:
            ConfigError: A file of the folder changed after the run was planned, or a server has the model.
        """
        if self.served:
            raise ConfigError("a server has the model, and no folder here", where=self.text, do="use its weights here")
        if self.place is None:
            return embedded_model()
        if self.identity.get("sha256", "") not in ("", model_identity(self.place)):
            raise ConfigError("the model changed after the run was planned", where=str(self.place), do="run again")
        return self.place


def find_model(text: str, option: str = "--model") -> ModelSource:
    """Resolve an option that names the embedded model, a folder, or a model of the hub.

    Raises:
        ConfigError: There is no such model, the folder contains no model, its weights were cleaned, or this environment
            cannot import models.
    """
    check_companions()
    if text == EMBEDDED_MODEL:
        return ModelSource(text, EMBEDDED_IDENTITY, None)
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
    """Return the identity of a folder that contains a whole model.

    Raises:
        ConfigError: The folder has no configuration, no weights, or no chat template, or contains an adapter.
    """
    _refuse_adapter(folder)
    if not (folder / "config.json").is_file():
        raise ConfigError("no config.json", where=str(folder), do="give a folder in the transformers format")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ConfigError("no weights", where=str(folder), do="give a folder with *.safetensors")
    check_chat_template(folder)
    return model_identity(folder)


def check_chat_template(folder: Path) -> None:
    """Refuse a folder without a chat template, before heavy packages are imported.

    Raises:
        ConfigError: There is no chat template.
    """
    config = folder / "tokenizer_config.json"
    has = (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file()
    if not has and not (config.is_file() and '"chat_template"' in read_text(config)):
        raise ConfigError(
            "the model has no chat template",
            where=str(folder),
            do="use an instruction-tuned model, or add chat_template.jinja to the folder",
        )


def _refuse_adapter(folder: Path) -> None:
    """Refuse a folder of peft: transformers would load its base model from elsewhere, and vllm would not.

    Raises:
        ConfigError: It says how to merge the adapter.
    """
    if not (folder / ADAPTER).is_file():
        return
    load, merged = f"A.from_pretrained('{folder}')", f"'{folder}-merged'"
    raise ConfigError(
        f"this is an adapter of {read_json(folder / ADAPTER).get('base_model_name_or_path')}, not a whole model",
        where=str(folder / ADAPTER),
        do='merge it, then add its tokenizer: python -c "from peft import AutoPeftModelForCausalLM as A; '
        f'{load}.merge_and_unload().save_pretrained({merged})"',
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
    return ModelSource(name, {"sha256": folder_identity(folder)}, folder, revision=folder.name)
