"""One front per algorithm of a group, with its area and an interval from resampled prompts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shiqbench.base.errors import ConfigError
from shiqbench.base.suggest import did_you_mean
from shiqbench.report.estimates import Estimate
from shiqbench.report.front.area import FEWEST, envelope, mean_gains, percentiles, weights_of_resamples
from shiqbench.report.front.members import by_prompt

if TYPE_CHECKING:
    from shiqbench.plugin.task import FrontAxes
    from shiqbench.report.front.members import Group


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
        front: Whether it is on its algorithm's front.
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
        on_front: Number of points on the front.
        gain: Mean gain over the origin, up to the farthest distance of the group.
        against: This gain minus the baseline's, on the same resamples; None without a baseline.
    """

    algorithm: str
    points: int
    on_front: int
    gain: Estimate
    against: Estimate | None


@dataclass(frozen=True)
class Fronts:
    """The fronts of a group.

    Attributes:
        origin: Value of the origin.
        origin_name: Algorithm of the origin.
        farthest: Distance of the farthest point; gains are averaged up to it.
        prompts: Number of prompts of each evaluation.
        baseline: Algorithm that the others are compared with.
        fronts: Fronts, best first.
        points: Points of all fronts.
    """

    origin: Estimate
    origin_name: str
    farthest: float
    prompts: int
    baseline: str | None
    fronts: tuple[Front, ...]
    points: tuple[FrontPoint, ...]

    def as_json(self) -> dict[str, Any]:
        """The fronts as JSON values."""
        return asdict(self)


def make_fronts(group: Group, axes: FrontAxes, baseline: str | None = None, seed: int = 0) -> Fronts:
    """Place the points, draw the fronts, resample the prompts.

    Prompts are resampled for all points together, so that the effect of an easy prompt on all points cancels in
    differences. Seeds of one point are averaged first: the interval says nothing about other seeds.

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
                f"{len(frame)} prompts, but {group.origin_name} has {len(origin)} different ones",
                where=str(point.folders[0]),
                do="evaluate both again",
            )
    prompts = len(origin)
    share_RN = weights_of_resamples(prompts, seed)
    distance_RP = share_RN @ np.array([f[axes.distance] for f in frames]).T
    value_RP = share_RN @ np.array([f[axes.value] for f in frames]).T
    origin_R = share_RN @ np.array(origin[axes.value])
    farthest = float(distance_RP[0].max())
    if farthest <= 0:
        raise ConfigError(
            "no point has moved away from its origin", where=str(group.origin), do="train with a higher train.lr"
        )

    def estimate(values_R: Any) -> Estimate:
        low, high = percentiles(values_R[1:]) if prompts >= FEWEST else (None, None)
        return Estimate(float(values_R[0]), low, high, f"over {prompts} prompts")

    columns = {n: [i for i, p in enumerate(group.members) if p.algorithm == n] for n in names}
    gain_RP = value_RP - origin_R[:, None]
    gain_R = {n: mean_gains(distance_RP[:, at], gain_RP[:, at], farthest) for n, at in columns.items()}
    on = {at[i] for at in columns.values() for i in envelope(distance_RP[0, at].tolist(), gain_RP[0, at].tolist())}
    fronts = [
        Front(
            name,
            len(at),
            len(on.intersection(at)),
            estimate(gain_R[name]),
            estimate(gain_R[name] - gain_R[baseline]) if baseline not in (None, name) else None,
        )
        for name, at in columns.items()
    ]
    placed = [
        FrontPoint(
            p.algorithm, p.label, p.update, len(p.folders), estimate(distance_RP[:, i]), estimate(value_RP[:, i]),
            i in on,
        )
        for i, p in enumerate(group.members)
    ]  # fmt: skip
    fronts.sort(key=lambda f: -f.gain.value)
    return Fronts(estimate(origin_R), group.origin_name, farthest, prompts, baseline, tuple(fronts), tuple(placed))
