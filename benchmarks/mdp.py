"""Every algorithm on exact MDPs: seconds, updates per second, and how far from the optimum each ends.

    python benchmarks/mdp.py                     # the markdown tables of docs/algorithms.md
    python benchmarks/mdp.py --algorithms shiq copg --mdps tree

Trains in this process, through the same calls as ``shiqbench run``, into a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ShiqbenchError
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.registry import registry
from shiqbench.plugin.task import ExactTask
from shiqbench.training.given_model import train_model

if TYPE_CHECKING:
    from collections.abc import Mapping

MDPS = {
    "bandit": {"task.mdp": "bandit"},
    "chain, dense": {"task.mdp": "chain", "task.reward": "dense"},
    "tree, sparse": {"task.mdp": "tree"},
    "random, dense": {"task.mdp": "random", "task.reward": "dense", "task.reference": "random"},
}
SWITCHES = {
    "one step": {"algo.multi_step": False},
    "no shift": {"algo.shift": False},
    "stop_future": {"algo.stop_future": True},
}
BANDIT = {"task.mdp": "bandit", "task.coverage": 0.2, "task.arm_rewards": [0.5, -0.5, *[0] * 8]}
NOISE = {"task.mdp": "tree", "task.horizon": 3, "task.reward": "dense", "task.noise": 1}


def train(algorithm: str, settings: Mapping[str, Any], folder: Path) -> tuple[dict[str, float], float]:
    """Metrics and seconds of one cell.

    Raises:
        ShiqbenchError: The cell cannot be trained.
    """
    plan = make_plan(Request(algorithm, "mdp", settings=settings, results=folder))
    assert plan.cell.train is not None
    assert plan.cell.seed is not None
    started = time.perf_counter()
    task, loss = plan.task, plan.cell.algorithm.load()(plan.cell.algo)
    assert isinstance(task, ExactTask)
    task.train(loss, plan.cell.train, plan.cell.seed, folder, lambda line, total: None, train_model)
    seconds = time.perf_counter() - started
    last = json.loads((folder / "train.jsonl").read_text().splitlines()[-1])
    return {**last, **task.metrics(task.evaluate_weights(folder / "checkpoint")).metrics}, seconds


def say(*values: object) -> None:
    """One row of a markdown table."""
    sys.stdout.write("| " + " | ".join(str(v) for v in values) + " |\n")
    sys.stdout.flush()


def cell(algorithm: str, settings: Mapping[str, Any], metric: str = "relative_regret") -> tuple[str, float]:
    """A metric as text, or why there is none; and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            metrics, seconds = train(algorithm, settings, Path(folder))
        except ShiqbenchError as error:
            return f"refused: {error.what}", 0.0
    return f"{metrics[metric]:.3g}", seconds


def main() -> None:
    """Print the tables."""
    trained = sorted(name for name, spec in registry().algorithms.items() if spec.trains)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", default=trained, choices=trained)
    parser.add_argument("--mdps", nargs="+", default=list(MDPS), choices=list(MDPS))
    chosen = parser.parse_args()
    total, updates = 0.0, 0
    say("relative regret", *chosen.mdps, "seconds")
    say(*["---"] * (len(chosen.mdps) + 2))
    rows: list[tuple[str, str, Mapping[str, Any]]] = [(a, a, {}) for a in chosen.algorithms]
    if "shiq" in chosen.algorithms:
        rows += [(f"shiq, {name}", "shiq", switch) for name, switch in SWITCHES.items()]
    for label, algorithm, extra in rows:
        found = [cell(algorithm, {**MDPS[m], **extra}) for m in chosen.mdps]
        spent = sum(seconds for _, seconds in found)
        total, updates = total + spent, updates + 300 * sum(seconds > 0 for _, seconds in found)
        say(f"`{label}`", *(text for text, _ in found), f"{spent:.1f}")
    sys.stdout.write(f"\n{total:.0f} s of training, {updates / total:.0f} updates/s, 20 instances in each\n\n")
    say("mass on actions never seen", "offset -2", "offset 0", "offset +2")
    say(*["---"] * 4)
    for algorithm in ("shiq", "copg"):
        masses = [cell(algorithm, {**BANDIT, "task.offset": c}, "unseen_mass")[0] for c in (-2, 0, 2)]
        say(f"`{algorithm}`", *masses)
    sys.stdout.write("\n")
    say("random transitions", "relative regret")
    say("---", "---")
    for name, extra in (("shiq", {}), ("shiq, stop_future", SWITCHES["stop_future"])):
        say(f"`{name}`", cell("shiq", {**NOISE, **extra})[0])


if __name__ == "__main__":
    main()
