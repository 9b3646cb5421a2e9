"""The distance from the reference, estimated on the policy's own samples."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shiqbench.plugin import TokenSequence, k1, k3

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench.plugin import EvaluationContext, Record, Renderer
    from shiqbench_tasks.answers.question import Question


def add(records: Sequence[Record], questions: Mapping[str, Question], context: EvaluationContext) -> None:
    """Give every record its distance; a served model gives no log-probabilities, so there it gets none.

    Args:
        records: Those with an answer; they are given the columns.
        questions: Id -> what was asked.
        context: Access to the log-probabilities.
    """
    if context.served:
        for r in records:
            r["reference"] = context.reference
        return
    sequences = [_sampled(r, questions[r["id"]], context.renderer) for r in records]
    for r, policy, reference in zip(records, *context.logprobs(sequences), strict=True):
        r |= {
            "reference": context.reference,
            "sample_tokens": len(policy),
            "k1": k1(policy, reference),
            "k3": k3(policy, reference),
        }


def _sampled(record: Record, question: Question, renderer: Renderer) -> TokenSequence:
    """Prompt and sampled ids of a record."""
    prompt = renderer.prompt(question.asked, question.tools)
    ids = json.loads(record["sample_ids"])
    return TokenSequence((*prompt, *ids), tuple(range(len(prompt), len(prompt) + len(ids))))
