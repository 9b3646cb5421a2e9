"""Random batches like those of the trainer, and changes that must not affect a loss.

Legend: E episodes (rows), A action positions (columns), U units, K reference completions.
Field names of :class:`Batch` end in their shape; the changes below rely on that.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.plugin.batch import Batch, TokenQ

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.config import AlgorithmConfig

# The batch field of each need.
FIELDS: dict[str, str] = {
    "values": "value_EA",
    "token_q": "token_q",
    "mismatched": "mismatched_E",
    "best": "best_E",
    "turns": "turn_EA",
    "reference_returns": "reference_return_EK",
    "behaviour_logp": "behaviour_logp_EA",
    "kl": "kl_EA",
}
LEAVES = ("logit_EA", "lse_EA", "value_EA", "kl_EA")
COMPLETIONS = 6


def random_batch(
    algorithm: Algorithm[AlgorithmConfig],
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float64,
    units: int = 4,
    columns: int = 7,
    at_reference: bool = False,
) -> Batch:
    """Make a batch of the algorithm's unit, with every field that it needs and no other.

    Rows differ in length: the shortest has one action token, and the longest fills all columns. Positions without
    an action token have arbitrary numbers, except rewards, which are 0 there. The better row of a pair comes first.
    The reference's statistics are NaN for an algorithm that does not use them.

    Args:
        algorithm: Algorithm with the unit, group size and needs.
        seed: Seed of the random numbers.
        dtype: Dtype of every floating-point field.
        units: Number of units, at least 2.
        columns: Number of action positions.
        at_reference: Whether the policy equals the reference.
    """
    generator = torch.Generator().manual_seed(seed)
    size = algorithm.group_size
    rows = units * size

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    lengths = torch.randint(1, columns + 1, (rows,), generator=generator)
    lengths[:2] = torch.tensor([columns, 1])
    valid_EA = torch.arange(columns)[None] < lengths[:, None]
    ref_logit_EA = rand(rows, columns)
    ref_lse_EA = ref_logit_EA + rand(rows, columns).exp()  # so that log-probabilities are negative
    logit_EA, lse_EA = ref_logit_EA, ref_lse_EA
    if not at_reference:
        logit_EA = ref_logit_EA + 0.5 * rand(rows, columns)
        lse_EA = logit_EA + rand(rows, columns).exp()
    values: dict[str, Any] = {
        "reward_EA": _better_first(rand(rows, columns) * valid_EA, lengths, algorithm),
        "logit_EA": logit_EA,
        "lse_EA": lse_EA,
        "ref_logit_EA": ref_logit_EA,
        "ref_lse_EA": ref_lse_EA,
        "weight_U": 0.5 + torch.rand(units, dtype=torch.float64, generator=generator),
    }
    if not algorithm.uses_reference:
        values |= {name: torch.full_like(values[name], float("nan")) for name in ("ref_logit_EA", "ref_lse_EA")}
    values |= _needed(algorithm, rand, rows, columns, at_reference)
    values["progress"] = float(torch.rand((), generator=generator))
    batch = Batch(valid_EA=valid_EA, unit_E=torch.arange(rows) // size, **values)
    return changed(batch, lambda _, x: x.to(dtype) if x.is_floating_point() else x)


def _better_first(reward_EA: Tensor, lengths: Tensor, algorithm: Algorithm[AlgorithmConfig]) -> Tensor:
    if algorithm.unit == "pair":
        return_E = reward_EA.sum(-1)
        missing_U = (return_E[1::2] - return_E[0::2]).clamp(min=0) + 0.1
        rows = torch.arange(0, len(lengths), 2)
        reward_EA[rows, lengths[rows] - 1] += missing_U
    return reward_EA


def _needed(
    algorithm: Algorithm[AlgorithmConfig], rand: Callable[..., Tensor], rows: int, columns: int, at_reference: bool
) -> dict[str, Any]:
    """Fields for the algorithm's needs."""
    here = 0.0 if at_reference else 1.0
    found: dict[str, Any] = {}
    for need in sorted(algorithm.needs):
        name = FIELDS[need]
        if name == "value_EA":
            found[name] = rand(rows, columns)
        elif name == "kl_EA":
            found[name] = here * rand(rows, columns).exp()
        elif name == "behaviour_logp_EA":
            found[name] = -rand(rows, columns).exp()
        elif name == "mismatched_E":
            found[name] = here * rand(1).exp().expand(rows)
        elif name == "turn_EA":
            found[name] = (rand(rows, columns) > 0).cumsum(-1)
        elif name == "best_E":
            found[name] = torch.arange(rows) % 2 == 0
        elif name == "token_q":
            q_EA = rand(rows, columns)
            found[name] = TokenQ(q_EA, q_EA + rand(rows, columns).exp(), q_EA + 0.1 * rand(rows, columns))
        else:
            found[name] = rand(rows, COMPLETIONS)
            found[name][1, -2:] = float("nan")  # one prompt has fewer completions
    return found


def with_leaves(batch: Batch) -> tuple[Batch, dict[str, Tensor]]:
    """The batch with gradients for the fields that have them in training, and the tensors that collect them by name."""
    found = {name: getattr(batch, name) for name in LEAVES if getattr(batch, name) is not None}
    leaves = {name: x.detach().clone().requires_grad_() for name, x in found.items()}
    token_q = batch.token_q
    if token_q is not None:
        q = {f"token_q.{name}": getattr(token_q, name).detach().clone().requires_grad_() for name in ("q_EA", "lse_EA")}
        token_q = TokenQ(q["token_q.q_EA"], q["token_q.lse_EA"], token_q.target_EA)
        return replace(batch, **leaves, token_q=token_q), leaves | q
    return replace(batch, **leaves), leaves


def tensors(batch: Batch) -> dict[str, Tensor]:
    """Every tensor of a batch by name."""
    found: dict[str, Tensor] = {}
    for each in fields(batch):
        value = getattr(batch, each.name)
        if isinstance(value, TokenQ):
            found |= {f"token_q.{k}": v for k, v in value._asdict().items()}
        elif isinstance(value, torch.Tensor):
            found[each.name] = value
    return found


def changed(batch: Batch, change: Callable[[str, Tensor], Tensor]) -> Batch:
    """The batch with ``change(name, tensor)`` in place of every tensor."""
    new = {name: change(name, x) for name, x in tensors(batch).items()}
    q = {name.partition(".")[2]: x for name, x in new.items() if "." in name}
    plain: dict[str, Any] = {name: x for name, x in new.items() if "." not in name}
    return replace(batch, **plain, token_q=TokenQ(**q) if q else None)


def padded(batch: Batch, columns: int, seed: int = 0) -> Batch:
    """The batch with more columns after every row: no action tokens, rewards 0, arbitrary numbers in other fields."""
    generator = torch.Generator().manual_seed(seed)

    def widen(name: str, x: Tensor) -> Tensor:
        if not name.endswith("_EA"):
            return x
        shape = (x.shape[0], columns)
        if name in ("valid_EA", "reward_EA"):
            return torch.cat([x, x.new_zeros(shape)], dim=1)
        return torch.cat([x, torch.randn(shape, dtype=torch.float64, generator=generator).to(x)], dim=1)

    return changed(batch, widen)


def take_units(batch: Batch, units: Sequence[int], size: int) -> Batch:
    """Some units of a batch, in the given order, as a separate batch without unused columns."""
    rows = torch.tensor([u * size + i for u in units for i in range(size)])
    width = int(batch.valid_EA[rows].sum(-1).max())

    def take(name: str, x: Tensor) -> Tensor:
        if name == "unit_E":
            return torch.arange(len(units)).repeat_interleave(size)
        if name.endswith("_U"):
            return x[list(units)]
        return x[rows][:, :width] if name.endswith("_EA") else x[rows]

    return changed(batch, take)


def turned_groups(batch: Batch, size: int) -> Batch:
    """The batch with the rows of every group in reverse."""
    rows = torch.arange(len(batch.unit_E)).view(-1, size).flip(-1).flatten()
    return changed(batch, lambda name, x: x if name.endswith("_U") or name == "unit_E" else x[rows])
