"""Whether a model's chat template shows what the data have in addition to texts: tools, calls, thoughts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, Episode, Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiqbench.plugin import Renderer
    from shiqbench_tasks.ultrafeedback.data import Prompt

NOT_SHOWN = "the model's chat template does not show "
PROBE = "shiqbench_probe"
OTHER_MODEL = "use a model whose template does"


def check(prompts: Iterable[Prompt], renderer: Renderer) -> None:
    """Refuse a template that leaves out a part of the data.

    Raises:
        ConfigError: It ignores the tools of a prompt, a tool call, or the thought of an answer.
    """
    found = list(prompts)
    if any(p.tools for p in found) and not renderer.supports_tools():
        raise ConfigError(
            NOT_SHOWN + "tools, which the data offer",
            where="column tools",
            do=OTHER_MODEL + ", or leave them out: --set task.columns.tools=",
        )
    calling = next((p for p in found if any("tool_calls" in m.extra for m in p.messages)), None)
    if calling is not None:
        messages = [_with_a_probe(m, "tool_calls", _renamed(m.extra.get("tool_calls", ()))) for m in calling.asked]
        _require(PROBE in renderer.decode(renderer.prompt(messages, calling.tools)), "tool calls", calling)
    thinking = next(((p, a) for p in found for a in p.answers if "reasoning_content" in a.extra), None)
    if thinking is not None:
        prompt, answer = thinking
        said = _with_a_probe(Message("assistant", answer.text, True, extra=answer.extra), "reasoning_content", PROBE)
        shown = renderer.render(Episode(prompt.id, "", "", (*prompt.asked, said), tools=prompt.tools)).sequences[-1]
        _require(PROBE in renderer.decode(shown.ids), "the thought of an answer", prompt)


def _with_a_probe(message: Message, key: str, value: Any) -> Message:
    """The message with another value of a key that it has."""
    return replace(message, extra={**message.extra, key: value}) if key in message.extra else message


def _renamed(calls: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls, of another function."""
    return [
        {**c, "function": {**c["function"], "name": PROBE}} if "function" in c else {**c, "name": PROBE} for c in calls
    ]


def _require(shown: bool, what: str, prompt: Prompt) -> None:
    if not shown:
        raise ConfigError(NOT_SHOWN + what, where=f"prompt {prompt.messages[0].content[:40]!r}", do=OTHER_MODEL)
