"""What training computes, compared with the model's own forward pass."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.rendering import TokenSequence
from shiqbench.training.logits import logit_scale, replaced_forward
from shiqbench.training.policy import plain
from shiqbench.training.prefix_sharing import own_attention
from shiqbench.training.sharding import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from shiqbench.training.policy import Policy

TOKENS = 64  # of a text that are compared
TOLERANCES = {"fp32": 5e-3, "bf16": 0.5}


def tolerance(precision: str) -> float:
    """Largest difference of a token's log-probability, in nats, that rounding explains."""
    return TOLERANCES[precision]


def sample(sequences: Sequence[TokenSequence], vocabulary: int | None = None) -> list[TokenSequence]:
    """Short sequences to compare, from the two shortest of these; every token except the first counts as an action.

    They are the beginning of one, the end of the other, and a text that branches off the first: so they have a common
    prefix, other prefixes and other lengths, and any fault of shared prefixes or of padding shows.

    Args:
        sequences: Sequences of the training data, at least one.
        vocabulary: Number of tokens that the model predicts, if it reads other tokens too; those are no actions.
    """
    shortest = sorted(sequences, key=lambda s: (len(s.ids), s.ids))[:2]
    first, second = shortest[0].ids[:TOKENS], shortest[-1].ids[-TOKENS:]
    found = []
    for ids in (first, second, first[: len(first) // 2] + second[: len(second) // 3]):
        actions = tuple(p for p in range(1, len(ids)) if vocabulary is None or ids[p] < vocabulary)
        found += [TokenSequence(ids, actions)] * bool(actions)
    return found


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
            own = policy.of_model(partial(own_logp, sequence=s, precision=policy.config.precision))
            largest.append((ours.logit_N - ours.lse_N - own).abs().max().cpu())
    return float(torch.stack(largest).max())  # torch's max is NaN if one of them is


@torch.no_grad()
def own_logp(model: Any, sequence: TokenSequence, precision: str) -> Tensor:
    """Log-probabilities of a sequence's action tokens, by the model's own forward pass with the head in fp32.

    Args:
        model: Causal language model without wrappers.
        sequence: Sequence, computed by itself.
        precision: ``bf16`` computes the body of a model with fp32 weights in bf16, as training does.
    """
    head = model.get_output_embeddings()
    device = next(model.parameters()).device
    ids_T = torch.tensor(sequence.ids, device=device)
    at_N = torch.tensor(sequence.actions, device=device)
    compute = head.forward

    def in_fp32(hidden: Tensor) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            found: Tensor = compute(hidden.to(head.weight.dtype))
            return found

    with replaced_forward(head, in_fp32), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        logit_NV = model(input_ids=ids_T[None], use_cache=False).logits[0, at_N - 1]
    logp_NV: Tensor = (logit_NV if logit_NV.dtype == torch.float64 else logit_NV.float()).log_softmax(-1)
    return logp_NV.gather(-1, ids_T[at_N, None])[:, 0]


def check_policy(
    policy: Policy, sequences: Sequence[TokenSequence], q_weight: float = 0.0
) -> dict[str, dict[str, float]]:
    """Compare a policy with its model's own forward pass, in the precision of training, and in fp32 if the weights are.

    Args:
        policy: Policy to compare.
        sequences: Sequences of the training data.
        q_weight: Weight of the Q head in the sampling distribution; if it is not 0, a head must be able to give it.

    Returns:
        For each precision, the largest difference of a token's log-probability and its tolerance.

    Raises:
        ConfigError: A difference is beyond its tolerance, or the Q head cannot be part of the logits.
    """
    model = plain(policy.model)
    _check_positions(model, max(len(s.ids) for s in sequences))
    if q_weight:
        policy.of_model(lambda m: torch.tensor(logit_scale(m)))
    compared = sample(sequences, model.get_output_embeddings().weight.shape[0])
    facts: dict[str, dict[str, float]] = {}
    for precision in sorted({_exact(policy), policy.config.precision}):
        with _under(policy, precision=precision):
            difference = largest_difference(policy, compared)
        if not difference <= tolerance(precision):  # true for NaN
            what, do = _cause(policy, compared)
            raise ConfigError(
                f"training would compute other log-probabilities than {type(model).__name__} itself: "
                f"they differ by {difference:.3g} in {precision}, the tolerance is {tolerance(precision):g}; "
                f"the cause is {what}",
                where="start of training",
                do=do,
            )
        facts[precision] = {"difference": difference, "tolerance": tolerance(precision)}
    return facts


def _check_positions(model: Any, longest: int) -> None:
    """Refuse texts beyond the length where a model's positions depend on the longest text of a pass."""
    config = model.config.get_text_config()
    parameters = getattr(config, "rope_parameters", None) or {}
    for rope in (parameters, *(x for x in parameters.values() if isinstance(x, dict))):  # one for each kind of layer
        if rope.get("rope_type") not in ("dynamic", "longrope"):
            continue
        limit = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        if longest > limit:
            raise ConfigError(
                f"an episode has {longest} tokens, and beyond {limit} the {rope['rope_type']} positions of "
                f"{type(model).__name__} depend on the other texts of a pass",
                where="training data",
                do=f"leave out episodes with more than {limit} tokens",
            )


def _cause(policy: Policy, sequences: Sequence[TokenSequence]) -> tuple[str, str]:
    """What makes the difference, and what to do about it."""
    precision = _exact(policy)

    def agrees(**changes: Any) -> bool:
        with _under(policy, precision=precision, **changes):
            return largest_difference(policy, sequences) <= tolerance(precision)

    if not all(torch.isfinite(whole(p)).all() for p in policy.parameters()):
        return "weights that are no numbers", "use other weights"
    if policy.config.share_prefix and agrees(share_prefix=False):
        return "the attention or the positions of shared prefixes", "set train.share_prefix=false"
    if agrees(share_prefix=False, micro_tokens=1):
        return "attention to later tokens", "use a model with causal attention"
    return "the logits after the model's body", "use a model of another family"


def _exact(policy: Policy) -> Literal["fp32", "bf16"]:
    """The most exact precision in which the policy's weights can compute."""
    return "fp32" if policy.config.base_weights == "fp32" else "bf16"


@contextmanager
def _under(policy: Policy, **changes: Any) -> Iterator[None]:
    """Let a policy compute under other settings, inside this context."""
    before = policy.config
    policy.config = before.model_copy(update=changes)
    try:
        yield
    finally:
        policy.config = before
