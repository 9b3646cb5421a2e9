"""``--keep best``: chosen by validation, kept and evaluated next to the final weights, and never taken for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import TOY, ask

import shiqbench
from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_json
from shiqbench.commands.export_hf import card
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.report.formats import render
from shiqbench.report.make import make_report
from shiqbench.report.of_run import report_of_run
from shiqbench.running import evaluation, runner
from shiqbench.running.best import choose
from shiqbench.running.runner import missing
from shiqbench.running.weights import as_model


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Every test computes its own reference statistics."""


def request(model: Path | str | None, results: Path, **options: Any) -> Request:
    values = {"algo": "sft", "task": "toy", "eval_every": 3, "keep": "best", **options}
    return Request(model=None if model is None else str(model), plugins=(TOY,), results=results, **values)


def run(model: Path, results: Path, **options: Any) -> shiqbench.RunResult:
    return shiqbench.run("sft", "toy", model=str(model), results=results, plugins=(TOY,), eval_every=3, **options)


def config(result: dict[str, Any], name: str = "config.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(result["path"]) / name).read_text())
    return found


def test_the_best_is_the_first_of_the_best_after_update_0(tiny_model: Path, tmp_path: Path) -> None:
    found = make_plan(request(tiny_model, tmp_path, eval_every=2)).curve
    assert found is not None

    def chosen(values: list[float], *, higher: bool) -> tuple[int, int | None]:
        for point, value in zip(found.points, values, strict=True):
            primary = {"name": "score", "value": value, "higher_is_better": higher}
            point.folder.mkdir(parents=True, exist_ok=True)
            write_json(point.folder / "metrics.json", {"primary": primary})
        best = choose(found)
        return best.update, best.snapshot

    assert chosen([9, 1, 3, 3], higher=True) == (4, 4)
    assert chosen([0, 1, 3, 2], higher=False) == (2, 2)
    assert chosen([0, 1, 2, 3], higher=True) == (6, None)  # the final weights
    assert choose(found).facts() == {
        "update": 6,
        "chosen_on": "validation",
        "metric": "score",
        "values": {"2": 1, "4": 2, "6": 3},
    }


def test_it_is_kept_and_evaluated_and_changes_nothing_else(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(tiny_model, tmp_path)
    assert plain.best is None
    # The toy's values may be equal at every update; the choice is tested above.
    monkeypatch.setattr(runner, "choose", lambda curve: replace(choose(curve), update=3, snapshot=3))
    plan = make_plan(request(tiny_model, tmp_path))
    assert missing(plan) == [f"evaluate the weights of {plan.cell.label} that are best on validation"]
    found = run(tiny_model, tmp_path, keep="best")
    assert (found.cell, found.evaluation, found.curve) == (plain.cell, plain.evaluation, plain.curve)
    best = found.best
    assert best is not None
    assert best["update"] == 3
    with as_model(plan.cell, 3) as (folder, _):
        weights = file_sha256(folder / "model.safetensors")
    assert file_sha256(Path(best["path"]) / "model.safetensors") == weights
    manifest = config(best["evaluation"], "manifest.json")
    assert manifest["weights_sha256"] == weights
    assert manifest["best"]["chosen_on"] == "validation"
    assert manifest["best"]["values"] == {str(p["update"]): p["primary"]["value"] for p in found.curve[1:]}
    recipe = config(best["evaluation"])
    assert recipe["eval"]["split"] == "test"
    assert recipe["best"]["every"] == 3
    assert run(tiny_model, tmp_path, keep="best").cached

    (block,) = [b for b in report_of_run(plan).blocks if any(r.own for r in b.rows)]
    assert [e.folder.rpartition("/")[2] for r in block.rows if r.own for e in r.evaluations] == [
        found.evaluation["digest"]
    ]
    for report in (report_of_run(plan), make_report(tmp_path, plugins=(TOY,))):
        text = render(report, "markdown")
        assert text.count("toy on test: weights chosen on validation, and final weights") == 1
        assert f"{plan.cell.label} | 0 | 3 |" in " ".join(text.split())
    titles = [t.title for t in make_report(tmp_path, plugins=(TOY,)).curves]
    assert not [t for t in titles if "area" in t and "test" in t]  # no curve of one point on test
    recipe = json.loads((found.path / "config.json").read_text())
    assert card(found.path, recipe, None).count("| toy (test") == 1

    done = ask("clean", tmp_path, "--all-checkpoints", "--yes")
    assert done.returncode == 0, done.stderr
    assert not (found.path / "best").exists()
    assert run(tiny_model, tmp_path, keep="best").cached


def test_a_kill_before_the_last_evaluation_changes_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "write_records", _after(5, evaluation.write_records, killed))
        with pytest.raises(KeyboardInterrupt):
            run(tiny_model, tmp_path / "a", keep="best")
    a, b = (run(tiny_model, tmp_path / name, keep="best") for name in ("a", "b"))
    assert a.best is not None
    assert b.best is not None
    for result in (a.best, b.best):
        result["path"] = result["evaluation"] = ""
    assert a.best == b.best


def _after(count: int, function: Any, then: Any) -> Any:
    calls = iter(range(count))
    return lambda *a, **k: function(*a, **k) if next(calls, None) is not None else then()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"eval_every": None}, "among the points of a curve .* add --eval-every N"),
        ({"keep": "worst"}, r"'worst' cannot be kept \(--keep\); give best"),
        ({"algo": "base", "eval_every": None}, r"base trains nothing \(--keep best\); leave it out"),
        ({"algo": "shiq", "task": "mdp", "eval_every": None}, "mdp scores its own policy .* no validation split"),
        ({"settings": {"eval.split": "validation"}}, "on validation itself"),
        ({"settings": {"train.updates": None, "train.tokens": 99}}, "budget is in tokens"),
    ],
)
def test_what_cannot_be_honoured_is_refused(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        make_plan(request(None, tmp_path, **options))
