"""Evaluate weights on a task: engine -> records -> metrics -> DONE."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from shiqbench.base.digest import digest
from shiqbench.base.errors import EngineError, PluginError
from shiqbench.base.files import read_records, replacing, write_json
from shiqbench.base.manifest import manifest, peak_memory_gb
from shiqbench.base.progress import waiting
from shiqbench.episodes.generation import ChatGenerator
from shiqbench.episodes.journal import JournaledGenerator
from shiqbench.planning.plan import ExactPlan, ModelPlan
from shiqbench.plugin.evaluation_context import ActionLogits, EvaluationContext
from shiqbench.running.best import kept_weights
from shiqbench.running.engine_check import check_engine
from shiqbench.running.served import ATTEMPTS, served_records
from shiqbench.running.weights import evaluated_weights
from shiqbench.store.cell import is_done, mark_done, verified_weights, working_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shiqbench.engines.holder import EngineHolder
    from shiqbench.episodes.generation import Generator
    from shiqbench.episodes.rendering import Renderer, TokenSequence
    from shiqbench.planning.plan import CellPlan, RunPlan
    from shiqbench.plugin.task import Metrics, Record
    from shiqbench.running.best import Chosen

SHOWN = 5  # numbers that are not finite and are named
JOURNAL = ".journal.jsonl"  # in the evaluation's folder until the evaluation is done


def evaluate_cell(
    plan: RunPlan,
    cell: CellPlan,
    holder: EngineHolder,
    progress: Callable[[int, int], None],
    update: int | None = None,
    chosen: Chosen | None = None,
) -> bool:
    """Evaluate one cell, unless its evaluation is done already.

    Args:
        plan: Plan with the settings of the evaluation.
        cell: Cell whose weights are evaluated.
        holder: Holder of the engine.
        progress: Called with (done, total).
        update: Update after which the weights are taken; None takes the final weights.
        chosen: The weights that are best on validation, instead of others.

    Returns:
        True if the evaluation was done already.
    """
    folder = plan.eval_folder(cell, update) if chosen is None else plan.best_folder()
    if is_done(folder):
        return True
    with working_on(folder):
        if is_done(folder):  # another process finished it meanwhile
            return True
        weights_of = evaluated_weights(cell, update) if chosen is None else nullcontext(kept_weights(cell, chosen))
        with weights_of as (weights, sha256):
            recipe = plan.eval_recipe(cell, update) if chosen is None else plan.best_recipe()
            final = update is None and chosen is None
            about = {} if chosen is None else {"best": chosen.facts()}
            _evaluate(plan, cell, Target(folder, recipe, final, about), weights, sha256, holder, progress)
    return False


class Target(NamedTuple):
    """What is written.

    Attributes:
        folder: Folder of the evaluation.
        recipe: The values that its digest is computed from.
        final: Whether the weights are final ones.
        facts: Facts for its manifest.
    """

    folder: Path
    recipe: dict[str, Any]
    final: bool
    facts: dict[str, Any]


def _evaluate(
    plan: RunPlan,
    cell: CellPlan,
    target: Target,
    weights: Path | None,
    sha256: str | None,
    holder: EngineHolder,
    progress: Callable[[int, int], None],
) -> None:
    started, folder = time.perf_counter(), target.folder
    facts: dict[str, Any]
    if isinstance(plan, ExactPlan):
        records, facts = plan.task.evaluate_weights(weights), {"engine": {"version": plan.engine_version}}
    else:
        assert isinstance(plan, ModelPlan)
        identity = digest({"evaluation": target.recipe, "weights": sha256})
        if plan.engine.served:
            records, facts = served_records(plan, cell, folder / JOURNAL, identity, progress)
        else:
            journaled = partial(JournaledGenerator, path=folder / JOURNAL, identity=identity)
            loaded = weights or cell.model.folder()

            def finish(records: list[Record], renderer: Renderer) -> list[Record]:
                return plan.task.complete_records(records, _context(plan, cell, loaded, holder, renderer))

            records, facts = _generate(plan, loaded, holder, journaled, progress, finish, compare=target.final)
    plan.check_data(cell)
    facts["seconds"] = {**facts.get("seconds", {}), "total": time.perf_counter() - started}
    result = plan.task.metrics(records)
    check_numbers(records, result, plan.name)
    config_file, manifest_file = folder / "config.json", folder / "manifest.json"
    records_file, metrics_file = folder / "records.parquet", folder / "metrics.json"
    write_json(config_file, target.recipe)
    write_records(records_file, records)
    write_json(metrics_file, metrics_json(result, plan))
    facts |= {
        **target.facts,
        "weights_sha256": sha256,
        "reduced": plan.task.config.reduced(),
        "places": plan.task.config.places(),
        "peak_memory_gb": peak_memory_gb(),
    }
    write_json(manifest_file, manifest(**facts))
    mark_done(folder, [config_file, manifest_file, records_file, metrics_file])
    (folder / JOURNAL).unlink(missing_ok=True)


def _generate(
    plan: ModelPlan,
    weights: Path,
    holder: EngineHolder,
    journaled: Callable[[Generator], JournaledGenerator],
    progress: Callable[[int, int], None],
    finish: Callable[[list[Record], Renderer], list[Record]],
    *,
    compare: bool = False,
) -> tuple[list[Record], dict[str, Any]]:
    """Records of a language model's evaluation, and facts for its manifest.

    With ``compare``, the engine is compared with the model's own forward pass while it still has these weights.
    """
    renderer = holder.renderer(weights, plan.cell.model.template)
    failures: list[str] = []
    while True:
        started = time.perf_counter()
        try:
            engine = journaled(holder.ready(plan.engine, weights, plan.evaluation, plan.engine_config))
            ready = time.perf_counter()
            chat = ChatGenerator(engine, renderer, plan.evaluation.max_context)
            records = plan.task.evaluate(chat, plan.evaluation, progress)
            generated = time.perf_counter()
            own_forward = {}
            if compare:
                with waiting("comparing the engine with the model"):
                    own_forward = {"own_forward": check_engine(engine, weights, plan.evaluation)}
            with waiting("distances and scores of the answers"):
                records = finish(records, renderer)
            break
        except EngineError as error:
            failures.append(str(error))
            holder.close()
            if len(failures) >= ATTEMPTS:
                raise
    facts = {
        "engine": engine.describe(),
        **renderer.facts(),
        **own_forward,
        "answers": dict(chat.counts),
        "task": plan.task.facts(),
        "machine_failures": failures,
        "journal": engine.facts(),
        "seconds": {
            "engine": ready - started,
            "generation": generated - ready,
            "finish": time.perf_counter() - generated,
        },
    }
    return records, facts


def _context(
    plan: ModelPlan, cell: CellPlan, weights: Path, holder: EngineHolder, renderer: Renderer
) -> EvaluationContext:
    """The reference of a cell is the model its training started from; an untrained model is its own reference."""
    reference: Literal["self", "base", "start"] = "start" if cell.start is not None else "base"
    if cell.train is None:
        reference = "self"

    def of_reference() -> tuple[Path, str | None]:
        """Its folder; and its identity if it is a start, which other cells share."""
        if reference == "self":
            return weights, None
        return verified_weights(cell.start.folder) if cell.start else (cell.model.folder(), None)

    def under(model: Path, sequences: Sequence[TokenSequence]) -> list[list[float]]:
        scores = holder.ready(plan.engine, model, plan.evaluation, plan.engine_config).score([s.ids for s in sequences])
        return [[logp[p] for p in s.actions] for logp, s in zip(scores, sequences, strict=True)]

    def logprobs(sequences: Sequence[TokenSequence]) -> tuple[list[list[float]], list[list[float]]]:
        own = under(weights, sequences)
        if reference == "self":
            return own, own
        return own, under(of_reference()[0], sequences)

    def base() -> list[Record] | None:
        """Records of the untrained model, which is always evaluated first."""
        return None if cell.digest == plan.base.digest else read_records(plan.eval_folder(plan.base))

    def logits(sequences: Sequence[TokenSequence], of: Literal["own", "reference"]) -> list[ActionLogits]:
        from shiqbench.running.own_logits import own_logits

        folder, kept_as = (weights, None) if of == "own" else of_reference()
        return own_logits(folder, sequences, plan.evaluation.precision, kept_as)

    trained_on = cell.task_config if cell.train is not None else None
    return EvaluationContext(renderer, reference, logprobs, base, logits, trained_on)


def check_numbers(records: Sequence[Record], result: Metrics, task: str) -> None:
    """Refuse NaN and infinity: no comparison could use them.

    Args:
        records: Records of the evaluation.
        result: Its metrics.
        task: Name of the task.

    Raises:
        PluginError: A number of a record or a metric is not finite.
    """
    primary = result.primary
    ends = {f"{primary.name} {end}": v for end in ("low", "high") if (v := getattr(primary, end)) is not None}
    values = {primary.name: primary.value, **ends, **result.metrics}
    bad = [f"metric {name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    for r in records:
        bad += [f"{k} of {r.get('id')} is {v}" for k, v in r.items() if isinstance(v, float) and not math.isfinite(v)]
    if bad:
        more = f", and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise PluginError(
            f"{', '.join(bad[:SHOWN])}{more}", where=f"task {task}", do="give a number, or None where there is none"
        )


def metrics_json(result: Metrics, plan: RunPlan) -> dict[str, Any]:
    """Content of ``metrics.json``; it contains no times, so that equal results are equal files."""
    primary = result.primary
    return {
        "primary": {
            "name": primary.name,
            "value": primary.value,
            "low": primary.low,
            "high": primary.high,
            "higher_is_better": primary.higher_is_better,
        },
        "metrics": result.metrics,
        "engine": plan.engine_version,
    }


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write one parquet row per example."""
    import pandas as pd

    with replacing(path) as temporary:
        pd.DataFrame.from_records(list(records)).to_parquet(temporary, index=False)
