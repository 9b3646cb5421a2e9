"""Offline episodes: ground truth and spoiled scripts, all played through the loop, so rewards are real."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from shiqbench.episode import Episode
from shiqbench_tasks.bfcl_v3.calls import write
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Script, play
from shiqbench_tasks.bfcl_v3.perturbations import Perturbation, perturb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.config import BfclConfig
    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.scoring import Verdict

GROUND_TRUTH = "ground_truth"
_TRIES = 40  # per entry; a short scenario may not have as many distinct perturbations as are asked for


@dataclass(frozen=True)
class Played:
    """A script that has been played.

    Attributes:
        id: Unique in the data set.
        behaviour: ``ground_truth`` or ``perturbed:<kind>``.
        dialogue: The episode, ended.
        verdict: Its score.
    """

    id: str
    behaviour: str
    dialogue: Dialogue
    verdict: Verdict


def played_scripts(entries: Iterable[Entry], root: Path, config: BfclConfig) -> list[Played]:
    """Play the scripts that the configuration asks for, entry by entry."""
    found: list[Played] = []
    for entry in entries:
        truth = _played(entry, root, GROUND_TRUTH, 0, entry.ground_truth)
        if "ground_truth" in config.behaviours:
            found.append(truth)
        if "perturbed" in config.behaviours:
            found += _perturbed(entry, root, truth, config)
    return found


def _played(entry: Entry, root: Path, behaviour: str, number: int, script: Script) -> Played:
    dialogue = play(Dialogue(entry, root), script)
    return Played(f"{entry.id}/{number}-{behaviour}", behaviour, dialogue, dialogue.verdict())


def _perturbed(entry: Entry, root: Path, truth: Played, config: BfclConfig) -> list[Played]:
    """Distinct perturbations of one entry, one kind after the other in a random order."""
    chance = random.Random(f"bfcl_v3 {config.data_seed} {entry.id}")
    kinds = list(Perturbation)
    chance.shuffle(kinds)
    seen = {_script_text(entry.ground_truth)}
    found: list[Played] = []
    for attempt in range(_TRIES):
        if len(found) == config.perturbations:
            break
        kind = kinds[attempt % len(kinds)]
        script = perturb(kind, entry, chance)
        if script is None or _script_text(script) in seen:
            continue
        seen.add(_script_text(script))
        played = _played(entry, root, f"perturbed:{kind}", len(found) + 1, script)
        if kind is Perturbation.CALLS_REORDERED and not _matters(played, truth):
            continue
        found.append(played)
    return found


def _script_text(script: Script) -> str:
    return "\n".join(write(calls) for calls in script)


def _matters(played: Played, truth: Played) -> bool:
    """Whether another order of the same calls got other responses or another score."""
    responses = [sorted(turn.responses) for turn in played.dialogue.turns]
    return responses != [sorted(turn.responses) for turn in truth.dialogue.turns] or played.verdict != truth.verdict


def episode_return(verdict: Verdict, reward: Literal["episode", "turn"]) -> float:
    """What an episode earns: 1 if valid, or the share of its counted turns that are right."""
    if reward == "episode":
        return float(verdict.valid)
    return verdict.right_turns / verdict.counted_turns if verdict.counted_turns else 0.0


def as_episodes(
    played: Sequence[Played], reward: Literal["episode", "turn"], centre: Literal["none", "dataset", "group"]
) -> list[Episode]:
    """Episodes with rewards.

    ``turn``: each counted turn carries 1/turns or 0 on its last assistant message. ``episode``: 1 or 0 on the
    last assistant message. Centring subtracts the mean return, of the data set or of the entry, spread evenly
    over the rewards of the episode.
    """
    returns = [episode_return(p.verdict, reward) for p in played]
    centres = _centres(played, returns, centre)
    return [
        Episode(
            id=p.id,
            group=p.dialogue.entry.id,
            behaviour=p.behaviour,
            messages=_rewarded(p, reward, c),
            meta={
                "scenario": p.dialogue.entry.scenario,
                "category": p.dialogue.entry.category,
                "return": value,
                "centre": centre,
                "centre_value": c,
                "valid": p.verdict.valid,
                "right_turns": p.verdict.right_turns,
                "counted_turns": p.verdict.counted_turns,
            },
        )
        for p, value, c in zip(played, returns, centres, strict=True)
    ]


def _centres(played: Sequence[Played], returns: Sequence[float], centre: str) -> list[float]:
    if centre == "none" or not played:
        return [0.0] * len(played)
    if centre == "dataset":
        return [fmean(returns)] * len(played)
    groups = defaultdict(list)
    for p, value in zip(played, returns, strict=True):
        groups[p.dialogue.entry.id].append(value)
    return [fmean(groups[p.dialogue.entry.id]) for p in played]


def _rewarded(played: Played, reward: str, centre: float) -> tuple[Any, ...]:
    turns, verdict = played.dialogue.turns, played.verdict
    rewards: dict[int, float] = {}  # by index of the message
    if reward == "episode":
        last = turns[-1].last_message
        assert last is not None
        rewards[last] = float(verdict.valid) - centre
    else:
        for turn, right in zip(turns, verdict.turns, strict=True):
            if right is not None and turn.last_message is not None:
                rewards[turn.last_message] = (float(right) - centre) / verdict.counted_turns
    return tuple(replace(m, reward=rewards[i]) if i in rewards else m for i, m in enumerate(played.dialogue.messages))


def data_facts(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Counts and mean returns by behaviour, before centring, and the centre itself."""
    by_behaviour: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        by_behaviour[episode.behaviour].append(episode)
    centres = {e.meta["centre_value"] for e in episodes}
    return {
        "episodes": len(episodes),
        "groups": len({e.group for e in episodes}),
        "behaviours": {name: len(found) for name, found in sorted(by_behaviour.items())},
        "mean_return": {name: fmean(e.meta["return"] for e in found) for name, found in sorted(by_behaviour.items())},
        "perturbed_yet_valid": sum(e.meta["valid"] for e in episodes if e.behaviour != GROUND_TRUTH),
        "centre": episodes[0].meta["centre"] if episodes else "none",
        "centre_value": centres.pop() if len(centres) == 1 else None,  # None: one per group
    }
