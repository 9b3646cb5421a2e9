"""Run the jobs of a matrix: on this machine, or on a Ray cluster.

    jobs -> jobs that are not done -> Schedule (ready, running, free) -> Transport (local workers, Ray) -> outcomes

Importing this package imports neither torch nor Ray.
"""

from __future__ import annotations

from shiqbench.matrices.executors.execute import execute
from shiqbench.matrices.executors.outcomes import exit_code, summary

__all__ = ["execute", "exit_code", "summary"]
