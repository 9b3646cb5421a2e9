"""The model's own chat template: its rendering of a conversation, and the place of every content in it.

A template decides from contents: it trims them, drops old thoughts, or writes a tool's reply as a JSON string. So the
text is always rendered from the real contents. Where a content is in that text is found with a second rendering, in
which invisible marks enclose each content; without its marks, the second text must equal the first.
"""

from __future__ import annotations

import datetime
import json
import re
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Slot = dict[str, Any]
Span = tuple[int, int]

DATE = datetime.datetime(2024, 7, 26, tzinfo=datetime.UTC)  # for templates that write today's date
THOUGHTS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
)
PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "shiqbench_probe_tool",
        "description": "A probe.",
        "parameters": {"type": "object", "properties": {}},
    },
}
RESERVED = frozenset(
    {
        "messages",
        "conversation",
        "tools",
        "documents",
        "tokenize",
        "add_generation_prompt",
        "continue_final_message",
        "chat_template",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
        "strftime_now",
    }
)
_MARK = re.compile("([\U000f0000-\U000ffffd])")


class ChatTemplate:
    """A tokenizer's chat template with fixed arguments.

    Args:
        tokenizer: The tokenizer of transformers that carries the template.
        arguments: Further keywords of the template, such as ``enable_thinking``.

    Attributes:
        rules: What the template does to contents, and the rule that is followed; for manifests.
        closing: What follows an answer that is the last message, beyond the template's own text.
        writes_date: Whether the template asked for today's date, and got :data:`DATE` instead.

    Raises:
        ConfigError: An argument has the name of something that is set here.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any]) -> None:
        if taken := sorted(RESERVED & set(arguments)):
            raise ConfigError(f"{taken[0]} is set by shiqbench", where=f"model.template.{taken[0]}", do="leave it out")
        self.tokenizer, self.arguments = tokenizer, dict(arguments)
        self.rules: set[str] = set()
        self.writes_date = False
        self.closing = ""

    def close_with(self, text: str) -> None:
        """End a conversation whose last message is an answer with this text: the template writes nothing there."""
        self.closing = text
        self.rules.add("the mark of the next message ends an answer")

    def write(self, slots: Sequence[Slot], tools: Sequence[Slot], *, generate: bool) -> str:
        """Return the template's own text of a conversation.

        Args:
            slots: Messages as the template takes them.
            tools: Tool documents that are offered.
            generate: Whether the text ends where the model answers.

        Raises:
            ConfigError: The template refuses the conversation, or it does not show tools or calls that are there.
        """
        if tools and not self.supports_tools:
            raise self._not_shown("the tools that the conversation offers")
        if any(slot.get("tool_calls") for slot in slots) and "shiqbench_probe_tool" not in self.example_of_a_call:
            raise self._not_shown("the tool calls of an assistant message")
        return self._apply(slots, tools, generate=generate)

    def open(self, slots: Sequence[Slot]) -> str:
        """Return the template's own text of a conversation whose last message goes on.

        Raises:
            ConfigError: The template refuses the conversation.
        """
        return self._apply(slots, (), generate=False, continue_final_message=True)

    def spans(self, slots: Sequence[Slot], tools: Sequence[Slot], text: str, *, generate: bool) -> list[Span | None]:
        """Return where each content is in the text of :meth:`write`; None for a blank content.

        Raises:
            ConfigError: The template drops, repeats, moves or rewrites a message.
        """
        if _MARK.search(text):
            raise ConfigError(
                "a content has private-use characters (U+F0000 to U+FFFFD)", where="messages", do="remove them"
            )
        wanted = [i for i, slot in enumerate(slots) if slot["content"].strip()]
        places: dict[int, tuple[int, ...]] = {i: _outer(slots[i]["content"]) for i in wanted}

        def found(marked: Mapping[int, Sequence[int]]) -> dict[str, list[int]] | None:
            with_marks = [
                {**slot, "content": _marked(slot["content"], i, marked[i])} if i in marked else slot
                for i, slot in enumerate(slots)
            ]
            return _positions(self._apply(with_marks, tools, generate=generate), text)

        at = found(places)
        if at is None:  # a mark changes what the template decides: find the message, and mark it elsewhere
            at = {}
            for i in wanted:
                own = found({i: places[i]})
                if own is None:
                    places[i] = (self._middle(slots[i]),)
                    own = found({i: places[i]})
                if own is None:
                    raise self._changed(slots[i], i, "decides from its text in a way that cannot be followed")
                at |= own
        spans: list[Span | None] = [None] * len(slots)
        for i in wanted:
            spans[i] = self._span(i, slots[i], text, places[i], at)
        self._check_order(slots, [(i, span) for i, span in enumerate(spans) if span is not None])
        return spans

    @cached_property
    def supports_tools(self) -> bool:
        """Whether a tool's name appears in the rendering; many templates silently ignore ``tools``."""
        try:
            text = self._apply([{"role": "user", "content": "x"}], [PROBE_TOOL], generate=False)
        except ConfigError:
            return False
        return "shiqbench_probe_tool" in text

    @cached_property
    def example_of_a_call(self) -> str:
        """Text of a conversation with a call of the probe tool, which is not offered; empty if calls are refused."""
        call = {"type": "function", "id": "call00001", "function": {"name": "shiqbench_probe_tool"}}
        call["function"]["arguments"] = {"key": "value"}  # type: ignore[index]
        calling = {"role": "assistant", "content": "", "tool_calls": [call]}
        try:
            return self._apply([{"role": "user", "content": "x"}, calling], [], generate=False)
        except ConfigError:
            return ""

    @cached_property
    def thought_marks(self) -> tuple[str, str] | None:
        """Beginning and end of a thought in this model's texts; None if the model marks no thoughts."""
        known = f"{self.tokenizer.chat_template} {list(self.tokenizer.get_added_vocab())}"
        return next((marks for marks in THOUGHTS if marks[1] in known), None)

    def answer_of(self, content: str) -> str:
        """Return a content without the thought in it."""
        return content.rpartition(self.thought_marks[1])[2] if self.thought_marks else content

    def opens_thought(self, prompt: str) -> bool:
        """Whether a prompt ends inside a thought, which the model then continues."""
        if self.thought_marks is None:
            return False
        begin, end = self.thought_marks
        return begin in prompt.rpartition(end)[2]

    def _apply(self, slots: Sequence[Slot], tools: Sequence[Slot], *, generate: bool, **options: bool) -> str:
        def fixed_date(form: str) -> str:
            self.writes_date = True
            return DATE.strftime(form)

        try:
            text = str(
                self.tokenizer.apply_chat_template(
                    list(slots),
                    tools=list(tools) or None,
                    tokenize=False,
                    add_generation_prompt=generate,
                    strftime_now=fixed_date,
                    **options,
                    **self.arguments,
                )
            )
        except Exception as error:  # a template may raise any error
            raise ConfigError(
                f"the chat template refuses the conversation: {error}",
                where="roles " + ", ".join(sorted({slot["role"] for slot in slots})),
                do="use a model whose template takes these roles",
            ) from error
        answered = not generate and not options and slots[-1]["role"] == "assistant"
        return text + self.closing if answered else text

    def _middle(self, slot: Slot) -> int:
        """A place in a content where no template looks: the middle of the answer."""
        content = slot["content"].rstrip()
        answer = self.answer_of(content) if slot["role"] == "assistant" else content
        return len(content) - (len(answer.lstrip()) + 1) // 2

    def _span(self, i: int, slot: Slot, text: str, places: Sequence[int], at: Mapping[str, list[int]]) -> Span:
        first, last = _outer(slot["content"])
        core = slot["content"][first:last]
        ends = at.get(_mark(2 * i + 1), [])
        if len(ends) != 1:
            raise self._changed(slot, i, "repeats it" if ends else "drops it")
        starts = at.get(_mark(2 * i), [])
        if len(places) == 1:  # one mark, inside the content
            start: int | None = ends[0] - (places[0] - first)
            end = ends[0] + last - places[0]
        else:
            start, end = starts[0] if len(starts) == 1 else None, ends[0]
        answer = self.answer_of(core).strip() if slot["role"] == "assistant" else core
        if start is not None and text[start:end] == core:
            lead, tail = slot["content"][:first], slot["content"][last:]
            if not text[:start].endswith(lead) or not text.startswith(tail, end):
                self.rules.add("contents are trimmed")
        elif start is not None and text[start:end] in _as_json(core):
            self.rules.add("contents are written as JSON strings")
        elif answer != core and text[:end].endswith(answer):
            self.rules.add("thoughts in messages are written or left out by the template")
            start = end - len(answer)
        else:
            raise self._changed(slot, i, "rewrites it")
        return start, end

    def _check_order(self, slots: Sequence[Slot], spans: Sequence[tuple[int, Span]]) -> None:
        """Only a system message may move, as in templates that write it before the last user message."""
        order = [i for i, _ in sorted(spans, key=lambda at: at[1])]
        if order == sorted(order):
            return
        self.rules.add("the system message is moved")
        others = [i for i in order if slots[i]["role"] not in ("system", "developer")]
        for before, after in pairwise(others):
            if before > after:
                raise self._changed(slots[after], after, "moves it")

    def _changed(self, slot: Slot, i: int, how: str) -> ConfigError:
        return ConfigError(
            f"the model would not see message {i} ({slot['role']}) as it is: the chat template {how}",
            where=f"{slot['content'].strip()[:40]!r}",
            do="use a model or a template that writes such messages",
        )

    def _not_shown(self, what: str) -> ConfigError:
        return ConfigError(
            f"the model would not see {what}: the chat template leaves them out",
            where=str(self.tokenizer.name_or_path),
            do="use a model whose template shows tools, or data without them",
        )


def _outer(content: str) -> tuple[int, int]:
    """The place of a content without its outer blanks."""
    first = len(content) - len(content.lstrip())
    return first, len(content.rstrip())


def _mark(index: int) -> str:
    return chr(0xF0000 + index)


def _marked(content: str, i: int, places: Sequence[int]) -> str:
    """A content with marks at one or two places; the last mark is the odd one."""
    for mark, place in zip((2 * i + 1, 2 * i), reversed(places), strict=False):
        content = content[:place] + _mark(mark) + content[place:]
    return content


def _positions(marked: str, text: str) -> dict[str, list[int]] | None:
    """Where marks are, counted in the text without marks; None if that is not ``text``."""
    if _MARK.sub("", marked) != text:
        return None
    found: dict[str, list[int]] = {}
    at = 0
    for piece in _MARK.split(marked):
        if _MARK.fullmatch(piece):
            found.setdefault(piece, []).append(at)
        else:
            at += len(piece)
    return found


def _as_json(text: str) -> tuple[str, ...]:
    """A text inside a JSON string, in the two usual spellings."""
    return tuple(json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))
