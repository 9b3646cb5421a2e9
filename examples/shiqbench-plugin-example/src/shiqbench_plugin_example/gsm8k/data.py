"""The recorded solutions: reading them, their final numbers, and a split that no other problem can change."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from shiqbench.plugin import ConfigError, Split

from shiqbench_plugin_example.gsm8k.config import RECORDED

if TYPE_CHECKING:
    from collections.abc import Sequence


FILE = "example_model_solutions.jsonl"
SOURCE = "github.com/openai/grade-school-math, folder grade_school_math/data"
FINAL = re.compile(r"^A:\s*\$?\s*(-?[\d,]*\.?\d+)", re.MULTILINE)
# What a calculator was told; there is none here. Five of the recorded solutions break off inside one.
CALCULATOR = re.compile(r"<<[^<>\n]*>>|<<\S*")
PERCENT = {"train": range(80), "validation": range(80, 90), "test": range(90, 100)}


@dataclass(frozen=True)
class Solution:
    """One recorded solution.

    Attributes:
        text: Without the calculator's annotations.
        is_correct: As recorded.
        agrees: Whether the final number, compared with the ground truth's, says the same.
    """

    text: str
    is_correct: bool
    agrees: bool


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        id: Sixteen hex digits of the question's sha256.
        question: The text.
        answer: The right number.
        solutions: By who wrote them.
    """

    id: str
    question: str
    answer: Decimal
    solutions: dict[str, Solution]


def final_number(text: str) -> Decimal | None:
    """The number of the last line that begins with ``A:``, or None."""
    found = FINAL.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def data_file(folder: str) -> Path:
    """The file, which must be there.

    Raises:
        ConfigError: No folder was given, or it does not hold the file.
    """
    do = f"give the folder of {FILE} ({SOURCE}): --set task.data=FOLDER"
    if not folder:
        raise ConfigError("gsm8k_solutions has no data", where="task.data is not set", do=do)
    path = Path(folder).expanduser() / FILE
    if not path.is_file():
        raise ConfigError(f"no file {path}", where=f"task.data={folder}", do=do)
    return path


@lru_cache(maxsize=4)
def read(path: Path) -> tuple[Problem, ...]:
    """All problems, in the file's order.

    Raises:
        ConfigError: A line is not as it should be.
    """
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            problems.append(_problem(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"line {number} is no problem with solutions: {type(error).__name__}: {error}",
                where=str(path),
                do=f"get the file anew ({SOURCE})",
            ) from error
    return tuple(problems)


def _problem(row: dict[str, object]) -> Problem:
    question, answer = str(row["question"]), final_number(str(row["ground_truth"]))
    if answer is None:
        raise ValueError("the ground truth has no final number")
    solutions: dict[str, Solution] = {}
    for name in RECORDED:
        recorded = row[name]
        if not isinstance(recorded, dict):
            raise TypeError(f"{name} is no solution")
        text, correct = str(recorded["solution"]), bool(recorded["is_correct"])
        agrees = (final_number(text) == answer) == correct
        solutions[name] = Solution(CALCULATOR.sub("", text), correct, agrees)
    return Problem(hashlib.sha256(question.encode()).hexdigest()[:16], question, answer, solutions)


def in_split(problems: Sequence[Problem], split: Split) -> list[Problem]:
    """Problems of a split, by their id alone: 80, 10 and 10 percent."""
    return [p for p in problems if int(p.id, 16) % 100 in PERCENT[split]]


def disagreements(problems: Sequence[Problem]) -> int:
    """Solutions whose recorded verdict and final number disagree."""
    return sum(not s.agrees for p in problems for s in p.solutions.values())
