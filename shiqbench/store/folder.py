"""Results folders that a user names: whether there is one, and why nothing is found in it."""

from __future__ import annotations

from pathlib import Path

from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean

INSIDE = (("config.json", 3, "a cell's"), ("*/config.json", 2, "an algorithm's"), ("*/*/config.json", 1, "a task's"))


def results_folder(folder: str | Path) -> Path:
    """Return the folder as a path.

    Raises:
        ConfigError: It does not exist, or is no folder.
    """
    path = Path(folder)
    if not path.exists():
        raise ConfigError("there is no such results folder", where=str(path), do="name the folder of shiqbench run")
    if not path.is_dir():
        raise ConfigError("not a folder", where=str(path), do="name the results folder of shiqbench run")
    return path


def refuse_other(folder: Path, task: str | None = None, *, by_task: bool = True) -> None:
    """Refuse a folder without results that is a part of a results folder, or a task that the folder lacks.

    Args:
        folder: The folder that was named.
        task: The task that was named.
        by_task: Whether the verb has ``--task``.

    Raises:
        ConfigError: It is such a folder, or has no such task.
    """
    at = folder.resolve()
    if at.parent.name == "eval":
        at = at.parent.parent
    for pattern, up, whose in INSIDE:
        if any(at.glob(pattern)):
            root, inside = at.parents[up - 1], at.parts[-up]
            raise ConfigError(
                f"this is {whose} folder",
                where=str(folder),
                do=f"name the results folder {_short(root)}" + f", with --task {inside}" * by_task,
            )
    tasks = [f.name for f in sorted(at.iterdir()) if f.is_dir() and any(f.glob("*/*/config.json"))]
    if task is not None and tasks and task not in tasks:
        raise ConfigError(
            f"no task {task!r} in {folder}{did_you_mean(task, tasks)}", where="--task", do=f"it has {', '.join(tasks)}"
        )


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def named_file(path: Path | None) -> Path | None:
    """Return the path of a file to write.

    Raises:
        ConfigError: It is a folder, or below a file.
    """
    return _writable(path, folder=False)


def named_folder(path: Path | None) -> Path | None:
    """Return the path of a folder to write into.

    Raises:
        ConfigError: It is a file, or below one.
    """
    return _writable(path, folder=True)


def _writable(path: Path | None, *, folder: bool) -> Path | None:
    if path is None:
        return None
    if path.exists() and path.is_dir() is not folder:
        is_a, name = ("a file", "a folder") if folder else ("a folder", "a file")
        raise ConfigError(f"{path} is {is_a}", do=f"name {name}")
    above = next(p for p in path.absolute().parents if p.exists())
    if not above.is_dir():
        raise ConfigError(f"{path} is below a file", where=str(above), do="name another place")
    return path
