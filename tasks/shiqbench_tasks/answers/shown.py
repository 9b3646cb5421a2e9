"""Whether a model's chat template shows what the data have in addition to texts: tools, calls, thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.plugin import ConfigError, Episode, Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiqbench.plugin import Renderer
    from shiqbench_tasks.answers.question import Question

PROBE = "shiqbench_probe"


def check(
    questions: Iterable[Question], thoughts: Iterable[tuple[Question, Message]], renderer: Renderer, without_tools: str
) -> None:
    """Refuse a template that leaves out a part of the data.

    Args:
        questions: What is asked.
        thoughts: Answers that have a thought, with what they answer.
        renderer: The model's template.
        without_tools: How the user leaves tools out of the data.

    Raises:
        ConfigError: It ignores the tools of a question, a tool call, or the thought of an answer.
    """
    found = list(questions)
    if any(q.tools for q in found) and not renderer.supports_tools():
        raise ConfigError(
            "the model's chat template does not show tools, which the data offer",
            where="column tools",
            do=f"use a model whose template does, or {without_tools}",
        )
    calling = next((q for q in found if any("tool_calls" in m.extra for m in q.asked)), None)
    if calling is not None:
        renderer.prompt(calling.asked, calling.tools)  # refuses calls that the template does not show
    for question, answer in thoughts:
        said = Message("assistant", answer.content, action=True, extra={**answer.extra, "reasoning_content": PROBE})
        shown = renderer.render(Episode(question.id, "", "", (*question.asked, said), tools=question.tools))
        if PROBE not in renderer.decode(shown.sequences[-1].ids):
            raise ConfigError(
                "the model's chat template does not show the thought of an answer",
                where=f"prompt {question.asked[0].content[:40]!r}",
                do="use a model whose template does, or leave reasoning_content out of the data",
            )
        return  # one thought tells
