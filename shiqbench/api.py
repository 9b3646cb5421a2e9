"""The commands ``run`` and ``matrix`` as Python functions, with the same options and results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.progress import Display
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.running.runner import run_plan
from shiqbench.running.team import place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shiqbench.matrices.run import MatrixResult
    from shiqbench.running.runner import RunResult


def matrix(
    source: str | Path | Mapping[str, Any],
    *,
    executor: str = "local",
    jobs: int | None = None,
    fail_fast: bool = False,
    address: str | None = None,
    results: str | Path | None = None,
    plugins: tuple[str | Path, ...] = (),
    track: str | None = None,
) -> MatrixResult:
    """Train and evaluate every cell of a matrix.

    Args:
        source: Matrix file, or a dictionary with the same content.
        executor: ``local``, ``ray`` or ``slurm``.
        jobs: Number of cells that run at the same time; None is 1 locally, and as many as a cluster takes.
        fail_fast: Stop at the first failure.
        address: Address of a Ray cluster; with SLURM, ``local`` or ``debug`` to try it without SLURM.
        results: Results folder, instead of the one in the file.
        plugins: Local plugin files, in addition to those in the file.
        track: Name of the experiment tracker, instead of the one in the file.

    Returns:
        Outcomes of all cells, failures included.

    Raises:
        ConfigError: Lists all errors of the matrix; nothing was written.
    """
    from shiqbench.matrices.plan import make_matrix
    from shiqbench.matrices.run import carry_out, executing

    planned = make_matrix(
        Path(source) if isinstance(source, str) else source,
        results=None if results is None else Path(results),
        plugins=tuple(Path(p) for p in plugins),
        track=track,
    )
    run_all = executing(executor=executor, at_once=jobs, fail_fast=fail_fast, address=address)
    return carry_out(planned, run_all, Display().say)


def run(
    algo: str,
    task: str,
    *,
    model: str | None = None,
    seed: int = 0,
    preset: str = "cpu",
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the option's name
    engine: str | None = None,
    repeats: int | None = None,
    also: tuple[str, ...] = (),
    eval_every: int | None = None,
    keep: str | None = None,
    track: str | None = None,
    plugins: tuple[str | Path, ...] = (),
    results: str | Path = "results",
) -> RunResult:
    """Train and evaluate one cell, or read its result if it is done.

    Args:
        algo: Name of the algorithm.
        task: Name of the task.
        model: Embedded name, folder, hub name, or ``cell:DIGEST``.
        seed: Training seed.
        preset: Preset of the task.
        set: Settings, as in ``{"algo.beta": 0.05}``.
        engine: ``vllm`` or ``transformers``.
        repeats: Number of evaluations, with consecutive seeds.
        also: Further tasks to evaluate, as in ``("lm_eval:ifeval",)``.
        eval_every: Updates between two evaluations of a learning curve on validation.
        keep: ``best`` also keeps and evaluates the weights that are best on validation.
        track: Name of the experiment tracker.
        plugins: Local plugin files.
        results: Results folder.

    Returns:
        The result that ``shiqbench run --json`` prints.

    Raises:
        ShiqbenchError: Contains the line that the command prints.
    """
    place().refuse_several("shiqbench.run", do="launch the command, `-m shiqbench run`, instead")
    request = Request(
        algo=algo,
        task=task,
        model=model,
        seed=seed,
        preset=preset,
        settings=dict(set or {}),
        engine=engine,
        repeats=repeats,
        also=tuple(also),
        eval_every=eval_every,
        plugins=tuple(Path(p) for p in plugins),
        results=Path(results),
        track=track,
        keep=keep,
    )
    return run_plan(make_plan(request), Display(track))
