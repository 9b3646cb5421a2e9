"""Value and Q heads for algorithms that need them; the Q head can also change the sampling distribution.

The heads read the final hidden state at the positions that predict action tokens. The state is detached, so their
gradients never reach the model. Heads start at zero and are fp32 for any compute precision of the model.

Legend: N action tokens of a forward pass, D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from shiqbench.training.logits import logit_scale
from shiqbench.training.sharding import whole
from shiqbench.training.token_statistics import TokenStatistics, token_statistics

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from shiqbench.plugin.algorithm import Need

NEEDS: frozenset[Need] = frozenset({"values", "token_q"})


class Heads(torch.nn.Module):
    """The heads that an algorithm needs; no other head is created.

    Args:
        needs: ``values`` creates the value head, ``token_q`` the Q head and its target copy.
        hidden_size: Size D of a hidden state.
        vocabulary: Size V of the vocabulary.
    """

    target_VD: Tensor | None

    def __init__(self, needs: Collection[Need], hidden_size: int, vocabulary: int) -> None:
        super().__init__()
        self.value = _zero_linear(hidden_size, 1, bias=True) if "values" in needs else None
        self.q = _zero_linear(hidden_size, vocabulary, bias=False) if "token_q" in needs else None
        # A buffer, not a parameter: it is saved with the state, and no optimiser changes it.
        self.register_buffer("target_VD", torch.zeros(vocabulary, hidden_size) if self.q is not None else None)

    def extend(self, found: TokenStatistics, hidden_ND: Tensor, token_N: Tensor) -> TokenStatistics:
        """Add the statistics of the heads to those of the policy.

        Args:
            found: Statistics of the policy.
            hidden_ND: Final hidden states that predict the tokens.
            token_N: Chosen tokens.
        """
        hidden_ND = hidden_ND.detach().to(found.logit_N.dtype)
        if self.value is not None:
            found = found._replace(value_N=self.value(hidden_ND)[:, 0])
        if self.q is not None and self.target_VD is not None:
            q = token_statistics(hidden_ND, self.q, token_N)
            target_N = (hidden_ND * self.target_VD[token_N]).sum(-1)
            found = found._replace(q_N=q.logit_N, q_lse_N=q.lse_N, target_q_N=target_N)
        return found

    @torch.no_grad()
    def move_target(self, rate: float) -> None:
        """Move the target Q head towards the Q head by this share of their difference."""
        if self.q is not None and self.target_VD is not None:
            self.target_VD.lerp_(whole(self.q.weight), rate)


def heads_for(needs: Collection[Need], model: Any) -> Heads | None:
    """The heads for a causal language model, or None if the algorithm needs none.

    Args:
        needs: Needs of the algorithm.
        model: Causal language model without wrappers; its vocabulary head determines the sizes.
    """
    if not NEEDS & set(needs):
        return None
    vocabulary, hidden_size = model.get_output_embeddings().weight.shape
    return Heads(needs, hidden_size, vocabulary)


@torch.no_grad()
def sampled_head(model: Any, heads: Heads | None, weight: float) -> Tensor:
    """Weight of the vocabulary head that gives the logits ``l + weight * Q``.

    Args:
        model: A causal language model without wrappers.
        heads: Heads that were trained with the model.
        weight: Weight of the Q head, :attr:`shiqbench.plugin.algorithm.Algorithm.sampling_q_weight`.

    Raises:
        TypeError: The algorithm samples from a Q head that is not in its needs.
        ConfigError: No vocabulary head gives these logits.
    """
    own: Tensor = model.get_output_embeddings().weight.detach()
    if not weight:
        return own
    if heads is None or heads.q is None:
        raise TypeError("sampling_q_weight is not 0 and there is no Q head: add token_q to the algorithm's `needs`")
    return own + weight / logit_scale(model) * heads.q.weight


@torch.no_grad()
def fold_q(model: Any, heads: Heads | None, weight: float) -> None:
    """Replace a model's vocabulary head by the one of :func:`sampled_head`, untied from its embeddings.

    Any engine samples from the softmax of the new logits and needs no code for heads.
    """
    old = model.get_output_embeddings()
    bias = getattr(old, "bias", None)
    new = _zero_linear(old.weight.shape[1], old.weight.shape[0], bias=bias is not None)
    new.to(old.weight)  # device and dtype
    new.weight.copy_(sampled_head(model, heads, weight))
    if bias is not None:
        new.bias.copy_(bias)
    model.config.tie_word_embeddings = False
    model.config.get_text_config().tie_word_embeddings = False
    model.set_output_embeddings(new)


def _zero_linear(inputs: int, outputs: int, *, bias: bool) -> torch.nn.Linear:
    layer = torch.nn.Linear(inputs, outputs, bias=bias)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    return layer
