"""Checks training as a user runs it: an interrupted and resumed cell equals an undisturbed one bit for bit."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json
from shiqbench.base.progress import Display
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.running.runner import check_needs
from shiqbench.running.train_cell import train_cell
from shiqbench.running.workbench import Workbench
from shiqbench.testing import words
from shiqbench.testing.contract import AlgorithmContract as Line
from shiqbench.testing.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shiqbench.planning.plan import CellPlan
    from shiqbench.testing.contract import ContractReport

WEIGHTS = "checkpoint/model.safetensors"
STOP_AFTER = 5  # updates, one more than the newest checkpoint contains


class Interrupted(KeyboardInterrupt):
    """Ctrl-C at a chosen moment."""


class InterruptingDisplay(Display):
    """Prints nothing, and interrupts training after some updates.

    Args:
        after: Number of updates; None never interrupts.
    """

    def __init__(self, after: int | None) -> None:
        super().__init__(quiet=True)
        self.after = after

    @contextmanager
    def training(self, name: str, folder: Path) -> Iterator[Any]:
        """A reporter that counts updates."""
        yield _Counter(self.after)


class _Counter:
    def __init__(self, after: int | None) -> None:
        self.after, self.seen = after, 0

    def update(self, line: dict[str, Any], total: int) -> None:
        self.seen += 1
        if self.seen == self.after:
            raise Interrupted


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Use a separate cache folder inside the context."""
    before = os.environ.get("SHIQBENCH_CACHE")
    os.environ["SHIQBENCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SHIQBENCH_CACHE"]
        else:
            os.environ["SHIQBENCH_CACHE"] = before


def check_training(report: ContractReport, values: Mapping[str, Any], files: tuple[Path, ...]) -> None:
    """Train a tiny language model twice with the ordinary trainer.

    Args:
        report: Report of the algorithm.
        values: Settings of the algorithm.
        files: Plugin files.
    """
    with tempfile.TemporaryDirectory() as name, own_cache(Path(name) / "cache"):
        root = Path(name)
        model = make_tiny_model(root / "model")
        request = Request(
            algo=report.name,
            task=words.NAME,
            model=str(model),
            preset="smoke",
            settings={f"algo.{k}": v for k, v in values.items()},
            plugins=(*files, Path(words.__file__)),
        )

        def cell(results: str) -> CellPlan:
            return make_plan(Request(**{**request.__dict__, "results": root / results})).cell

        try:
            check_needs(cell("whole"))
        except ConfigError as error:
            report.skip(Line.RESUME, error.what)
            return
        whole, broken, bench = cell("whole"), cell("broken"), Workbench(lasting=False)
        report.attempt(Line.RESUME, "training", lambda: train_cell(whole, InterruptingDisplay(None), bench))
        with suppress(Interrupted):
            train_cell(broken, InterruptingDisplay(STOP_AFTER), bench)
        report.attempt(Line.RESUME, "resuming", lambda: train_cell(broken, InterruptingDisplay(None), bench))
        resumed_at = read_json(broken.folder / "manifest.json")["resumed_at_update"]
        report.require(resumed_at > 0, Line.RESUME, "the interrupted training began from update 0")
        a, b, start = (
            file_sha256(x) for x in (whole.folder / WEIGHTS, broken.folder / WEIGHTS, model / "model.safetensors")
        )
        report.require(a != start, Line.RESUME, "training does not change the weights")
        report.require(a == b, Line.RESUME, f"weights {a[:12]} undisturbed, {b[:12]} after an interruption")
        logs = [log_lines(c.folder) for c in (whole, broken)]
        report.require(logs[0] == logs[1], Line.RESUME, "train.jsonl differs in more than its times")


def log_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``train.jsonl`` without their times."""
    lines = [json.loads(x) for x in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
