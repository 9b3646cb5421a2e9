"""What a task receives when it completes the records of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.episodes.rendering import Renderer, TokenSequence
    from shiqbench.plugin.config import TaskConfig


class ActionLogits(NamedTuple):
    """Raw logits at the action tokens of a sequence; a log-probability is ``logit - lse``.

    Attributes:
        logit: Logit of each action token.
        lse: Logsumexp of all logits at its position.
    """

    logit: list[float]
    lse: list[float]


@dataclass(frozen=True)
class EvaluationContext:
    """What :meth:`Task.complete_records` receives in addition to the records.

    Attributes:
        renderer: The evaluated model's tokenizer and chat template.
        reference: The weights that training started from: ``self`` for an untrained model, ``base``, or ``start``.
        logprobs: Function: log-probability of every action token of some sequences (nats, temperature 1), under the
            evaluated weights and under the reference, both by the evaluation's engine. A call loads the reference.
        base: Function: reads the untrained model's finished records under the same setting; it returns None while the
            untrained model is evaluated.
        logits: Function: raw logits at the action tokens of some sequences, under the weights of ``own`` or
            ``reference``, by the model's own forward pass, which computes common prefixes once.
        trained_on: The task's configuration of the training that made the weights; None for a model that was not
            trained here.
        served: True if a server has the model: then ``renderer``, ``logprobs`` and ``logits`` refuse.
    """

    renderer: Renderer
    reference: Literal["self", "base", "start"]
    logprobs: Callable[[Sequence[TokenSequence]], tuple[list[list[float]], list[list[float]]]]
    base: Callable[[], Sequence[dict[str, Any]] | None]
    logits: Callable[[Sequence[TokenSequence], Literal["own", "reference"]], list[ActionLogits]]
    trained_on: TaskConfig | None = None
    served: bool = False
