"""Kill a matrix at chosen moments, again and again, and compare what it ends with to an undisturbed run.

    python benchmarks/faults.py                              # mdp, 30 kills
    python benchmarks/faults.py --task bfcl_v3 --kills 3     # a language model, killed in training and generation

Every kill is SIGKILL to the whole process group. On mdp and in all training everything must be equal bit for bit. Text
from vLLM depends on the composition of its batch, so differing records of generation are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable

MDP = """
[matrix]
algorithms = ["base", "dpo", "shiq"]
tasks = ["mdp"]
seeds = [0, 1]
preset = "smoke"
[set]
"train.updates" = 200
"train.save_every" = 20
"""
BFCL = """
[matrix]
algorithms = ["base", "sft", "shiq"]
tasks = ["bfcl_v3"]
preset = "smoke"
[set]
"train.save_every" = 1
"""


def begun(cell: Path) -> bool:
    """Whether it is being trained."""
    return (cell / "config.json").exists() and not (cell / "DONE").exists()


def writing(results: Path, pattern: str) -> bool:
    """Whether a file is just being written."""
    return any(True for _ in results.glob(f"*/*/*/{pattern}"))


# What the folder looks like at the moment of the kill.
MOMENTS: dict[str, Callable[[Path], bool]] = {
    "before the first update": lambda r: any(begun(c) and not (c / "train.jsonl").exists() for c in r.glob("*/*/*")),
    "in training": lambda r: any(begun(c) and (c / "checkpoint").exists() for c in r.glob("*/*/*")),
    "checkpoint write": lambda r: writing(r, "checkpoint/.*.tmp"),
    "in evaluation": lambda r: any(not (e / "DONE").exists() for e in r.glob("*/*/*/eval/*")),
    "in generation": lambda r: any(r.glob("*/*/*/eval/*/.journal*")),
    "record write": lambda r: writing(r, "eval/*/.records*.tmp"),
    "DONE": lambda r: writing(r, ".DONE*.tmp") or writing(r, "eval/*/.DONE*.tmp"),
}
OF_TASK = {
    "mdp": (
        MDP,
        ("before the first update", "in training", "checkpoint write", "in evaluation", "record write", "DONE"),
    ),
    "bfcl_v3": (BFCL, ("in training", "in generation", "in generation")),
}


def start(file: Path, results: Path) -> subprocess.Popen[bytes]:
    """The command, in a process group of its own."""
    words = [sys.executable, "-m", "shiqbench", "matrix", str(file), "--results", str(results), "--jobs", "2"]
    return subprocess.Popen(  # noqa: S603 - our own command
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def left_behind(results: Path, *, exact: bool) -> dict[str, Any]:
    """Every file of the cells, with the content that must be equal and without times; metrics only if exact."""
    found: dict[str, Any] = {}
    for file in sorted(results.glob("*/*/*/**/*")):
        path = file.relative_to(results)
        if not file.is_file() or any(part.startswith(".") for part in path.parts):
            continue
        name = str(path)
        found[name] = "there"
        if file.name == "train.jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
        elif file.name in ("config.json", "metrics.json")[: 1 + exact] or file.suffix == ".safetensors":
            found[name] = file.read_bytes()
    return found


def records(results: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of every evaluation."""
    return {str(f.relative_to(results)): pq.read_table(f).to_pylist() for f in sorted(results.rglob("records.parquet"))}


def differing(calm: Path, struck: Path) -> tuple[int, int]:
    """Records that differ, of how many."""
    one, other = records(calm), records(struck)
    if one.keys() != other.keys():
        raise SystemExit("the two runs have other evaluations")
    pairs = [pair for name in one for pair in zip(one[name], other[name], strict=True)]
    return sum(a != b for a, b in pairs), len(pairs)


def kill_at(moment: str, matrix: subprocess.Popen[bytes], results: Path, delay: float) -> bool:
    """Kill when the folder looks so and a little later; False if the matrix ended before."""
    while matrix.poll() is None:
        if MOMENTS[moment](results):
            time.sleep(delay)
            if matrix.poll() is None:
                kill(matrix)
                return True
        time.sleep(0.0005)
    if matrix.returncode:
        raise SystemExit(f"the matrix ended with exit code {matrix.returncode}")
    return False


def kill(matrix: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the process group of the matrix. Its workers have groups of their own and end when it is gone."""
    workers = psutil.Process(matrix.pid).children(recursive=True)
    os.killpg(matrix.pid, signal.SIGKILL)
    matrix.wait()
    if psutil.wait_procs(workers, timeout=30)[1]:
        raise SystemExit("a worker outlives its matrix")


def main() -> int:
    """Entry point; exit 1 if training differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(OF_TASK), default="mdp")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    text, moments = OF_TASK[chosen.task]
    chance, counts = random.Random(chosen.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, calm, struck = folder / "m.toml", folder / "calm", folder / "struck"
        file.write_text(text)
        started = time.perf_counter()
        if start(file, calm).wait():
            raise SystemExit("the undisturbed run failed")
        sys.stdout.write(f"undisturbed: {time.perf_counter() - started:.0f} s\n")
        while counts.total() < chosen.kills:
            moment = moments[counts.total() % len(moments)]
            # Writes last for milliseconds; training and generation are struck anywhere.
            delay = chance.uniform(0, 8 if chosen.task == "bfcl_v3" else 0.1) if moment.startswith("in ") else 0.0
            if kill_at(moment, start(file, struck), struck, delay):
                counts[moment] += 1
            elif calm_equals(calm, struck, exact=chosen.task == "mdp"):
                for cell in chance.sample(sorted(struck.glob("*/*/*")), 1 + len(list(struck.glob("*/*/*"))) // 2):
                    shutil.rmtree(cell)
            else:
                return 1
        if start(file, struck).wait():
            raise SystemExit("the last run failed")
        equal = calm_equals(calm, struck, exact=chosen.task == "mdp")
        some, total = differing(calm, struck)
        failed = [str(f) for f in struck.rglob("error.json")]
    if failed:
        raise SystemExit(f"left behind: {', '.join(failed)}")
    for moment, count in counts.items():
        sys.stdout.write(f"killed {moment}: {count}\n")
    sys.stdout.write(f"training {'equal bit for bit' if equal else 'DIFFERS'}; {some} of {total} records differ\n")
    return 0 if equal else 1


def calm_equals(calm: Path, struck: Path, *, exact: bool) -> bool:
    """Whether training, and where text is not sampled the records too, are equal."""
    same = left_behind(calm, exact=exact) == left_behind(struck, exact=exact)
    return same and (not exact or differing(calm, struck)[0] == 0)


if __name__ == "__main__":
    sys.exit(main())
