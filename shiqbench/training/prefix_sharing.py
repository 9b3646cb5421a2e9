"""Forward passes that compute every shared prefix once.

Episodes of one scenario, and of all scenarios with the same tools, begin with the same prompt. The
sequences of a pass are merged into a trie: each distinct prefix is one node, its position is its depth,
and a token attends only to its ancestors. Where the model's own mask hides some of them, as a window does, they
stay hidden. Hidden states and gradients equal those of separate passes up to rounding; the cost is that of the
distinct tokens.

Legend: N nodes of the trie, R nodes of a block, K nodes that they see, H heads, D head size.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.errors import ConfigError
from shiqbench.training.logits import body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

KERNEL = "shiqbench_shared_prefix"
KINDS = {"full_attention", "sliding_attention", "chunked_attention", "attention"}
KINDS_NAMED = ("layer_types", "layers_block_type")
# Nodes of several segments whose attention is one call: many small calls take longer than a few hidden scores.
BLOCK = 256
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
class Block:
    """Neighbouring segments whose attention is one call.

    Attributes:
        segments: The segments.
        seen: ``(start, end)`` runs of earlier nodes that at least one of them sees.
    """

    segments: tuple[Segment, ...]
    seen: tuple[tuple[int, int], ...]

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Runs of all nodes that they see, their own last."""
        return *self.seen, (self.start, self.end)

    @property
    def start(self) -> int:
        """First node."""
        return self.segments[0].start

    @property
    def end(self) -> int:
        """One past the last node."""
        return self.segments[-1].end


@dataclass(frozen=True)
class Trie:
    """Sequences merged by their prefixes.

    Attributes:
        ids: Token of each node.
        positions: Depth of each node.
        nodes: For each sequence, the node of each of its tokens.
        blocks: All nodes in runs, parents before children.
        masks: Which nodes see which, per block and mask function of the model; all layers of a pass share them.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    nodes: tuple[tuple[int, ...], ...]
    blocks: tuple[Block, ...]
    masks: dict[Any, Tensor | None] = field(default_factory=dict, compare=False)

    @cached_property
    def _cuts(self) -> list[int]:
        return sorted({n for b in self.blocks for run in b.runs for n in run})

    @cached_property
    def pieces(self) -> list[int]:
        """Numbers of nodes of the pieces of which all runs consist, in order."""
        return [b - a for a, b in pairwise(self._cuts)]

    def pieces_of(self, block: Block) -> list[int]:
        """Indices of the pieces that a block sees."""
        return [i for a, b in block.runs for i in range(bisect_left(self._cuts, a), bisect_left(self._cuts, b))]


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
    return Trie(tuple(ids), tuple(positions), nodes, _blocks(segments))


def _blocks(segments: Sequence[Segment]) -> tuple[Block, ...]:
    """Join small neighbours, as long as what they see together is not much more than what one of them sees."""
    blocks: list[Block] = []
    members: list[Segment] = []
    for segment in segments:
        joined = [*members, segment]
        seen = _seen(joined)
        most = max(_size(s.ancestors) for s in joined)
        if members and (segment.end - joined[0].start > BLOCK or _size(seen) > most + BLOCK):
            blocks.append(Block(tuple(members), _seen(members)))
            joined = [segment]
        members = joined
    return (*blocks, Block(tuple(members), _seen(members)))


def _seen(segments: Sequence[Segment]) -> tuple[tuple[int, int], ...]:
    """Runs of the nodes before the first segment that at least one of the segments sees."""
    start = segments[0].start
    runs = sorted({(a, min(b, start)) for s in segments for a, b in s.ancestors if a < start})
    found: list[tuple[int, int]] = []
    for a, b in runs:
        if found and a <= found[-1][1]:
            found[-1] = found[-1][0], max(b, found[-1][1])
        else:
            found.append((a, b))
    return tuple(found)


def _size(runs: Sequence[tuple[int, int]]) -> int:
    return sum(b - a for a, b in runs)


def trie_inputs(trie: Trie, device: torch.device) -> dict[str, Any]:
    """Inputs of a model's body that compute each node of a trie once."""
    ids = torch.tensor([trie.ids], device=device)
    return {
        "input_ids": ids,
        # With a mask, transformers does not take the positions for those of several packed texts.
        "attention_mask": torch.ones_like(ids),
        "position_ids": torch.tensor([trie.positions], device=device),
        "trie": trie,
    }


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
    # Cut once: the gradient of a slice is as large as the whole, that of a piece is as large as the piece.
    pieces_k, pieces_v = (torch.split(x, trie.pieces, dim=2) for x in (key, value))
    for block, q in zip(trie.blocks, torch.split(query, [b.end - b.start for b in trie.blocks], dim=2), strict=True):
        k, v = (torch.cat([pieces[i] for i in trie.pieces_of(block)], dim=2) for pieces in (pieces_k, pieces_v))
        about = block, attention_mask, query.device
        if about not in trie.masks:
            trie.masks[about] = _visible(trie, *about)
        mask = trie.masks[about]
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


def _visible(trie: Trie, block: Block, allowed: Callable[..., Tensor], device: torch.device) -> Tensor | None:
    """Which nodes a block's nodes see, of those in its runs and itself; None if it is one plain causal text."""
    from transformers.masking_utils import causal_mask_function

    plain = allowed is causal_mask_function
    if plain and len(block.segments) == 1 and not block.seen:
        return None
    nodes_K = torch.cat([torch.arange(a, b) for a, b in block.runs])
    visible_RK = torch.zeros(block.end - block.start, len(nodes_K), dtype=torch.bool)
    for s in block.segments:
        rows_RK = visible_RK[s.start - block.start : s.end - block.start]
        for a, b in s.ancestors:
            rows_RK |= (nodes_K >= a) & (nodes_K < b)
        rows_RK |= (nodes_K >= s.start) & (nodes_K <= torch.arange(s.start, s.end)[:, None])
    visible_RK = visible_RK.to(device)
    if plain:
        return visible_RK
    depth_N = torch.tensor(trie.positions, device=device)
    depth_R, depth_K = depth_N[block.start : block.end], depth_N[nodes_K.to(device)]
    return visible_RK & allowed(0, 0, depth_R[:, None], depth_K[None, :])


def enable(model: Any) -> None:
    """Let a model's layers attend along a trie.

    Raises:
        ConfigError: The model has layers that are no attention, or its attention cannot be replaced.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    named = (getattr(model.config.get_text_config(), name, None) for name in KINDS_NAMED)
    kinds = {kind for layers in named for kind in layers or ()} - KINDS
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
