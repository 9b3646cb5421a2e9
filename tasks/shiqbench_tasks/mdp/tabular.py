"""The policy as a table of logits, and the batch that is built from tables for the losses.

Rows of all instances follow one another, so that a loss receives one batch and the loop reduces it by instance.

Legend: S instances, N states, A actions, R rows (equally many for each instance), H steps, U units, K completions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from shiqbench.plugin import Batch, Need, TokenQ

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from torch import Tensor

    from shiqbench_tasks.mdp.data import Trajectories
    from shiqbench_tasks.mdp.mdps import Mdp


@dataclass(frozen=True)
class Rows:
    """Trajectories as rows of a batch, with indices into flattened tables.

    Attributes:
        state_RH: Index of each state in a table ``[S * N]``.
        chosen_RH: Index of each state and action in a table ``[S * N * A]``.
        valid_RH: True where there is a step.
        reward_RH: Reward of each step.
        behaviour_logp_RH: Log-probability under the policy that made the data.
        padded: Whether any entry has no step.
    """

    state_RH: Tensor
    chosen_RH: Tensor
    valid_RH: Tensor
    reward_RH: Tensor
    behaviour_logp_RH: Tensor
    padded: bool

    @classmethod
    def of(cls, data: Trajectories, mdp: Mdp) -> Rows:
        """All trajectories of all instances."""
        seeds, n, actions = mdp.reward_SNA.shape
        state_SEH = data.state_SEH + n * torch.arange(seeds)[:, None, None]
        return cls(
            state_SEH.flatten(0, 1),
            (state_SEH * actions + data.action_SEH).flatten(0, 1),
            data.valid_SEH.flatten(0, 1),
            data.reward_SEH.flatten(0, 1),
            data.logp_SEH.flatten(0, 1),
            not bool(data.valid_SEH.all()),
        )

    def take(self, index_SR: Tensor) -> Rows:
        """Take some rows of every instance, by their row numbers within the instance."""
        per_seed = len(self.state_RH) // len(index_SR)
        flat_R = (index_SR + per_seed * torch.arange(len(index_SR))[:, None]).flatten()
        return Rows(
            self.state_RH[flat_R],
            self.chosen_RH[flat_R],
            self.valid_RH[flat_R],
            self.reward_RH[flat_R],
            self.behaviour_logp_RH[flat_R],
            self.padded,
        )

    def look_up(self, table: Tensor, index_RH: Tensor) -> Tensor:
        """Entries of a table, 0 where there is no step."""
        found = table.flatten().index_select(0, index_RH.flatten()).view(index_RH.shape)
        return torch.where(self.valid_RH, found, 0.0) if self.padded else found


class Tables:
    """The trained tables: the policy's logits, and a value table and a Q table if the algorithm needs them.

    Args:
        mdp: The instances; their reference is the policy before training.
        needs: Needs of the algorithm.

    Attributes:
        logit_SNA: The policy's logits.
        value_SN: A value table, 0 at first; None unless needed.
        q_SNA: A Q table, 0 at first; None unless needed.
        target_SNA: Target table of Q, which follows Q and has no gradient; None unless needed.
    """

    def __init__(self, mdp: Mdp, needs: AbstractSet[Need]) -> None:
        self.mdp, self.needs = mdp, needs
        self.logit_SNA = mdp.ref_logit_SNA.clone().requires_grad_()
        zeros = torch.zeros_like(mdp.ref_logit_SNA)
        self.value_SN = zeros[..., 0].clone().requires_grad_() if "values" in needs else None
        self.q_SNA = zeros.clone().requires_grad_() if "token_q" in needs else None
        self.target_SNA = zeros.clone() if "token_q" in needs else None
        self._ref_lse_SN = mdp.ref_logit_SNA.logsumexp(-1)

    @property
    def heads(self) -> list[Tensor]:
        """Trained tables other than the logits."""
        return [t for t in (self.value_SN, self.q_SNA) if t is not None]

    def sampled_logit(self, q_weight: float) -> Tensor:
        """Logits of the policy that is sampled, ``l + weight Q``."""
        logit_SNA = self.logit_SNA.detach()
        return logit_SNA if self.q_SNA is None else logit_SNA + q_weight * self.q_SNA.detach()

    def follow(self, rate: float) -> None:
        """Move the target table towards the Q table by the share ``rate``."""
        if self.q_SNA is not None and self.target_SNA is not None:
            self.target_SNA.lerp_(self.q_SNA.detach(), rate)

    def tensors(self) -> dict[str, Tensor]:
        """Every table by name."""
        named = {
            "logits": self.logit_SNA,
            "values": self.value_SN,
            "q": self.q_SNA,
            "target_q": self.target_SNA,
        }
        return {name: t.detach() for name, t in named.items() if t is not None}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Set every table."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def batch(
        self,
        rows: Rows,
        weight_U: Tensor,
        *,
        uses_reference: bool = True,
        completions_SK: Tensor | None = None,
        progress: float = 0.0,
    ) -> Batch:
        """Build the batch of some rows.

        Args:
            rows: Rows, equally many of each instance; the rows of a unit are adjacent.
            weight_U: Weight of each unit.
            uses_reference: Whether the loss uses the reference; if not, its statistics are NaN, as in training
                language models.
            completions_SK: Returns of completions that the reference sampled.
            progress: Share of the updates that are done.
        """
        lse_SN = self.logit_SNA.logsumexp(-1)
        unit_R = torch.arange(len(weight_U)).repeat_interleave(len(rows.state_RH) // len(weight_U))
        logit_RH = rows.look_up(self.logit_SNA, rows.chosen_RH)
        nothing = torch.full_like(rows.reward_RH, torch.nan)
        batch = Batch(
            valid_EA=rows.valid_RH,
            reward_EA=rows.reward_RH,
            logit_EA=logit_RH,
            lse_EA=rows.look_up(lse_SN, rows.state_RH),
            ref_logit_EA=rows.look_up(self.mdp.ref_logit_SNA, rows.chosen_RH) if uses_reference else nothing,
            ref_lse_EA=rows.look_up(self._ref_lse_SN, rows.state_RH) if uses_reference else nothing,
            unit_E=unit_R,
            weight_U=weight_U,
            behaviour_logp_EA=rows.behaviour_logp_RH,
            value_EA=None if self.value_SN is None else rows.look_up(self.value_SN, rows.state_RH),
            token_q=self._token_q(rows),
            kl_EA=rows.look_up(self._kl(lse_SN), rows.state_RH) if "kl" in self.needs else None,
            turn_EA=torch.arange(logit_RH.shape[1]).expand_as(logit_RH),
            reference_return_EK=self._completions(rows, completions_SK),
            progress=progress,
        )
        return self._with_mismatched(batch)

    def _token_q(self, rows: Rows) -> TokenQ | None:
        if self.q_SNA is None or self.target_SNA is None:
            return None
        return TokenQ(
            rows.look_up(self.q_SNA, rows.chosen_RH),
            rows.look_up(self.q_SNA.logsumexp(-1), rows.state_RH),
            rows.look_up(self.target_SNA, rows.chosen_RH),
        )

    def _kl(self, lse_SN: Tensor) -> Tensor:
        logp_SNA = self.logit_SNA - lse_SN[..., None]
        return (logp_SNA.exp() * (logp_SNA - self.mdp.ref_logp_SNA)).sum(-1)

    def _completions(self, rows: Rows, completions_SK: Tensor | None) -> Tensor | None:
        if completions_SK is None:
            return None
        return completions_SK.repeat_interleave(len(rows.state_RH) // len(completions_SK), dim=0)

    def _with_mismatched(self, batch: Batch) -> Batch:
        """Add ``mismatched_E``. Completions of an instance share one start, so swapped prompts keep their mean."""
        if "mismatched" not in self.needs:
            return batch
        seeds = self.logit_SNA.shape[0]
        weight_SR = batch.weight_U[batch.unit_E].view(seeds, -1)
        h_SR = batch.logratio_EA.detach().sum(-1).view(seeds, -1)
        mean_S = (weight_SR * h_SR).sum(-1) / weight_SR.sum(-1)
        return replace(batch, mismatched_E=mean_S.repeat_interleave(weight_SR.shape[1]))
