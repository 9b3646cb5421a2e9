"""Checks a task's evaluation: with a scripted model, or exactly if the task has its own policy."""

from __future__ import annotations

import json
import math
import tempfile
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import ConfigError
from shiqbench.episodes.generation import ChatGenerator
from shiqbench.episodes.served import ServedChat
from shiqbench.plugin.evaluation_context import ActionLogits, EvaluationContext
from shiqbench.running.evaluation import write_records
from shiqbench.running.served import served_context
from shiqbench.stats.agree import SAME_SCORE, agree
from shiqbench.testing.contract import TaskContract as Line
from shiqbench.testing.generator import ODD_ANSWERS, ScriptedGenerator, ScriptedServer
from shiqbench.testing.training import Interrupted, log_lines
from shiqbench.training.given_model import train_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.episodes.rendering import Renderer, TokenSequence
    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.config import AlgorithmConfig, EvalConfig, Section
    from shiqbench.plugin.task import ExactTask, Metrics, Record, Task, TaskBase
    from shiqbench.testing.contract import ContractReport

EXAMPLES = 3
SAVE_EVERY = 2  # updates
ROOM = {"max_tokens": 4096, "max_episode_tokens": 65536, "max_context": 1_000_000}  # tokens are bytes here


def check_evaluation(
    report: ContractReport, make: Callable[[], Task], config: EvalConfig, renderer: Renderer, said: Sequence[str]
) -> None:
    """Evaluate a scripted model.

    Args:
        report: Collects the findings.
        make: Makes a new instance of the task.
        config: The evaluation section of the smoke preset.
        renderer: Renderer of the tiny model.
        said: Plausible answers for the scripted model.
    """
    config = config.model_copy(update={**ROOM, "examples": EXAMPLES, "repeats": 1})
    generator = ScriptedGenerator(renderer, [*said[:50], *ODD_ANSWERS])

    def play(
        line: Line = Line.RECORDS, refusable: bool = False, base: list[Record] | None = None, **changes: Any
    ) -> list[Record]:
        settings = config.model_copy(update=changes)
        chat = ChatGenerator(generator, renderer, settings.max_context)
        seen: list[tuple[int, int]] = []

        def evaluate() -> list[Record] | ConfigError:
            try:
                task = make()
                records = task.evaluate(chat, settings, lambda done, total: seen.append((done, total)))
                return task.complete_records(records, _context(renderer, base))
            except ConfigError as error:
                if refusable:
                    return error
                raise

        records = report.attempt(line, f"evaluate with {changes or 'the smoke preset'}", evaluate)
        if isinstance(records, ConfigError):
            raise records
        finished = bool(seen) and seen[-1][0] == seen[-1][1] and all(d <= t for d, t in seen)
        report.require(finished, Line.PROGRESS, f"(finished, total) = {seen[-3:]}")
        return records

    records, again = play(), play()
    check_records(report, make(), records, again)
    check_records(report, make(), play(base=records), play(base=records))
    report.require(len(records) <= EXAMPLES, Line.SETTINGS, f"{len(records)} records with examples = {EXAMPLES}")
    twice = play(repeats=2)
    found = f"{len(twice)} records with repeats = 2, {len(records)} with 1"
    report.require(len(twice) == 2 * len(records), Line.SETTINGS, found)
    splits = {split: {_key(r) for r in play(split=split)} for split in ("validation", "test")}
    both = splits["validation"] & splits["test"]
    report.require(not both, Line.SETTINGS, f"{len(both)} records are the same on validation and test")
    _check_served(report, make, config, generator.answers)
    try:
        cramped = play(Line.CONTEXT, refusable=True, max_context=1)
    except ConfigError:
        return  # a task may refuse a setting in which no example can begin: nothing is cut silently
    report.require(len(cramped) == len(records), Line.CONTEXT, f"{len(cramped)} records of {len(records)}")
    _check_metrics(report, make(), make().metrics(cramped))


def _check_served(report: ContractReport, make: Callable[[], Task], config: EvalConfig, answers: Sequence[str]) -> None:
    """Evaluate a scripted model that gives only text, unless the task says that it needs more."""
    if make().needs_tokens:
        report.skip(Line.SERVED, f"it needs {make().needs_tokens}")
        return

    def evaluate() -> Metrics:
        with tempfile.TemporaryDirectory() as folder:
            chat = ServedChat(ScriptedServer(answers), config.max_context, Path(folder) / "kept", "kit")
            task = make()
            records = task.evaluate(chat, config, lambda done, total: None)
            return task.metrics(task.complete_records(records, served_context()))

    found = report.attempt(Line.SERVED, "evaluating a served model", evaluate)
    bad = {k: v for k, v in found.metrics.items() if not math.isfinite(v)}
    report.require(not bad, Line.SERVED, f"{bad}")


def check_own_policy(
    report: ContractReport, make: Callable[[], ExactTask], algorithm: Algorithm[AlgorithmConfig], config: Section
) -> None:
    """Train the task's own policy with and without an interruption, and score it.

    Args:
        report: Collects the findings.
        make: Makes a new instance of the task.
        algorithm: Algorithm that trains the policy.
        config: The training section of the smoke preset; checkpoints are saved more often, if it has ``save_every``.
    """
    if "save_every" in type(config).model_fields:
        config = config.model_copy(update={"save_every": SAVE_EVERY})
    report.attempt(Line.OWN_POLICY, "checking the algorithm", lambda: make().check(algorithm))
    untrained = report.attempt(Line.OWN_POLICY, "scoring it untrained", lambda: make().evaluate_weights(None))
    check_records(report, make(), untrained, make().evaluate_weights(None))
    with tempfile.TemporaryDirectory() as name:
        whole, broken = Path(name) / "whole", Path(name) / "broken"

        def train(folder: Path, interrupt_at: int | None = None) -> int:
            """Train in a folder and return the number of reported lines."""
            folder.mkdir(exist_ok=True)
            heard = 0

            def hear(line: dict[str, Any], total: int) -> None:
                nonlocal heard
                heard += 1
                if heard == interrupt_at:
                    raise Interrupted

            facts = make().train(algorithm, config, 0, folder, hear, train_model)
            report.require("budget" in facts, Line.OWN_POLICY, f"training returns {sorted(facts)}, without a budget")
            return heard

        lines = report.attempt(Line.RESUME, "training", lambda: train(whole))
        report.require(lines > 1, Line.RESUME, f"progress was reported {lines} times in {config.summary()}")
        with suppress(Interrupted):
            train(broken, interrupt_at=lines - 1)
        left = report.attempt(Line.RESUME, "resuming", lambda: train(broken))
        report.require(left < lines, Line.RESUME, f"all {lines} lines were reported again: it began from update 0")
        a, b = (file_sha256(f / "checkpoint" / "model.safetensors") for f in (whole, broken))
        report.require(a == b, Line.RESUME, f"weights {a[:12]} undisturbed, {b[:12]} after an interruption")
        report.require(log_lines(whole) == log_lines(broken), Line.RESUME, "train.jsonl differs in more than its times")
        trained = report.attempt(
            Line.OWN_POLICY, "scoring it trained", lambda: make().evaluate_weights(whole / "checkpoint")
        )
        check_records(report, make(), trained, make().evaluate_weights(whole / "checkpoint"))
        report.require(_text(trained) != _text(untrained), Line.OWN_POLICY, "the same score untrained and trained")


def check_records(report: ContractReport, task: TaskBase, records: Sequence[Record], again: Sequence[Record]) -> None:
    """Check records, and the metrics that are computed from them."""
    report.require(bool(records), Line.RECORDS, "no record")
    nameless = sum("id" not in r for r in records)
    report.require(nameless == 0, Line.RECORDS, f"{nameless} of {len(records)} records without an id")
    report.attempt(Line.RECORDS, "writing them as JSON", lambda: json.dumps(list(records)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.parquet"
        report.attempt(Line.RECORDS, "writing them as parquet", lambda: write_records(path, records))
    differing = [r["id"] for r, other in zip(records, again, strict=False) if _text(r) != _text(other)]
    alike = len(records) == len(again) and not differing
    report.require(
        alike, Line.DETERMINISTIC, f"{len(differing)} of {len(records)} records differ, such as {differing[:3]}"
    )
    scored = report.attempt(Line.METRICS, "rescore", lambda: task.rescore(records))
    unlike = [
        f"{r['id']}: {name} is {r.get(name)} and again {value}"
        for r, row in zip(records, scored or (), strict=scored is not None)
        for name, value in row.items()
        if not agree(r.get(name), value, SAME_SCORE)
    ]
    report.require(not unlike, Line.METRICS, f"rescore does not give the records' own scores: {unlike[:3]}")
    first, second = (report.attempt(Line.METRICS, "metrics", lambda: task.metrics(records)) for _ in range(2))
    report.require(first == second, Line.DETERMINISTIC, f"metrics {first} and then {second}")
    _check_metrics(report, task, first)


def _check_metrics(report: ContractReport, task: TaskBase, found: Metrics) -> None:
    primary = found.primary
    bad = {k: v for k, v in found.metrics.items() if not math.isfinite(v)}
    report.require(not bad, Line.METRICS, f"{bad}")
    name, value, low, high, _ = astuple(primary)
    report.require(math.isfinite(value), Line.METRICS, f"{primary}")
    if low is not None or high is not None:  # both or neither
        both = low is not None and high is not None
        report.require(both and -math.inf < low <= value <= high < math.inf, Line.METRICS, f"{primary}")
    report.require(found.metrics.get(name) == value, Line.METRICS, f"metrics has {name} {found.metrics.get(name)}")
    absent = [column for column, _, _ in task.table_columns() if column not in found.metrics]
    report.require(not absent, Line.METRICS, f"no metric for the columns {absent}")


def _context(renderer: Renderer, base: list[Record] | None) -> EvaluationContext:
    """The context of an untrained model; with ``base``, of a trained model a quarter of a nat per token away."""
    away = 0.0 if base is None else 0.25

    def logprobs(sequences: Sequence[TokenSequence]) -> tuple[list[list[float]], list[list[float]]]:
        return [[-1.0] * len(s.actions) for s in sequences], [[-1.0 - away] * len(s.actions) for s in sequences]

    def logits(sequences: Sequence[TokenSequence], of: Literal["own", "reference"]) -> list[ActionLogits]:
        logp = -1.0 - (away if of == "reference" else 0.0)
        return [ActionLogits([logp] * len(s.actions), [0.0] * len(s.actions)) for s in sequences]

    return EvaluationContext(renderer, "self" if base is None else "base", logprobs, lambda: base, logits)


def _key(record: Record) -> str:
    return str(record["id"])


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
