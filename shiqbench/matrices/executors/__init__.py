"""Run the jobs of a matrix: on this machine, or on a cluster with Ray or SLURM.

    jobs -> jobs that are not done -> Schedule (ready, running, free) -> Transport (local, Ray, SLURM) -> outcomes

Importing this package imports none of torch, Ray and submitit.
"""

from __future__ import annotations

from shiqbench.matrices.executors.execute import execute
from shiqbench.matrices.executors.outcomes import exit_code, summary

__all__ = ["execute", "exit_code", "summary"]
