"""A conversation in the model's tokens, as the model was or will be asked: the core of rendering.

Every assistant turn that is trained or was sampled has a prompt that asks for it. Where the template's text of the
whole conversation has that prompt and that answer unchanged, the ids are those of the prompt, followed by those of
the answer.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.episodes.encoding import Encoded, Encoder
    from shiqbench.episodes.episode import Message
    from shiqbench.episodes.template import ChatTemplate, Slot, Span

KNOWN = 65536  # prompts and answers that are remembered


class ConversationEncoder:
    """Encodes conversations of one model.

    Args:
        template: The chat template.
        encoder: The tokenizer.
        stop_ids: Every id that ends an answer.
    """

    def __init__(self, template: ChatTemplate, encoder: Encoder, stop_ids: Sequence[int]) -> None:
        self._template, self._encoder, self._stop_ids = template, encoder, stop_ids
        ends = [encoder.special_texts[i] for i in stop_ids if i in encoder.special_texts]
        self._end = re.compile("|".join(re.escape(text) for text in sorted(ends, key=len, reverse=True)))
        word = encoder.encode("a").ids[-1:]
        self._before = word, encoder.decode(word)
        self._prompts: dict[int, tuple[int, int]] = {}
        self._answers: dict[int, str | None] = {}

    def encode(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, generate: bool
    ) -> tuple[list[int], list[int], bool]:
        """Encode a conversation.

        Returns:
            (ids; per id the index of the action message to which it belongs, or else -1; whether every action is in
            the text as it was asked for).
        """
        slots, offered = [self.slot(m) for m in messages], _offered(messages, tools)
        text = self._template.write(slots, offered, generate=generate)
        contents = self._template.spans(slots, offered, text, generate=generate)
        if generate:
            _remember(self._prompts, _key(messages, tools), (len(text), hash(text)))
        whole = self._encoder.encode(text, [span for span in contents if span])
        ids: list[int] = []
        owner: list[int] = []
        done, as_asked = 0, True
        for i, message in enumerate(messages):
            if not message.action and message.token_ids is None:
                continue
            found = self._find(messages, i, tools, text, whole, contents)
            if found is None:
                as_asked = False
                continue
            before, answer, after = found
            ids += [*before[done:], *answer]
            owner += [-1] * len(before[done:]) + [i if message.action else -1] * len(answer)
            done = after
        ids += whole.ids[done:]
        return ids, owner + [-1] * (len(whole.ids) - done), as_asked

    def continued(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[int]:
        """Ids of the last answer, directly after its prompt, where the template writes it after another text.

        Such a template ends the prompt with a thought, empty or open, that it leaves out of the conversation. A
        recorded thought continues an open one; an answer without a thought cannot: then the result is empty.
        """
        slots = [self.slot(m) for m in messages]
        prompt = self._template.write(slots[:-1], _offered(messages[:-1], tools), generate=True)
        content = slots[-1]["content"]
        if self._template.opens_thought(prompt):
            begin, end = self._template.thought_marks or ("", "")
            content = content.strip().removeprefix(begin).removeprefix(prompt[len(prompt.rstrip()) :])
            if end not in content:
                return []
        self._template.rules.add("answers directly follow the prompt, where the template writes another text between")
        return [*self._encoder.continuation(content), self._stop_ids[0]]

    def _find(
        self,
        messages: Sequence[Message],
        i: int,
        tools: Sequence[dict[str, Any]],
        text: str,
        whole: Encoded,
        contents: Sequence[Span | None],
    ) -> tuple[list[int], list[int], int] | None:
        """Return (ids of the text before an answer, ids of the answer, index in ``whole`` after it).

        None if the text does not have the answer as the model would give it to its prompt, or gave it.
        """
        start, prompt = self._prompt(messages[:i], tools)
        answer, sampled = self._answer(messages[: i + 1], tools), messages[i].token_ids
        if answer is None or hash(text[:start]) != prompt or not text.startswith(answer, start):
            return None
        at = start + len(answer)
        end = whole.index_at(at)
        if end is None or whole.ids[end] not in self._stop_ids:
            return None
        before = self._up_to(start, text, whole, contents)
        if sampled is not None:
            # The sampled end is kept too. If the token limit cut the message, the template's end is no action.
            stopped = sampled[-1:] and sampled[-1] in self._stop_ids
            return before, list(sampled), end + 1 if stopped else end
        if whole.ids[: len(before)] == before:
            return before, whole.ids[len(before) : end + 1], end + 1
        # A token lies across the end of the prompt. The newest answer follows the prompt as it is asked.
        if i + 1 < len(messages):
            return None
        ids = [*self._encoder.continuation(text[start:at]), whole.ids[end]]
        return (
            (before, ids, end + 1)
            if self._encoder.decode(before + ids) == self._encoder.decode(whole.ids[: end + 1])
            else None
        )

    def _up_to(self, character: int, text: str, whole: Encoded, contents: Sequence[Span | None]) -> list[int]:
        """Ids of the text before a character, as if nothing followed; special tokens separate what is encoded."""
        start, index = max(((at, i) for at, i in whole.specials if at < character), default=(0, 0))
        inside = [(a - start, b - start) for a, b in filter(None, contents) if start <= a and b <= character]
        return whole.ids[:index] + self._encoder.encode(text[start:character], inside).ids

    def _prompt(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> tuple[int, int]:
        """Length and hash of the text that asks for the next answer."""
        key = _key(messages, tools)
        if key not in self._prompts:
            slots = [self.slot(m) for m in messages]
            text = self._template.write(slots, _offered(messages, tools), generate=True)
            _remember(self._prompts, key, (len(text), hash(text)))
        return self._prompts[key]

    def _answer(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> str | None:
        """Text of the last message after its prompt, without its end; None if the template writes no such text."""
        slots = [self.slot(m) for m in messages]
        if messages[-1].token_ids is not None:
            return str(slots[-1]["content"])
        key = _key(messages, tools)
        if key not in self._answers:
            start, prompt = self._prompt(messages[:-1], tools)
            offered = _offered(messages, tools)
            text = self._template.write(slots, offered, generate=False)
            after = start
            if self._end.search(slots[-1]["content"]):  # the end is behind what the content spells
                span = self._template.spans(slots, offered, text, generate=False)[-1]
                after = span[1] if span else start
            end = self._end.search(text, after)
            fits = end is not None and hash(text[:start]) == prompt
            _remember(self._answers, key, text[start : end.start()] if end and fits else None)
        return self._answers[key]

    def slot(self, message: Message) -> Slot:
        """A message as templates take it; for a sampled one, the text of its ids, with a leading blank if there."""
        content, ids = message.content, message.token_ids
        if ids is not None:
            word, text = self._before
            ids = ids[:-1] if ids[-1:] and ids[-1] in self._stop_ids else ids
            content = self._encoder.decode([*word, *ids])[len(text) :]
        extra = dict(message.extra)
        if extra.get("tool_calls"):
            extra["tool_calls"] = [_with_parsed_arguments(call) for call in extra["tool_calls"]]
        return {"role": message.role, "content": content, **extra}


def _offered(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The tools that the last message with tools offers, or else those of the conversation."""
    return next((m.tools for m in reversed(messages) if m.tools is not None), tools)


def _key(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> int:
    """Hash of all that decides a conversation's text."""
    others = json.dumps([tools, *([m.tools, m.extra] for m in messages)])
    return hash((others, *((m.role, m.content, m.token_ids) for m in messages)))


def _remember(known: dict[int, Any], key: int, value: Any) -> None:
    if len(known) >= KNOWN:
        known.clear()
    known[key] = value


def _with_parsed_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call whose arguments are an object; some recordings hold them as JSON text, and templates do not."""
    function = call.get("function", call)
    if not isinstance(function.get("arguments"), str):
        return call
    try:
        parsed = {**function, "arguments": json.loads(function["arguments"])}
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"the arguments of a tool call are not JSON: {error}",
            where=f"call of {function.get('name')}",
            do="fix the data",
        ) from error
    return {**call, "function": parsed} if "function" in call else parsed
