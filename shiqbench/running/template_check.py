"""Checks of a model's chat template: does the renderer give the model what the template itself writes?

The template's text and its ids are computed here a second time, with the tokenizer only. So a fault of the renderer
is a difference, and not the same fault twice.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError
from shiqbench.base.findings import Finding, State, worst
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.stops import declared_stops
from shiqbench.episodes.template import DATE, PROBE_TOOL, ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from shiqbench.episodes.rendering import Renderer

SPECIAL, SYSTEM, OFFERED, CALLS, RESULTS = (
    *("a special token in a text", "system prompt", "offered tools", "tool calls", "tool results"),
)
PROMPTS, ANSWERS = "prompts", "trained answers"
THINKS = re.compile(r"think|reasoning|analysis")


def probes(renderer: Renderer) -> dict[str, Episode]:
    """Conversations of the kinds that tasks use, by name."""
    begin, end = renderer.thought_marks or ("<think>", "</think>")
    name = PROBE_TOOL["function"]["name"]  # type: ignore[index]
    call = {"type": "function", "id": "call00001", "function": {"name": name, "arguments": {"key": "value"}}}
    look = Message("user", "Look.")
    replied = [
        Message("tool", '{"found": "a cup"}', extra={"tool_call_id": "call00001", "name": name}),
        *_talk("Done."),
    ]
    conversations = {
        "several turns": _talk("Hi there!", "Hello.", "More, please.", "No."),
        SYSTEM: [Message("system", "Be brief."), *_talk("Hi there!", "Hello.")],
        "outer blanks": _talk("  Hi \n", "\n Hello. \n", "More\n\n", "  No."),
        "an empty answer": _talk("Hi", "", "More", "No."),
        "letters of all kinds": _talk("Où est 東京? 🙂\n\n\tnaïve", "Là-bas: 日本."),
        SPECIAL: _talk(f"What is {renderer.end_of_turn_text} for?", "It ends a turn."),
        "thoughts": _talk("Hi", f"{begin}\nHm.\n{end}\n\nHello.", "More", f"{begin}\nOh.\n{end}\n\nNo."),
        OFFERED: _talk("Hi there!", "Hello."),
        CALLS: [look, Message("assistant", "", extra={"tool_calls": [call]}), *replied],
        RESULTS: [look, *_talk(f"[{name}()]"), *replied],
    }
    return {
        kind: Episode(kind, kind, "probe", tuple(messages), (PROBE_TOOL,) if kind == OFFERED else ())
        for kind, messages in conversations.items()
    }


def _talk(*contents: str) -> list[Message]:
    """Messages of user and assistant in turn; the last one is the assistant's."""
    roles = ("user", "assistant") * len(contents)
    first = len(contents) % 2
    return [Message(r, c, action=r == "assistant") for r, c in zip(roles[first:], contents, strict=False)]


def template_findings(renderer: Renderer, folder: Path) -> list[Finding]:
    """Findings about the rendering, the ends of a turn, tools, thinking and the date."""
    found = {kind: _compared(renderer, episode) for kind, episode in probes(renderer).items()}
    unseen = {kind for kind, parts in found.items() if PROMPTS in parts}
    tools = (("offered", OFFERED), ("calls", CALLS), ("results", RESULTS))
    shown = ", ".join(f"{name} {'no' if kind in unseen else 'yes'}" for name, kind in tools)
    date = f"fixed to {DATE.date().isoformat()}" if renderer.template.writes_date else "the template writes none"
    return [
        _summary(PROMPTS, found, renderer.template.rules),
        _summary(ANSWERS, found, ()),
        *_by_reason(found),
        *_ends(renderer, folder),
        Finding("tools", State.OK, shown),
        _thinking(renderer),
        Finding("date", State.OK, date),
    ]


def _summary(part: str, found: Mapping[str, Mapping[str, Finding]], rules: Iterable[str]) -> Finding:
    bad = {kind: parts[part] for kind, parts in found.items() if part in parts}
    text = f"{len(found) - len(bad)} of {len(found)} kinds of conversation as the template writes them"
    text += "".join(f"; {rule}" for rule in sorted(rules))
    state = State.WARNING if len(bad) == len(found) else State.OK
    do = "only answers that the model samples can be trained" if state is State.WARNING and part == ANSWERS else ""
    return Finding(
        part, worst([Finding(part, state, text), *(f for f in bad.values() if f.state is State.PROBLEM)]), text, do
    )


def _by_reason(found: Mapping[str, Mapping[str, Finding]]) -> list[Finding]:
    """One finding per reason; a kind whose prompts are wrong is not named again for its answers."""
    kinds: dict[Finding, list[str]] = {}
    for kind, parts in found.items():
        if parts:
            kinds.setdefault(parts.get(PROMPTS) or parts[ANSWERS], []).append(kind)
    return [replace(finding, name=f"{finding.name}: {', '.join(names)}") for finding, names in kinds.items()]


def _compared(renderer: Renderer, episode: Episode) -> dict[str, Finding]:
    """What is wrong with an episode's prompts, and with its answers in training; empty if nothing is."""
    found = {}
    for part, pairs in ((PROMPTS, _prompts), (ANSWERS, _answers)):
        try:
            differences = [
                _difference(renderer, *pair, spelled=episode.id == SPECIAL) for pair in pairs(renderer, episode)
            ]
            differences += [_mask(renderer, episode)] if part == ANSWERS else []
        except ConfigError as error:
            found[part] = Finding(part, State.WARNING, f"refused: {error.what}", error.do)
            continue
        if text := next(filter(None, differences), ""):
            found[part] = Finding(part, State.PROBLEM, text, "do not use such data with this model")
    return found


def _prompts(renderer: Renderer, episode: Episode) -> list[tuple[list[int], list[int]]]:
    """The prompt of every answer, as the model gets it and as the template writes it."""
    acting = [i for i, m in enumerate(episode.messages) if m.action]
    return [
        (renderer.prompt(episode.messages[:i], episode.tools), _ids(renderer, _own_text(renderer, episode, i)))
        for i in acting
    ]


def _answers(renderer: Renderer, episode: Episode) -> list[tuple[list[int], list[int]]]:
    """The sequences that are trained, up to the end of their last answer, and the template's text up to there."""
    acting = [i for i, m in enumerate(episode.messages) if m.action]
    sequences = renderer.render(episode).sequences
    pairs = []
    for i, sequence in zip(acting[-len(sequences) :], sequences, strict=True):
        text, prompt = _own_text(renderer, episode, i + 1, generate=False), _own_text(renderer, episode, i)
        if not text.startswith(prompt):  # it asks for what it does not write: the answer follows the prompt
            content = episode.messages[i].content
            asked = next(k for k in range(len(content), -1, -1) if prompt.endswith(content[:k]))
            text = prompt + content[asked:] + renderer.end_of_turn_text
        own = _ids(renderer, text)
        end = max((at + 1 for at, token in enumerate(own) if token == renderer.end_of_turn), default=0)
        pairs.append((list(sequence.ids), own[:end]))
    return pairs


def _mask(renderer: Renderer, episode: Episode) -> str:
    """Where the tokens that are trained do not go from the end of a prompt to a stop id; empty if they do."""
    acting = [i for i, m in enumerate(episode.messages) if m.action]
    sequences = renderer.render(episode).sequences
    for sequence, answers in zip(sequences, [acting] if len(sequences) == 1 else [[i] for i in acting], strict=True):
        actions = set(sequence.actions)
        starts = [p for p in sequence.actions if p - 1 not in actions]
        asked = [len(renderer.prompt(episode.messages[:i], episode.tools)) for i in answers]
        if starts != asked:
            return f"answers begin at tokens {starts}, and their prompts end at {asked}"
        if not {sequence.ids[p] for p in actions if p + 1 not in actions} <= set(renderer.stop_ids):
            return "the tokens that are trained do not end with a stop id"
    return ""


def _own_text(renderer: Renderer, episode: Episode, count: int, *, generate: bool = True) -> str:
    text = str(
        renderer.tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content, **m.extra} for m in episode.messages[:count]],
            tools=list(episode.tools) or None,
            tokenize=False,
            add_generation_prompt=generate,
            strftime_now=DATE.strftime,
            **renderer.template.arguments,
        )
    )
    return text if generate else text + renderer.template.closing


def _ids(renderer: Renderer, text: str) -> list[int]:
    return list(renderer.tokenizer(text, add_special_tokens=False)["input_ids"])


def _difference(renderer: Renderer, ours: Sequence[int], own: Sequence[int], *, spelled: bool) -> str:
    """Where ids differ from the template's own; empty if they do not.

    Other ids may spell the same text: a token that would lie across the end of a prompt stays divided there.

    Args:
        renderer: The renderer.
        ours: Ids that the model gets.
        own: Ids of the template's own text.
        spelled: Whether a message spells the end of a turn, which must stay text.
    """
    if ours == own and not spelled:
        return ""
    ends = [sum(i == renderer.end_of_turn for i in ids) for ids in (ours, own)]
    if ends[0] != ends[1] - spelled:
        return f"{ends[0]} ends of turn in place of {ends[1] - spelled}"
    text, theirs = renderer.decode(ours), renderer.decode(own)
    if spelled:  # as a token, it may swallow blanks next to it, or the tokenizer may add some
        end = re.compile(rf"\s*({re.escape(renderer.end_of_turn_text)})\s*")
        text, theirs = end.sub(r"\1", text), end.sub(r"\1", theirs)
    if text == theirs:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(text, theirs, strict=False)) if a != b), min(len(text), len(theirs)))
    near = slice(max(0, at - 20), at + 20)
    return f"the template writes ...{theirs[near]!r}, and the model gets ...{text[near]!r}"


def _ends(renderer: Renderer, folder: Path) -> list[Finding]:
    def names(ids: Iterable[int]) -> str:
        return ", ".join(f"{renderer.decode([i])} ({i})" for i in ids)

    end = names([renderer.end_of_turn])
    end += (
        "" if renderer.end_of_turn in declared_stops(folder) else ", by the template; the model's files do not name it"
    )
    return [Finding("end of turn", State.OK, end), Finding("stop ids", State.OK, names(renderer.stop_ids))]


def _thinking(renderer: Renderer) -> Finding:
    """How the template treats thoughts."""
    tokenizer, arguments = renderer.tokenizer, renderer.template.arguments
    if renderer.thought_marks is None:
        if THINKS.search(str(tokenizer.chat_template)):
            text = "the template speaks of thinking, but marks no thoughts that are known here"
            return Finding("thinking", State.WARNING, text, "check that tasks score the answer only")
        return Finding("thinking", State.OK, "none")
    begin, end = renderer.thought_marks

    def prompt(messages: Sequence[Message], **further: bool) -> str:
        template = ChatTemplate(tokenizer, {**arguments, **further})
        return template.write([{"role": m.role, "content": m.content} for m in messages], (), generate=True)

    asked = _talk("Hi", "")[:1]
    before = [*_talk("Hi", f"{begin}\nQuite.\n{end}\n\nHello."), Message("user", "More")]
    facts = [f"{begin} {end}"]
    if begin in prompt(asked).rpartition(end)[2]:
        facts.append("the prompt begins a thought")
    try:
        facts.append(f"earlier thoughts are {'kept' if 'Quite.' in prompt(before) else 'removed'}")
    except ConfigError:
        facts.append("earlier thoughts are refused")
    if prompt(asked, enable_thinking=True) != prompt(asked, enable_thinking=False):
        facts.append("model.template.enable_thinking changes the prompt")
    return Finding("thinking", State.OK, "; ".join(facts))
