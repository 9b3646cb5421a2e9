"""What is planted in made-up results is found by the real command: a difference, and what makes rows incomparable."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation

from shiqbench.commands.app import main

pytestmark = pytest.mark.usefixtures("own_cache")
EXAMPLES, GAIN = 60, 0.15


def played(
    results: Path, name: str, seeds: int, gain: float = 0.0, *, on: dict[str, Any] | None = None, **of: Any
) -> None:
    """Regrets that share the difficulty of each example; seeds and rest vary."""
    difficulty = [random.Random(i).uniform(0.3, 0.7) for i in range(EXAMPLES)]
    for seed in range(seeds):
        draw = random.Random(f"{name} {seed} {on} {of}")
        luck = draw.gauss(0, 0.02) if seeds > 1 else 0.0  # one seed cannot tell it from a difference
        scores = [d - gain + luck + draw.gauss(0, 0.1) for d in difficulty]
        evaluation(cell(results, name, seed, **of), scores, **(on or {}))


def reported(results: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    with pytest.raises(SystemExit) as left:
        main(["report", str(results), "--baseline", "sft", "--format", "json"])
    assert left.value.code in (0, None)
    blocks: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["blocks"]
    return blocks


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_a_difference_is_found_and_none_is_invented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: int
) -> None:
    for name, gain in (("sft", 0.0), ("dpo", 0.0), ("shiq", GAIN)):
        played(tmp_path, name, seeds, gain)
    (block,) = reported(tmp_path, capsys)
    rows = {r["algorithm"]: r for r in block["rows"]}
    assert rows["shiq"]["difference_high"] < 0  # lower is better
    assert rows["shiq"]["difference_low"] < -GAIN < rows["shiq"]["difference_high"]
    assert rows["shiq"]["p"] < 0.05
    assert rows["shiq"]["better"] > 45
    assert rows["dpo"]["difference_low"] < 0 < rows["dpo"]["difference_high"]
    assert rows["dpo"]["p"] > 0.05


@pytest.mark.parametrize(
    "on", [{"engine": "vllm 2"}, {"setting": {"horizon": 9}}, {"split": "validation"}], ids=lambda on: next(iter(on))
)
def test_what_was_evaluated_in_another_way_is_in_another_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], on: dict[str, Any]
) -> None:
    """Nothing differs but the evaluation, which gives all of the gain."""
    played(tmp_path, "sft", 3)
    played(tmp_path, "shiq", 3, GAIN, on=on)
    blocks = reported(tmp_path, capsys)
    assert [[r["algorithm"] for r in b["rows"]] for b in blocks] in ([["sft"], ["shiq"]], [["shiq"], ["sft"]])
    assert all(r["difference"] is None for b in blocks for r in b["rows"])
    (other,) = (b for b in blocks if b["rows"][0]["algorithm"] == "shiq")
    assert "not compared with sft: it has no row here" in other["notes"]


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ({"data": {"sha256": "b" * 64}}, "data.sha256=bbbbbbbbbbbb"),
        ({"settings": {"coverage": 0.5}}, "coverage=0.5"),
        ({"model": {"cell": "1" * 64}, "start": "sft/111111111111"}, ""),
    ],
    ids=["data", "settings", "start"],
)
def test_what_was_trained_on_other_data_is_another_row_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], of: dict[str, Any], told: str
) -> None:
    played(tmp_path, "sft", 3)
    played(tmp_path, "shiq", 3)
    played(tmp_path, "shiq", 3, GAIN, **of)
    (block,) = reported(tmp_path, capsys)
    rows = [r for r in block["rows"] if r["algorithm"] == "shiq"]
    assert len(rows) == 2
    (other,) = (r for r in rows if r["p"] < 0.05)
    assert told in other["differs_in"]
    assert len({(r["differs_in"], r["start"]) for r in rows}) == 2
