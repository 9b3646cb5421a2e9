"""The one function behind every loss: statistics of chosen tokens, only at action positions.

The body of the model runs over whole sequences in the compute precision. Its head runs in fp32 on the hidden states
that predict an action token, one chunk of positions at a time. The backward pass recomputes the logits of a chunk, so
that they need not be kept.

Legend: N action tokens of a forward pass, D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CHUNK = 1024


class TokenStatistics(NamedTuple):
    """Statistics per action token, fp32 (fp64 for a model in fp64); None if not asked for.

    Attributes:
        logit_N: Raw logit of the chosen token.
        lse_N: Logsumexp over the vocabulary.
        value_N: Output of the value head.
        q_N: Q of the chosen token.
        q_lse_N: Logsumexp of Q over the vocabulary.
        target_q_N: Q of the chosen token under the target head, without gradient.
    """

    logit_N: Tensor
    lse_N: Tensor
    value_N: Tensor | None = None
    q_N: Tensor | None = None
    q_lse_N: Tensor | None = None
    target_q_N: Tensor | None = None

    def to(self, device: torch.device) -> TokenStatistics:
        """The same statistics on a device."""
        return TokenStatistics._make(None if x is None else x.to(device) for x in self)


def token_statistics(
    hidden_ND: Tensor,
    logits: Callable[[Tensor], Tensor],
    token_N: Tensor,
    *,
    chunk: int = CHUNK,
) -> TokenStatistics:
    """Statistics of chosen tokens from the hidden states that predict them.

    Args:
        hidden_ND: Final hidden states, any floating dtype.
        logits: Returns logits over the vocabulary for some hidden states, which it receives in fp32 (or fp64).
        token_N: Chosen tokens.
        chunk: Positions per chunk; limits memory to ``chunk * V`` floats.

    Returns:
        fp32 statistics, differentiable in the hidden states and the head.
    """
    dtype = torch.float64 if hidden_ND.dtype == torch.float64 else torch.float32

    def head(hidden: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        logit = logits(hidden.to(dtype))
        return logit.gather(-1, token[:, None])[:, 0], logit.logsumexp(-1)

    parts = []
    for hidden, token in zip(torch.split(hidden_ND, chunk), torch.split(token_N, chunk), strict=True):
        if torch.is_grad_enabled() and len(token_N) > chunk:
            parts.append(checkpoint(head, hidden, token, use_reentrant=False))
        else:
            parts.append(head(hidden, token))
    if not parts:
        empty = hidden_ND.new_zeros(0, dtype=dtype)
        return TokenStatistics(empty, empty)
    return TokenStatistics(*(torch.cat(column) for column in zip(*parts, strict=True)))
