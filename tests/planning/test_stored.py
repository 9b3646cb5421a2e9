"""``--model cell:DIGEST``: what trains nothing evaluates those weights; what cannot be a model is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import TOY

import shiqbench
from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.base.files import write_json
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.report.of_run import report_of_run
from shiqbench.store.cell import mark_done


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Every test computes its own reference statistics."""


def test_base_with_a_cell_evaluates_its_weights(tiny_model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"plugins": (TOY,), "results": tmp_path}
    trained = shiqbench.run("sft", "toy", model=str(tiny_model), **options)
    name = f"cell:{trained.cell[:8]}"
    asked = shiqbench.run("base", "toy", model=name, **options)
    theirs, ours = (pd.read_parquet(Path(r.evaluation["path"]) / "records.parquet") for r in (trained, asked))
    pd.testing.assert_frame_equal(theirs, ours)
    manifests = [json.loads((Path(r.evaluation["path"]) / "manifest.json").read_text()) for r in (trained, asked)]
    assert manifests[0]["weights_sha256"] == manifests[1]["weights_sha256"] is not None
    untrained = shiqbench.run("base", "toy", model=str(tiny_model), **options)
    assert untrained.cell != asked.cell
    plan = make_plan(Request("base", "toy", name, **options))
    (block,) = report_of_run(plan).blocks
    assert [r.start for r in block.rows if r.own] == [f"sft/{trained.cell[:12]}"]
    weights = trained.path / "checkpoint" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(CorruptCellError, match="another sha256"):
        shiqbench.run("base", "toy", model=name, set={"eval.max_tokens": 5}, **options)


def test_a_cell_without_a_language_model_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mdp" / "sft" / "0123456789ab"
    recipe = {"task": {"name": "mdp"}, "train": {"updates": 1}, "model": {"own_policy": "mdp"}}
    write_json(folder / "config.json", recipe)
    mark_done(folder, [folder / "config.json"])
    with pytest.raises(ConfigError, match="no language model but the own policy of mdp"):
        make_plan(Request("base", "toy", "cell:0123", plugins=(TOY,), results=tmp_path))


def test_what_only_evaluates_is_not_trained_on() -> None:
    with pytest.raises(ConfigError) as error:
        make_plan(Request("dpo", "lm_eval"))
    line = error.value.line()
    assert line.startswith("lm_eval only evaluates, and dpo trains")
    assert "--algo base --model cell:DIGEST" in line
    assert "--also lm_eval" in line
