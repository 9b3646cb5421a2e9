"""``shiqbench new``: writes a distribution with one algorithm, task or engine, which works and passes its own tests."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Literal

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import replacing_folder
from shiqbench.base.suggest import did_you_mean
from shiqbench.plugin.registry import registry

TEMPLATES = Path(__file__).parent / "templates"
Kind = Literal["algorithm", "task", "engine"]
KINDS: tuple[Kind, ...] = ("algorithm", "task", "engine")
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
RUN = {
    "algorithm": "shiqbench run --algo {name} --task bfcl_v3 --preset smoke",
    "task": "shiqbench run --algo sft --task {name} --preset smoke",
    "engine": "shiqbench run --algo base --task bfcl_v3 --preset smoke --engine {name}",
}


@dataclass(frozen=True)
class Skeleton:
    """Result of ``new``.

    Attributes:
        folder: Folder of the distribution.
        commands: Commands to type next: install, test, run.
    """

    folder: Path
    commands: tuple[str, str, str]


def new(kind: str, name: str, into: Path, *, multi_turn: bool = False) -> Skeleton:
    """Write the skeleton of a plugin.

    Args:
        kind: ``algorithm``, ``task`` or ``engine``.
        name: Name that users will type.
        into: Folder in which ``shiqbench-NAME`` is created.
        multi_turn: Whether the model answers several times in an episode; only for a task.

    Raises:
        ConfigError: The name cannot be used, the kind has no turns, or the folder exists already; nothing was written.
    """
    known = next((k for k in KINDS if k == kind), None)
    if known is None:
        raise ConfigError(
            f"cannot write a {kind!r}{did_you_mean(kind, KINDS)}", where="new", do="algorithm, task or engine"
        )
    if multi_turn and known != "task":
        raise ConfigError(f"--multi-turn is for a task, not for {kind}", where="new", do="leave it out")
    package = f"shiqbench_{name}"
    _check_name(known, name, package)
    distribution = package.replace("_", "-")
    folder = into / distribution
    if folder.exists():
        raise ConfigError(f"{folder} exists already", where="new", do="move it away, or choose another name")
    if not into.is_dir():
        raise ConfigError(f"no folder {into}", where="--into", do="create it first")
    commands = _commands(kind, name, folder)
    values = {
        "kind": kind,
        "name": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "package": package,
        "distribution": distribution,
        **dict(zip(("install", "test", "run"), _commands(kind, name, Path()), strict=True)),
    }
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{kind}/init.py": f"src/{package}/__init__.py",
        f"{kind}/{'multi_turn' if multi_turn else kind}.py": f"src/{package}/{kind}.py",
        f"{kind}/test_contract.py": f"tests/test_{name}.py",
    }
    with replacing_folder(folder) as temporary:
        for template, target in files.items():
            text = (TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")
            path = temporary / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(text).substitute(values), encoding="utf-8")
    return Skeleton(folder, commands)


def _check_name(kind: Kind, name: str, package: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} cannot be a name", where="new", do="use lower-case letters, digits and single underscores"
        )
    found = registry()
    owner = found.owners.get((kind, name))
    if owner is not None:
        raise ConfigError(
            f"{kind} {name!r} is registered by {owner.name} ({owner.distribution})",
            where="new",
            do="choose another name",
        )
    if importlib.util.find_spec(package) is not None:
        raise ConfigError(f"a package {package} is installed already", where="new", do="choose another name")


def _commands(kind: str, name: str, folder: Path) -> tuple[str, str, str]:
    place = str(folder) if folder.is_absolute() else f"./{folder}" if folder.parts else "."
    install = f"pip install --editable {shlex.quote(place + '[test]')}"
    return install, f"python -m pytest {shlex.quote(place)}", RUN[kind].format(name=name)
