"""Weights, gradients and optimiser state divided over the processes of a launch, by torch's FSDP2.

Each process keeps a part of every weight. The weights of a layer are gathered for its own computation, and freed after
it; those outside the layers (embeddings, head, value and Q heads) are gathered for a whole pass. To gather is something
that all processes do together, so all of them make the same passes in the same order: see ``Policy.in_step``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from shiqbench.training.token_statistics import TokenStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor
    from torch.nn import Module

    from shiqbench.training.policy import Policy


def shard(policy: Policy, layers: Iterable[Module]) -> None:
    """Divide the weights of a policy; every process of a group calls this with the same policy.

    Args:
        policy: Policy with whole weights, on the CPU; this function changes it. Only its own methods can be called
            then, and the optimiser has to be made after this.
        layers: Layers of the policy's model; each is gathered by itself.
    """
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (get_world_size(),))
    for module in (*layers, policy):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(policy, "of_model")
    policy.in_step = highest
    policy.sharded = True


def highest(count: int) -> int:
    """The highest of the counts of all processes; each process waits for all others."""
    found = torch.tensor(count, device="cuda" if torch.cuda.is_available() else "cpu")
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return int(found)


def whole(tensor: Any) -> Tensor:
    """A tensor with all its parts; every process of the group calls this."""
    from torch.distributed.tensor import DTensor

    found: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return found


def whole_state(module: Module, *, main: bool) -> dict[str, Any]:
    """The state of a sharded module with whole tensors on the CPU, in the main process; nothing in the others.

    One tensor after the other is gathered, so that a GPU needs room for one.
    """
    state: dict[str, Any] = {}
    for name, tensor in module.state_dict().items():
        gathered = whole(tensor)
        if main:
            state[name] = gathered.cpu()
    return state


def anchor(statistics: Sequence[TokenStatistics]) -> Tensor:
    """Zero, with the gradient 0 for everything that made these statistics.

    A loss may leave out statistics, and another process's loss may need them. Added to a loss, this lets the backward
    pass of every process visit the same layers.
    """
    found = [x.sum() for s in statistics for x in s if x is not None and x.requires_grad]
    return torch.stack(found).sum() * 0


def copied(statistics: TokenStatistics) -> TokenStatistics:
    """The same statistics in memory of their own: FSDP warns of outputs that are views.

    It gathers weights for the backward pass by hooks on the outputs, which a view can lose.
    """
    return TokenStatistics._make(None if x is None else x.clone() for x in statistics)
