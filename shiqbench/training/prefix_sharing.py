"""Forward passes that compute every shared prefix once.

Episodes of one scenario, and of all scenarios with the same tools, begin with the same prompt. The
sequences of a pass are merged into a trie: each distinct prefix is one node, its position is its depth,
and a token attends only to its ancestors. Where the model's own mask hides some of them, as a window does, they
stay hidden. Hidden states and gradients equal those of separate passes up to rounding; the cost is that of the
distinct tokens.

Legend: N nodes of the trie, H heads, D head size.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.errors import ConfigError
from shiqbench.training.logits import body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

KERNEL = "shiqbench_shared_prefix"
KINDS = {"full_attention", "sliding_attention", "chunked_attention"}
# Arguments of an attention layer that change nothing here: the mask contains the window, and dropout is off.
HARMLESS = {"dropout", "sliding_window", "position_ids", "use_cache", "output_attentions", "is_causal"}


@dataclass(frozen=True)
class Segment:
    """A run of nodes without a branch.

    Attributes:
        start: First node.
        end: One past the last node.
        ancestors: ``(start, end)`` runs of nodes before it on its path, in order of depth.
    """

    start: int
    end: int
    ancestors: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Trie:
    """Sequences merged by their prefixes.

    Attributes:
        ids: Token of each node.
        positions: Depth of each node.
        nodes: For each sequence, the node of each of its tokens.
        segments: Nodes in runs, parents before children.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    nodes: tuple[tuple[int, ...], ...]
    segments: tuple[Segment, ...]


def merge(sequences: Sequence[Sequence[int]]) -> Trie:
    """Merge sequences into a trie; in lexicographic order each sequence adds one run of new nodes."""
    ids: list[int] = []
    positions: list[int] = []
    paths: dict[int, tuple[int, ...]] = {}
    segments: list[Segment] = []
    before: Sequence[int] = ()
    path: tuple[int, ...] = ()
    for i in sorted(range(len(sequences)), key=lambda i: tuple(sequences[i])):
        sequence = sequences[i]
        shared = common_prefix(before, sequence)
        start = len(ids)
        ids += sequence[shared:]
        positions += range(shared, len(sequence))
        if len(ids) > start:
            segments.append(Segment(start, len(ids), _runs(path[:shared])))
        paths[i] = path = (*path[:shared], *range(start, len(ids)))
        before = sequence
    nodes = tuple(paths[i] for i in range(len(sequences)))
    return Trie(tuple(ids), tuple(positions), nodes, tuple(segments))


def distinct_tokens(sequences: Sequence[Sequence[int]]) -> int:
    """Number of nodes that :func:`merge` would create."""
    total, before = 0, tuple[int, ...]()
    for sequence in sorted(tuple(s) for s in sequences):
        total += len(sequence) - common_prefix(before, sequence)
        before = sequence
    return total


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    if tuple(a[:n]) == tuple(b[:n]):
        return n
    low, high = 0, n
    while low < high:  # the largest k with a[:k] == b[:k]
        middle = (low + high + 1) // 2
        if tuple(a[:middle]) == tuple(b[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _runs(path: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Contiguous runs of a path of nodes."""
    runs: list[list[int]] = []
    for node in path:
        if runs and runs[-1][1] == node:
            runs[-1][1] = node + 1
        else:
            runs.append([node, node + 1])
    return tuple((a, b) for a, b in runs)


def path_mask(mask_function: Callable[..., Tensor], use_vmap: bool, **_: Any) -> Callable[..., Tensor]:
    """What the model's own mask allows, as a function of positions, in the form of transformers' mask interface.

    Windows and chunks depend on positions in the text. A node's position is its depth, so :func:`attention` applies
    the function to depths.
    """
    if use_vmap:
        raise _refused("its mask is not a function of positions")
    return mask_function


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Callable[..., Tensor] | Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    trie: Trie | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention along the paths of a trie, in the form that transformers' attention interface requires.

    Args:
        module: The attention layer.
        query: ``[1, H, N, D]``.
        key: ``[1, H_kv, N, D]``.
        value: ``[1, H_kv, N, D]``.
        attention_mask: Result of :func:`path_mask`.
        scaling: Scale of the scores.
        softcap: Bound of the scores.
        trie: Trie of the pass; None means that the model did not pass it on.
        others: Arguments that change nothing here; any other is refused.

    Returns:
        Outputs ``[1, N, H, D]``, and None instead of attention weights.
    """
    if trie is None or not callable(attention_mask):
        raise _refused("it does not pass the trie and transformers' mask to its attention")
    if unknown := sorted(k for k, v in others.items() if k not in HARMLESS and v is not None):
        raise _refused(f"its attention uses {', '.join(unknown)}")
    groups = query.shape[1] // key.shape[1]
    outputs = []
    for s in trie.segments:
        parts = [*s.ancestors, (s.start, s.end)]
        q = query[:, :, s.start : s.end]
        k = torch.cat([key[:, :, a:b] for a, b in parts], dim=2)
        v = torch.cat([value[:, :, a:b] for a, b in parts], dim=2)
        mask = _visible(attention_mask, s.end - s.start, k.shape[2], query.device)
        if softcap is None:
            outputs.append(
                torch.nn.functional.scaled_dot_product_attention(
                    q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=groups > 1
                )
            )
        else:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
            scores = (q @ k.mT * (scaling or q.shape[-1] ** -0.5) / softcap).tanh() * softcap
            visible = mask if mask is not None else torch.ones_like(scores, dtype=torch.bool).tril()
            share = scores.masked_fill(~visible, -torch.inf).softmax(-1, dtype=torch.float32)
            outputs.append(share.to(q.dtype) @ v)
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _visible(allowed: Callable[..., Tensor], n: int, m: int, device: torch.device) -> Tensor | None:
    """Which of the m tokens of a path its last n tokens see; None if these are all m and the mask is plain causal."""
    from transformers.masking_utils import causal_mask_function

    if allowed is causal_mask_function:
        return torch.ones(n, m, dtype=torch.bool, device=device).tril(m - n) if m > n else None
    depth = torch.arange(m, device=device)
    return allowed(0, 0, depth[m - n :, None], depth[None, :])


def enable(model: Any) -> None:
    """Let a model's layers attend along a trie.

    Raises:
        ConfigError: The model has layers that are no attention, or its attention cannot be replaced.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or KINDS) - KINDS
    if kinds:
        raise _refused(f"it has layers of kind {', '.join(sorted(kinds))}", model)
    takes = inspect.signature(body_of(model).forward).parameters
    passes_on = "position_ids" in takes and any(p.kind is p.VAR_KEYWORD for p in takes.values())
    if not (passes_on and model._can_set_attn_implementation()):
        raise _refused("its attention cannot be replaced", model)
    AttentionInterface.register(KERNEL, attention)
    AttentionMaskInterface.register(KERNEL, path_mask)
    model.own_kernel = model.config._attn_implementation
    model.set_attn_implementation(KERNEL)


@contextmanager
def own_attention(model: Any) -> Iterator[None]:
    """Let a model use its own attention again for a while."""
    used = model.config._attn_implementation
    if used != KERNEL:
        yield
        return
    model.set_attn_implementation(model.own_kernel)
    try:
        yield
    finally:
        model.set_attn_implementation(used)


def _refused(why: str, model: Any = None) -> ConfigError:
    name = type(model).__name__ if model is not None else "the model"
    return ConfigError(f"{name} cannot share prefixes: {why}", where="train.share_prefix", do="set it to false")
