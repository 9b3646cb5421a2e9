"""Rollouts: episodes that a model plays on training scenarios, sampled once and kept in the cache.

The cache contains the model's answers: ids, their log-probabilities, text. Episodes are made by playing the answers
again through the loop, also right after sampling. So rewards and the tools' answers are always computed here, in only
one way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.plugin import Message, Need, StopReason, corrupt, digest
from shiqbench_tasks.bfcl_v3.rewards import Played
from shiqbench_tasks.rows import rollouts
from shiqbench_tasks.rows.rollout_settings import ROLLOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shiqbench.plugin import StartModel
    from shiqbench_tasks.bfcl_v3.config import BfclConfig
    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.loop import Dialogue
    from shiqbench_tasks.rows.rollouts import Row


def offers(config: BfclConfig) -> frozenset[Need]:
    """Needs of algorithms that the rollouts meet, if there are any."""
    others = config.behaviours != (ROLLOUT,)
    return rollouts.offers(config, others=others) if config.has_rollouts else frozenset()


def identity(config: BfclConfig) -> dict[str, str]:
    """Identities that rollouts depend on, in addition to the configuration and the model that training starts from.

    Raises:
        ConfigError: There is no such engine or model.
    """
    return rollouts.identity(config) if config.has_rollouts else {}


def played_rollouts(
    entries: Sequence[Entry],
    new: Callable[[Entry], Dialogue],
    model: StartModel,
    config: BfclConfig,
    made_of: dict[str, str],
) -> tuple[list[Played], dict[str, Any]]:
    """The rollouts of some scenarios: from the cache, or sampled into it.

    Args:
        entries: The scenarios.
        new: Makes a fresh episode, with the limits of sampling.
        model: The model to sample.
        config: Number of samples, sampling settings and engine.
        made_of: Identity of the data and of the prompt.

    Returns:
        The episodes that did not crash, and facts for the manifest.

    Raises:
        CorruptCellError: The cache is damaged, or episodes play differently now; the message names what to delete.
    """
    by_id = {entry.id: entry for entry in entries}
    rows, facts, folder = rollouts.kept_rows(
        list(by_id), lambda name: new(by_id[name]), _row, model, config, {"parser": config.parser, "made_of": made_of}
    )
    played = []
    for row in rows:
        dialogue = _played_again(row, new(by_id[row["entry"]]), folder)
        played.append(Played(f"{row['entry']}/{row['sample']}-{ROLLOUT}", ROLLOUT, dialogue, dialogue.verdict()))
    return played, facts


def _row(dialogue: Dialogue) -> Row:
    said = [(m.content, m.token_ids, m.behaviour_logp) for m in dialogue.messages if m.action]
    return {"transcript": _transcript(dialogue), "said": said}


def _transcript(dialogue: Dialogue) -> str:
    """Sha256 over the whole conversation, which is the text that the model received when it answered."""
    return digest([[m.role, m.content] for m in dialogue.messages])


def _played_again(row: Row, dialogue: Dialogue, folder: Path) -> Dialogue:
    """Play a fresh episode with the answers that were sampled.

    Raises:
        CorruptCellError: The episode differs from the sampled one, for example with another version of the tools.
    """
    for text, ids, logp in row["said"]:
        if dialogue.stop is None:
            message = Message("assistant", text, action=True, token_ids=tuple(ids), behaviour_logp=tuple(logp))
            dialogue.answer(message, tokens=len(ids))
    if row["stop"] == StopReason.CONTEXT_LIMIT and dialogue.stop is None:
        dialogue.no_room(0, 0)
    if (dialogue.stop, _transcript(dialogue)) != (row["stop"], row["transcript"]):
        raise corrupt(folder, f"rollout {row['sample']} of {row['entry']} does not play as it did when it was sampled")
    return dialogue
