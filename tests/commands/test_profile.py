"""``run --profile``: the parts of each step add up to its time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import TOY, ask

from shiqbench.base.files import read_json
from shiqbench.commands.profile import REST, profile_table


def test_every_step_of_a_run_has_its_parts(tiny_model: Path, own_cache: Path, tmp_path: Path) -> None:
    words = ["run", "--algo", "shiq", "--task", "toy", "--plugin", str(TOY), "--model", str(tiny_model)]
    words += ["--results", str(tmp_path / "results"), "--json", "--set", "start=sft"]
    done = ask(*words, "--profile")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["seconds"]
    assert [name.split("/")[0] for name in found] == [
        *("train sft", "train shiq", "evaluate base", "evaluate sft", "evaluate shiq")
    ]
    (cell,) = (tmp_path / "results" / "toy" / "shiq").iterdir()
    manifest = read_json(cell / "manifest.json")
    trained = next(parts for name, parts in found.items() if name.startswith("train shiq"))
    assert sum(trained.values()) == pytest.approx(manifest["seconds"])
    measured = manifest["seconds_of"]
    assert {"forward", "head", "loss", "backward", "optimiser", "reference", "check", "model", "data"} <= set(measured)
    assert 0 < sum(measured.values()) <= manifest["seconds"]
    assert trained[REST] >= 0
    assert {"engine", "generation"} & set(found[list(found)[-1]])
    again = ask(*words, "--profile")
    assert json.loads(again.stdout)["seconds"] == found
    assert "seconds" not in json.loads(ask(*words).stdout)


def test_the_table_names_the_longest_part_first() -> None:
    table = profile_table(
        {"train shiq/1": {"backward": 20.4, "forward": 9.96, REST: 0.2}, "evaluate base/2": {REST: 3.0}}
    )
    assert table.splitlines()[2:] == [
        "| step | seconds | of which |",
        "|---|---|---|",
        "| train shiq/1 | 31 | backward 20, forward 10.0, rest 0.2 |",
        "| evaluate base/2 | 3.0 | rest 3.0 |",
    ]
