"""The batch that a loss receives: rows of action tokens, with the statistics of policy and reference.

Legend: E episodes (rows), A action positions (columns), U units, K reference completions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EpisodeUnit:
    """The unit that an algorithm consumes at once: one episode, a pair (better first), or a group.

    Attributes:
        rows: Indices into the rendered episodes.
        weight: Weight of the unit: 1, or its probability in an exact expectation.
        best: For each row, whether no episode of its group has a higher return.
    """

    rows: tuple[int, ...]
    weight: float = 1.0
    best: tuple[bool, ...] = ()


class TokenQ(NamedTuple):
    """A Q head at action tokens; it reads a detached hidden state.

    Attributes:
        q_EA: Q of the chosen token.
        lse_EA: Logsumexp of Q over the vocabulary.
        target_EA: Q of the chosen token under the target head, without gradient.
    """

    q_EA: Tensor
    lse_EA: Tensor
    target_EA: Tensor


@dataclass(frozen=True)
class Batch:
    """Action tokens of E episodes, left-aligned, in order of time; prompt tokens are not included.

    Attributes:
        valid_EA: True where there is an action token.
        reward_EA: Reward of each action token, 0 where there is none.
        logit_EA: Raw logit of the chosen token under the policy (fp32, with gradient).
        lse_EA: Logsumexp of the policy's logits.
        ref_logit_EA: Raw logit of the chosen token under the reference.
        ref_lse_EA: Logsumexp of the reference's logits.
        unit_E: Unit of each row, 0..U-1; rows of a unit are adjacent, the better one of a pair first.
        weight_U: Weight of each unit: 1, or its probability in an exact expectation.
        behaviour_logp_EA: Log-probability under the sampling model, if the data contains it.
        value_EA: Value head V(s_t), with gradient into the head only; present if ``values`` is needed.
        token_q: Q head; present if ``token_q`` is needed.
        kl_EA: Exact KL(pi || pi_ref) at each state, with gradient; present if ``kl`` is needed.
        mismatched_E: Mean log-ratio of the update's completions on each other's prompts, the same for every row
            of an update, without gradient; present if ``mismatched`` is needed.
        best_E: True where no episode of the row's group has a higher return; present if ``best`` is needed.
        turn_EA: Number of the model's message that each action token is in, from 0; present if ``turns`` is needed.
        reference_return_EK: Returns of K completions of the row's prompt that the reference sampled, NaN
            where there are fewer; present if ``reference_returns`` is needed.
        progress: Share of the training budget that is spent before this update, from 0 to less than 1: updates done
            / planned updates, or tokens of the updates done / token budget if the budget is in tokens.
    """

    valid_EA: Tensor
    reward_EA: Tensor
    logit_EA: Tensor
    lse_EA: Tensor
    ref_logit_EA: Tensor
    ref_lse_EA: Tensor
    unit_E: Tensor
    weight_U: Tensor
    behaviour_logp_EA: Tensor | None = None
    value_EA: Tensor | None = None
    token_q: TokenQ | None = None
    kl_EA: Tensor | None = None
    mismatched_E: Tensor | None = None
    best_E: Tensor | None = None
    turn_EA: Tensor | None = None
    reference_return_EK: Tensor | None = None
    progress: float = 0.0

    @property
    def logp_EA(self) -> Tensor:
        """``ln pi(a|s)``, 0 where there is no action token."""
        return (self.logit_EA - self.lse_EA) * self.valid_EA

    @property
    def ref_logp_EA(self) -> Tensor:
        """``ln pi_ref(a|s)``, 0 where there is no action token."""
        return (self.ref_logit_EA - self.ref_lse_EA) * self.valid_EA

    @property
    def logratio_EA(self) -> Tensor:
        """``ln pi(a|s) - ln pi_ref(a|s)``, 0 where there is no action token."""
        return self.logp_EA - self.ref_logp_EA

    @property
    def logratio_E(self) -> Tensor:
        """Log-ratio of the whole episode, ``h``: the sum over its action tokens."""
        return self.logratio_EA.sum(-1)

    @property
    def length_E(self) -> Tensor:
        """Number of action tokens per row, as a float, at least 1."""
        return self.valid_EA.sum(-1).clamp(min=1).to(self.logit_EA.dtype)

    @property
    def return_E(self) -> Tensor:
        """Undiscounted return per row."""
        return (self.reward_EA * self.valid_EA).sum(-1)

    def movement(self, advantage_E: Tensor) -> dict[str, Tensor]:
        """How far the policy has moved from the reference on each row, for the log of training.

        At the optimum of ``E[R] - beta KL`` the log-ratio of an episode is its return over beta, less a number of its
        prompt. So over whole groups the products sum to the squares over beta; before training they are 0.

        Args:
            advantage_E: Return of each row, less the mean return of its group in the data.

        Returns:
            ``logratio``; ``logratio_advantage``, its product with the advantage; ``advantage_square``.
        """
        h_E = self.logratio_E.detach()
        return {"logratio": h_E, "logratio_advantage": h_E * advantage_E, "advantage_square": advantage_E.square()}

    def need(self, name: str) -> Tensor:
        """Return an optional field that the algorithm's ``needs`` names.

        Raises:
            TypeError: The field is absent, because ``needs`` does not name it.
        """
        found: Tensor | None = getattr(self, name)
        if found is None:
            raise TypeError(f"the batch has no {name}: add what provides it to the algorithm's `needs`")
        return found

    def per_unit(self, x_E: Tensor) -> Tensor:
        """Sum rows into units, ``[E] -> [U]``."""
        return x_E.new_zeros(self.weight_U.shape[0]).index_add(0, self.unit_E, x_E)

    def pairs(self, x_E: Tensor) -> tuple[Tensor, Tensor]:
        """Split rows of pair units into (better ``[U]``, worse ``[U]``)."""
        return x_E[0::2], x_E[1::2]

    def groups(self, x_E: Tensor, k: int) -> Tensor:
        """Rows of group units, ``[E] -> [U, k]``."""
        return x_E.reshape(self.weight_U.shape[0], k)
