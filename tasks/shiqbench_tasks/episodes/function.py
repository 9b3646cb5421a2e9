"""A Python function of the user's that scores answers, named by its file: ``FILE.py:function``."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, RunError, file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.plugin import Message
    from shiqbench_tasks.episodes.questions import Turn

WRITE = "give FILE.py:function, and write it as def function(messages, row): return a number"


def identity(score: str) -> dict[str, str]:
    """What enters the evaluation's digest: the function's name, and the sha256 of its file.

    Raises:
        ConfigError: There is no such file, or the file has no such name.
    """
    path, name = _parts(score)
    names = _names(path)
    if name not in names and "*" not in names:
        raise _no_function(name, names, path)
    return {"function": name, "sha256": file_sha256(path)}


def _parts(score: str) -> tuple[Path, str]:
    file, colon, name = score.rpartition(":")
    path = Path(file).expanduser()
    if not colon or not name.isidentifier() or path.suffix != ".py":
        raise ConfigError(f"{score!r} names no function of a Python file", where="task.score", do=WRITE)
    if not path.is_file():
        raise ConfigError(f"no file {file!r}", where="task.score", do=WRITE)
    return path, name


def _names(path: Path) -> list[str]:
    """What a file defines or imports at its top, without running it; ``*`` means that some names are not known.

    Raises:
        ConfigError: It is no Python.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=path.name)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"no Python: {error}", where=f"task.score {path}", do=WRITE) from error
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            stored = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            found += stored or ["*"]
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # a docstring defines nothing
            found.append("*")
    return found


def _no_function(name: str, names: Sequence[str], path: Path) -> ConfigError:
    found = ", ".join(names) or "none"
    return ConfigError(f"no function {name!r}; found {found}", where=f"task.score {path}", do=WRITE)


class ScoringFunction:
    """The function, loaded.

    Args:
        score: ``FILE.py:function``.

    Raises:
        ConfigError: The file cannot be imported, has no such function, or it does not take messages and row.
    """

    def __init__(self, score: str) -> None:
        self._score = score
        path, name = _parts(score)
        module = _module(path)
        found = getattr(module, name, None)
        if not callable(found):
            raise _no_function(name, [n for n, value in vars(module).items() if inspect.isfunction(value)], path)
        try:
            inspect.signature(found).bind([], {})
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{name} cannot be called with messages and row: {error}", where=f"task.score {path}", do=WRITE
            ) from error
        self._function: Callable[[list[dict[str, Any]], dict[str, Any]], Any] = found

    def __call__(self, turn: Turn, answer: str) -> float:
        """The score of an answer.

        Raises:
            RunError: The function raises an error, or returns what is no finite number; the error names the row.
        """
        messages = [*map(_as_dict, turn.asked), {"role": "assistant", "content": answer}]
        try:
            value = self._function(messages, dict(turn.row))
        except Exception as error:  # whatever a function of the user's raises
            raise self._refusal(f"raises {type(error).__name__}: {error}", turn) from error
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise self._refusal(f"returns {value!r:.40}, which is no number", turn) from error
        if not math.isfinite(number):
            raise self._refusal(f"returns {number}", turn)
        return number

    def _refusal(self, what: str, turn: Turn) -> RunError:
        return RunError(
            f"{self._score} {what}",
            where=f"{turn.place.split} row {turn.place.number}",
            do="fix the function or the row, and run again",
        )


def _module(path: Path) -> Any:
    """The file as a module. Its folder is not searched for imports: only this file enters the digest."""
    spec = importlib.util.spec_from_file_location(f"shiqbench_score_{file_sha256(path)[:12]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a file of the user's raises
        raise ConfigError(
            f"cannot import it: {type(error).__name__}: {error}",
            where=f"task.score {path}",
            do="fix the file; it may import what is installed, but no file next to it",
        ) from error
    return module


def _as_dict(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content, **message.extra}
