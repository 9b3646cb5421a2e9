"""One row of any source, checked: a prompt, the tools that it offers, and its answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import Message
from shiqbench_tasks.rows.bad_rows import BadRow, WrongColumn
from shiqbench_tasks.rows.conversations import Conversation, conversation, tool_documents, unread
from shiqbench_tasks.rows.dialogues import messages_of
from shiqbench_tasks.ultrafeedback.columns import value_of
from shiqbench_tasks.ultrafeedback.ratings import DOUBTFUL, corrected, rating

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shiqbench_tasks.ultrafeedback.columns import Columns
    from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig


@dataclass(frozen=True)
class Answer:
    """A recorded answer.

    Attributes:
        text: What was answered.
        who: ``chosen``, ``rejected``, or the model that wrote it.
        rating: None where the source has none and none is asked for.
        extra: What else its message has for chat templates, such as a thought.
        comparison: Number of the stated comparison within the prompt; None for rated answers.
    """

    text: str
    who: str
    rating: float | None
    extra: dict[str, Any] = field(default_factory=dict)
    comparison: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The same for every answer that says the same."""
        return self.text, repr(sorted(self.extra.items()))

    def earns(self, returns: str) -> float:
        """Its rating, or 1 if it was chosen."""
        if returns == "preference":
            return float(self.who == "chosen")
        assert self.rating is not None
        return self.rating


@dataclass(frozen=True)
class Row:
    """A row that passed every check.

    Attributes:
        prompt: All before the answers, the same for each of them.
        tools: Tool documents that the prompt offers.
        answers: Those with a text, in the order of the source.
        counts: What was left out or changed in it.
        unread: Keys of its messages that mean nothing here.
    """

    prompt: Conversation
    tools: tuple[dict[str, Any], ...]
    answers: tuple[Answer, ...]
    counts: Counter[str]
    unread: frozenset[str]


@dataclass(frozen=True)
class _Stated:
    """An answer as the row states it: what comes before it in its own conversation, None for a text."""

    before: Conversation | None
    message: Message
    who: str
    score: Any


def checked(row: dict[str, Any], columns: Columns, config: UltraFeedbackConfig) -> Row:
    """Check a row.

    Raises:
        BadRow: A conversation cannot be kept whole, the answers have different prompts, or a rating is none.
    """
    counts: Counter[str] = Counter()
    cells = [value_of(row, columns.of.get("prompt", ""))]
    stated = []
    for given, who, score in _answers(row, columns, config, counts):
        cell = messages_of(given) if columns.dialogues else given
        cells.append(cell)
        before, message = _answer(cell)
        stated.append(_Stated(before, message, who, score))
    prompt = _prompt(cells[0], stated)
    answers = []
    for each in stated:
        if each.message.content.strip():
            earned = None if config.returns == "preference" else rating(each.score, each.message.reward, config)
            answers.append(Answer(each.message.content, each.who, earned, each.message.extra))
        else:
            counts["empty_answers"] += 1
    if config.returns == "preference" and any(m.reward is not None for m in (*prompt, *(s.message for s in stated))):
        raise BadRow("a message's reward, which returns=preference does not use", "--set task.returns=rating")
    tools = tool_documents(value_of(row, columns.of.get("tools", "")))
    return Row(prompt, tools, tuple(answers), counts, frozenset().union(*map(unread, cells)))


def _answers(
    row: dict[str, Any], columns: Columns, config: UltraFeedbackConfig, counts: Counter[str]
) -> list[tuple[Any, str, Any]]:
    """Cell, writer and score of every answer."""
    of = columns.of
    if "completions" not in of:
        return [
            (value_of(row, of[who]), who, value_of(row, of.get(f"score_{who}", ""))) for who in ("chosen", "rejected")
        ]
    rated = value_of(row, of["completions"]) or []
    if not isinstance(rated, list) or not all(isinstance(c, dict) for c in rated):
        raise WrongColumn("completions that are no list of structures", value=rated)
    found = []
    for completion in rated:
        score = value_of(completion, of["score"])
        if config.doubtful_tens == "correct" and of["score"].endswith("overall_score"):
            stated, score = score, corrected(score, completion)
            counts["doubtful_tens"] += score is DOUBTFUL
            counts["corrected_tens"] += score not in (stated, DOUBTFUL)
        if score is not DOUBTFUL:
            found.append((value_of(completion, of["response"]), str(value_of(completion, of.get("model", ""))), score))
    return found


def _answer(cell: Any) -> tuple[Conversation | None, Message]:
    """What comes before an answer, and its message; nothing at all is an empty answer."""
    if cell is None or cell in ("", []):
        return None, Message("assistant", "")
    if isinstance(cell, str):
        return None, Message("assistant", cell)
    *before, message = conversation(cell)
    if message.role != "assistant":
        raise BadRow("a conversation whose last message is not the assistant's", "", message.role)
    if "tool_calls" in message.extra:
        raise BadRow("an answer that is a tool call, which no reward model here can judge")
    return _rewarded(before), message


def _rewarded(messages: Iterable[Message]) -> Conversation:
    """The messages; those with a reward are actions."""
    return tuple(m if m.reward is None else replace(m, action=True) for m in messages)


def _prompt(cell: Any, stated: list[_Stated]) -> Conversation:
    """The prompt of all answers.

    Raises:
        BadRow: Their prompts differ, from one another or from the prompt's column.
    """
    given = conversation(cell) if cell else ()
    given = (*_rewarded(given[:-1]), *given[-1:])
    prompts = [_before(given, s.before, text=isinstance(cell, str)) for s in stated if s.message.content or s.before]
    for other in prompts[1:]:
        if other != prompts[0]:
            raise BadRow("answers whose conversations differ before the last message")
    prompt = prompts[0] if prompts else given
    if prompt and prompt[-1].role == "assistant":
        raise BadRow("an answer that follows another message of the assistant")
    return prompt


def _before(given: Conversation, before: Conversation | None, *, text: bool) -> Conversation:
    """What comes before one answer, by the prompt's column and by the answer's own conversation."""
    if not before:  # a text, or the answer's message with nothing before it
        return given
    if not given or before[: len(given)] == given:
        return before
    if text:
        users = [m.content.strip() for m in before if m.role == "user"]
        if users and given[0].content.strip() in (users[0], users[-1]):
            return before
    elif before[0].role == "assistant":  # it goes on where the prompt ends
        return (*given, *before)
    raise WrongColumn("a prompt that is not the beginning of the answer's conversation")
