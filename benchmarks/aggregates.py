"""Simulates what the intervals of aggregates over tasks hold, and times them against rliable on rliable's workload.

    python benchmarks/aggregates.py [--runs 1000] [--tasks 2 4 10 26] [--seeds 3 5 10]
    python benchmarks/aggregates.py --speed

Tasks have means between 0 and 1 and standard deviations of a seed between .05 and .3, normal or skewed (lognormal,
sd .8). ``examples`` is the variance of a task's examples, which all its seeds share, in parts of the variance of one
seed; the intervals get its true value with 50 degrees of freedom. The truth is the value with very many seeds.
``percentile`` is the plain bootstrap of the interquartile mean, without scaling. ``wins .9`` is the probability of
improvement over an algorithm far below.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
import types
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shiqbench.stats.aggregate import (
    bootstrap,
    interval_of,
    interval_of_improvement,
    interval_of_mean,
    iqm,
    mean,
    of_runs,
    optimality_gap,
    probability_of_improvement,
    profile,
)
from shiqbench.stats.two_way import Variance

if TYPE_CHECKING:
    from shiqbench.stats.two_way import Interval

Array = NDArray[np.float64]
MANY = 20_000  # seeds of the truth
SKEW = 0.8
BEHIND = (0.1, 0.35)  # how far the other algorithms are below
AT = 0.5  # threshold of the profile


def drawn(rng: np.random.Generator, shape: tuple[int, int], skewed: bool) -> Array:
    """Scores of seeds by task."""
    of_task = np.random.default_rng(5)
    means, spreads = of_task.uniform(0, 1, shape[1]), of_task.uniform(0.05, 0.3, shape[1])
    noise = rng.normal(size=shape)
    if skewed:
        noise = (np.exp(SKEW * noise) - np.exp(SKEW**2 / 2)) / np.sqrt(np.exp(2 * SKEW**2) - np.exp(SKEW**2))
    found: Array = means + spreads * noise
    return found


def coverage(
    runs: int, tasks: int, seeds: int, skewed: bool, examples: float, resamples: int = 500
) -> dict[str, float]:
    """The share of simulated results whose interval holds the truth, by statistic."""
    rng = np.random.default_rng(1)
    large, larger = drawn(rng, (MANY, tasks), skewed), drawn(rng, (MANY, tasks), skewed)
    of_examples = examples * large.var(0)
    truth = {
        "mean": float(mean(large)), "IQM": float(iqm(large)), "gap": float(optimality_gap(large)),
        "percentile": float(iqm(large)), "profile": float((large > AT).mean()),
        "wins": float((large > larger - BEHIND[0]).mean()), "wins .9": float((large > larger - BEHIND[1]).mean()),
    }  # fmt: skip
    held = dict.fromkeys(truth, 0)
    for _ in range(runs):
        own, other = (drawn(rng, (seeds, tasks), skewed) for _ in range(2))
        scores, spread = own + np.sqrt(of_examples) * rng.normal(size=tasks), of_runs(own)
        if examples:
            value = spread.value + of_examples
            df = value**2 / (spread.value**2 / spread.df + of_examples**2 / 50)
            spread = Variance(value, df)
        _, low, high = profile(own, np.array([AT]))
        ends = {
            "mean": _ends(interval_of_mean(scores, spread)),
            "IQM": _ends(interval_of(iqm, scores, spread, resamples)),
            "gap": _ends(interval_of(optimality_gap, scores, spread, resamples)),
            "percentile": _middle(bootstrap(iqm, scores, resamples=resamples)),
            "profile": (float(low[0]), float(high[0])),
            "wins": _ends(interval_of_improvement(own, other - BEHIND[0])),
            "wins .9": _ends(interval_of_improvement(own, other - BEHIND[1])),
        }
        for name, (least, most) in ends.items():
            held[name] += least <= truth[name] <= most
    return {name: count / runs for name, count in held.items()}


def _ends(interval: Interval) -> tuple[float, float]:
    return float(interval.low), float(interval.high)


def _middle(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def load_rliable() -> Any:
    """The modules ``library`` and ``metrics`` of rliable.

    They need ``arch.bootstrap`` below version 8, whose other modules do not import with pandas 3; those are left out,
    and so is numba, which takes ``benchmarks/coverage.py`` for the module of that name.

    Raises:
        ImportError: rliable is not installed.
    """
    if "arch" not in sys.modules:
        found = importlib.util.find_spec("arch")
        if found is None or found.submodule_search_locations is None:
            raise ImportError("rliable is not installed: pip install rliable")
        package = types.ModuleType("arch")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["arch"] = package
        os.environ.setdefault("ARCH_DISABLE_NUMBA", "1")
    from rliable import library, metrics

    return library, metrics


def speed(resamples: int = 50_000, of_improvement: int = 2_000) -> dict[str, tuple[float, float]]:
    """Seconds of rliable and ours: the interval of 10 runs x 26 tasks, by statistic."""
    library, metrics = load_rliable()
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 10, 26))

    def theirs(function: Any, sample: Any, reps: int) -> float:
        start = time.perf_counter()
        library.get_interval_estimates({"a": sample}, lambda *s: np.array([function(*s)]), reps=reps)
        return time.perf_counter() - start

    def ours(statistic: Any, samples: tuple[Array, ...], reps: int) -> float:
        start = time.perf_counter()
        _middle(bootstrap(statistic, *samples, resamples=reps))
        return time.perf_counter() - start

    return {
        "IQM": (theirs(metrics.aggregate_iqm, one, resamples), ours(iqm, (one,), resamples)),
        "probability of improvement": (
            theirs(metrics.probability_of_improvement, (one, other), of_improvement),
            ours(probability_of_improvement, (one, other), of_improvement),
        ),
    }


def main() -> None:
    """Print a table of coverages, or of seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 4, 10, 26])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--speed", action="store_true", help="times instead of coverages")
    asked = parser.parse_args()
    if asked.speed:
        for name, (theirs, ours) in speed().items():
            _say(f"{name}: rliable {theirs:.1f} s, ours {ours:.2f} s, {theirs / ours:.0f} times faster")
        return
    head = False
    for tasks in asked.tasks:
        for seeds in asked.seeds:
            for skewed, examples in ((False, 0.0), (False, 1.0), (True, 0.0)):
                found = coverage(asked.runs, tasks, seeds, skewed, examples)
                if not head:
                    _say("| tasks | seeds | scores | examples | " + " | ".join(found) + " |")
                    _say("|---" * (len(found) + 4) + "|")
                    head = True
                said = " | ".join(f"{share:.3f}" for share in found.values())
                _say(f"| {tasks} | {seeds} | {'skewed' if skewed else 'normal'} | {examples:g} | {said} |")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
