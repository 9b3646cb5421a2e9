"""From a results folder to fronts: what is compared with what, and what is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import ask

from shiqbench.base.digest import digest, short
from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.base.files import write_json
from shiqbench.report.front.make import front
from shiqbench.store.cell import mark_done

UNTRAINED = {"embedded": "some model"}
PROMPTS = 40


def cell(
    results: Path, name: str, *, beta: float = 0.1, seed: int | None = 0, model: dict[str, Any] | None = None
) -> Path:
    """A finished cell's folder as far as fronts read it."""
    recipe = {
        "algorithm": {"name": name, "version": "1", "config": {"beta": beta}},
        "task": {"name": "ultrafeedback", "config": {}},
        "model": model or UNTRAINED,
        "train": None if name == "base" else {"lr": 1e-3},
        "seed": seed,
        "plugins": {},
    }
    folder = results / "ultrafeedback" / name / short(digest(recipe))
    write_json(folder / "config.json", recipe)
    write_json(folder / "manifest.json", {"budget": {"updates": 30}, "model": "some model"})
    mark_done(folder, [folder / "config.json", folder / "manifest.json"])
    return folder


def evaluation(
    of: Path,
    reward: float,
    distance: float,
    *,
    split: str = "test",
    update: int | None = None,
    prompts: int = PROMPTS,
    bad: Mapping[int, float] = MappingProxyType({}),
) -> Path:
    """An evaluation with these means; prompts differ alike for everybody."""
    setting = {"task": "ultrafeedback", "eval": {"split": split}, "engine": "vllm 1"}
    at = {} if update is None else {"update": update}
    recipe = {"schema": 1, "train": of.name, **at, **setting}
    folder = of / "eval" / short(digest(recipe))
    spread = np.linspace(-1, 1, prompts)
    write_json(folder / "config.json", recipe)
    frame = pd.DataFrame({"id": [f"p{i:03d}" for i in range(prompts)], "reward": reward + spread, "k3": distance})
    frame.loc[list(bad), "reward"] = list(bad.values())
    frame.to_parquet(folder / "records.parquet")
    write_json(folder / "manifest.json", {"seconds": {"total": 1.0}, "reduced": False})
    primary = {"name": "reward", "value": reward, "low": reward, "high": reward, "higher_is_better": True}
    write_json(folder / "metrics.json", {"primary": primary, "metrics": {"reward": reward}})
    mark_done(folder, list(folder.glob("*.*")))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    evaluation(cell(tmp_path, "base", seed=None), 0.0, 0.0)
    evaluation(cell(tmp_path, "dpo"), 1.0, 2.0)
    evaluation(cell(tmp_path, "dpo", beta=0.5), 0.1, 1.0)
    evaluation(cell(tmp_path, "shiq"), 2.0, 1.0)
    return tmp_path


def test_every_algorithm_has_a_front_from_the_untrained_model(results: Path, tmp_path: Path) -> None:
    (drawn,) = front(results, "ultrafeedback", baseline="dpo", output=tmp_path / "out")
    found = drawn.fronts
    assert [f.algorithm for f in found.fronts] == ["shiq", "dpo"]
    assert found.origin.value == pytest.approx(0.0)
    assert found.farthest == pytest.approx(1.0)  # shiq's reach: nothing is known of it farther away
    assert found.prompts == PROMPTS
    shiq, dpo = found.fronts
    assert dpo.gain.value == pytest.approx(0.25)
    assert (dpo.points, dpo.on_front) == (2, 1)
    assert shiq.gain.value == pytest.approx(1.0)
    assert (shiq.best.value, shiq.best_distance.value) == pytest.approx((2.0, 1.0))
    assert shiq.against is not None
    # All prompts differ alike, so resampling changes values and not differences.
    assert (shiq.against.low, shiq.against.high) == pytest.approx((0.75, 0.75))
    assert {(p.label, p.front) for p in found.points if p.algorithm == "dpo"} == {
        ("beta=0.1", True),
        ("beta=0.5", False),
    }
    assert "| shiq | 1 | 1 | 1.000 [1.000, 1.000] |" in re.sub(" +", " ", str(drawn))


def test_unequal_sweeps_and_reaches_are_named(results: Path) -> None:
    (drawn,) = front(results, "ultrafeedback")
    assert "- UNEQUAL points: shiq 1, dpo 2; a larger sweep has more to choose from" in str(drawn)
    assert "- UNEQUAL reach: shiq 1.000, dpo 2.000; gains are averaged over the common range only" in str(drawn)
    evaluation(cell(results, "shiq", beta=0.5), 2.5, 2.0)
    (drawn,) = front(results, "ultrafeedback")
    assert drawn.fronts.notes == ()


def test_an_algorithm_that_did_not_move_sets_no_limit(results: Path) -> None:
    evaluation(cell(results, "dro"), 0.0, 0.0)
    (drawn,) = front(results, "ultrafeedback")
    assert drawn.fronts.farthest == pytest.approx(1.0)
    assert "dro did not move and set no limit to the common range" in str(drawn)


def test_the_figure_is_equal_for_equal_data(results: Path, tmp_path: Path) -> None:
    (first,) = front(results, "ultrafeedback", output=tmp_path / "a")
    (second,) = front(results, "ultrafeedback", output=tmp_path / "b")
    assert first.figure is not None
    assert second.figure is not None
    text = first.figure.read_text()
    assert text == second.figure.read_text()
    for word in ("shiq", "dpo", "base", "nats"):
        assert word in text


def test_seeds_are_one_point_and_splits_are_never_mixed(results: Path) -> None:
    evaluation(cell(results, "shiq", seed=1), 4.0, 2.0)
    evaluation(cell(results, "base", seed=None), 0.0, 0.0, split="validation")
    evaluation(cell(results, "shiq"), 1.0, 0.5, split="validation", update=10)
    evaluation(cell(results, "shiq"), 2.0, 1.0, split="validation")
    by_split = {d.group.setting["eval"]["split"]: d.fronts for d in front(results, "ultrafeedback")}
    (point,) = (p for p in by_split["test"].points if p.algorithm == "shiq")
    assert point.seeds == 2
    assert [point.value.value, point.distance.value] == pytest.approx([3.0, 1.5])
    along = [p for p in by_split["validation"].points if p.algorithm == "shiq"]
    assert sorted(p.update for p in along) == [10, 30]


def test_what_began_with_a_start_is_measured_from_that_start(results: Path) -> None:
    start = cell(results, "sft")
    evaluation(start, 0.5, 3.0)
    whole = digest(json.loads((start / "config.json").read_text()))
    evaluation(cell(results, "copg", model={"cell": whole}), 1.5, 1.0)
    drawn = front(results, "ultrafeedback", output=results.parent / "out")
    assert len({d.figure for d in drawn}) == len(drawn) == 2  # the second figure does not replace the first
    groups = {d.fronts.origin_name: d.fronts for d in drawn}
    assert {f.algorithm for f in groups["base"].fronts} == {"dpo", "shiq", "sft"}
    (copg,) = groups["sft"].fronts
    assert groups["sft"].origin.value == pytest.approx(0.5)
    assert copg.gain.value == pytest.approx(0.5)


def test_few_prompts_have_no_interval(tmp_path: Path) -> None:
    evaluation(cell(tmp_path, "base", seed=None), 0.0, 0.0, prompts=19)
    evaluation(cell(tmp_path, "dpo"), 1.0, 2.0, prompts=19)
    (drawn,) = front(tmp_path, "ultrafeedback", output=tmp_path / "out")
    assert drawn.fronts.fronts[0].gain.low is None
    assert "too few for intervals" in str(drawn)


def test_a_prompt_without_a_number_is_left_out_everywhere_and_counted(tmp_path: Path) -> None:
    nowhere = {3: math.nan}
    evaluation(cell(tmp_path, "base", seed=None), 0.0, 0.0, bad=nowhere)
    evaluation(cell(tmp_path, "dpo"), 1.0, 2.0, bad={**nowhere, 7: math.inf})
    evaluation(cell(tmp_path, "shiq"), 2.0, 2.0, bad={**nowhere, 9: math.nan})
    (drawn,) = front(tmp_path, "ultrafeedback", baseline="dpo")
    assert drawn.fronts.prompts == PROMPTS - 3
    assert drawn.fronts.notes == ("2 prompts left out: an evaluation has no finite value for them",)
    shiq = drawn.fronts.fronts[0]
    assert shiq.against is not None
    assert shiq.against.value == pytest.approx(0.5)


def test_what_cannot_be_drawn_is_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mdp measures no distance"):
        front(results, "mdp")
    with pytest.raises(ConfigError, match="no cell of 'dqo', did you mean 'dpo'"):
        front(results, "ultrafeedback", baseline="dqo")
    with pytest.raises(ConfigError, match="there is no such results folder"):
        front(tmp_path / "empty", "ultrafeedback")
    evaluation(cell(results, "sft"), 1.0, 1.0, prompts=PROMPTS - 1)
    with pytest.raises(ConfigError, match="39 prompts, but base has 40"):
        front(results, "ultrafeedback")


def test_an_evaluation_that_changed_is_noticed(results: Path) -> None:
    file = next(results.glob("ultrafeedback/dpo/*/eval/*/records.parquet"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptCellError, match=r"records\.parquet"):
        front(results, "ultrafeedback")


def test_the_command_prints_a_table_or_one_object(results: Path) -> None:
    words: list[str | Path] = ["front", results, "--task", "ultrafeedback"]
    done = ask(*words)
    assert "| shiq | 1 | 1 |" in re.sub(" +", " ", done.stdout)
    found = json.loads(ask(*words, "--json").stdout)
    assert [f["algorithm"] for f in found["fronts"][0]["fronts"]] == ["shiq", "dpo"]


def test_the_only_task_with_a_distance_needs_no_name(results: Path, tmp_path: Path) -> None:
    (results / "mdp").mkdir()  # measures none
    assert [str(d) for d in front(results)] == [str(d) for d in front(results, "ultrafeedback")]
    (results / "episodes").mkdir()
    with pytest.raises(ConfigError, match=r"2 of its tasks measure .*--task episodes or ultrafeedback"):
        front(results)
    (tmp_path / "other" / "mdp").mkdir(parents=True)
    with pytest.raises(ConfigError, match="0 of its tasks measure a distance"):
        front(tmp_path / "other")
