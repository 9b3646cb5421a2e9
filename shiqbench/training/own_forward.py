"""What training computes, compared with the model's own forward pass."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.rendering import TokenSequence
from shiqbench.training.logits import logit_scale, replaced_forward
from shiqbench.training.policy import Policy, plain
from shiqbench.training.prefix_sharing import own_attention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

TOKENS = 128  # of a text that are compared
TOLERANCES = {"fp32": 1e-3, "bf16": 0.5}


def tolerance(precision: str) -> float:
    """Largest difference of a token's log-probability, in nats, that rounding explains."""
    return TOLERANCES[precision]


def sample(sequences: Sequence[TokenSequence]) -> list[TokenSequence]:
    """Short sequences to compare, from the two shortest of these; every token except the first counts as an action.

    They are the beginning of one, the end of the other, and a text that branches off the first: so they have a common
    prefix, other prefixes and other lengths, and any fault of shared prefixes or of padding shows.
    """
    shortest = sorted(sequences, key=lambda s: (len(s.ids), s.ids))[:2]
    first, second = shortest[0].ids[:TOKENS], shortest[-1].ids[-TOKENS:]
    branch = first[: len(first) // 2] + second[: len(second) // 3]
    return [TokenSequence(ids, tuple(range(1, len(ids)))) for ids in (first, second, branch) if len(ids) > 1]


@torch.no_grad()
def largest_difference(policy: Policy, sequences: Sequence[TokenSequence]) -> float:
    """Largest difference of a token's log-probability, in nats; NaN if one is not a number.

    The policy computes all sequences as in training. The model computes one after the other with its own forward pass
    and attention kernel, without cache, padding or shared prefixes. The head is fp32 in both.

    Args:
        policy: Policy to compare, with its precision and its shape of forward passes.
        sequences: Sequences; the log-probabilities of their action tokens are compared.
    """
    model = plain(policy.model)
    with nullcontext() if policy.config.share_prefix else own_attention(model):
        found = policy(sequences)
    largest = [torch.zeros(())]
    with own_attention(model):
        for s, ours in zip(sequences, found, strict=True):
            own = own_logp(model, s.ids, policy.config.precision)
            at = torch.tensor(s.actions, device=own.device)
            largest.append((ours.logit_N - ours.lse_N - own[at - 1]).abs().max().cpu())
    return float(torch.stack(largest).max())  # torch's max is NaN if one of them is


@torch.no_grad()
def own_logp(model: Any, ids: Sequence[int], precision: str) -> Tensor:
    """Log-probability of each token after the first one, by the model's own forward pass with the head in fp32."""
    head = model.get_output_embeddings()
    device = next(model.parameters()).device
    ids_T = torch.tensor(list(ids), device=device)
    compute = head.forward

    def in_fp32(hidden: Tensor) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            found: Tensor = compute(hidden.to(head.weight.dtype))
            return found

    with replaced_forward(head, in_fp32), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        logit_TV = model(input_ids=ids_T[None], use_cache=False).logits[0, :-1]
    logp_TV: Tensor = (logit_TV if logit_TV.dtype == torch.float64 else logit_TV.float()).log_softmax(-1)
    return logp_TV.gather(-1, ids_T[1:, None])[:, 0]


def check_policy(
    policy: Policy, sequences: Sequence[TokenSequence], q_weight: float = 0.0
) -> dict[str, dict[str, float]]:
    """Compare a policy with its model's own forward pass, in fp32 and in the precision of training.

    Args:
        policy: Policy to compare.
        sequences: Sequences of the training data.
        q_weight: Weight of the Q head in the sampling distribution; if it is not 0, a head must be able to give it.

    Returns:
        For each precision, the largest difference of a token's log-probability and its tolerance.

    Raises:
        ConfigError: A difference is beyond its tolerance, or the Q head cannot be part of the logits.
    """
    if q_weight:
        logit_scale(plain(policy.model))
    compared = sample(sequences)
    facts: dict[str, dict[str, float]] = {}
    for precision in sorted({"fp32", policy.config.precision}):
        difference = largest_difference(_with(policy, precision=precision), compared)
        if not difference <= tolerance(precision):  # true for NaN
            what, do = _cause(policy, compared)
            raise ConfigError(
                f"training would compute other log-probabilities than {type(plain(policy.model)).__name__} itself: "
                f"they differ by {difference:.3g} in {precision}, the tolerance is {tolerance(precision):g}; "
                f"the cause is {what}",
                where="start of training",
                do=do,
            )
        facts[precision] = {"difference": difference, "tolerance": tolerance(precision)}
    return facts


def _cause(policy: Policy, sequences: Sequence[TokenSequence]) -> tuple[str, str]:
    """What makes the difference, and what to do about it."""

    def agrees(**changes: Any) -> bool:
        return largest_difference(_with(policy, precision="fp32", **changes), sequences) <= tolerance("fp32")

    if not all(torch.isfinite(p).all() for p in policy.parameters()):
        return "weights that are no numbers", "use other weights"
    if policy.config.share_prefix and agrees(share_prefix=False):
        return "the attention or the positions of shared prefixes", "set train.share_prefix=false"
    if agrees(share_prefix=False, micro_tokens=1):
        return "attention to later tokens", "use a model with causal attention"
    return "the logits after the model's body", "use a model of another family"


def _with(policy: Policy, **changes: Any) -> Policy:
    """The same weights under other settings."""
    return Policy(policy.model, policy.config.model_copy(update=changes))
