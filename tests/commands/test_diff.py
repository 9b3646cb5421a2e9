"""``diff``: why two cells have different digests, for planned and for finished cells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import TOY, ask

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, write_json
from shiqbench.commands.common import parse_assignments
from shiqbench.commands.diff import diff
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import CellPlan, Request


def cell(results: Path, *assignments: str, algo: str = "shiq", task: str = "mdp", **more: Any) -> Path:
    """Make a cell that has only begun: it has a recipe."""
    plugin = more.pop("plugin", TOY)
    plan: CellPlan = make_plan(
        Request(algo, task, settings=parse_assignments(assignments), plugins=(plugin,), results=results, **more)
    ).cell
    for each in filter(None, (plan.start, plan)):
        write_json(each.folder / "config.json", each.recipe)
    return plan.folder


def test_settings_and_seeds_are_named(tmp_path: Path) -> None:
    found = diff(cell(tmp_path), cell(tmp_path, "algo.beta=0.25", seed=3), tmp_path)
    assert not found.equal
    assert found.fields == {"algorithm.config.beta": (found.fields["algorithm.config.beta"][0], 0.25), "seed": (0, 3)}
    assert any(line.strip().startswith("seed: 0 | 3") for line in found.lines())


def test_the_order_of_assignments_makes_no_difference(tmp_path: Path) -> None:
    one = cell(tmp_path, "algo.beta=0.5", "train.updates=9")
    two = cell(tmp_path, "train.updates=9", "algo.beta=0.50")
    assert one == two
    assert diff(one.name, two, tmp_path).lines()[0].startswith("the same recipe")


def test_a_plugins_bytes_are_named(tmp_path: Path) -> None:
    other = tmp_path / "plugin.py"
    other.write_text(TOY.read_text() + "\n# changed\n")
    found = diff(cell(tmp_path, task="toy"), cell(tmp_path, task="toy", plugin=other), tmp_path)
    assert list(found.fields) == ["plugins.task"]


def test_the_bytes_of_data_are_named(tmp_path: Path) -> None:
    row = {"prompt": "a", "chosen": "yes", "rejected": "no", "score_chosen": 8, "score_rejected": 2}
    folders = []
    for answer in ("yes", "yes!"):
        data = tmp_path / "data.jsonl"
        data.write_text(json.dumps({**row, "chosen": answer}) + "\n")
        folders.append(cell(tmp_path, f"task.data={data}", algo="dpo", task="ultrafeedback"))
    found = diff(folders[0], folders[1], tmp_path)
    assert found.fields
    assert all(key.startswith("task.data.") for key in found.fields)


def test_cells_that_start_from_other_cells_are_followed(tmp_path: Path) -> None:
    one = cell(tmp_path, algo="dpo", task="toy", preset="started")
    two = cell(tmp_path, "start.train.updates=3", algo="dpo", task="toy", preset="started")
    found = diff(one, two, tmp_path)
    assert list(found.fields) == ["model.cell"]
    assert found.start is not None
    assert found.start.fields["train.updates"][1] == 3
    assert any("they start from cells that differ" in line for line in found.lines())


def test_what_is_outside_of_the_digest_is_apart(tmp_path: Path) -> None:
    one = cell(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    two = tmp_path / "b" / one.relative_to(tmp_path / "a")
    for folder, threads in ((one, 1), (two, 2)):
        write_json(folder / "manifest.json", {"hardware": {"threads": threads}, "seconds": threads * 10})
    found = diff(one, two, tmp_path)
    assert found.equal
    assert found.outside == {"hardware.threads": (1, 2)}
    assert found.lines()[1:] == ["not part of the digest:", "  hardware.threads: 1 | 2"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = cell(tmp_path)
    with pytest.raises(ConfigError, match="no cells or evaluations match 'abc'"):
        diff("abc", one, tmp_path)
    write_json(one / "eval" / "0" / "config.json", {"train": read_json(one / "config.json")["seed"]})
    with pytest.raises(ConfigError, match="a cell and an evaluation cannot be compared"):
        diff(one, one / "eval" / "0", tmp_path)


def test_the_command(tmp_path: Path) -> None:
    found = json.loads(ask("diff", cell(tmp_path), cell(tmp_path, seed=1), "--json").stdout)
    assert found["fields"] == {"seed": [0, 1]}
