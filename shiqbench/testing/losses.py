"""Checks a loss on random batches in fp64 and fp32.

Legend: E episodes (rows), A action positions (columns), U units.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import torch

from shiqbench.testing.batches import (
    FIELDS,
    changed,
    padded,
    random_batch,
    take_units,
    tensors,
    turned_groups,
    with_leaves,
)
from shiqbench.testing.contract import AlgorithmContract as Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from shiqbench.plugin.algorithm import Algorithm, Loss
    from shiqbench.plugin.batch import Batch
    from shiqbench.plugin.config import AlgorithmConfig
    from shiqbench.testing.contract import ContractReport

    AnyAlgorithm = Algorithm[AlgorithmConfig]

SEEDS = range(4)
RANDOM_STATE = 271828  # a seed that no loss would choose
EXTREME = 1e4  # nats per token
TRAINER_KEYS = {"update", "loss", "grad_norm", "lr", "return", "tokens", "action_tokens", "seconds"}


def check_loss(report: ContractReport, algorithm: AnyAlgorithm, again: Callable[[], AnyAlgorithm]) -> None:
    """Check everything about a loss that needs no training.

    Args:
        report: Collects the findings.
        algorithm: Algorithm to check.
        again: Makes a new instance of the same algorithm.
    """
    check_reads(report, algorithm)
    check_outputs(report, algorithm)
    check_purity(report, algorithm, again)
    check_device(report, algorithm)
    check_gradients(report, algorithm)
    check_invariance(report, algorithm)
    check_extremes(report, algorithm)
    check_reference_value(report, algorithm)


def loss_of(report: ContractReport, algorithm: AnyAlgorithm, batch: Batch) -> Loss:
    """The loss; an exception is a finding."""
    return report.attempt(Line.LOSS, f"a batch of {len(batch.weight_U)} units", lambda: algorithm.loss(batch))


def check_outputs(report: ContractReport, algorithm: AnyAlgorithm) -> None:
    """Check shapes, dtypes, finiteness, and which outputs carry a gradient."""
    names: set[str] | None = None
    for dtype in (torch.float64, torch.float32):
        for seed, units in zip(SEEDS, (2, 3, 4, 5), strict=True):
            batch, _ = with_leaves(random_batch(algorithm, seed, dtype=dtype, units=units))
            loss = loss_of(report, algorithm, batch)
            outputs = {"numerator_U": loss.numerator_U, "denominator_U": loss.denominator_U, **loss.metrics}
            for name, x in outputs.items():
                report.require(
                    tuple(x.shape) == (units,), Line.SHAPES, f"{name} of shape {tuple(x.shape)} for {units} units"
                )
                report.require(bool(x.isfinite().all()), Line.SHAPES, f"{name} = {_numbers(x)}")
            for name in ("numerator_U", "denominator_U"):
                found = outputs[name].dtype
                report.require(found == dtype, Line.DTYPE, f"{name} in {found} for a batch in {dtype}")
            total = float(loss.denominator_U.detach().sum())
            report.require(not loss.denominator_U.requires_grad, Line.DENOMINATORS, "a denominator with a gradient")
            report.require(
                bool((loss.denominator_U >= 0).all()) and total > 0,
                Line.DENOMINATORS,
                f"denominators {_numbers(loss.denominator_U)}",
            )
            for name, x in loss.metrics.items():
                report.require(not x.requires_grad, Line.METRICS, f"metric {name} with a gradient")
                report.require(name not in TRAINER_KEYS, Line.METRICS, f"metric {name}, which the trainer logs itself")
            names = names if names is not None else set(loss.metrics)
            report.require(
                set(loss.metrics) == names, Line.METRICS, f"metrics {sorted(loss.metrics)}, before {sorted(names)}"
            )


def check_device(report: ContractReport, algorithm: AnyAlgorithm) -> None:
    """Check devices: a tensor made without a device is on the default one, which here is not the batch's."""
    batch, _ = with_leaves(random_batch(algorithm))
    with torch.device("meta"):
        loss = report.attempt(Line.DEVICE, "a batch that is not on the default device", lambda: algorithm.loss(batch))
    for name, x in {"numerator_U": loss.numerator_U, "denominator_U": loss.denominator_U, **loss.metrics}.items():
        found = f"{name} on the default device ({x.device.type}), the batch on {batch.logit_EA.device.type}"
        report.require(x.device == batch.logit_EA.device, Line.DEVICE, found)


def gradients(report: ContractReport, algorithm: AnyAlgorithm, batch: Batch) -> tuple[Loss, dict[str, Tensor]]:
    """The loss and the gradient of its reduced value with respect to every differentiable field."""
    batch, leaves = with_leaves(batch)
    loss = loss_of(report, algorithm, batch)
    report.require(loss.numerator_U.requires_grad, Line.REACHED, "numerators without a gradient")
    (loss.numerator_U.sum() / loss.denominator_U.sum()).backward()  # type: ignore[no-untyped-call]
    return loss, {k: torch.zeros_like(x) if x.grad is None else x.grad for k, x in leaves.items()}


def check_gradients(report: ContractReport, algorithm: AnyAlgorithm) -> None:
    """Check that gradients are exactly 0 without an action token, and elsewhere not 0 in one of several batches."""
    reached_EA = valid_EA = None
    for seed in SEEDS:
        batch = random_batch(algorithm, seed)
        _, found = gradients(report, algorithm, batch)
        for name, gradient_EA in found.items():
            leak = gradient_EA[~batch.valid_EA]
            worst = float(leak.abs().max()) if leak.numel() else 0.0
            report.require(worst == 0.0, Line.MASKED, f"gradient {worst:.3g} in {name} beyond a row's action tokens")
        any_EA = torch.stack([(g != 0) for g in found.values()]).any(0) & batch.valid_EA
        reached_EA = any_EA if reached_EA is None else reached_EA | any_EA
        valid_EA = batch.valid_EA if valid_EA is None else valid_EA | batch.valid_EA
    assert reached_EA is not None
    assert valid_EA is not None
    missed = int((valid_EA & ~reached_EA).sum())
    report.require(missed == 0, Line.REACHED, f"no gradient at {missed} of {int(valid_EA.sum())} action tokens")


def check_reads(report: ContractReport, algorithm: AnyAlgorithm) -> None:
    """Check that the loss reads exactly the inputs that its needs and ``uses_reference`` name."""
    wanted = [(FIELDS[need], need) for need in sorted(algorithm.needs)]
    for name, need in wanted:
        moved = any(_moves(report, algorithm, name, seed) for seed in SEEDS)
        report.require(moved, Line.NEEDED, f"the loss does not depend on {name}, but {need} is needed")
    if not wanted:
        report.skip(Line.NEEDED, "it needs nothing")
    if algorithm.uses_reference:
        moved = any(_moves(report, algorithm, name, seed) for name in ("ref_logit_EA", "ref_lse_EA") for seed in SEEDS)
        report.require(moved, Line.REFERENCE, "the loss does not depend on the reference; set uses_reference = False")
    else:
        batch = random_batch(algorithm)
        absent = loss_of(report, algorithm, batch).numerator_U
        zero = changed(batch, lambda name, x: torch.zeros_like(x) if name.startswith("ref_") else x)
        alike = torch.allclose(absent, loss_of(report, algorithm, zero).numerator_U, equal_nan=True)
        report.require(alike, Line.REFERENCE, "the loss reads them, but uses_reference is False")


def _moves(report: ContractReport, algorithm: AnyAlgorithm, field: str, seed: int) -> bool:
    """Whether other numbers in a field change the loss."""
    batch = random_batch(algorithm, seed)
    generator = torch.Generator().manual_seed(seed + 100)

    def move(name: str, x: Tensor) -> Tensor:
        if name.partition(".")[0] != field:
            return x
        if x.dtype == torch.bool:
            return ~x
        return x + (3 * torch.rand(x.shape, dtype=torch.float64, generator=generator)).to(x)

    before, after = loss_of(report, algorithm, batch), loss_of(report, algorithm, changed(batch, move))
    return not torch.equal(before.numerator_U, after.numerator_U)


def check_invariance(report: ContractReport, algorithm: AnyAlgorithm) -> None:
    """Check padding, order, other units in the batch, and weight."""
    size = algorithm.group_size
    for seed in SEEDS:
        batch = random_batch(algorithm, seed)
        whole = loss_of(report, algorithm, batch)
        units = len(batch.weight_U)

        def same(found: Loss, order: list[int], line: Line, how: str, whole: Loss = whole, factor: float = 1.0) -> None:
            for name in ("numerator_U", "denominator_U"):
                a, b = getattr(found, name).detach(), factor * getattr(whole, name).detach()[order]
                alike = a.shape == b.shape and torch.allclose(a, b, rtol=1e-9, atol=1e-9)
                report.require(alike, line, f"{name} {_numbers(a)} {how}, {_numbers(b)} expected")

        everyone = list(range(units))
        same(loss_of(report, algorithm, padded(batch, 5, seed)), everyone, Line.PADDING, "with 5 more columns")
        order = everyone[::-1]
        same(loss_of(report, algorithm, take_units(batch, order, size)), order, Line.ORDER, "with units in reverse")
        if algorithm.unit == "group":
            turned = loss_of(report, algorithm, turned_groups(batch, size))
            same(turned, everyone, Line.ORDER, "with every group in reverse")
        for unit in everyone:
            alone = loss_of(report, algorithm, take_units(batch, [unit], size))
            same(alone, [unit], Line.SPLIT, "for a batch of one unit")
        double = changed(batch, lambda name, x: 2 * x if name == "weight_U" else x)
        same(loss_of(report, algorithm, double), everyone, Line.WEIGHT, "with weights doubled", factor=2.0)


def check_extremes(report: ContractReport, algorithm: AnyAlgorithm) -> None:
    """Check tokens that the policy or the reference considers impossible."""
    who = ["lse_EA", *(["ref_lse_EA"] if algorithm.uses_reference else [])]
    cases = [(name, rows) for name in who for rows in (slice(None), slice(0, None, 2), slice(1, None, 2))]
    for field, rows in cases:
        batch = random_batch(algorithm, dtype=torch.float32)

        def push(name: str, x: Tensor, field: str = field, rows: slice = rows) -> Tensor:
            if name != field:
                return x
            x = x.clone()
            x[rows] += EXTREME
            return x

        loss, found = gradients(report, algorithm, changed(batch, push))
        side = "-" if field == "lse_EA" else "+"
        report.require(
            bool(loss.numerator_U.isfinite().all()),
            Line.FINITE,
            f"numerators {_numbers(loss.numerator_U)} at log-ratios near {side}{EXTREME:g} per token",
        )
        for name, gradient in found.items():
            bad = int((~gradient.isfinite()).sum())
            text = f"{bad} gradients in {name} not finite at log-ratios near {side}{EXTREME:g} per token"
            report.require(bad == 0, Line.FINITE, text)


def check_purity(report: ContractReport, algorithm: AnyAlgorithm, again: Callable[[], AnyAlgorithm]) -> None:
    """Check that the same batch gives the same bits: now, later, and from another instance."""
    batch = random_batch(algorithm)
    before = {name: x.clone() for name, x in tensors(batch).items()}
    first, moved = _random_states_moved(lambda: loss_of(report, algorithm, batch))
    report.require(not moved, Line.PURE, "a random state has moved")
    for name, x in tensors(batch).items():
        alike = torch.equal(torch.nan_to_num(x), torch.nan_to_num(before[name]))
        report.require(alike, Line.PURE, f"{name} of the batch was changed in place")
    loss_of(report, algorithm, random_batch(algorithm, seed=1))
    for who, other in (("again", algorithm), ("from another instance", again())):
        found = loss_of(report, other, batch)
        alike = torch.equal(found.numerator_U, first.numerator_U)
        alike &= torch.equal(found.denominator_U, first.denominator_U)
        text = f"numerators {_numbers(first.numerator_U)}, {who} {_numbers(found.numerator_U)}"
        report.require(alike, Line.PURE, text)


def _random_states_moved(call: Callable[[], Loss]) -> tuple[Loss, bool]:
    """The call's result, and whether the call drew from torch's or Python's random numbers, or seeded them."""
    with torch.random.fork_rng():
        ours = random.getstate()
        torch.manual_seed(RANDOM_STATE)
        random.seed(RANDOM_STATE)
        before = torch.random.get_rng_state(), random.getstate()
        try:
            found = call()
            moved = not torch.equal(before[0], torch.random.get_rng_state()) or before[1] != random.getstate()
        finally:
            random.setstate(ours)
    return found, moved


def check_reference_value(report: ContractReport, algorithm: AnyAlgorithm) -> None:
    """Check the loss that an algorithm may state for the reference."""
    stated = algorithm.loss_at_reference
    if stated is None:
        report.skip(Line.AT_REFERENCE, "it states no value")
        return
    for seed in SEEDS:
        loss = loss_of(report, algorithm, random_batch(algorithm, seed, at_reference=True))
        found = float(loss.numerator_U.sum() / loss.denominator_U.sum())
        alike = math.isclose(found, stated, rel_tol=1e-9, abs_tol=1e-12)
        report.require(alike, Line.AT_REFERENCE, f"{found:.9g}, stated {stated:.9g}")


def _numbers(x: Tensor) -> str:
    return "[" + ", ".join(f"{float(v):.6g}" for v in x.detach().flatten()[:6]) + "]"
