"""What memory a training takes, before it starts. The model's configuration decides; weights are not needed.

Weights, gradients and optimiser state are counted from shapes. Activations and the head's logits are traced: the
policy's own forward and backward pass runs on tensors without values, and the bytes of the living tensors are counted.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from shiqbench.episodes.rendering import TokenSequence
from shiqbench.training.base_weights import as_base
from shiqbench.training.logits import body_of
from shiqbench.training.policy import SHARDS, Policy, plain, stack, trainable
from shiqbench.training.settled import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from torch import Tensor

    from shiqbench.plugin.algorithm import Need
    from shiqbench.plugin.config import TrainConfig

TEXT = 1024  # tokens of each text of the traced pass; all of them count as action tokens
# Training keeps freed memory, see base/memory.py, and it becomes fragmented. The head's tensors are the largest ones;
# what stays is about this share of them, in benchmarks/training_memory.py.
KEPT_SHARE = 0.5
TRACED = (4, 8)  # layers of the two traces of a deeper model: what its passes keep is linear in its layers


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of a training at its peak, by part; the sum of the parts is the peak.

    Attributes:
        weights: All weights, with adapters and heads.
        gradients: Gradients of the trained weights.
        optimizer: The two moments of each trained weight.
        activations: What the forward pass of ``train.micro_tokens`` tokens keeps for its backward pass.
        head: Logits of one chunk of action tokens, with what its backward pass needs.
        backward: What the backward pass of a layer needs beyond that; 0 if the head needs more.
        allocator: On a CPU, freed memory that the process keeps and cannot use again; see :data:`KEPT_SHARE`.
        reference: Weights of the reference: 0, because it is the policy before the first update.
        gathered: With sharded weights, whole weights and gradients that are there at the same time; see
            :func:`_gathered`.
        traced: False if the model's pass depends on values, as mixtures of experts do; then activations, head,
            backward and allocator are unknown and 0.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    head: int
    backward: int
    allocator: int = 0
    reference: int = 0
    gathered: int = 0
    traced: bool = True

    @property
    def total(self) -> int:
        """The peak."""
        return sum(getattr(self, part.name) for part in fields(self) if part.name != "traced")


def training_memory(
    model: torch.nn.Module,
    config: TrainConfig,
    needs: Collection[Need] = (),
    *,
    gpu: bool = False,
    sequences: Sequence[TokenSequence] | None = None,
    shards: int = 1,
) -> TrainingMemory:
    """Estimate the memory of a training.

    An update is assumed to have several passes, so that the gradients of the passes before are there too.

    Args:
        model: Model without weights, of :func:`shiqbench.models.loading.without_weights`; this function changes it.
        config: Settings of the training.
        needs: Needs of the algorithm; they decide which heads exist.
        gpu: Whether a GPU trains, whose memory has another allocator.
        sequences: Texts of a pass; by default as many of :data:`TEXT` tokens as fit, without a common prefix.
        shards: Number of processes that divide the weights; 1 if each has all of them.

    Raises:
        ConfigError: The weights cannot be sharded.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        config = settle(model, config).config
        policy = Policy(trainable(as_base(model, config.base_weights), config), config, needs)
    policy.sharded = shards > 1
    weights = _bytes(policy.parameters()) // shards + _bytes(policy.buffers())
    if config.base_weights == "int8":  # the trace has bf16 in its place: a layer computes in bf16
        layers = [m for m in policy.modules() if isinstance(m, torch.nn.Linear)]
        weights -= sum(m.weight.numel() for m in layers if m.weight.dtype == torch.bfloat16)
    trained = [p for p in policy.parameters() if p.requires_grad]
    gradients = _bytes(trained) // shards
    gathered = _gathered(policy) if shards > 1 else 0
    counted = partial(TrainingMemory, weights=weights, gradients=gradients, optimizer=2 * gradients, gathered=gathered)
    try:
        kept, head, backward = _of_all_layers(policy, sequences or typical_pass(config))
    except (DataDependentOutputException, DynamicOutputShapeException):
        return counted(activations=0, head=0, backward=0, traced=False)
    freed = 0 if gpu else int(KEPT_SHARE * head)
    return counted(activations=kept, head=head, backward=backward, allocator=freed)


def _gathered(policy: Policy) -> int:
    """Bytes of whole tensors that a process has beyond its parts.

    Outside the layers, weights and gradients are whole during a backward pass. Of the layers, one is computed while the
    next one is gathered and the gradients of the last one are distributed; torch copies both on their way.
    """
    layers = stack(policy.model, SHARDS)
    inside = {p for layer in layers for p in layer.parameters()}
    outside = [p for p in policy.parameters() if p not in inside]
    largest = max(_bytes(layer.parameters()) for layer in layers)
    return _bytes(outside) + _bytes(p for p in outside if p.requires_grad) + 5 * largest


def typical_pass(config: TrainConfig) -> list[TokenSequence]:
    """Texts that fill a pass and have no common prefix."""
    length = min(TEXT, config.micro_tokens)
    actions = tuple(range(1, length))
    return [TokenSequence((i, *actions), actions) for i in range(config.micro_tokens // length)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _of_all_layers(policy: Policy, sequences: Sequence[TokenSequence]) -> tuple[int, int, int]:
    """Trace a policy; of a deep one that trains all layers only the first layers, twice, which is much faster.

    Returns:
        As :func:`_traced`.
    """
    layers = _layers(plain(policy.model))
    few, more = TRACED
    if policy.config.top_layers is not None or layers is None or len(layers) <= more:
        return _traced(policy, sequences)
    left_out = len(layers) - more
    del layers[more:]
    kept, head, backward = _traced(policy, sequences)
    del layers[few:]
    of_few, _, _ = _traced(policy, sequences)
    return kept + left_out * (kept - of_few) // (more - few), head, backward


def _layers(model: Any) -> torch.nn.ModuleList | None:
    """The layers of a model, if they are in one list."""
    total = model.config.get_text_config().num_hidden_layers
    lists = [m for m in body_of(model).modules() if isinstance(m, torch.nn.ModuleList)]
    return next((m for m in lists if len(m) == total), None)


def _traced(policy: Policy, sequences: Sequence[TokenSequence]) -> tuple[int, int, int]:
    """Run a forward and a backward pass without values.

    Returns:
        Bytes that the body's forward pass keeps, the most that the head adds to them, and the most that the backward
        pass adds to both.
    """
    peaks = {"body": 0, "head": 0}
    kept = 0

    def body_done(module: Any, inputs: Any, output: Any) -> None:
        nonlocal kept
        hook.remove()  # the head calls this module too, see training/logits.py
        kept, peaks["body"], living.peak = living.now, living.peak, living.now
        if output.last_hidden_state.requires_grad:
            output.last_hidden_state.register_hook(head_done)

    def head_done(gradient: Tensor) -> None:
        peaks["head"], living.peak = living.peak, living.now

    with FakeTensorMode():
        _without_values(policy)
        with _LivingBytes(policy.parameters()) as living:
            hook = body_of(plain(policy.model)).register_forward_hook(body_done)
            found = [x for s in policy(sequences, heads=True) for x in s if x is not None and x.requires_grad]
            sum(x.sum() for x in found).backward()
    return kept, peaks["head"] - kept, max(*peaks.values(), living.peak) - peaks["head"]


def _without_values(policy: Policy) -> None:
    """Replace tensors on the meta device by ones without values that say they are on the CPU, as autocast needs."""
    made: dict[Tensor, Any] = {}
    for module in policy.modules():
        for name, p in module._parameters.items():
            if p is not None:
                if p not in made:  # weights may be tied
                    made[p] = torch.nn.Parameter(torch.empty(p.shape, dtype=p.dtype), p.requires_grad)
                    made[p].grad = torch.empty_like(made[p]) if p.requires_grad else None
                module._parameters[name] = made[p]
        for name, b in module._buffers.items():
            module._buffers[name] = b if b is None else torch.empty(b.shape, dtype=b.dtype)


class _LivingBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that were made inside this context and still live.

    Attributes:
        now: Bytes at this moment.
        peak: The most so far.
    """

    def __init__(self, there: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        tensors = [x for t in there for x in (t, t.grad) if x is not None]
        self._seen = {t.untyped_storage()._cdata for t in tensors}

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._made(tensor.untyped_storage())
        return result

    def _made(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size
