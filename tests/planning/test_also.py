"""``--also``: the same cells on further tasks, in the same folders, under their own digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import TOY, ask

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.commands.common import parse_assignments
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request, RunPlan
from shiqbench.report.of_run import report_of_run


def plan(tiny: Path, *assignments: str, **changes: Any) -> RunPlan:
    values = {"algo": "sft", "task": "toy", "model": str(tiny), "plugins": (TOY,), "also": ("toy:3",), **changes}
    return make_plan(Request(settings=parse_assignments(assignments), **values))


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Every test computes its own reference statistics."""


def test_base_start_and_cell_are_evaluated_on_it_too(tiny_model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": str(tiny_model), "preset": "started", "plugins": (TOY,), "results": tmp_path}
    alone = shiqbench.run("dpo", "toy", **options)
    trained = {f: f.stat().st_mtime_ns for f in tmp_path.glob("toy/*/*/DONE")}
    result = shiqbench.run("dpo", "toy", also=("toy:3",), **options)
    assert {f: f.stat().st_mtime_ns for f in tmp_path.glob("toy/*/*/DONE")} == trained
    assert (result.cell, result.evaluation, result.metrics) == (alone.cell, alone.evaluation, alone.metrics)
    assert alone.also == {}
    added = result.also["toy:3"]
    assert added["evaluation"]["digest"] != result.evaluation["digest"]
    assert len(pd.read_parquet(Path(added["evaluation"]["path"]) / "records.parquet")) == 3
    evaluated = [f.relative_to(tmp_path).parts[1] for f in tmp_path.glob("toy/*/*/eval/*/DONE")]
    assert sorted(evaluated) == ["base", "base", "dpo", "dpo", "sft", "sft"]
    assert shiqbench.run("dpo", "toy", also=("toy:3",), **options).cached
    whole = make_plan(
        Request("dpo", "toy", str(tiny_model), preset="started", also=("toy:3",), plugins=(TOY,), results=tmp_path)
    )
    first, second = report_of_run(whole).blocks
    assert (first.title.partition(" ")[0], second.title.partition(" ")[0]) == ("toy", "toy:3")
    assert [len(block.rows) for block in (first, second)] == [3, 3]


def test_json_and_tables_show_it(tiny_model: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [
        "--algo",
        "base",
        "--task",
        "toy",
        "--model",
        tiny_model,
        "--plugin",
        TOY,
        "--results",
        tmp_path,
    ]
    command: list[str | Path] = ["run", *words, "--also", "toy:3"]
    shown = ask(*command)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("this run (*): base/") == 2
    assert "## toy:3 on test, right" in shown.stdout
    assert "also evaluates toy:3" in shown.stderr
    found = json.loads(ask(*command, "--json").stdout)
    assert set(found["also"]["toy:3"]) == {"evaluation", "primary", "metrics"}


def test_it_has_settings_of_its_own_and_the_engine_of_the_cell(tiny_model: Path) -> None:
    whole = plan(tiny_model, "eval.max_context=300", "eval.max_tokens=4", "also.toy.eval.max_tokens=5")
    (added,) = whole.also
    values = added.evaluation.model_dump()
    assert (values["max_context"], values["max_tokens"], values["engine"]) == (300, 5, "transformers")
    assert added.task.config.model_dump()["words"] == 3
    assert whole.evaluation.model_dump()["max_tokens"] == 4
    (other,) = plan(tiny_model, "also.toy.task.good=false", also=("toy",)).also
    assert other.task.config.model_dump() == {"words": 8, "good": False}


def test_it_changes_nothing_of_the_cell(tiny_model: Path) -> None:
    with_it, without = plan(tiny_model), plan(tiny_model, also=())
    assert with_it.cell.digest == without.cell.digest
    assert with_it.eval_folder(with_it.cell) == without.eval_folder(without.cell)


@pytest.mark.parametrize(
    ("assignments", "changes", "message"),
    [
        (["also.toi.eval.seed=1"], {}, "also.toi cannot be honoured: there is no --also toi, did you mean 'toy'"),
        (["also.toy.eval.sed=1"], {}, "unknown setting 'also.toy.eval.sed', did you mean 'also.toy.eval.seed'"),
        (["also.toy.train.lr=1"], {}, "also.toy has the sections task and eval"),
        (["also.toy=1"], {}, "also.toy has the sections task and eval"),
        (["also.toy.task.words=2"], {}, "'3' cannot be honoured: toy has its words from --set too"),
        ([], {"also": ("toy:many",)}, "also.toy.task.words"),
        ([], {"also": ("toi",)}, "unknown task 'toi', did you mean 'toy'"),
        ([], {"also": ("toy:3", "toy:3")}, "the same task twice"),
        ([], {"also": ("bfcl_v3:base",)}, "'base' cannot be honoured: bfcl_v3 takes no argument"),
        ([], {"also": ("mdp",)}, "mdp brings its own policy"),
        ([], {"task": "mdp", "model": None}, "mdp brings its own policy"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    tiny_model: Path, assignments: list[str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        plan(tiny_model, *assignments, **changes)
    assert message in error.value.line()
