"""Rendering: the model's own chat template turns messages into ids with an action mask.

The template's own text of the real conversation is the truth, encoded as a whole. Ids that a model sampled are kept
where the template writes their text unchanged. An action begins where the prompt ends that asks for it, and it ends
with the end of the turn: what is trained is the prompt of the evaluation, followed by the answer.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import digest
from shiqbench.base.errors import ConfigError
from shiqbench.episodes.conversation import ConversationEncoder
from shiqbench.episodes.encoding import Encoder
from shiqbench.episodes.stops import declared_stops
from shiqbench.episodes.template import DATE, ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench.episodes.episode import Episode, Message


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
        turns: Number of the action message of each action token, from 0; None if there is only one.
    """

    episode: Episode
    sequences: tuple[TokenSequence, ...]
    rewards: tuple[float, ...]
    behaviour_logp: tuple[float, ...] | None
    turns: tuple[int, ...] | None = None

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
        template: Further keywords of the chat template, such as ``{"enable_thinking": False}``.

    Attributes:
        tokenizer: The tokenizer of transformers.
        template: The chat template.
        stop_ids: Every id that ends an answer: the template's end of turn, then those that the model declares.
        end_of_turn: Id that the template writes after an answer.
        end_of_turn_text: Text of that id.

    Raises:
        ConfigError: The folder contains no tokenizer or no chat template, or no special token ends a turn.
    """

    def __init__(self, folder: Path, template: Mapping[str, Any] | None = None) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        if not self.tokenizer.chat_template:
            raise ConfigError(
                "the model has no chat template",
                where=str(folder),
                do="use an instruction-tuned model, or add chat_template.jinja to its folder",
            )
        self.template_sha256 = hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()
        self.template = ChatTemplate(self.tokenizer, template or {})
        self._encoder = Encoder(self.tokenizer, folder)
        # An id outside the vocabulary is the default of a configuration class; no answer can end with it.
        declared = [
            i for i in (*declared_stops(folder), self.tokenizer.eos_token_id) if i in range(len(self.tokenizer))
        ]
        self.end_of_turn = self._end_of_turn(declared)
        self.end_of_turn_text = self._encoder.special_texts[self.end_of_turn]
        self.stop_ids = tuple(dict.fromkeys((self.end_of_turn, *declared)))
        self._conversation = ConversationEncoder(self.template, self._encoder, self.stop_ids)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The files that transformers saves for the tokenizer, by name."""
        with tempfile.TemporaryDirectory() as name:
            self.tokenizer.save_pretrained(name)
            files = (file for file in Path(name).rglob("*") if file.is_file())  # templates may lie in a sub-folder
            return {file.relative_to(name).as_posix(): file.read_bytes() for file in files}

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to text; special tokens are written out."""
        return self._encoder.decode(ids)

    def prompt(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        """Return the ids of a conversation up to the point where the model answers.

        Raises:
            ConfigError: The template refuses the conversation, or the model would not see a message as it is.
        """
        return self._conversation.encode(messages, tools, generate=True)[0]

    def supports_tools(self) -> bool:
        """Whether a tool's name appears in the rendering; many templates silently ignore ``tools``."""
        return self.template.supports_tools

    def example_of_a_call(self) -> str:
        """Return a rendered conversation with a call of the probe tool; empty if the template cannot render calls."""
        return self.template.example_of_a_call

    @property
    def template_identity(self) -> str:
        """Sha256 over the chat template and its further keywords."""
        return digest([self.template_sha256, self.template.arguments])

    @property
    def thought_marks(self) -> tuple[str, str] | None:
        """Beginning and end of a thought in this model's texts; None if the model marks no thoughts."""
        return self.template.thought_marks

    def split_thought(self, prompt: Sequence[int], content: str) -> tuple[str, str]:
        """Split a sampled content into thought and answer.

        Args:
            prompt: The prompt that it was sampled from; some templates open the thought there.
            content: The sampled text.

        Returns:
            (thought with its marks, answer). A thought that does not end has no answer after it.
        """
        if self.thought_marks is None:
            return "", content
        begin, end = self.thought_marks
        thought, mark, answer = content.rpartition(end)
        if mark:
            return thought + mark, answer.lstrip()
        opened = self.template.opens_thought(self.decode(prompt[-16:]))
        return (content, "") if opened or content.lstrip().startswith(begin) else ("", content)

    def facts(self) -> dict[str, Any]:
        """What the template does, for manifests."""
        found: dict[str, Any] = {"chat_template_sha256": self.template_sha256, "stop_ids": list(self.stop_ids)}
        if self.template.arguments:
            found["template_arguments"] = self.template.arguments
        if self.template.rules:
            found["template_rules"] = sorted(self.template.rules)
        if self.template.writes_date:
            found["template_date"] = DATE.date().isoformat()
        return found

    def render(self, episode: Episode) -> Rendered:
        """Convert an episode to tokens, with mask and rewards.

        Raises:
            ConfigError: The model would not see a message as it is, or would be trained on what it cannot be asked.
        """
        acting = [i for i, m in enumerate(episode.messages) if m.action]
        sequences: list[TokenSequence] = []
        owners: list[int] = []
        if acting:
            last = acting[-1]
            ids, owner, as_asked = self._conversation.encode(
                episode.messages[: last + 1], episode.tools, generate=False
            )
            if as_asked:
                ids = ids[: len(owner) - owner[::-1].index(last)]
                positions = [p for p, o in enumerate(owner) if o >= 0]
                sequences, owners = [TokenSequence(tuple(ids), tuple(positions))], [owner[p] for p in positions]
            else:
                sequences, owners = self._per_turn(episode, acting)
        turns = tuple(acting.index(owner) for owner in owners)
        return Rendered(
            episode, tuple(sequences), _rewards(episode, owners), _behaviour_logp(episode, acting, owners), turns
        )

    def _per_turn(self, episode: Episode, acting: list[int]) -> tuple[list[TokenSequence], list[int]]:
        """Return one sequence per assistant turn, for templates that rewrite history."""
        sequences, owners = [], []
        for i in acting:
            prompt, sampled = self.prompt(episode.messages[:i], episode.tools), episode.messages[i].token_ids
            if sampled is not None:
                answer = list(sampled)
            else:
                ids, owner, _ = self._conversation.encode(episode.messages[: i + 1], episode.tools, generate=False)
                answer = [t for t, o in zip(ids, owner, strict=True) if o == i]
                answer = answer or self._conversation.continued(episode.messages[: i + 1], episode.tools)
            if not answer:
                raise ConfigError(
                    "the chat template does not write the answer after the prompt that asks for it, up to an end",
                    where=f"episode {episode.id}, message {i}, prompt ...{self.decode(prompt[-8:])!r}",
                    do="set model.template.* (such as enable_thinking=false), or use another template or other data",
                )
            sequences.append(TokenSequence((*prompt, *answer), tuple(range(len(prompt), len(prompt) + len(answer)))))
            owners += [i] * len(answer)
        return sequences, owners

    def _end_of_turn(self, declared: Sequence[int]) -> int:
        """Return the special token that ends an answer in this template; declared ends of sequences come first."""
        slots = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        text, after = self._after_answer(slots)
        found = next((i for i in after if i in declared), next(iter(after), None))
        if found is not None:
            return found
        # Some families, such as GLM-4, end an answer with the mark of the next message, and declare it as an end.
        _, after = self._after_answer([*slots, {"role": "user", "content": "c"}])
        if after and after[0] in declared:
            self.template.close_with(self._encoder.special_texts[after[0]])
            return after[0]
        raise ConfigError(
            f"no special token ends an answer in the chat template: {text!r} follows it",
            where=str(self.tokenizer.name_or_path),
            do="use a template that ends the assistant's turn with a special token of the tokenizer",
        )

    def _after_answer(self, slots: list[dict[str, str]]) -> tuple[str, list[int]]:
        """The text that the template writes after the answer in a conversation, and its special tokens."""
        text = self.template.write(slots, (), generate=False)
        span = self.template.spans(slots, (), text, generate=False)[1]
        assert span is not None
        whole = self._encoder.encode(text)
        return text[span[1] :], [whole.ids[index] for at, index in whole.specials if at >= span[1]]


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
