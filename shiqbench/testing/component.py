"""Checks every component before it computes anything: its configuration, and a light import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import StrEnum
    from pathlib import Path

    from shiqbench.plugin.config import Section
    from shiqbench.testing.contract import ContractReport

HEAVY = ("torch", "numpy", "pandas")
# Importing a module that is None in sys.modules is an error, which the registry reports with the plugin's name.
LIGHT_LISTING = """
import sys
from pathlib import Path
kind, name, heavy, *files = sys.argv[1:]
sys.modules.update(dict.fromkeys(heavy.split(",")))
from shiqbench.base.errors import ShiqbenchError
from shiqbench.plugin.registry import registry
try:
    getattr(registry(tuple(map(Path, files))), kind)(name).load_config()
except ShiqbenchError as error:
    sys.exit(error.line())
"""


def check_light(report: ContractReport, line: StrEnum, files: Sequence[Path]) -> None:
    """Find and configure the component in a process where heavy modules cannot be imported."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    words = [sys.executable, "-c", LIGHT_LISTING, report.kind, report.name, ",".join(HEAVY), *map(str, files)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    report.require(done.returncode == 0, line, done.stderr.strip().rpartition("\n")[2])


def check_config(
    report: ContractReport, line: StrEnum, kind: Any, values: dict[str, Any], base: type[Section]
) -> Section:
    """Make the configuration, write it as JSON and read it back, as with ``config.json`` of a cell."""
    found = isinstance(kind, type) and issubclass(kind, base)
    report.require(found, line, f"{kind!r} is not a subclass of {base.__name__}")
    config: Section = report.attempt(line, f"validating {values}", lambda: kind.model_validate(values))
    text = report.attempt(line, "writing it", lambda: json.dumps(config.model_dump(mode="json")))
    again: Section = report.attempt(line, f"reading {text} back", lambda: kind.model_validate(json.loads(text)))
    report.require(again == config, line, f"{config!r} came back as {again!r}")
    try:
        kind.model_validate({**values, "no_such_setting": 1})
        strict = False
    except ValidationError:
        strict = True
    report.require(strict, line, "an unknown key is accepted")
    report.require(bool(config.model_config.get("frozen")), line, "its fields can be assigned to")
    return config
