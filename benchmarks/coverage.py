"""Simulates what the report's intervals hold: coverage, errors of the test, and width, through the project's functions.

    python benchmarks/coverage.py [--runs 1000] [--seeds 1 2 3 5 10] [--examples 10 50 200 800]

Shares are scenarios of 1 to 7 turns. Scenarios differ in difficulty (sd 1 in logits), and algorithms by scenario (sd
0.5). Seeds differ by 0, 1/4, 1 or 4 times the variance that an evaluation has over its examples. With one or two seeds
an interval is for these weights, so there seeds do not vary. ``width`` is relative to an oracle's: a normal interval
with the true standard deviation. ``p < .05`` is where nothing differs.

Two tables follow: how often a table of several rows and one baseline finds something where nothing differs, without and
with Holm's correction; and how often a difference is found that is announced to be found in 80 of 100 cases.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit

from shiqbench.stats.intervals import Z_95
from shiqbench.stats.multiple import holm
from shiqbench.stats.power import Components, detectable
from shiqbench.stats.two_way import (
    LEAST_SEEDS,
    Interval,
    interval_of_difference,
    interval_of_mean,
    interval_of_share,
    pseudo_values,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

TURNS = np.arange(1, 8)
SHARES = (0.07, 0.3, 0.6, 0.9)
TIMES = (0.0, 0.25, 1.0, 4.0)
SCENARIOS, ALGORITHMS = 1.0, 0.5  # sd in logits
AT_ONCE = 400_000  # numbers of one array


class Line(NamedTuple):
    """What one condition gives: of a row, and of a difference where there is none."""

    row: float
    row_width: float
    less: float
    less_width: float
    errors: float

    def __str__(self) -> str:
        return f"{self.row:.3f} ({self.row_width:.2f}) | {self.less:.3f} ({self.less_width:.2f}) | {self.errors:.3f}"


def logits(share: float, times: float, examples: int) -> tuple[float, float]:
    """The middle that gives the share, and the sd of seeds that gives a multiple of the variance over examples."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    weights, grid = weights / weights.sum(), np.linspace(-9, 9, 3001)
    spread, middle, within = 0.0, 0.0, SCENARIOS**2 + ALGORITHMS**2
    for _ in range(30):
        middle = float(np.interp(share, expit(grid[:, None] + np.sqrt(within + spread**2) * nodes) @ weights, grid))
        chance = expit(middle + np.sqrt(within) * nodes)
        between, inside = weights @ (chance - weights @ chance) ** 2, weights @ (chance * (1 - chance))
        one = ((TURNS**2).mean() * between + TURNS.mean() * inside) / TURNS.mean() ** 2
        spread = min(3.0, float(np.sqrt(times * one / examples) / inside))
    return middle, spread


def of_shares(rng: np.random.Generator, runs: int, seeds: int, examples: int, share: float, times: float) -> Line:
    """A row and a difference of shares."""
    middle, spread = logits(share, times, examples)
    found = []
    for part in _parts(runs, seeds * examples):
        of = np.broadcast_to(rng.choice(TURNS, (part, 1, examples)), (part, seeds, examples))
        hard = SCENARIOS * rng.normal(size=(1, part, 1, examples)) + ALGORITHMS * rng.normal(
            size=(2, part, 1, examples)
        )
        right = rng.binomial(of, expit(middle + hard + spread * rng.normal(size=(2, part, seeds, 1)))).astype(float)
        trials = of.astype(float)
        scores = pseudo_values(right, trials)
        less, p = interval_of_difference(scores[0], scores[1], trials.mean((1, 2)))
        found.append((interval_of_share(right[0], trials), less, p, scores.mean((2, 3))))
    return _line(found, share)


def of_means(rng: np.random.Generator, runs: int, seeds: int, examples: int, times: float, sigma: float = 0.0) -> Line:
    """A row and a difference of means: of normal scores, or of lognormal ones with this sigma."""
    found, truth, size = [], float(np.exp(sigma**2 / 2)) if sigma else 0.0, 1.0
    for part in _parts(runs, seeds * examples):
        scores = rng.normal(size=(1, part, 1, examples)) + rng.normal(size=(2, part, 1, examples))
        scores = (scores + rng.normal(size=(2, part, seeds, examples))) / np.sqrt(3)
        if sigma:
            scores, size = np.exp(sigma * scores), float(np.sqrt(np.exp(2 * sigma**2) - np.exp(sigma**2)))
        scores = scores + size * np.sqrt(times / examples) * rng.normal(size=(2, part, seeds, 1))
        less, p = interval_of_difference(scores[0], scores[1])
        found.append((interval_of_mean(scores[0]), less, p, scores.mean((2, 3))))
    return _line(found, truth)


def family_errors(rng: np.random.Generator, runs: int, seeds: int, examples: int, rows: int) -> tuple[float, float]:
    """How often p < .05 in any row where nothing differs: as it is, and corrected; seeds vary as much as examples."""
    found = []
    for part in _parts(runs, seeds * examples):
        hard, spread = rng.normal(size=(part, 1, examples)), np.sqrt(2 / examples) * (seeds >= LEAST_SEEDS)

        def row(hard: NDArray[np.float64] = hard, spread: float = spread) -> NDArray[np.float64]:
            size = (len(hard), seeds, examples)
            return hard + rng.normal(size=hard.shape) + rng.normal(size=size) + spread * rng.normal(size=(*size[:2], 1))

        baseline = row()
        ps = np.stack([interval_of_difference(row(), baseline)[1] for _ in range(rows)], axis=1)
        found.append([(p.min() < 0.05, min(holm(p.tolist())) < 0.05) for p in ps])
    plain, corrected = np.concatenate(found).mean(0)
    return float(plain), float(corrected)


def power(
    rng: np.random.Generator, runs: int, seeds: int, examples: int, times: float, level: float
) -> tuple[float, float]:
    """The difference that is announced to be found in 80 % of cases, and how often it is found."""
    c = Components(3 * times / examples, 2.0, 1.0)
    wished, hits = detectable(c, seeds, examples, level), 0
    for part in _parts(runs, seeds * examples):
        scores = rng.normal(size=(2, part, 1, examples)) + np.sqrt(0.5) * rng.normal(size=(2, part, seeds, examples))
        if seeds >= LEAST_SEEDS:
            scores = scores + np.sqrt(1.5 * times / examples) * rng.normal(size=(2, part, seeds, 1))
        hits += int((interval_of_difference(scores[0] + wished, scores[1])[1] < level).sum())
    return wished, hits / runs


def _parts(runs: int, size: int) -> list[int]:
    most = max(1, AT_ONCE // size)
    return [most] * (runs // most) + [runs % most] * bool(runs % most)


def _line(found: list[tuple[Interval, Interval, NDArray[np.float64], NDArray[np.float64]]], truth: float) -> Line:
    rows, less, p, values = zip(*found, strict=True)
    value = np.concatenate(values, axis=1)
    numbers: list[float] = []
    for part, true, spread in ((rows, truth, value.std(axis=1).mean()), (less, 0.0, (value[0] - value[1]).std())):
        low, high = (np.concatenate([getattr(i, end) for i in part]) for end in ("low", "high"))
        numbers += [float(np.mean((low <= true) & (true <= high))), float(np.mean(high - low) / (2 * Z_95 * spread))]
    row, row_width, less_held, less_width = numbers
    return Line(row, row_width, less_held, less_width, float(np.mean(np.concatenate(p) < 0.05)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 5, 10])
    parser.add_argument("--examples", type=int, nargs="+", default=[10, 50, 200, 800])
    asked = parser.parse_args()
    _say("| scores | seeds | examples | seeds' variance | row (width) | difference (width) | p < .05 |")
    _say("|---|---|---|---|---|---|---|")
    for seeds in asked.seeds:
        for examples in asked.examples:
            for times in TIMES if seeds >= LEAST_SEEDS else TIMES[:1]:
                rng, condition = np.random.default_rng(0), (asked.runs, seeds, examples)
                lines = {f"share {share}": of_shares(rng, *condition, share, times) for share in SHARES}
                lines["mean"] = of_means(rng, *condition, times)
                lines["mean, lognormal"] = of_means(rng, *condition, times, sigma=1.0)
                for name, line in lines.items():
                    _say(f"| {name} | {seeds} | {examples} | {times:g} | {line} |")
    _say("\n| rows | seeds | examples | any p < .05 | any p (Holm) < .05 |\n|---|---|---|---|---|")
    for rows, seeds, examples in product((4, 9, 20), asked.seeds, asked.examples):
        plain, corrected = family_errors(np.random.default_rng(0), asked.runs, seeds, examples, rows)
        _say(f"| {rows} | {seeds} | {examples} | {plain:.3f} | {corrected:.3f} |")
    _say("\n| level | seeds | examples | seeds' variance | announced for 80 % | found |\n|---|---|---|---|---|---|")
    for rows, seeds, examples in product((1, 9), asked.seeds, asked.examples):
        for times in TIMES if seeds >= LEAST_SEEDS else TIMES[:1]:
            wished, found = power(np.random.default_rng(0), asked.runs, seeds, examples, times, 0.05 / rows)
            _say(f"| .05 / {rows} | {seeds} | {examples} | {times:g} | {wished:.3f} | {found:.3f} |")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
