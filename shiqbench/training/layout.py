"""Arrange the statistics of episodes as the batch that losses receive.

Legend: E episodes (rows), A action positions (columns), U units, N action tokens of a row, K reference completions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from shiqbench.episodes.episode import REFERENCE_RETURNS
from shiqbench.plugin.batch import Batch, TokenQ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from shiqbench.episodes.rendering import Rendered
    from shiqbench.plugin.batch import EpisodeUnit
    from shiqbench.training.token_statistics import TokenStatistics


def make_batch(
    units: Sequence[EpisodeUnit],
    rendered: Sequence[Rendered],
    rows: Sequence[TokenStatistics],
    references: Sequence[TokenStatistics],
    mismatched: float | None = None,
    progress: float = 0.0,
) -> Batch:
    """Build a batch: one row per episode, one column per action token.

    Args:
        units: Units of this batch. Entry r of ``rows`` and ``references`` belongs to the r-th episode of the
            units, in their order.
        rendered: All episodes.
        rows: Statistics of the policy, with gradient, and of its heads if it has any.
        references: Statistics of the reference.
        mismatched: Mean log-ratio of the update's mismatched completions, if the algorithm needs it.
        progress: Share of the training budget that is spent before this update.
    """
    members = [(u, rendered[i]) for u, unit in enumerate(units) for i in unit.rows]
    lengths = torch.tensor([r.actions for _, r in members])
    width = int(lengths.max())
    like = rows[0].logit_N.detach()

    def pad(values: Sequence[Tensor | None]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([v for v in values if v is not None], batch_first=True).to(like.device)

    def floats(values: Sequence[Sequence[float] | None]) -> Tensor:
        return pad([torch.tensor(v, dtype=like.dtype) for v in values])

    known = all(r.behaviour_logp is not None for _, r in members)
    best = [b for u in units for b in u.best]
    token_q = None
    if rows[0].q_N is not None:
        token_q = TokenQ(pad([s.q_N for s in rows]), pad([s.q_lse_N for s in rows]), pad([s.target_q_N for s in rows]))
    return Batch(
        valid_EA=(torch.arange(width)[None, :] < lengths[:, None]).to(like.device),
        reward_EA=floats([r.rewards for _, r in members]),
        logit_EA=pad([s.logit_N for s in rows]),
        lse_EA=pad([s.lse_N for s in rows]),
        ref_logit_EA=pad([s.logit_N for s in references]),
        ref_lse_EA=pad([s.lse_N for s in references]),
        unit_E=torch.tensor([u for u, _ in members], device=like.device),
        weight_U=like.new_tensor([u.weight for u in units]),
        behaviour_logp_EA=floats([r.behaviour_logp for _, r in members]) if known else None,
        value_EA=pad([s.value_N for s in rows]) if rows[0].value_N is not None else None,
        token_q=token_q,
        mismatched_E=like.new_full((len(members),), mismatched) if mismatched is not None else None,
        best_E=torch.tensor(best, device=like.device) if len(best) == len(members) else None,
        turn_EA=pad([torch.tensor(r.turns or (0,) * r.actions) for _, r in members]),
        reference_return_EK=_reference_returns([r for _, r in members], like),
        progress=progress,
    )


def _reference_returns(members: Sequence[Rendered], like: Tensor) -> Tensor | None:
    """``[E, K]``, NaN where an episode has fewer than K returns; None if no episode has any."""
    known = [r.episode.meta.get(REFERENCE_RETURNS) or [] for r in members]
    most = max(map(len, known))
    return like.new_tensor([[*k, *[float("nan")] * (most - len(k))] for k in known]) if most else None
