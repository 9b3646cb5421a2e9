"""``shiqbench run --config FILE``: the options of a run from a file. Options on the command line override it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from shiqbench.base.structured import read_structured
from shiqbench.matrices.read import check
from shiqbench.matrices.schema import Settings, dotted
from shiqbench.plugin.config import Section

if TYPE_CHECKING:
    from pathlib import Path


class RunFile(Section):
    """A run: the options of `shiqbench run`."""

    algo: str | None = Field(default=None, description="like --algo")
    task: str | None = Field(default=None, description="like --task")
    model: str | None = Field(default=None, description="like --model")
    seed: int | None = Field(default=None, description="like --seed")
    preset: str | None = Field(default=None, description="like --preset")
    set: Settings = Field(default_factory=dict, description="settings, section.key; --set adds to them")
    engine: str | None = Field(default=None, description="like --engine")
    repeats: int | None = Field(default=None, gt=0, description="like --repeats")
    also: list[str] = Field(default_factory=list, description="like --also")
    eval_every: int | None = Field(default=None, gt=0, description="like --eval-every")
    keep: str | None = Field(default=None, description="like --keep")
    track: str | None = Field(default=None, description="like --track")
    results: str | None = Field(default=None, description="like --results, relative to the current folder")
    plugins: list[str] = Field(default_factory=list, description="plugin files, relative to this file")


def read_run_file(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a run file.

    Returns:
        Options by the name of their parameter, and settings as ``section.key``.

    Raises:
        ConfigError: The file cannot be read, has an unknown key, or a value of a wrong type.
    """
    file = check(RunFile, read_structured(path, "a file like examples/run.toml"), str(path), "docs/usage.md")
    options = {k: v for k, v in file.model_dump(exclude={"set", "plugins"}).items() if v not in (None, [])}
    if file.plugins:
        options["plugin"] = [str(path.parent / name) for name in file.plugins]
    return options, dotted(file.set)
