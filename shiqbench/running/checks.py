"""Checks that need the model's files but not its weights, made before anything is written."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest
from shiqbench.episodes.generation import ChatGenerator
from shiqbench.models.identity import identity_beside_weights
from shiqbench.models.loading import without_weights
from shiqbench.models.vocabulary import check_vocabulary
from shiqbench.planning.plan import ModelPlan
from shiqbench.running.memory import check_memory
from shiqbench.running.team import place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shiqbench.episodes.generation import Completion, Sampling
    from shiqbench.episodes.rendering import Renderer
    from shiqbench.planning.plan import RunPlan
    from shiqbench.plugin.config import TrainConfig
    from shiqbench.plugin.start_model import StartModel


def check_model(plan: RunPlan, start: StartModel, checked: set[str]) -> None:
    """Refuse a model that cannot be trained as the plan says, or an evaluation of it that cannot begin.

    Args:
        plan: Plan for a language model.
        start: Model of the plan.
        checked: Checks that this process has passed already; this function adds to it.

    Raises:
        ConfigError: The message says what does not fit.
    """
    of_model = [identity_beside_weights(start.folder), start.renderer.template.arguments]

    def once(check: dict[str, Any], run: Callable[[], None]) -> None:
        key = digest({"model": of_model, **check})
        if key not in checked:
            run()
            checked.add(key)

    configs: list[TrainConfig | None] = [cell.train for cell in plan.trained]
    for config in configs or [None]:
        once({"train": config and config.model_dump(mode="json")}, partial(_check_weights, config, start))
    models: list[Any] = [config and config.model_dump(mode="json") for config in configs]
    once({"memory": models, "evaluation": plan.evaluation.model_dump(mode="json")}, partial(check_memory, plan))
    evaluations = [plan, *plan.also, *([plan.curve.plan] if plan.curve else [])]
    for each in evaluations if plan.trained else []:
        if isinstance(each, ModelPlan):
            once(each.setting, partial(rehearse, each, start.renderer))


def _check_weights(config: TrainConfig | None, start: StartModel) -> None:
    """Compare the embedding with the tokenizer; prepare the model for training, if it is trained."""
    import torch

    from shiqbench.training.policy import SHARDS, stack, trainable
    from shiqbench.training.settled import settle

    model = without_weights(start.folder)
    check_vocabulary(start.renderer.tokenizer, model.get_input_embeddings().weight.shape[0], start.folder)
    if config is not None:
        with torch.random.fork_rng(devices=[]):
            trainable(model, settle(model, config).config)
        if place().sharded:
            stack(model, SHARDS)


class _AskedError(BaseException):
    """An evaluation has called its engine. No task catches it, as it is not an ``Exception``."""


class _NoEngine:
    """Ends an evaluation at its first question."""

    name = version = "none"

    def load(self, weights: Path) -> None:
        """Do nothing: there is no model."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """End the evaluation, unless nothing is asked because no prompt fits the context."""
        if prompts:
            raise _AskedError
        return []

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """End the evaluation."""
        raise _AskedError

    def describe(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


def rehearse(plan: ModelPlan, renderer: Renderer) -> None:
    """Begin an evaluation without an engine and end it where it asks for the first answers.

    Until then, the template has rendered the prompts, and the task has checked that they fit the context.

    Raises:
        ConfigError: The template refuses a prompt, or the prompts do not fit.
    """
    with suppress(_AskedError):
        chat = ChatGenerator(_NoEngine(), renderer, plan.evaluation.max_context)
        plan.task.evaluate(chat, plan.evaluation, lambda done, total: None)
