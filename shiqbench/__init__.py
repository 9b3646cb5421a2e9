"""Train and evaluate fine-tuning algorithms for language models as comparable experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Request", "RunResult", "matrix", "report", "run"]

if TYPE_CHECKING:
    from shiqbench import report
    from shiqbench.api import matrix, run
    from shiqbench.planning.plan import Request
    from shiqbench.running.runner import RunResult

_HOME = {
    "run": "shiqbench.api",
    "matrix": "shiqbench.api",
    "report": "shiqbench.report",
    "Request": "shiqbench.planning.plan",
    "RunResult": "shiqbench.running.runner",
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use, so that ``import shiqbench`` stays fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'shiqbench' has no attribute {name!r}")
    import importlib

    if _HOME[name] == f"shiqbench.{name}":
        return importlib.import_module(_HOME[name])
    return getattr(importlib.import_module(_HOME[name]), name)
