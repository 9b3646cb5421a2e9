"""Offline episodes: ground truth, perturbed scripts and recordings. The loop plays them all, so rewards are real."""

from __future__ import annotations

import random
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, Episode, Message
from shiqbench_tasks.bfcl_v3.calls import Outcome, Parsed, write
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, Script, play
from shiqbench_tasks.bfcl_v3.perturbations import Perturbation, perturb
from shiqbench_tasks.bfcl_v3.prompt import REDUCED
from shiqbench_tasks.bfcl_v3.recorded import VALID
from shiqbench_tasks.bfcl_v3.rewards import Played

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.config import BfclConfig
    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.prompt import PromptSetting
    from shiqbench_tasks.bfcl_v3.recorded import Recording

GROUND_TRUTH = "ground_truth"
REPLAY = Limits(max_steps=1_000_000)  # a recording was already played with its own limits
SHOWN = 5  # number of places and ids that are listed; the others are only counted
_TRIES = 40  # tries per entry; a short scenario may have fewer distinct perturbations than requested


def played_scripts(
    entries: Iterable[Entry], root: Path, config: BfclConfig, setting: PromptSetting = REDUCED
) -> list[Played]:
    """Play the scripts that the configuration asks for, entry by entry."""
    found: list[Played] = []
    for entry in entries:
        truth = _played(Dialogue(entry, root, setting=setting), GROUND_TRUTH, 0, entry.ground_truth)
        if "ground_truth" in config.behaviours:
            found.append(truth)
        if "perturbed" in config.behaviours:
            found += _perturbed(root, truth, config)
    return found


def _played(dialogue: Dialogue, behaviour: str, number: int, script: Script) -> Played:
    play(dialogue, script)
    return Played(f"{dialogue.entry.id}/{number}-{behaviour}", behaviour, dialogue, dialogue.verdict())


def _perturbed(root: Path, truth: Played, config: BfclConfig) -> list[Played]:
    """Make distinct perturbations of one entry, one kind after another in a random order."""
    entry = truth.dialogue.entry
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
        fresh = Dialogue(entry, root, setting=truth.dialogue.setting)
        played = _played(fresh, f"perturbed:{kind}", len(found) + 1, script)
        if kind is Perturbation.CALLS_REORDERED and not _matters(played, truth):
            continue
        found.append(played)
    return found


def _script_text(script: Script) -> str:
    return "\n".join(write(calls) for calls in script)


def _matters(played: Played, truth: Played) -> bool:
    """Whether another order of the same calls produced other responses or another score."""
    responses = [sorted(turn.responses) for turn in played.dialogue.turns]
    return responses != [sorted(turn.responses) for turn in truth.dialogue.turns] or played.verdict != truth.verdict


def played_recording(recording: Recording, root: Path, setting: PromptSetting) -> list[Played]:
    """Play every turn of recorded episodes again; scores that the leaderboard recorded have no effect."""
    found = []
    for recorded in recording.episodes:
        dialogue = Dialogue(recorded.entry, root, REPLAY, setting)
        for turn in recorded.turns:
            _replay_turn(dialogue, turn)
        dialogue.cut()
        found.append(Played(recorded.id, f"recorded:{recorded.model}", dialogue, dialogue.verdict()))
    return found


def _replay_turn(dialogue: Dialogue, turn: Sequence[Parsed]) -> None:
    """Play a recorded turn. A message without calls ended it; a turn that reached the step limit has none."""
    setting = dialogue.setting
    for parsed in turn:
        if parsed.outcome is not Outcome.CALLS:
            dialogue.take(Message("assistant", setting.no_more_calls, action=True), Parsed(Outcome.NO_CALLS))
            return
        dialogue.take(Message("assistant", setting.write(parsed.calls), action=True), parsed)
    dialogue.close_turn()


def disagreements(recording: Recording, played: Sequence[Played]) -> list[str]:
    """Ids of recorded episodes whose recorded score differs from ours in validity or type of error."""
    return [
        recorded.id
        for recorded, p in zip(recording.episodes, played, strict=True)
        if recorded.label is not None and recorded.label != (p.verdict.error_type or VALID)
    ]


def check_scores(recording: Recording, played: Sequence[Played], accepted: float, folder: str) -> None:
    """Refuse a recording that was scored in another way, or whose calls are read wrongly.

    Args:
        recording: The recording.
        played: Its episodes, played again.
        accepted: Largest share of a file's recorded scores that may differ from ours.
        folder: The folder, for the error.

    Raises:
        ConfigError: More scores differ.
    """
    differing = set(disagreements(recording, played))
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for recorded in recording.episodes:
        if recorded.label is not None:
            files[recorded.model, recorded.entry.category].append(recorded.id)
    for (model, category), ids in files.items():
        wrong = [identity for identity in ids if identity in differing]
        if len(wrong) > accepted * len(ids):
            raise ConfigError(
                f"{len(wrong)} of {len(ids)} recorded scores of {model} in {category} differ from ours: "
                f"{', '.join(wrong[:SHOWN])}",
                where=f"task.recorded = {folder}",
                do="find out how it was recorded, or accept it with --set task.recorded_disagreement=1",
            )


def recording_facts(recording: Recording, played: Sequence[Played]) -> dict[str, Any]:
    """Facts on how much of a recording was usable, and whether its scores equal ours."""
    differing = disagreements(recording, played)
    return {
        "episodes": len(recording.episodes),
        "with_recorded_score": sum(r.label is not None for r in recording.episodes),
        "scores_that_disagree": len(differing),
        "disagreeing": differing[:SHOWN],
        "texts": {
            file: {"format": form, "messages": messages, "with_calls": calls}
            for file, (form, messages, calls) in recording.texts.items()
        },
        "left_out": {why: {"lines": len(at), "first": at[:SHOWN]} for why, at in recording.left_out.items() if at},
        "of_other_scenarios": recording.others,
    }


def recording_notices(facts: dict[str, Any]) -> list[str]:
    """Notices about a recording for the user, one per line."""
    lines = [
        f"recorded: {what['lines']} line{'s' * (what['lines'] > 1)} left out, {why}: {', '.join(what['first'])}"
        for why, what in facts["left_out"].items()
    ]
    lines += [
        f"recorded: {file}: calls are read as {what['format']}, {what['with_calls']} of {what['messages']} messages of "
        "text have calls"
        for file, what in facts["texts"].items()
    ]
    unscored = facts["episodes"] - facts["with_recorded_score"]
    if unscored:
        lines.append(f"recorded: {unscored} of {facts['episodes']} episodes have no recorded score to compare with")
    if facts["scores_that_disagree"]:
        named = ", ".join(facts["disagreeing"])
        lines.append(f"recorded: {facts['scores_that_disagree']} recorded scores differ from ours: {named}")
    return lines


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
        "perturbed_yet_valid": sum(e.meta["valid"] for e in episodes if e.behaviour.startswith("perturbed:")),
        "centre": episodes[0].meta["centre"] if episodes else "none",
        "centre_value": centres.pop() if len(centres) == 1 else None,  # None: one per group
    }
