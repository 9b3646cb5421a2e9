"""Scores: the official checks, applied turn by turn to an episode's own tools.

Official validity (``multi_turn_checker``): after every turn whose ground truth is not empty the model must
have made a call in that turn, the state must equal the ground truth's, and the responses so far must contain
the ground truth's responses of that turn. The official checker stops at the first failure; here every turn is
checked, so that turns can be counted, and an episode is valid if all of them are right.

An episode that a limit ended is invalid, and the turns that it did not finish are wrong. The official code scores an
episode that reaches the step limit in its last turn as if it had finished; this code does the same if the prompt
setting says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from shiqbench_tasks.bfcl_v3.simulator import ToolBox, official

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry


class ErrorType(StrEnum):
    """Why a turn is wrong, in the official words."""

    EMPTY_TURN = "multi_turn:empty_turn_model_response"  # no call in a turn that needs one
    STATE = "multi_turn:instance_state_mismatch"  # the tools are in another state
    RESPONSE = "multi_turn:execution_response_mismatch"  # a response of the ground truth was never seen
    FORCE_TERMINATED = "multi_turn:force_terminated"  # a limit ended the episode


@dataclass(frozen=True)
class Truth:
    """Effects of the ground truth on the tools.

    Attributes:
        states: The tools' public state after each turn.
        responses: Responses of each turn's calls.
    """

    states: tuple[dict[str, Any], ...]
    responses: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Verdict:
    """The score of an episode.

    Attributes:
        valid: The official result.
        error_type: Error of the first wrong turn; None if valid.
        first_wrong_turn: Index of the first wrong turn; None if valid.
        turns: Per turn, whether it is right; None if its ground truth is empty.
    """

    valid: bool
    error_type: ErrorType | None
    first_wrong_turn: int | None
    turns: tuple[bool | None, ...]

    @property
    def right_turns(self) -> int:
        """Number of counted turns that are right."""
        return sum(turn is True for turn in self.turns)

    @property
    def counted_turns(self) -> int:
        """Number of turns whose ground truth is not empty."""
        return sum(turn is not None for turn in self.turns)

    @property
    def turn_reward(self) -> float:
        """Sum of the turn rewards: 1/turns for each counted turn that is right."""
        return self.right_turns / self.counted_turns if self.counted_turns else 0.0


def ground_truth(entry: Entry, root: Path) -> Truth:
    """The ground truth's states and responses, computed once per entry."""
    return _ground_truth(_Key(entry), root)


class _Key:
    """An entry as a cache key: by its id, since its content is pinned."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __hash__(self) -> int:
        return hash(self.entry.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and (self.entry is other.entry or self.entry == other.entry)


@lru_cache(maxsize=1024)
def _ground_truth(key: _Key, root: Path) -> Truth:
    toolbox = ToolBox(key.entry, root)
    states, responses = [], []
    for calls in key.entry.ground_truth:
        responses.append(tuple(toolbox.dispatch(call) for call in calls))
        states.append(toolbox.snapshot())
    return Truth(tuple(states), tuple(responses))


class Scorecard:
    """Judges the turns of one episode as they end.

    Args:
        entry: The scenario.
        root: Folder of the unpacked wheel.
    """

    def __init__(self, entry: Entry, root: Path) -> None:
        self._entry, self._official = entry, official(root)
        self._truth = ground_truth(entry, root)
        self._errors: list[ErrorType | None] = []
        self._responses: list[str] = []

    def end_turn(self, instances: dict[str, Any], responses: Sequence[str]) -> None:
        """Judge the turn that has just ended.

        Args:
            instances: The tools as they are now.
            responses: Responses of this turn's calls, in order; empty if it made none.
        """
        self._responses += responses
        self._errors.append(self._error(len(self._errors), instances, made_calls=bool(responses)))

    def _error(self, turn: int, instances: dict[str, Any], *, made_calls: bool) -> ErrorType | None:
        if not self._entry.counted[turn]:
            return None
        if not made_calls:
            return ErrorType.EMPTY_TURN
        if not self._official.state_checker(instances, self._truth.states[turn])["valid"]:
            return ErrorType.STATE
        wanted = list(self._truth.responses[turn])
        if not self._official.response_checker(self._responses, wanted, turn)["valid"]:
            return ErrorType.RESPONSE
        return None

    def verdict(self) -> Verdict:
        """The score of the episode, which must have ended; turns that were not judged are wrong."""
        played = len(self._errors)
        turns = tuple(
            None if not counted else turn < played and self._errors[turn] is None
            for turn, counted in enumerate(self._entry.counted)
        )
        if played < len(turns):
            wrong = next((i for i, right in enumerate(turns) if right is False), played)
            return Verdict(False, ErrorType.FORCE_TERMINATED, wrong, turns)
        for turn, error in enumerate(self._errors):
            if error is not None:
                return Verdict(False, error, turn, turns)
        return Verdict(True, None, None, turns)
