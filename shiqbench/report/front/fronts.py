"""One front per algorithm of a group, with its area and what resampling the prompts makes of it."""

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
        algorithm: Its name.
        label: Its settings, where they differ.
        update: Updates done.
        seeds: Evaluations that were averaged.
        distance: From the origin.
        value: What is gained.
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
        algorithm: Its name.
        points: How many it is made from.
        on_front: How many of them lie on it.
        gain: Mean gain over the origin, up to the farthest distance of the group.
        against: The same less the baseline's, on the same resamples; None without a baseline.
    """

    algorithm: str
    points: int
    on_front: int
    gain: Estimate
    against: Estimate | None


@dataclass(frozen=True)
class Fronts:
    """A group's fronts.

    Attributes:
        origin: Value of what all were trained from.
        origin_name: Its algorithm.
        farthest: Up to which distance the gain is averaged: that of the farthest point.
        prompts: Of each evaluation.
        baseline: The algorithm compared with.
        fronts: Best first.
        points: All.
    """

    origin: Estimate
    origin_name: str
    farthest: float
    prompts: int
    baseline: str | None
    fronts: tuple[Front, ...]
    points: tuple[FrontPoint, ...]

    def as_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def make_fronts(group: Group, axes: FrontAxes, baseline: str | None = None, seed: int = 0) -> Fronts:
    """Place the points, draw the fronts, resample the prompts.

    Prompts are resampled for all points together, so that what an easy prompt adds to all of them cancels in
    differences. Seeds of one point are averaged before: the interval says nothing about other seeds.

    Raises:
        ConfigError: The baseline is not there, or evaluations of one setting have other prompts.
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
                f"{len(frame)} prompts where {group.origin_name} has {len(origin)} others",
                where=str(point.folders[0]),
                do="evaluate both anew",
            )
    prompts = len(origin)
    share_RN = weights_of_resamples(prompts, seed)
    distance_RP = share_RN @ np.array([f[axes.distance] for f in frames]).T
    value_RP = share_RN @ np.array([f[axes.value] for f in frames]).T
    origin_R = share_RN @ np.array(origin[axes.value])
    farthest = float(distance_RP[0].max())
    if farthest <= 0:
        raise ConfigError(
            "no point is away from its origin", where=str(group.origin), do="train with a higher train.lr"
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
