"""Records of a model that a server has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from shiqbench.base.errors import EngineError
from shiqbench.episodes.served import LOGPROBS, TOKENS, AtServer, ServedChat
from shiqbench.plugin.evaluation_context import EvaluationContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shiqbench.episodes.generation import ChatEngine
    from shiqbench.planning.plan import CellPlan, ModelPlan
    from shiqbench.plugin.task import Record

ATTEMPTS = 2  # a failure of the machine is retried once with a new engine, from the answers that are kept


def served_records(
    plan: ModelPlan, cell: CellPlan, kept: Path, identity: str, progress: Callable[[int, int], None]
) -> tuple[list[Record], dict[str, Any]]:
    """Evaluate the model of a cell that trained nothing.

    Args:
        plan: Plan whose engine asks a server.
        cell: Cell with the model's name at the server.
        kept: File for the replies.
        identity: What the replies depend on, except messages and sampling.
        progress: Called with (done, total).

    Returns:
        The records, and facts for the manifest.

    Raises:
        ConfigError: The server refuses a request, or the task needs more than answers.
        EngineError: The server fails twice, or is another one than when the run was planned.
    """
    failures: list[str] = []
    while True:
        started = time.perf_counter()
        engine: ChatEngine = plan.engine.load()(plan.engine_config, cell.model.text)
        try:
            _check_same(plan, cell, engine)
            chat = ServedChat(engine, plan.evaluation.max_context, kept, identity)
            records = plan.task.evaluate(chat, plan.evaluation, progress)
            generated = time.perf_counter()
            records = plan.task.complete_records(records, served_context())
            break
        except EngineError as error:
            failures.append(str(error))
            if len(failures) >= ATTEMPTS:
                raise
        finally:
            engine.close()
    facts = {
        "engine": engine.describe(),
        "own_forward": {"not_compared": "a server has the model"},
        "answers": dict(chat.counts),
        "task": plan.task.facts(),
        "machine_failures": failures,
        "journal": chat.facts(),
        "seconds": {"generation": generated - started, "finish": time.perf_counter() - generated},
    }
    return records, facts


def _check_same(plan: ModelPlan, cell: CellPlan, engine: ChatEngine) -> None:
    if engine.version != plan.engine_version or dict(engine.identity) != cell.model.identity:
        raise EngineError(
            f"the server changed after the run was planned: it is {engine.version} with {dict(engine.identity)}, "
            f"and was {plan.engine_version} with {cell.model.identity}",
            where=f"--engine {plan.engine.name}",
            do="run again",
        )


def served_context() -> EvaluationContext:
    """The context of an untrained model whose tokens and log-probabilities the server keeps."""
    missing = cast(Any, AtServer(LOGPROBS))
    return EvaluationContext(
        cast(Any, AtServer(TOKENS)), "self", logprobs=missing, base=lambda: None, logits=missing, served=True
    )
