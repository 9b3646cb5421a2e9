"""Pages of the reference, made from the code: commands, settings, names of Python and schemas."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import TYPE_CHECKING, Any, get_origin

import typer
from typer.cli import get_docs_for_click

from shiqbench.commands.app import app
from shiqbench.commands.listing import fields
from shiqbench.plugin.config import EvalConfig, StartConfig, TrainConfig
from shiqbench.plugin.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from shiqbench.plugin.specs import Spec

SETTINGS = """# Settings

`--set SECTION.KEY=VALUE` sets them, and `set` of a file: [usage](../usage.md#settings).

```{toctree}
algorithms
tasks
training
engines
rewards
```
"""
SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"


def pages() -> dict[str, str]:
    """Markdown of every generated page, by its place in the site."""
    made = {
        "commands": commands(),
        "algorithms": algorithms(),
        "tasks": tasks(),
        "training": training(),
        "engines": components("Settings of engines", "engine", registry().engines.values(), "../engines.md"),
        "rewards": components("Settings of reward models", "task.reward", registry().rewards.values(), "../rewards.md"),
        "schemas": schemas(),
        "settings": SETTINGS,
    }
    for module in ("shiqbench", "shiqbench.plugin", "shiqbench.testing", "shiqbench.report"):
        made[module.rpartition(".")[2]] = names(module)
    return {f"reference/{name}.md": text for name, text in made.items()}


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` shows them."""
    group = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=group, ctx=typer.Context(group, info_name="shiqbench"), name="shiqbench", title="Commands"
    )
    return text.replace(
        "# Commands\n", "# Commands\n\nWhat they are for, with examples, is in [usage](../usage.md).\n", 1
    )


def algorithms() -> str:
    """The settings of every algorithm."""
    found = registry().algorithms.values()
    return components("Settings of algorithms", "algo", found, "../algorithms.md")


def tasks() -> str:
    """The settings of every task, its presets, and its own sections of training and evaluation if it has such."""
    parts = ["# Settings of tasks\n"]
    for name, spec in sorted(registry().tasks.items()):
        page = f"[What it is](../{name}.md).\n" if (SCHEMAS.parent / f"{name}.md").exists() else ""
        parts += [f"## {name}\n", _sentence(spec), page, table("task", spec.load_config())]
        for section, kind, usual in zip(
            ("train", "eval"), spec.load_sections(), (TrainConfig, EvalConfig), strict=True
        ):
            if kind is not usual and kind.model_fields:
                parts += [f"{name} has settings of its own in `{section}`:\n", table(section, kind)]
        parts += [f"### Presets of {name}\n", presets(spec.presets)]
    return "\n".join(parts)


def training() -> str:
    """The sections that are the same for every algorithm and task that uses a language model."""
    return "\n".join(
        [
            "# Settings of training and evaluation\n",
            "`mdp` has [settings of its own](tasks.md#mdp).\n",
            "## train\n",
            table("train", TrainConfig),
            "## start\n",
            "The cell that training starts from: [usage](../usage.md#start).\n",
            table("start", StartConfig),
            "## eval\n",
            table("eval", EvalConfig),
        ]
    )


def components(title: str, section: str, found: Iterable[Any], about: str) -> str:
    """A table of settings for each component of one kind."""
    parts = [f"# {title}\n", f"What they mean is in [{about.strip('./').removesuffix('.md')}]({about}).\n"]
    for spec in sorted(found, key=lambda spec: spec.name):
        parts += [f"## {spec.name}\n", _sentence(spec), table(section, spec.load_config())]
    return "\n".join(parts)


def table(section: str, kind: type[BaseModel]) -> str:
    """The settings of one section, as ``shiqbench show`` tells them."""
    if not kind.model_fields:
        return "It has no settings.\n"
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, setting in fields(kind).items():
        rows.append(
            f"| `{section}.{name}` | {_code(setting.kind)} | {_code(setting.default)} | {_cell(setting.meaning)} |"
        )
    return "\n".join(rows) + "\n"


def presets(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for each setting that a preset sets, one column for each preset."""
    keys = dict.fromkeys(key for preset in found.values() for key in preset)
    rows = ["| setting | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for key in keys:
        values = [_code(repr(preset[key])) if key in preset else "" for preset in found.values()]
        rows.append(f"| `{key}` | " + " | ".join(values) + " |")
    return "\n".join(rows) + "\n"


def names(module: str) -> str:
    """The public names of a module with their docstrings, in the order and under the subjects of its ``__all__``."""
    loaded = importlib.import_module(module)
    parts = [f"# {module}\n", f"{inspect.getdoc(loaded) or ''}\n" if module != "shiqbench.plugin" else _ABOUT_PLUGIN]
    for subject, listed in subjects(inspect.getsource(loaded), list(loaded.__all__)):
        parts += [f"## {subject}\n"] if subject else []
        parts += [directive(module, name, getattr(loaded, name)) for name in listed]
    return "\n".join(parts)


def directive(module: str, name: str, what: object) -> str:
    """What makes Sphinx show the docstring of a name, and those of its members; of other values, the value."""
    if isinstance(what, ModuleType):
        return f"[`{module}.{name}`]({name}.md) is a module.\n"
    if isinstance(what, type) and not isinstance(what, GenericAlias):
        kind = "exception" if issubclass(what, Exception) else "class"
        lines = [f".. auto{kind}:: {module}.{name}", "   :members:"]
    elif hasattr(what, "__wrapped__") or inspect.isfunction(what):
        lines = [f".. autofunction:: {module}.{name}"]
    elif isinstance(what, (str, int, float)) or get_origin(what) is not None:
        lines = [f".. py:data:: {module}.{name}", f"   :value: {what!r}"]
    else:
        lines = [f".. py:data:: {module}.{name}"]
    return "\n".join(["```{eval-rst}", *lines, "```\n"])


_ABOUT_PLUGIN = (
    "[The interface of plugins](../plugin_api.md) says what each name is for; here are its fields and arguments.\n"
)


def subjects(source: str, every: list[str]) -> list[tuple[str, list[str]]]:
    """The names of ``__all__`` under the comments that divide it; all of them under "" if none does."""
    block = re.search(r"^__all__ = \[.*?\n(.*?)^\]", source, re.MULTILINE | re.DOTALL)
    if block is None:
        return [("", every)]
    found: list[tuple[str, list[str]]] = []
    for line in block[1].splitlines():
        if line.strip().startswith("# "):
            found.append((line.strip()[2:], []))
        else:
            found[-1][1].extend(ast.literal_eval(f"[{line.strip()}]"))
    return found


def schemas() -> str:
    """The JSON Schemas, and what each describes."""
    parts = [
        "# JSON Schemas\n",
        "An editor completes and checks a file with them: [usage](../usage.md#a-run-as-a-file).\n",
    ]
    for file in sorted(SCHEMAS.glob("*.json")):
        kind = file.name.partition(".")[0]
        text = file.read_text().rstrip()
        parts += [f"## {kind} files\n", f"[{file.name}](../schemas/{file.name})\n", f"```json\n{text}\n```\n"]
    return "\n".join(parts)


def _sentence(spec: Spec) -> str:
    return f"{spec.summary[0].upper()}{spec.summary[1:]}. Version {spec.version}.\n"


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
