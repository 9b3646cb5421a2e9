"""The matrix files of the paper's experiments: each plans the cells that it says, with the same settings for all."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shiqbench.matrices.plan import MatrixPlan, make_matrix

PAPER = Path(__file__).parents[2] / "examples" / "paper"
TEMPERATURE = {"dpo": "beta", "copg": "beta", "dro": "tau", "shiq": "beta"}

pytestmark = pytest.mark.usefixtures("own_cache")


def dialogues(folder: Path) -> str:
    """Made-up preferences in the form of hh-rlhf."""
    return written(
        folder,
        [
            {who: f"\n\nHuman: question {i}\n\nAssistant: {who} answer {i}" for who in ("chosen", "rejected")}
            for i in range(60)
        ],
    )


def ratings(folder: Path) -> str:
    """Made-up answers with scores."""
    scores = {"score_chosen": 8.0, "score_rejected": 3.0}
    return written(folder, [{"prompt": f"q {i}", "chosen": "yes", "rejected": "no", **scores} for i in range(60)])


def written(folder: Path, found: list[dict[str, Any]]) -> str:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def file(name: str) -> dict[str, Any]:
    return tomllib.loads((PAPER / name).read_text())


def rows(plan: MatrixPlan) -> Counter[str]:
    """Cells of each algorithm in the final part."""
    final = zip(plan.final.planned, plan.final.cells, strict=True)
    return Counter(f.plan.cell.algorithm.name for f, cells in final for _ in cells)


def test_bfcl_study(tmp_path: Path) -> None:
    plan = make_matrix(file("bfcl_study.toml"), results=tmp_path)
    assert rows(plan) == {"base": 1, **dict.fromkeys(("sft", "dpo", "dmpo", "copg", "dro"), 5), "shiq": 10}
    assert not plan.tuning
    cells = [f.plan.cell for f in plan.final.planned if f.plan.cell.train is not None]
    assert {c.task_config.reward for c in cells if c.algorithm.name == "shiq"} == {"turn", "episode"}  # type: ignore[attr-defined]
    assert len({c.start.digest for c in cells if c.start}) == 1
    assert {c.task_config.behaviours for c in cells} == {("ground_truth", "rollout")}  # type: ignore[attr-defined]
    compared = {c.algo.k for c in cells if c.algorithm.name == "copg"}  # type: ignore[attr-defined]
    assert compared == {1 + c.task_config.rollout_samples for c in cells}  # type: ignore[attr-defined]
    found = {getattr(c.algo, field) for c in cells for name, field in TEMPERATURE.items() if c.algorithm.name == name}
    assert found == {c.algo.beta for c in cells if c.algorithm.name == "dmpo"} == {0.1}  # type: ignore[attr-defined]
    (accept,) = {c.algo.accept for c in cells if c.algorithm.name == "sft"}  # type: ignore[attr-defined]
    assert accept == "threshold"
    start = cells[0].start
    assert start is not None
    assert (start.task_config.behaviours, start.task_config.scenarios) == (("ground_truth",), 120)  # type: ignore[attr-defined]
    assert start.algo.accept == "best"  # type: ignore[attr-defined]
    assert start.train is not None
    assert start.train.updates * start.train.batch_episodes == 160
    assert {f.plan.evaluation.model_dump()["repeats"] for f in plan.final.planned} == {1}


@pytest.mark.parametrize("name", ["fronts.toml", "fronts_hh.toml"])
def test_fronts(tmp_path: Path, name: str) -> None:
    content = file(name)
    given = content["tasks"]["ultrafeedback"]["set"]
    given["task.data"] = ratings(tmp_path) if name == "fronts.toml" else dialogues(tmp_path)
    plan = make_matrix(content, results=tmp_path / "results")
    assert rows(plan) == {"base": 1, **dict.fromkeys(TEMPERATURE, 12)}
    assert not plan.tuning
    (train,) = {f.plan.cell.train for f in plan.final.planned if f.plan.cell.train is not None}
    assert train.lr == 1e-3
    for algorithm, field in TEMPERATURE.items():
        found = [f.plan.cell.algo for f in plan.final.planned if f.plan.cell.algorithm.name == algorithm]
        assert [getattr(a, field) for a in found] == [0.03, 0.1, 0.3, 1.0]


def test_own_pairs(tmp_path: Path) -> None:
    content = tomllib.loads((PAPER.parent / "own_pairs.toml").read_text())
    pairs = [{"prompt": f"q {i}", "chosen": "yes", "rejected": "no", "who": "me"} for i in range(60)]
    content["tasks"]["ultrafeedback"]["set"]["task.data"] = written(tmp_path, pairs)
    plan = make_matrix(content, results=tmp_path / "results")
    assert rows(plan) == {"base": 1, "dpo": 1, "shiq": 1}
    betas = {getattr(f.plan.cell.algo, "beta", None) for f in plan.final.planned if f.plan.cell.train is not None}
    assert betas == {0.1}  # one temperature for both


@pytest.mark.parametrize(("name", "settings"), [("synthetic.toml", 3), ("chat_mdp.toml", 2)])
def test_steps_of_the_derivation_are_changed_one_at_a_time(tmp_path: Path, name: str, settings: int) -> None:
    plan = make_matrix(file(name), results=tmp_path)
    others = {"sft", "dpo", "copg", "dro", "reval", "oreo"} | ({"dmpo", "dqo"} if name == "synthetic.toml" else set())
    expected = {"base": settings, "shiq": settings * 4 * 3, **dict.fromkeys(others, settings * 3)}
    assert rows(plan) == expected
    found = [f.plan.cell.algo for f in plan.final.planned if f.plan.cell.algorithm.name == "shiq"]
    changes = {(c.stop_future, not c.multi_step, not c.shift) for c in found}  # type: ignore[attr-defined]
    assert sorted(map(sum, changes)) == [0, 1, 1, 1]


def test_episodes_are_swept(tmp_path: Path) -> None:
    plan = make_matrix(file("episodes.toml"), results=tmp_path)
    assert rows(plan) == {"dqo": 10, "copg": 10, "dro": 10, "shiq": 20}
