"""Completions joined with other rows' prompts, to estimate KL(pi || pi_ref) without sampling (KTO's z).

In an update of n rows, the prompt of row i is joined with the completion of row (i+s), with the same s for all rows.
Neighbours in a batch often have equal prompts. So s is the smallest shift for which the fewest rows get a completion of
an equal prompt. If a template needs one forward pass per turn, the first pass represents the episode. The prompt is
the tokens before its first action token. The completion is the rest, including messages of user and tools between
action tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.rendering import Rendered, TokenSequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.batch import EpisodeUnit
    from shiqbench.plugin.config import AlgorithmConfig


class Mismatched(NamedTuple):
    """A prompt with another row's completion.

    Attributes:
        rendered: The joined episode, without rewards.
        weight: Weight of the completion's unit.
    """

    rendered: Rendered
    weight: float


def mismatched(units: Sequence[EpisodeUnit], rendered: Sequence[Rendered]) -> list[Mismatched]:
    """The joined episodes of one update, one per row.

    Args:
        units: All units of the update, across processes and micro-batches.
        rendered: All episodes.

    Raises:
        ConfigError: The update has only one row.
    """
    rows = [rendered[i] for u in units for i in u.rows]
    weights = [u.weight for u in units for _ in u.rows]
    if len(rows) < 2:
        raise ConfigError(
            "mismatched completions need two episodes per update, and an update has one",
            where="train.batch_episodes",
            do="raise it",
        )
    n = len(rows)
    prompts = [_prompt(r.sequences[0]) for r in rows]
    shift = min(range(1, n), key=lambda s: sum(prompts[i] == prompts[(i + s) % n] for i in range(n)))
    partners = [(i + shift) % n for i in range(n)]
    return [Mismatched(_join(row, rows[j]), weights[j]) for row, j in zip(rows, partners, strict=True)]


def joined_episodes(
    algorithm: Algorithm[AlgorithmConfig], batches: Sequence[Sequence[EpisodeUnit]], rendered: Sequence[Rendered]
) -> list[Rendered]:
    """The joined episodes of a whole training; none if the algorithm does not need them."""
    if "mismatched" not in algorithm.needs:
        return []
    return [m.rendered for batch in batches for m in mismatched(batch, rendered)]


def _join(first: Rendered, second: Rendered) -> Rendered:
    prompt, source = _prompt(first.sequences[0]), second.sequences[0]
    cut = len(_prompt(source))
    sequence = TokenSequence(prompt + source.ids[cut:], tuple(p - cut + len(prompt) for p in source.actions))
    episode = replace(first.episode, id=f"{first.episode.id} with the completion of {second.episode.id}")
    return Rendered(episode, (sequence,), (0.0,) * len(sequence.actions), None)


def _prompt(sequence: TokenSequence) -> tuple[int, ...]:
    return sequence.ids[: sequence.actions[0]] if sequence.actions else sequence.ids
