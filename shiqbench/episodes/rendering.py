"""Rendering: the model's own chat template turns messages into ids with an action mask.

The template is rendered with a placeholder for the content of every message. The text between placeholders
belongs to the template and may contain special tokens. Contents are encoded separately, so that ``<|im_end|>``
in a user's text stays text. If a model sampled a message, its ids are used unchanged instead of its content.
The mask comes from these spans and is never inferred from ids.
"""

from __future__ import annotations

import hashlib
import math
import re
import tempfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.episodes.episode import Episode, Message

PLACEHOLDER = re.compile(r"@@shiqbench:(\d+)@@")
PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "shiqbench_probe_tool",
        "description": "A probe.",
        "parameters": {"type": "object", "properties": {}},
    },
}


@dataclass(frozen=True)
class TokenSequence:
    """One forward pass: ids, and the positions of the action tokens.

    Attributes:
        ids: Prompt and action tokens.
        actions: Positions of action tokens in ``ids``, ascending; never 0.
    """

    ids: tuple[int, ...]
    actions: tuple[int, ...]


@dataclass(frozen=True)
class Rendered:
    """An episode in the model's tokens.

    It is one sequence if the template only appends, and one per assistant turn if the template rewrites history.
    The action tokens of all sequences, in order, form the row that losses receive.

    Attributes:
        episode: The rendered episode.
        sequences: The forward passes.
        rewards: One reward per action token.
        behaviour_logp: One log-probability per action token; None if an action message has none.
    """

    episode: Episode
    sequences: tuple[TokenSequence, ...]
    rewards: tuple[float, ...]
    behaviour_logp: tuple[float, ...] | None

    @property
    def tokens(self) -> int:
        """Number of tokens of all forward passes."""
        return sum(len(s.ids) for s in self.sequences)

    @property
    def actions(self) -> int:
        """Number of action tokens."""
        return len(self.rewards)


class Renderer:
    """A model's tokenizer and chat template.

    Args:
        folder: The model folder.

    Raises:
        ConfigError: The folder contains no tokenizer or no chat template.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        if not self.tokenizer.chat_template:
            raise ConfigError(
                "the model has no chat template",
                where=str(folder),
                do="use an instruction-tuned model, or add chat_template.jinja to its folder",
            )
        self.template_sha256 = hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()
        self.end_of_turn, self.end_of_turn_text = self._end_of_turn()
        self._text = lru_cache(maxsize=65536)(self._encode_text)
        self._content = lru_cache(maxsize=65536)(self._encode_content)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The files that transformers saves for the tokenizer, by name."""
        with tempfile.TemporaryDirectory() as name:
            self.tokenizer.save_pretrained(name)
            files = (file for file in Path(name).rglob("*") if file.is_file())  # templates may lie in a sub-folder
            return {file.relative_to(name).as_posix(): file.read_bytes() for file in files}

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to text; special tokens are written out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def prompt(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        """Return the ids of a conversation up to the point where the model answers."""
        return self._encode(messages, tools, generate=True)[0]

    def supports_tools(self) -> bool:
        """Whether a tool's name appears in the rendering; many templates silently ignore ``tools``."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": "x"}], tools=[PROBE_TOOL], tokenize=False
        )
        return "shiqbench_probe_tool" in text

    def example_of_a_call(self) -> str:
        """Return a rendered conversation with a call of the probe tool; empty if the template cannot render calls."""
        call = {"type": "function", "function": {"name": "shiqbench_probe_tool", "arguments": {"key": "value"}}}
        calling = {"role": "assistant", "content": "", "tool_calls": [call]}
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": "x"}, calling], tools=[PROBE_TOOL], tokenize=False
                )
            )
        except Exception:  # a template may raise any error if it cannot write calls
            return ""

    def render(self, episode: Episode) -> Rendered:
        """Convert an episode to tokens, with mask and rewards.

        Raises:
            ConfigError: The template drops or repeats a message that the model produced.
        """
        acting = [i for i, m in enumerate(episode.messages) if m.action]
        whole, owner = self._encode(episode.messages, episode.tools, generate=False)
        prefixes = [self.prompt(episode.messages[:i], episode.tools) for i in acting]
        starts = [_first(owner, i) for i in acting]
        stable = all(
            start is not None and whole[:start] == prefix for start, prefix in zip(starts, prefixes, strict=True)
        )
        if stable:
            positions = [p for p, o in enumerate(owner) if o in set(acting)]
            end = positions[-1] + 1 if positions else len(whole)
            sequences = [TokenSequence(tuple(whole[:end]), tuple(positions))]
            owners = [owner[p] for p in positions]
        else:
            sequences, owners = self._per_turn(episode, acting, prefixes)
        return Rendered(episode, tuple(sequences), _rewards(episode, owners), _behaviour_logp(episode, acting, owners))

    def _per_turn(
        self, episode: Episode, acting: list[int], prefixes: list[list[int]]
    ) -> tuple[list[TokenSequence], list[int]]:
        """Return one sequence per assistant turn, for templates that rewrite history."""
        sequences, owners = [], []
        for i, prefix in zip(acting, prefixes, strict=True):
            ids, owner = self._encode(episode.messages[: i + 1], episode.tools, generate=False)
            if ids[: len(prefix)] != prefix:
                raise ConfigError(
                    "the chat template changes the prompt when the answer is added",
                    where=f"episode {episode.id}, message {i}",
                    do="use a template whose generation prompt is a prefix of the rendered turn",
                )
            # Text that the template writes between prompt and content (an empty think block) is no action of the model.
            positions = tuple(p for p, o in enumerate(owner) if o == i)
            sequences.append(TokenSequence(tuple(ids[: positions[-1] + 1]), positions))
            owners += [i] * len(positions)
        return sequences, owners

    def _encode(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, generate: bool
    ) -> tuple[list[int], list[int]]:
        """Return ids, and per id the index of the message to whose content or end of turn it belongs; else -1."""
        offered = next((m.tools for m in reversed(messages) if m.tools is not None), tools)
        slots = [{"role": m.role, "content": f"@@shiqbench:{i}@@", **m.extra} for i, m in enumerate(messages)]
        try:
            text = self.tokenizer.apply_chat_template(
                slots, tools=list(offered) or None, tokenize=False, add_generation_prompt=generate
            )
        except Exception as error:
            raise ConfigError(
                f"the chat template refuses the conversation: {error}",
                where="roles " + ", ".join(sorted({m.role for m in messages})),
                do="use a model whose template takes these roles",
            ) from error
        ids: list[int] = []
        owner: list[int] = []

        def add(new: Sequence[int], who: int) -> None:
            ids.extend(new)
            owner.extend([who] * len(new))

        parts = PLACEHOLDER.split(text)
        add(self._text(parts[0]), -1)
        for index_text, following in zip(parts[1::2], parts[2::2], strict=True):
            index = int(index_text)
            message = messages[index]
            if message.token_ids is not None:
                add(message.token_ids, index)
                ended = message.token_ids[-1:] == (self.end_of_turn,)
            else:
                add(self._content(message.content), index)
                ended = False
            rest = following
            if following.startswith(self.end_of_turn_text):
                rest = following[len(self.end_of_turn_text) :]
                if not ended:
                    # A message that the token limit cut did not end its turn: that id belongs to the template.
                    add([self.end_of_turn], index if message.action and message.token_ids is None else -1)
            add(self._text(rest), -1)
        return ids, [o if o < 0 or messages[o].action else -1 for o in owner]

    def _encode_text(self, text: str) -> tuple[int, ...]:
        """Encode text of the template: special tokens are tokens."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encode_content(self, text: str) -> tuple[int, ...]:
        """Encode the content of a message: special tokens are text."""
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _end_of_turn(self) -> tuple[int, str]:
        """Return the token that follows an assistant's content in this template, as id and text."""
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "@@shiqbench:0@@"}],
            tokenize=False,
        )
        after = PLACEHOLDER.split(text)[-1]
        ids = self.tokenizer(after, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ConfigError(
                "the chat template writes nothing after an assistant message",
                where="end-of-turn token",
                do="use a template that ends the assistant's turn with a token",
            )
        return int(ids[0]), self.decode(ids[:1])


def _first(owner: list[int], index: int) -> int | None:
    return owner.index(index) if index in owner else None


def _rewards(episode: Episode, owners: list[int]) -> tuple[float, ...]:
    """Return one reward per action token: each message's reward is on its last action token."""
    rewards = [0.0] * len(owners)
    last = {owner: position for position, owner in enumerate(owners)}
    for index, message in enumerate(episode.messages):
        if message.reward is None:
            continue
        if not math.isfinite(message.reward):
            raise ConfigError(
                f"a reward is {message.reward}",
                where=f"episode {episode.id}, message {index}",
                do="fix the data: rewards are finite numbers",
            )
        if index not in last:
            raise ConfigError(
                "a rewarded message has no action token",
                where=f"episode {episode.id}, message {index}",
                do="put rewards on messages that the model produced",
            )
        rewards[last[index]] = message.reward
    return tuple(rewards)


def _behaviour_logp(episode: Episode, acting: list[int], owners: list[int]) -> tuple[float, ...] | None:
    values: list[float] = []
    for index in acting:
        logp = episode.messages[index].behaviour_logp
        if logp is None:
            return None
        values += logp
    return tuple(values) if len(values) == len(owners) else None
