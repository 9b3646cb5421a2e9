"""Value and Q heads for algorithms that need them, and the Q head's part in what is sampled from.

The heads read the final hidden state at the positions that predict action tokens, detached: their gradients
never reach the model. They start at zero and are fp32 whatever the model's compute precision.

Legend: N action tokens of a forward pass, D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from shiqbench.training.token_statistics import TokenStatistics, token_statistics

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from shiqbench.plugin.algorithm import Need

NEEDS: frozenset[Need] = frozenset({"values", "token_q"})


class Heads(torch.nn.Module):
    """The heads that an algorithm's needs ask for; the others do not exist.

    Args:
        needs: ``values`` makes the value head, ``token_q`` the Q head and its target copy.
        hidden_size: D.
        vocabulary: V.
    """

    target_VD: Tensor | None

    def __init__(self, needs: Collection[Need], hidden_size: int, vocabulary: int) -> None:
        super().__init__()
        self.value = _zero_linear(hidden_size, 1, bias=True) if "values" in needs else None
        self.q = _zero_linear(hidden_size, vocabulary, bias=False) if "token_q" in needs else None
        # A buffer, not a parameter: saved with the state, moved by no optimiser.
        self.register_buffer("target_VD", torch.zeros(vocabulary, hidden_size) if self.q is not None else None)

    def extend(self, found: TokenStatistics, hidden_ND: Tensor, token_N: Tensor) -> TokenStatistics:
        """The policy's statistics with those of the heads.

        Args:
            found: The policy's.
            hidden_ND: Final hidden states that predict the tokens.
            token_N: Chosen tokens.
        """
        hidden_ND = hidden_ND.detach().to(found.logit_N.dtype)
        if self.value is not None:
            found = found._replace(value_N=self.value(hidden_ND)[:, 0])
        if self.q is not None and self.target_VD is not None:
            q = token_statistics(hidden_ND, self.q.weight, token_N)
            target_N = (hidden_ND * self.target_VD[token_N]).sum(-1)
            found = found._replace(q_N=q.logit_N, q_lse_N=q.lse_N, target_q_N=target_N)
        return found

    @torch.no_grad()
    def move_target(self, rate: float) -> None:
        """Move the target Q head by this share towards the Q head."""
        if self.q is not None and self.target_VD is not None:
            self.target_VD.lerp_(self.q.weight, rate)


def heads_for(needs: Collection[Need], model: Any) -> Heads | None:
    """The heads of a causal language model, or None where the needs name none.

    Args:
        needs: Of the algorithm.
        model: Without wrappers; its vocabulary head gives the sizes.
    """
    if not NEEDS & set(needs):
        return None
    vocabulary, hidden_size = model.get_output_embeddings().weight.shape
    return Heads(needs, hidden_size, vocabulary)


@torch.no_grad()
def fold_q(model: Any, heads: Heads | None, weight: float) -> None:
    """Give a model the vocabulary head ``W_lm + weight * W_Q``, untied from its embeddings.

    Its logits are then ``l + weight * Q``: any engine samples from their softmax without knowing of heads.

    Args:
        model: A causal language model without wrappers, changed in place.
        heads: Those trained with it.
        weight: :attr:`shiqbench.plugin.algorithm.Algorithm.sampling_q_weight`.

    Raises:
        TypeError: The algorithm samples from a Q head that it never said to need.
    """
    if heads is None or heads.q is None:
        raise TypeError("sampling_q_weight is not 0 and there is no Q head: name token_q in the algorithm's `needs`")
    old = model.get_output_embeddings()
    bias = getattr(old, "bias", None)
    new = _zero_linear(old.weight.shape[1], old.weight.shape[0], bias=bias is not None)
    new.to(old.weight)  # device and dtype
    new.weight.copy_(old.weight + weight * heads.q.weight)
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
