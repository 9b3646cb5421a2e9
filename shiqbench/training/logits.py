"""The model's own logits from final hidden states.

What a model does after its body differs by family: scales, soft caps, biases, a part of the vocabulary. None of it is
written here: the model's own forward pass runs with a body that returns the given hidden states.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor


def body_of(model: Any) -> Any:
    """The part of a causal language model that computes final hidden states."""
    found = model.get_decoder()
    return found if found is not model else model.model  # some families do not name their body


class _Output:
    """What a body returns: hidden states, under the name or at the place where the model looks; the rest is None."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, index: int) -> Tensor | None:
        return self.last_hidden_state if index == 0 else None


def logits(model: Any, hidden_ND: Tensor) -> Tensor:
    """The logits that a model's own forward pass computes from final hidden states.

    Args:
        model: Causal language model without wrappers.
        hidden_ND: Final hidden states of N positions, in the dtype of the weights.

    Raises:
        ConfigError: The model's forward pass does not use the body's output.
    """
    used: list[bool] = []

    def given(*_: Any, **__: Any) -> Any:
        used.append(True)
        return _Output(hidden_ND[None])

    with replaced_forward(body_of(model), given):
        found: Tensor = model(
            input_ids=hidden_ND.new_zeros(1, len(hidden_ND), dtype=torch.long), use_cache=False
        ).logits
    if not used:
        raise ConfigError(
            f"the forward pass of {type(model).__name__} does not call its body",
            where="model",
            do="use a model of another family",
        )
    return found[0]


@contextmanager
def replaced_forward(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a module call another function in place of its forward pass."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


@torch.no_grad()
def logit_scale(model: Any) -> float:
    """Factor between the output of a model's vocabulary head and its logits.

    Raises:
        ConfigError: The logits are no multiple of the head's output.
    """
    head = model.get_output_embeddings()
    # Large hidden states: a soft cap shows only for large logits.
    random = torch.randn(4, head.weight.shape[1], generator=torch.Generator().manual_seed(0))
    hidden = (1e3 * random / head.weight.std().cpu()).to(head.weight)
    raw, own = head(hidden), logits(model, hidden)
    if raw.shape == own.shape:
        scale = float((own * raw).sum() / raw.square().sum())
        if torch.allclose(own, scale * raw, rtol=1e-3, atol=1e-3 * float(own.abs().max())):
            return scale
    raise ConfigError(
        f"the logits of {type(model).__name__} are not its head's output times a number (they are soft-capped)",
        where="sampling_q_weight",
        do="use another model: no vocabulary head samples from logits plus Q here",
    )
