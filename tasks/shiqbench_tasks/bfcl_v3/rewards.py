"""Makes episodes with rewards from played episodes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from shiqbench.plugin import Episode, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench_tasks.bfcl_v3.loop import Dialogue
    from shiqbench_tasks.bfcl_v3.scoring import Verdict

Reward = Literal["episode", "turn"]
Centre = Literal["none", "dataset", "group"]


@dataclass(frozen=True)
class Played:
    """An episode that was played here, with messages of a model, a script or a recording.

    Attributes:
        id: Unique in the data set.
        behaviour: ``ground_truth``, ``perturbed:<kind>``, ``recorded:<model>`` or ``rollout``.
        dialogue: The episode, which has ended.
        verdict: Its score.
    """

    id: str
    behaviour: str
    dialogue: Dialogue
    verdict: Verdict

    @property
    def calls(self) -> int:
        """Number of calls in the episode."""
        return sum(len(step) for turn in self.dialogue.turns for step in turn.steps)


def episode_return(verdict: Verdict, reward: Reward) -> float:
    """Return of an episode: 1 if it is valid, or the sum of its turn rewards."""
    return float(verdict.valid) if reward == "episode" else verdict.turn_reward


def as_episodes(played: Sequence[Played], reward: Reward, centre: Centre, call_penalty: float = 0.0) -> list[Episode]:
    """Make episodes with rewards.

    ``turn``: the last assistant message of each counted turn has reward 1/turns or 0. ``episode``: the last assistant
    message has reward 1 or 0. From the reward of a message that makes calls, the penalty is subtracted for each call.
    Centring subtracts the mean return, of the data set or of the entry, spread evenly over the rewarded turns.
    """
    returns = [episode_return(p.verdict, reward) - call_penalty * p.calls for p in played]
    centres = _centres(played, returns, centre)
    return [
        Episode(
            id=p.id,
            group=p.dialogue.entry.id,
            behaviour=p.behaviour,
            messages=_rewarded(p, reward, c, call_penalty),
            tools=p.dialogue.tools,
            meta={
                "scenario": p.dialogue.entry.scenario,
                "category": p.dialogue.entry.category,
                "return": value,
                "centre": centre,
                "centre_value": c,
                "valid": p.verdict.valid,
                "right_turns": p.verdict.right_turns,
                "counted_turns": p.verdict.counted_turns,
                "calls": p.calls,
            },
        )
        for p, value, c in zip(played, returns, centres, strict=True)
    ]


def _centres(played: Sequence[Played], returns: Sequence[float], centre: Centre) -> list[float]:
    if centre == "none" or not played:
        return [0.0] * len(played)
    if centre == "dataset":
        return [fmean(returns)] * len(played)
    groups = defaultdict(list)
    for p, value in zip(played, returns, strict=True):
        groups[p.dialogue.entry.id].append(value)
    return [fmean(groups[p.dialogue.entry.id]) for p in played]


def _rewarded(played: Played, reward: Reward, centre: float, call_penalty: float) -> tuple[Message, ...]:
    turns, verdict = played.dialogue.turns, played.verdict
    last = max(turn.last_message for turn in turns if turn.last_message is not None)
    rewards: dict[int, float] = {}  # by index of the message
    if reward == "turn":
        # Turns that a limit cut off are missing: they have no reward, and the whole centre is spread over the others.
        reached = [
            (turn.last_message, right)
            for turn, right in zip(turns, verdict.turns, strict=False)
            if right is not None and turn.last_message is not None
        ]
        for message, right in reached:
            share = centre * (verdict.counted_turns / len(reached))
            rewards[message] = (float(right) - share) / verdict.counted_turns
    if not rewards:
        earned = float(verdict.valid) if reward == "episode" else 0.0
        rewards[last] = earned - centre
    if call_penalty:
        for turn in turns:
            for message, step in zip(turn.step_messages, turn.steps, strict=True):
                rewards[message] = rewards.get(message, 0.0) - call_penalty * len(step)
    return tuple(replace(m, reward=rewards[i]) if i in rewards else m for i, m in enumerate(played.dialogue.messages))
