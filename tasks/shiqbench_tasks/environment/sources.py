"""What ``task.environment`` means: a command line that starts a program, and the identity of its files."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, did_you_mean, file_sha256
from shiqbench_tasks.environment.config import OF_OPENENV, OPENENV, VERIFIERS

if TYPE_CHECKING:
    from shiqbench_tasks.environment.config import EnvironmentConfig

BRIDGES = Path(__file__).with_name("bridges")
WHERE = "task.environment"


@dataclass(frozen=True)
class Source:
    """How to start a program, and what it is told first.

    Attributes:
        command: Words of its command line.
        label: Its name for readers.
        settings: What it gets with ``describe``.
        files: Sha256 of the files that the command line names.
    """

    command: tuple[str, ...]
    label: str
    settings: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)


def source(config: EnvironmentConfig) -> Source:
    """Find the program.

    Raises:
        ConfigError: No environment is given, or there is no such program or interpreter.
    """
    text = config.environment.strip()
    if not text:
        raise ConfigError("no environment is given", where=WHERE, do="see docs/environments.md")
    for scheme, script in ((VERIFIERS, "classic_verifiers"), (OPENENV, "openenv_sessions")):
        if text.startswith(scheme):
            return _bridge(config, script, text.removeprefix(scheme).strip(), text)
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"not a command line: {error}", where=f"{WHERE} = {text}", do="close the quotes") from error
    if shutil.which(words[0]) is None:
        near = did_you_mean(words[0].partition(":")[0] + ":", (VERIFIERS, OPENENV)) if ":" in words[0] else ""
        raise ConfigError(
            f"no program {words[0]!r}{near}",
            where=f"{WHERE} = {text}",
            do='give verifiers:NAME, openenv:URL, or a command line such as "python game.py"',
        )
    return Source(words, text, {"arguments": config.arguments}, _files(words))


def _bridge(config: EnvironmentConfig, script: str, name: str, text: str) -> Source:
    if not name:
        raise ConfigError("the name is missing", where=f"{WHERE} = {text}", do=f"give {text}NAME")
    settings: dict[str, Any] = {"arguments": config.arguments}
    if text.startswith(OPENENV):
        if not name.startswith(("http://", "https://")):
            raise ConfigError("not a URL", where=f"{WHERE} = {text}", do="give openenv:http://HOST:PORT")
        settings |= {key: getattr(config, key) for key in OF_OPENENV}
    python = sys.executable if config.python is None else _interpreter(config.python)
    return Source((python, str(BRIDGES / "serve.py"), script, name), text, settings)


def _interpreter(given: str) -> str:
    """The interpreter; a folder is that of a virtual environment."""
    path = Path(given).expanduser()
    if path.is_dir():
        path = path / "bin" / "python"
    found = shutil.which(str(path))
    if found is None:
        raise ConfigError(
            "no such interpreter", where=f"task.python = {given}", do="give the path of a python, or of a venv"
        )
    return found


def _files(words: tuple[str, ...]) -> dict[str, str]:
    """Sha256 of the files that the words name; the program itself counts only if there is no other."""
    named = [Path(word) for word in words[1:] if Path(word).is_file()]
    if not named and "/" in words[0]:
        named = [Path(words[0])]
    return {f"file {number}": file_sha256(path) for number, path in enumerate(named, 1)}
