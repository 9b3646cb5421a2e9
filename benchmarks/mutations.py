"""Break the code on purpose, in one place at a time, and see that the tests notice.

    python benchmarks/mutations.py                          # all that fast tests notice, about 10 minutes
    python benchmarks/mutations.py --only dpo-smoothing-swapped
    python benchmarks/mutations.py --slow --jobs 2          # also those that only slow tests notice

``mutations.toml`` lists them: file, text before, text after, and the tests that should fail. Each is applied to a copy
of the tracked files; the working tree stays as it is. Exit code 1 if a mutation survives or cannot be tried.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("mutations.toml")
FAST = "not slow and not vllm and not ray and not gpu and not browser"
LIMIT = 600.0  # seconds of one mutation
DONE = 100  # added to pytest's exit code, which tells it from that of a process that failed before
HEAVY = ["torch", "accelerate", "peft", "transformers.models.auto.modeling_auto", "hypothesis", "pandas", "pytest"]
HEAVY += ["transformers.models.llama.modeling_llama", "pyarrow.parquet"]  # imported once, not for each mutation
PACKAGES = ("shiqbench", "algorithms/shiqbench_algorithms", "tasks/shiqbench_tasks")
PROBE = "tests/tasks/mdp/test_mdp_facts.py"  # imports all packages


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Attributes:
        name: For ``--only`` and the table.
        file: Below the project.
        before: Text that occurs in it exactly once.
        after: What replaces it.
        tests: Paths or node ids; one of them fails.
        slow: Whether only slow tests can notice it.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    slow: bool = False

    def apply(self, text: str) -> str:
        """The file's text with the fault.

        Raises:
            ValueError: The text before does not occur exactly once.
        """
        if (found := text.count(self.before)) != 1:
            raise ValueError(f"{self.name}: the text before occurs {found} times in {self.file}; change mutations.toml")
        return text.replace(self.before, self.after)


def read_list(path: Path = LIST) -> list[Mutation]:
    """The mutations of a file."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]
    return [Mutation(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


@contextmanager
def mutated(copy: Path, mutation: Mutation) -> Iterator[None]:
    """The copy with one fault in it."""
    path = copy / mutation.file
    text = path.read_text(encoding="utf-8")
    path.write_text(mutation.apply(text), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def in_copy(copy: Path, tests: Sequence[str], slow: bool, log: Path) -> None:
    """Run tests in this process, which ends with pytest's exit code above ``DONE``."""
    places = [str(copy), str(copy / "algorithms"), str(copy / "tasks")]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)  # for the processes that tests start
    sys.path[:0] = places
    os.chdir(copy)
    sys.dont_write_bytecode = True  # a mutation may leave size and second of the file as they were
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    stream = log.open("wb")
    for standard in (1, 2):
        os.dup2(stream.fileno(), standard)
    import pytest

    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what HEAVY imported before pytest
    words = ["-x", "-q", "-p", "no:cacheprovider", *quiet, *([] if slow else ["-m", FAST]), *tests]
    sys.exit(DONE + int(pytest.main(words)))


def verdict(copy: Path, tests: Sequence[str], slow: bool = False) -> str:
    """``killed``, ``survived`` or ``error``: no test ran, a test file could not be imported, or it took too long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    log = copy.with_suffix(".log")
    process = context.Process(target=in_copy, args=(copy, tests, slow, log))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
    return {DONE: "survived", DONE + 1: "killed"}.get(process.exitcode or 0, "error")


def copy_of(root: Path, folder: Path, number: int) -> Path:
    """A copy of the tracked files."""
    copy = folder / f"copy-{number}"
    command = ["git", "-C", str(root), "ls-files", "-z"]
    for name in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0"):  # noqa: S603
        if name and (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)
    return copy


def check_copy(copy: Path, mutations: Sequence[Mutation]) -> None:
    """See that tests import the copy, and that they pass without a fault.

    Raises:
        SystemExit: One of the two does not hold.
    """
    for package in PACKAGES:
        file = f"{package}/__init__.py"
        text = (copy / file).read_text(encoding="utf-8")
        with mutated(copy, Mutation("broken", file, text, "raise ImportError('broken on purpose')\n", (PROBE,))):
            if verdict(copy, (PROBE,)) != "error":
                raise SystemExit(f"tests do not import {package} from the copy")
    for slow in sorted({m.slow for m in mutations}):
        tests = sorted({t for m in mutations for t in m.tests if m.slow == slow})
        if verdict(copy, tests, slow) != "survived":
            raise SystemExit(f"tests fail without any mutation:\n{tail(copy)}")


def tail(copy: Path) -> str:
    """The end of what the last tests printed."""
    return "\n".join(copy.with_suffix(".log").read_text(errors="replace").splitlines()[-15:])


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="only this mutation; may be repeated")
    parser.add_argument("--slow", action="store_true", help="also those that only slow tests notice")
    parser.add_argument("--jobs", type=int, default=1, help="mutations at a time")
    chosen = parser.parse_args()
    every = read_list()
    if unknown := set(chosen.only or ()) - {m.name for m in every}:
        raise SystemExit(f"no mutation {', '.join(sorted(unknown))}")
    mutations = [m for m in every if (m.name in chosen.only if chosen.only else chosen.slow or not m.slow)]
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", PYTHONHASHSEED="0")
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(chosen.jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(chosen.jobs):
            copies.put(copy_of(ROOT, Path(name), number))
        copy = copies.get()
        check_copy(copy, mutations)
        copies.put(copy)

        def tried(mutation: Mutation) -> str:
            copy, started = copies.get(), time.perf_counter()
            with mutated(copy, mutation):
                found = verdict(copy, mutation.tests, mutation.slow)
            line = f"| {mutation.name} | {mutation.file} | {found} | {time.perf_counter() - started:.0f} |\n"
            sys.stderr.write(line if found != "error" else line + tail(copy) + "\n")
            copies.put(copy)
            return line

        lines = list(pool.map(tried, mutations))
    counts = Counter(line.split(" | ")[2] for line in lines)
    sys.stdout.write("| mutation | file | result | seconds |\n|---|---|---|---|\n" + "".join(lines))
    sys.stdout.write(", ".join(f"{counts[found]} {found}" for found in ("killed", "survived", "error")) + "\n")
    return 0 if counts["killed"] == len(mutations) else 1


if __name__ == "__main__":
    sys.exit(main())
