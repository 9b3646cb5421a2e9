"""The episode loop: plays one conversation with the assistant messages of a model, a script or a recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shiqbench.plugin import Message, StopReason
from shiqbench_tasks.bfcl_v3.calls import Call, Outcome, Parsed
from shiqbench_tasks.bfcl_v3.prompt import REDUCED, PromptSetting
from shiqbench_tasks.bfcl_v3.scoring import Scorecard, Verdict
from shiqbench_tasks.bfcl_v3.simulator import ToolBox

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry

Script = tuple[tuple[Call, ...], ...]  # calls per user turn


@dataclass(frozen=True)
class Limits:
    """Limits of an episode, in steps and tokens, so that results are reproducible.

    Attributes:
        max_steps: Messages with calls (or attempts at them) per user turn; one more ends the episode, as
            in the official loop.
        max_tokens: Generated tokens per episode.
        scores_unfinished: Whether an episode that reaches the step limit in its last turn is scored as if it
            had finished, as in the official loop.
    """

    max_steps: int = 20
    max_tokens: int | None = None
    scores_unfinished: bool = False


@dataclass
class Turn:
    """Events of one user turn.

    Attributes:
        steps: Calls of each message that made any, as the official checker receives them.
        step_messages: Indices of those messages.
        responses: Their responses, in order.
        last_message: Index of the turn's last assistant message.
        ended: Whether the model ended it.
    """

    steps: list[tuple[Call, ...]] = field(default_factory=list)
    step_messages: list[int] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    last_message: int | None = None
    ended: bool = False


class Dialogue:
    """One episode being played.

    Args:
        entry: The scenario.
        root: Folder of the unpacked wheel.
        limits: Limits of the episode.
        setting: Prompt setting.
    """

    def __init__(
        self, entry: Entry, root: Path, limits: Limits | None = None, setting: PromptSetting = REDUCED
    ) -> None:
        self.entry, self.limits, self.setting = entry, limits or Limits(), setting
        self.id, self.group = entry.id, str(entry.scenario)
        self.messages: list[Message] = setting.opening(entry)
        self.tools = setting.tools(entry, 0)
        self.turns: list[Turn] = []
        self.stop: StopReason | None = None
        self.prompt_tokens = self.tokens = 0
        self.assistant_messages = self.malformed_messages = 0
        self.error = ""  # text of the exception if the episode crashed
        self.context_excess = 0  # tokens by which a prompt was too long for the context
        self._toolbox = ToolBox(entry, root, rewrites=setting.rewrites)
        self._scorecard = Scorecard(entry, root)
        self._steps = 0
        self._next_turn()

    def answer(self, message: Message, *, tokens: int = 0, prompt_tokens: int = 0) -> None:
        """Add the assistant's next message and the reaction to it.

        Args:
            message: The message.
            tokens: Number of tokens sampled for it.
            prompt_tokens: Length of the prompt that it answers.
        """
        self.tokens += tokens
        self.prompt_tokens += prompt_tokens
        self.take(message, self.setting.parse(message.content))

    def take(self, message: Message, parsed: Parsed) -> None:
        """Add a message that is already parsed, such as a recorded one."""
        if self.stop is not None:
            raise ValueError(f"episode {self.entry.id} has ended: {self.stop}")
        turn = self.turns[-1]
        turn.last_message = len(self.messages)
        self.messages.append(message)
        self.assistant_messages += 1
        problem = self.setting.malformed(parsed.problem) if parsed.outcome is Outcome.MALFORMED else None
        self.malformed_messages += parsed.outcome is Outcome.MALFORMED
        if parsed.outcome is Outcome.CALLS:
            responses = [self._toolbox.dispatch(call) for call in parsed.calls]
            turn.steps.append(parsed.calls)
            turn.step_messages.append(turn.last_message)
            turn.responses += responses
            self._react(turn, responses)
        elif problem is not None:
            self._react(turn, [problem])
        else:
            self._end_turn(turn)
        limit = self.limits.max_tokens
        if self.stop is None and limit is not None and self.tokens >= limit:
            self.stop = StopReason.TOKEN_LIMIT

    def no_room(self, prompt_tokens: int, room: int) -> None:
        """End the episode because the prompt does not fit the context; nothing is truncated.

        Args:
            prompt_tokens: Length of the prompt; 0 if only a server knows it.
            room: Length of the longest prompt that would fit.
        """
        self.prompt_tokens += prompt_tokens
        self.context_excess = max(0, prompt_tokens - room)
        self.stop = StopReason.CONTEXT_LIMIT

    def crash(self, error: BaseException) -> None:
        """End the episode after a failure that the model did not cause; it is not scored."""
        self.error = f"{type(error).__name__}: {error}"
        self.stop = StopReason.ERROR

    def messages_to_expect(self) -> int:
        """Number of messages that the rest takes with one call per message."""
        rest = self.entry.ground_truth[len(self.turns) - 1 :]
        return sum(len(calls) + 1 for calls in rest)

    def close_turn(self) -> None:
        """End the turn without a message that ends it; recordings may lack that message."""
        self._end_turn(self.turns[-1])

    def cut(self) -> None:
        """End a recorded episode: if not every turn was played, a limit ended it."""
        if self.stop is None:
            self.stop = StopReason.STEP_LIMIT

    def verdict(self) -> Verdict:
        """The score; the episode must have ended."""
        if self.stop is None:
            raise ValueError(f"episode {self.entry.id} is still being played")
        return self._scorecard.verdict()

    def _react(self, turn: Turn, responses: list[str]) -> None:
        self.messages += self.setting.answers(responses)
        self._steps += 1
        if self._steps > self.limits.max_steps:
            self.stop = StopReason.STEP_LIMIT
            if self.limits.scores_unfinished and len(self.turns) == len(self.entry.users):
                self._scorecard.end_turn(self._toolbox.instances, turn.responses)

    def _end_turn(self, turn: Turn) -> None:
        turn.ended = True
        self._scorecard.end_turn(self._toolbox.instances, turn.responses)
        if len(self.turns) == len(self.entry.users):
            self.stop = StopReason.FINISHED
        else:
            self._next_turn()

    def _next_turn(self) -> None:
        number = len(self.turns)
        new = number in self.entry.withheld
        text = self.setting.announcement(self.entry, number) if new else self.entry.users[number]
        tools = self.setting.tools(self.entry, number) if new else None
        self.messages.append(Message("user", text, tools=tools or None))
        self.turns.append(Turn())
        self._steps = 0


def play(dialogue: Dialogue, script: Sequence[Sequence[Call]]) -> Dialogue:
    """Play scripted turns through the loop that models use: all calls of a turn in one message, then its end.

    Args:
        dialogue: A fresh episode.
        script: Calls per user turn.
    """
    for calls in script:
        if calls:
            dialogue.answer(Message("assistant", dialogue.setting.write(calls), action=True))
        dialogue.answer(Message("assistant", dialogue.setting.no_more_calls, action=True))
    return dialogue
