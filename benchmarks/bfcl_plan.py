"""The smallest difference in right turns that a plan on bfcl_v3 can find, before anything has run: by assumption.

    python benchmarks/bfcl_plan.py [--share 0.25] [--plan base,miss_func,miss_param:3:3:7] [--draws 200]

A plan is its categories, repeats, seeds and number of rows that are compared with the baseline. Turns are those of the
test split. Assumed are the share of right turns, and how much scenarios differ in difficulty (sd 1 in logits),
algorithms by scenario (``--algorithm-sd``, 0.5) and seeds (``--seed-sd``, 0.15). Two rows with no difference are drawn,
and the variance between them goes into the calculation that ``shiqbench matrix --dry-run`` makes from finished
evaluations.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from shiqbench_tasks.bfcl_v3.data import split_entries
from shiqbench_tasks.bfcl_v3.versions import V3

from shiqbench.base.words import counted
from shiqbench.plugin import fetch_wheel
from shiqbench.report.estimates import Difference, Estimate
from shiqbench.report.smallest import smallest_of
from shiqbench.stats.power import Components, components
from shiqbench.stats.two_way import pseudo_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCENARIOS = 1.0  # sd in logits, as in coverage.py
DRAWN_SEEDS = 8  # of each row, to know the variance of seeds well
PLANS = (
    "base:1:1:7",  # today's preset cpu
    "base:1:3:7",
    "base,miss_func,miss_param:1:3:7",
    "base,miss_func,miss_param:3:3:7",
    "base,miss_param:1:1:7",  # seed 0 of the file bfcl_study.toml
    "base,miss_param:1:5:7",  # the file bfcl_study.toml
    "base,miss_func,miss_param:3:5:7",
    "base,miss_func,miss_param:8:5:7",
    "base,miss_func,miss_param:3:8:7",
)


class Assumed(NamedTuple):
    """What is assumed: the share of right turns, and sd in logits of algorithms by scenario and of seeds."""

    share: float
    algorithms: float
    seeds: float


class Plan(NamedTuple):
    """A plan: its categories, repeats and seeds, and the number of rows that are compared with the baseline."""

    categories: tuple[str, ...]
    repeats: int
    seeds: int
    rows: int

    @classmethod
    def of(cls, text: str) -> Plan:
        """Read a plan from its text."""
        categories, repeats, seeds, rows = text.split(":")
        return cls(tuple(categories.split(",")), int(repeats), int(seeds), int(rows))


def turns_of(categories: Sequence[str]) -> NDArray[np.float64]:
    """Counted turns of each scenario of the test split, over these categories."""
    found: dict[int, int] = {}
    for entry in split_entries(fetch_wheel(V3.wheel), categories, "test"):
        found[entry.scenario] = found.get(entry.scenario, 0) + sum(entry.counted)
    return np.array(list(found.values()), dtype=float)


def spread(turns: NDArray[np.float64], assumed: Assumed, draws: int) -> Components:
    """Components of the variance of a difference of two rows that have the same share, mean over draws."""
    rng = np.random.default_rng(0)
    n = len(turns)
    around = SCENARIOS * rng.standard_normal(100_000) + assumed.algorithms * rng.standard_normal(100_000)
    middle = brentq(lambda m: float(expit(m + around).mean()) - assumed.share, -20, 20)
    found = []
    for _ in range(draws):
        scenario = middle + SCENARIOS * rng.standard_normal(n)
        rows = []
        for _side in range(2):
            own = scenario + assumed.algorithms * rng.standard_normal(n)
            seed = assumed.seeds * rng.standard_normal((DRAWN_SEEDS, 1))
            right = rng.binomial(turns.astype(int), expit(own + seed))
            rows.append(pseudo_values(right.astype(float), np.broadcast_to(turns, right.shape)))
        found.append(components(rows[0], rows[1], float(turns.mean())))
    means = [float(np.mean([getattr(c, name) for c in found])) for name in ("seeds", "examples", "rest", "common")]
    return Components(means[0], means[1], means[2], shares=found[0].shares, common=means[3])


def line(plan: Plan, assumed: Assumed, draws: int, wished: float) -> str:
    """What the plan can find, in the words of ``--dry-run``."""
    turns = turns_of(plan.categories)
    parts = spread(turns * plan.repeats, assumed, draws)
    like = Difference(
        Estimate(0.0, None, None, "assumed"),
        plan.seeds,
        plan.seeds,
        len(turns),
        components=parts,
        trained_seeds=plan.seeds,
    )
    found = smallest_of([("rows", like)], plan.rows, largest=1.0, wished=wished, seeds=plan.seeds)
    assert found is not None
    said = found.text(lambda v: f"{100 * v:.2g} points")
    return (
        f"{'+'.join(plan.categories)}, {turns.sum():.0f} turns, {plan.repeats} x, {counted(plan.seeds, 'seed')} "
        f"({found.test}): {said}"
    )


def main() -> None:
    """Print a line per plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--algorithm-sd", type=float, default=0.5)
    parser.add_argument("--seed-sd", type=float, default=0.15)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--wished", type=float, default=0.05)
    parser.add_argument("--plan", nargs="*", default=PLANS)
    asked = parser.parse_args()
    assumed = Assumed(asked.share, asked.algorithm_sd, asked.seed_sd)
    for text in asked.plan:
        sys.stdout.write(line(Plan.of(text), assumed, asked.draws, asked.wished) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
