"""Whether a model's chat template shows what the data have in addition to texts: tools, calls, thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.plugin import ConfigError, Episode, Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiqbench.plugin import Renderer
    from shiqbench_tasks.ultrafeedback.data import Prompt

PROBE = "shiqbench_probe"


def check(prompts: Iterable[Prompt], renderer: Renderer) -> None:
    """Refuse a template that leaves out a part of the data.

    Raises:
        ConfigError: It ignores the tools of a prompt, a tool call, or the thought of an answer.
    """
    found = list(prompts)
    if any(p.tools for p in found) and not renderer.supports_tools():
        raise ConfigError(
            "the model's chat template does not show tools, which the data offer",
            where="column tools",
            do="use a model whose template does, or leave them out: --set task.columns.tools=",
        )
    calling = next((p for p in found if any("tool_calls" in m.extra for m in p.messages)), None)
    if calling is not None:
        renderer.prompt(calling.asked, calling.tools)  # refuses calls that the template does not show
    thinking = next(((p, a) for p in found for a in p.answers if "reasoning_content" in a.extra), None)
    if thinking is not None:
        prompt, answer = thinking
        said = Message("assistant", answer.text, action=True, extra={**answer.extra, "reasoning_content": PROBE})
        shown = renderer.render(Episode(prompt.id, "", "", (*prompt.asked, said), tools=prompt.tools)).sequences[-1]
        if PROBE not in renderer.decode(shown.ids):
            raise ConfigError(
                "the model's chat template does not show the thought of an answer",
                where=f"prompt {prompt.messages[0].content[:40]!r}",
                do="use a model whose template does, or leave reasoning_content out of the data",
            )
