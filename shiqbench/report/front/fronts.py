"""One front per algorithm of a group: chosen on half of the prompts, measured on the other, with an interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean
from shiqbench.base.words import counted
from shiqbench.report.estimates import Estimate
from shiqbench.report.front.area import FEWEST, best_points, envelope, interval, mean_gains, weights_of_resamples
from shiqbench.report.front.members import by_prompt
from shiqbench.stats.intervals import student

if TYPE_CHECKING:
    from shiqbench.plugin.task import FrontAxes
    from shiqbench.report.front.members import Group

ALIKE = 0.05  # reaches that differ by less are equal


@dataclass(frozen=True)
class FrontPoint:
    """A member of a group in the plane of its front.

    Attributes:
        algorithm: Name of the algorithm.
        label: The settings in which members of the algorithm differ.
        update: Number of updates done.
        seeds: Number of averaged evaluations.
        distance: Distance from the origin.
        value: Value of the member; higher is better.
        front: Whether it is on its algorithm's front, chosen on all prompts.
    """

    algorithm: str
    label: str
    update: int
    seeds: int
    distance: Estimate
    value: Estimate
    front: bool


@dataclass(frozen=True)
class Front:
    """An algorithm's front.

    Attributes:
        algorithm: Name of the algorithm.
        points: Number of points of the algorithm.
        on_front: Number of points on the front, chosen on all prompts.
        reach: Distance of its farthest point.
        gain: Mean gain over the origin, up to the common reach.
        best: Value of its best point.
        best_distance: Distance of its best point.
        against: This gain minus the baseline's, on the same resamples; None without a baseline.
    """

    algorithm: str
    points: int
    on_front: int
    reach: float
    gain: Estimate
    best: Estimate
    best_distance: Estimate
    against: Estimate | None


@dataclass(frozen=True)
class Fronts:
    """The fronts of a group.

    Attributes:
        origin: Value of the origin.
        origin_name: Algorithm of the origin.
        farthest: The common reach: the smallest reach of all algorithms that moved. Gains are averaged up to it.
        prompts: Number of prompts of each evaluation.
        baseline: Algorithm that the others are compared with.
        fronts: Fronts, best first.
        points: Points of all fronts.
        notes: What makes the fronts hard to compare, one line each.
    """

    origin: Estimate
    origin_name: str
    farthest: float
    prompts: int
    baseline: str | None
    fronts: tuple[Front, ...]
    points: tuple[FrontPoint, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The fronts as JSON values."""
        return asdict(self)


def make_fronts(group: Group, axes: FrontAxes, baseline: str | None = None, seed: int = 0) -> Fronts:
    """Place the points, draw the fronts, resample the prompts.

    Prompts are resampled for all points together, so that the effect of an easy prompt on all points cancels in
    differences. A front is chosen on one half of the prompts and measured on the other, both ways. Seeds of one point
    are averaged first: the interval says nothing about other seeds.

    Raises:
        ConfigError: The baseline does not exist, or evaluations of one setting have different prompts.
    """
    names = list(dict.fromkeys(p.algorithm for p in group.members))
    if baseline is not None and baseline not in names:
        raise ConfigError(
            f"no cell of {baseline!r}{did_you_mean(baseline, names)}",
            where="--baseline",
            do=f"one of {', '.join(names)}",
        )
    origin = by_prompt([group.origin], axes)
    frames = [by_prompt(p.folders, axes) for p in group.members]
    for point, frame in zip(group.members, frames, strict=True):
        if not frame.index.equals(origin.index):
            raise ConfigError(
                f"{counted(len(frame), 'prompt')}, but {group.origin_name} has {len(origin)} different ones",
                where=str(point.folders[0]),
                do="evaluate both again",
            )
    every = [origin, *frames]
    missing = np.array([f.isna().any(axis=1) for f in every])
    used = ~missing.any(axis=0)
    left_out = int(
        (~used & ~missing.all(axis=0)).sum()
    )  # what is missing everywhere, such as a long prompt, is no example
    origin, *frames = (f[used] for f in every)
    prompts = len(origin)
    if prompts < 2:
        raise ConfigError(
            "no two prompts have a finite value in all evaluations", where=str(group.origin), do="evaluate again"
        )
    halves = weights_of_resamples(prompts, seed)
    distance_NP = np.array([f[axes.distance] for f in frames]).T
    gain_NP = np.array([f[axes.value] for f in frames]).T - np.array(origin[axes.value])[:, None]
    columns = {n: [i for i, p in enumerate(group.members) if p.algorithm == n] for n in names}
    distance_P, gain_P = distance_NP.mean(axis=0), gain_NP.mean(axis=0)
    reach = {n: float(distance_P[at].max()) for n, at in columns.items()}
    farthest = min((r for r in reach.values() if r > 0), default=0.0)
    if farthest <= 0:
        raise ConfigError(
            "no point has moved away from its origin", where=str(group.origin), do="train with a higher train.lr"
        )
    how = f"over {counted(prompts, 'prompt')}, these seeds"

    def mean(values_N: Any) -> Estimate:
        low, high = student(values_N.tolist()) if prompts >= FEWEST else (None, None)
        return Estimate(float(values_N.mean()), low, high, how)

    def estimate(values_R: Any) -> Estimate:
        low, high = interval(values_R, prompts) if prompts >= FEWEST else (None, None)
        return Estimate(float(values_R[0]), low, high, how)

    def of_halves(values_NP: Any, at: list[int]) -> tuple[Any, Any]:
        return halves[0] @ values_NP[:, at], halves[1] @ values_NP[:, at]

    value_NP = gain_NP + np.array(origin[axes.value])[:, None]
    gain_R = {n: mean_gains(of_halves(distance_NP, at), of_halves(gain_NP, at), farthest) for n, at in columns.items()}
    best = {n: best_points(of_halves(distance_NP, at), of_halves(value_NP, at)) for n, at in columns.items()}
    on = {at[i] for at in columns.values() for i in envelope(distance_P[at].tolist(), gain_P[at].tolist())}
    fronts = [
        Front(
            name,
            len(at),
            len(on.intersection(at)),
            reach[name],
            estimate(gain_R[name]),
            estimate(best[name][1]),
            estimate(best[name][0]),
            estimate(gain_R[name] - gain_R[baseline]) if baseline not in (None, name) else None,
        )
        for name, at in columns.items()
    ]
    placed = [
        FrontPoint(
            p.algorithm, p.label, p.update, len(p.folders), mean(distance_NP[:, i]), mean(value_NP[:, i]), i in on
        )
        for i, p in enumerate(group.members)
    ]  # fmt: skip
    fronts.sort(key=lambda f: -f.gain.value)
    origin_value = mean(np.array(origin[axes.value]))
    return Fronts(
        origin_value,
        group.origin_name,
        farthest,
        prompts,
        baseline,
        tuple(fronts),
        tuple(placed),
        _notes(fronts, left_out),
    )


def _notes(fronts: list[Front], left_out: int) -> tuple[str, ...]:
    """Prompts that are left out, unequal sweeps, unequal reaches, and algorithms that did not move."""
    found = []
    if left_out:
        found.append(f"{counted(left_out, 'prompt')} left out: an evaluation has no finite value for them")
    if len({f.points for f in fronts}) > 1:
        counts = ", ".join(f"{f.algorithm} {f.points}" for f in fronts)
        found.append(f"UNEQUAL points: {counts}; a larger sweep has more to choose from")
    moved = [f for f in fronts if f.reach > 0]
    if max(f.reach for f in moved) > (1 + ALIKE) * min(f.reach for f in moved):
        reaches = ", ".join(f"{f.algorithm} {f.reach:.3f}" for f in moved)
        found.append(f"UNEQUAL reach: {reaches}; gains are averaged over the common range only")
    if still := [f.algorithm for f in fronts if f.reach <= 0]:
        found.append(f"{', '.join(still)} did not move and set no limit to the common range")
    return tuple(found)
