"""Forward passes that compute every shared prefix once.

Episodes of one scenario, and of all scenarios with the same tools, begin with the same prompt. The
sequences of a pass are merged into a trie: each distinct prefix is one node, its position is its depth,
and a token attends only to its ancestors. Hidden states and gradients equal those of separate passes up to rounding;
the cost is that of the distinct tokens.

Legend: N nodes of the trie, H heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

KERNEL = "shiqbench_shared_prefix"


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


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    trie: Trie | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention along the paths of a trie, in the form that transformers' attention interface requires.

    Args:
        module: The attention layer.
        query: ``[1, H, N, D]``.
        key: ``[1, H_kv, N, D]``.
        value: ``[1, H_kv, N, D]``.
        attention_mask: Must be None.
        scaling: Scale of the scores.
        trie: Trie of the pass; None means that the model did not pass it on.

    Returns:
        Outputs ``[1, N, H, D]``, and None instead of attention weights.
    """
    if trie is None or attention_mask is not None:
        raise ConfigError(
            "the model does not pass the trie to its attention",
            where="train.share_prefix",
            do="set it to false",
        )
    outputs = []
    for s in trie.segments:
        parts = [*s.ancestors, (s.start, s.end)]
        k = torch.cat([key[:, :, a:b] for a, b in parts], dim=2)
        v = torch.cat([value[:, :, a:b] for a, b in parts], dim=2)
        n, m = s.end - s.start, k.shape[2]
        mask = None
        if m > n:
            mask = torch.ones(n, m, dtype=torch.bool, device=query.device).tril(m - n)
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                query[:, :, s.start : s.end],
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def enable(model: Any) -> None:
    """Let a model's layers attend along a trie.

    Raises:
        ConfigError: A layer's attention is not full, so the trie would change results.
    """
    from transformers import AttentionInterface

    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    window = getattr(model.config, "sliding_window", None) if "sliding_attention" in kinds else None
    if kinds != {"full_attention"} or window:
        raise ConfigError(
            f"layers of kind {', '.join(sorted(kinds - {'full_attention'}))} cannot share prefixes",
            where="train.share_prefix",
            do="set it to false",
        )
    AttentionInterface.register(KERNEL, attention)
    model.set_attn_implementation(KERNEL)
