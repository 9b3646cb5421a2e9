"""Outputs of the layers below the trained ones, computed once for the whole training.

With ``train.top_layers`` the lower layers never change, so neither does what they compute for a text. It is kept in
memory per node of the trie of all texts, and a pass begins at the first trained layer. The texts decide how outputs
are computed, not what ran before: a training that is continued computes the same ones.

Legend: N nodes of a pass, K kept nodes, D hidden size.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.training.logits import replaced_forward
from shiqbench.training.own_forward import tolerance
from shiqbench.training.policy import forward_passes, plain, stack
from shiqbench.training.prefix_sharing import distinct_tokens, merge, trie_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor
    from torch.nn import Module

    from shiqbench.episodes.rendering import TokenSequence
    from shiqbench.training.policy import Policy
    from shiqbench.training.prefix_sharing import Trie

LARGEST_BYTES = 2 * 2**30  # of all outputs together; fixed, so that the machine does not decide how a cell is computed


def keep_frozen(policy: Policy, sequences: Sequence[TokenSequence]) -> dict[str, int]:
    """Compute what the layers below the trained ones compute once for all passes, if prefixes are shared.

    Args:
        policy: Policy before its training; its passes use the outputs from now on.
        sequences: Every sequence of the training.

    Returns:
        Number of these layers, and bytes of their outputs. Zeros if nothing is kept: all layers are trained, the
        weights are sharded, the outputs take too much memory, or a pass that begins with them computes something else,
        as in a model whose upper layers read more than the output of the layer below.
    """
    none = {"layers": 0, "bytes": 0}
    if not (policy.config.share_prefix and policy.config.top_layers) or policy.sharded:
        return none
    model = plain(policy.model)
    layers = list(stack(model))
    kept = FrozenOutputs(layers[: frozen_below(layers, model)])
    distinct = list({s.ids: s for s in sequences}.values())
    size = distinct_tokens([s.ids for s in distinct]) * model.config.get_text_config().hidden_size * 4
    if not kept.layers or size > LARGEST_BYTES:
        return none
    compared = sorted(distinct, key=lambda s: (len(s.ids), s.ids))[:2]
    with torch.no_grad():
        for members in forward_passes(distinct, policy.config):
            ids = [distinct[i].ids for i in members]
            trie = merge(ids)
            if not kept.compute(trie, ids, partial(policy.body, trie_inputs(trie, policy.device))):
                return none
        before = policy(compared)
        policy.frozen = kept
        pairs = zip(before, policy(compared), strict=True)
        difference = max(float((a.logit_N - a.lse_N - b.logit_N + b.lse_N).abs().max()) for a, b in pairs)
    if not difference <= tolerance(policy.config.precision):
        policy.frozen = None
        return none
    return {"layers": len(kept.layers), "bytes": kept.size}


def frozen_below(layers: Sequence[Module], model: Module) -> int:
    """Number of layers below the lowest trained one; 0 if anything that comes before a layer is trained."""
    first = next((i for i, layer in enumerate(layers) if _trained(layer)), 0)
    upper = {id(p) for layer in layers[first:] for p in layer.parameters()}
    return 0 if any(p.requires_grad and id(p) not in upper for p in model.parameters()) else first


def _trained(layer: Module) -> bool:
    return any(p.requires_grad for p in layer.parameters())


class FrozenOutputs:
    """What the frozen layers compute, for the texts of one training.

    Args:
        layers: The frozen layers, from the lowest.
    """

    def __init__(self, layers: Sequence[Module]) -> None:
        self.layers = layers
        self._blocks: list[Tensor] = []
        self._output_KD: Tensor | None = None
        self._nodes: dict[tuple[int, ...], Tensor] = {}
        self._count = 0

    @property
    def size(self) -> int:
        """Bytes of all outputs."""
        return sum(b.nbytes for b in self._blocks) or (0 if self._output_KD is None else self._output_KD.nbytes)

    def compute(self, trie: Trie, sequences: Sequence[tuple[int, ...]], run: Callable[[], object]) -> bool:
        """Run the model's body up to the last frozen layer and keep its output.

        Args:
            trie: Trie of the sequences.
            sequences: Ids of each sequence.
            run: Runs the model's body over the trie.

        Returns:
            Whether the layers pass on one tensor, so that the output can be used.
        """
        last = self.layers[-1]
        compute, found = last.forward, []

        def stop(*args: Any, **kwargs: Any) -> Any:
            found.append(compute(*args, **kwargs))
            raise _ReachedError

        with replaced_forward(last, stop), suppress(_ReachedError):
            run()
        if not (found and isinstance(found[0], torch.Tensor)):
            return False
        self._blocks.append(found[0][0].cpu())
        for ids, nodes in zip(sequences, trie.nodes, strict=True):
            self._nodes[ids] = torch.tensor(nodes) + self._count
        self._count += len(trie.ids)
        return True

    def outputs(self, trie: Trie, sequences: Sequence[tuple[int, ...]]) -> Tensor | None:
        """Outputs ``[N, D]`` for a trie; None if one of its sequences is not kept."""
        if any(ids not in self._nodes for ids in sequences):
            return None
        if self._output_KD is None:
            self._output_KD, self._blocks = torch.cat(self._blocks), []
        where_N = torch.empty(len(trie.ids), dtype=torch.long)
        for ids, nodes in zip(sequences, trie.nodes, strict=True):
            where_N[torch.tensor(nodes)] = self._nodes[ids]
        return self._output_KD[where_N]

    @contextmanager
    def given(self, output_ND: Tensor) -> Iterator[None]:
        """Let the frozen layers pass on this output instead of computing it."""
        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(replaced_forward(layer, lambda *_, **__: output_ND[None]))
            yield


class _ReachedError(Exception):
    """The last frozen layer has computed its output."""
