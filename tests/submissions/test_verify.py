"""``verify`` on submissions that somebody has changed: what does not agree is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from altered import Files, altered, change_json, change_records, recast
from support import TOY, ask

from shiqbench.base.findings import State
from shiqbench.submissions import records
from shiqbench.submissions.pack import submit
from shiqbench.submissions.verify import problems, verify

pytestmark = pytest.mark.usefixtures("own_cache")
WORSE = "relative_regret"


def lower(frame: Any) -> None:
    """The made-up submission: one changed score."""
    frame.loc[5, WORSE] = frame.loc[5, WORSE] / 2


def wrong(path: Path) -> str:
    """What does not agree."""
    return "\n".join(f"{f.name}: {f.text}" for f in problems(verify(path)))


def lower_everywhere(files: Files) -> None:
    """A changed score, and metrics that fit it."""
    change_records(lower)(files)
    (key,) = [n for n in files if n.endswith("metrics.json")]
    metrics = json.loads(files[key])
    from shiqbench_tasks.mdp.config import MdpConfig
    from shiqbench_tasks.mdp.task import MdpTask

    from shiqbench.submissions.records import read_table

    (parquet,) = [c for n, c in files.items() if n.endswith(".parquet")]
    (config,) = [json.loads(c) for n, c in files.items() if "/eval/" in n and n.endswith("config.json")]
    again = MdpTask(MdpConfig(**config["setting"])).metrics(read_table(parquet).to_pylist())
    metrics["metrics"] = again.metrics
    metrics["primary"] |= {"value": again.primary.value, "low": again.primary.low, "high": again.primary.high}
    files[key] = json.dumps(metrics).encode()


def test_a_submission_agrees_with_itself(submission: Path) -> None:
    found = verify(submission)
    assert {f.state for f in found} == {State.OK}
    assert [f.name.split()[0] for f in found] == ["files", "cell", *["evaluation"] * 4, "layout"]
    assert any("relative_regret" in f.text and "scored again" in f.text for f in found)


@pytest.mark.parametrize("fixed", [(), ("done",), ("done", "index"), ("done", "index", "records")], ids=str)
def test_one_changed_score_is_refused_and_its_record_named(
    submission: Path, tmp_path: Path, fixed: tuple[str, ...]
) -> None:
    """However many checksums its author has made fit."""
    path = altered(submission, tmp_path / "made-up.shiqbench.zip", change_records(lower), fixed)
    done = ask("verify", path)
    assert done.returncode == 1
    (named,) = [line for line in done.stdout.splitlines() if "record seed-5: relative_regret is" in line]
    assert named.startswith("problem")
    assert done.stdout.splitlines()[-1].startswith("refused: ")
    assert ("changed since it was packed: record seed-5" in done.stdout) is ("records" not in fixed)
    assert ("records.parquet has another sha256" in done.stdout) is ("index" not in fixed)
    assert "metrics computed again: metrics.relative_regret is" in done.stdout


def test_even_with_metrics_that_fit_the_changed_score(submission: Path, tmp_path: Path) -> None:
    said = wrong(altered(submission, tmp_path / "x.zip", lower_everywhere))
    assert "record seed-5: relative_regret is" in said
    assert "metrics computed again" not in said


def test_a_truth_value_is_no_number(submission: Path, tmp_path: Path) -> None:
    path = altered(
        submission, tmp_path / "x.zip", change_json("metrics.json", lambda m: m["metrics"].update(seeds=True))
    )
    assert "metrics.seeds is True and must be 12" in wrong(path)


def other_train(files: Files) -> None:
    (old,) = [n.removesuffix("config.json") for n in files if "/eval/" in n and n.endswith("config.json")]
    values = {**json.loads(files[f"{old}config.json"]), "train": "f" * 64}
    files[f"{old}config.json"] = json.dumps(values).encode()


def test_an_evaluation_of_another_cell_is_refused(submission: Path, tmp_path: Path) -> None:
    said = wrong(altered(submission, tmp_path / "x.zip", other_train))
    assert "it is an evaluation of the cell ffffffffffff, not of this one" in said


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("metrics.json", lambda m: m["primary"].update(value=0.01), "primary.value is 0.01 and must be"),
        ("metrics.json", lambda m: m["primary"].update(higher_is_better=True), "primary.higher_is_better is True"),
        ("metrics.json", lambda m: m["metrics"].pop("coverage"), "metrics.coverage is None and must be"),
        ("metrics.json", lambda m: m.update(engine="vllm 1"), "engine is vllm 1 and must be exact"),
        ("metrics.json", lambda m: m["metrics"].update(coverage="1"), "metrics.coverage is 1 and must be"),
    ],
)
def test_metrics_that_the_records_do_not_give(
    submission: Path, tmp_path: Path, name: str, change: Callable[[Any], Any], named: str
) -> None:
    assert named in wrong(altered(submission, tmp_path / "x.zip", change_json(name, change)))


def first(files: Files, name: str) -> str:
    """The cell's own file of this name."""
    return min((n for n in files if n.endswith(f"/{name}")), key=len)


def edit_first(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        key = first(files, name)
        values = json.loads(files[key])
        change(values)
        files[key] = json.dumps(values).encode()

    return edit


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (edit_first("config.json", lambda r: r["train"].update(updates=6)), "cell: its recipe has the digest"),
        (edit_first("config.json", lambda r: r.update(schema=9)), "recipe has schema 9, and this shiqbench reads 2"),
        (edit_first("manifest.json", lambda m: m.update(model=3)), "manifest.json: model: Input should be a valid str"),
        (edit_first("manifest.json", lambda m: m.update(budget={"updates": "x"})), "manifest.json: budget.updates"),
        (edit_first("manifest.json", lambda m: m.pop("model")), "manifest.json: model: Field required"),
    ],
)
def test_recipes_and_manifests_that_are_not_right(
    submission: Path, tmp_path: Path, edit: Callable[[Files], None], named: str
) -> None:
    assert named in wrong(altered(submission, tmp_path / "x.zip", edit))


def test_a_done_file_that_does_not_fit_is_named(submission: Path, tmp_path: Path) -> None:
    path = altered(
        submission, tmp_path / "x.zip", edit_first("manifest.json", lambda m: m.update(a=1)), ("index", "records")
    )
    assert "layout: no report can read mdp/shiq/" in wrong(path)


def test_a_file_that_is_missing_or_no_json(submission: Path, tmp_path: Path) -> None:
    def lose(files: Files) -> None:
        del files[next(n for n in files if n.endswith("metrics.json"))]

    assert "it lacks metrics.json" in wrong(altered(submission, tmp_path / "x.zip", lose))
    for number, text in enumerate((b"{", b"[]", b'{"a": NaN}', b'{"a":' * 100_000)):

        def spoil(files: Files, text: bytes = text) -> None:
            files[first(files, "config.json")] = text

        said = wrong(altered(submission, tmp_path / f"{number}.zip", spoil, ("done", "index")))
        assert "files: " in said
        assert "config.json is no" in said


def test_a_submission_without_an_evaluation(submission: Path, tmp_path: Path) -> None:
    def lose(files: Files) -> None:
        for name in [n for n in files if "/eval/" in n]:
            del files[name]

    assert wrong(altered(submission, tmp_path / "x.zip", lose)) == "evaluation: there is none"


@pytest.mark.parametrize("part", ["algorithm", "task", "model", "train", "seed", "plugins"])
def test_a_recipe_that_no_report_could_read(shiq: Path, tmp_path: Path, part: str) -> None:
    """Its digest is right, and still it must not end a board."""
    cell = recast(shiq, tmp_path / "results", lambda r: r.update(seed=6))
    path = submit(str(cell), tmp_path / "out").path
    assert f"config.json: {part}: " in wrong(
        altered(path, tmp_path / "x.zip", edit_first("config.json", part_gone(part)))
    )


def part_gone(part: str) -> Callable[[dict[str, Any]], Any]:
    return lambda recipe: recipe.update({part: "gone"})


def test_a_finding_is_one_line_without_signs_that_control_a_terminal(submission: Path, tmp_path: Path) -> None:
    def escape(frame: Any) -> None:
        frame["id"] = [f"\x1b[2Jx{i}\n\u202e" * 300 for i in range(len(frame))]
        lower(frame)

    found = problems(verify(altered(submission, tmp_path / "x.zip", change_records(escape))))
    assert found
    assert all(f.text.isprintable() and len(f.text) < 1000 for f in found)


def test_records_that_nobody_can_read_or_that_are_too_many(
    submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(files: Files) -> None:
        files[next(n for n in files if n.endswith(".parquet"))] = b"PAR1 no parquet PAR1"

    assert "records cannot be read: " in wrong(altered(submission, tmp_path / "x.zip", spoil, ("done", "index")))
    assert "the records must be of the 12 instances" in wrong(
        altered(submission, tmp_path / "y.zip", change_records(lambda f: f.drop(index=3)))
    )
    monkeypatch.setattr(records, "MOST_ROWS", 11)
    assert "12 records of" in wrong(submission)


def test_a_setting_that_is_said_to_be_whole(submission: Path, tmp_path: Path) -> None:
    path = altered(submission, tmp_path / "x.zip", set_reduced)
    assert "its setting is not reduced, and the manifest says the opposite" in wrong(path)


def set_reduced(files: Files) -> None:
    (key,) = [n for n in files if "/eval/" in n and n.endswith("manifest.json")]
    files[key] = json.dumps({**json.loads(files[key]), "reduced": True}).encode()


def test_a_task_that_is_not_here_and_another_version(shiq: Path, tmp_path: Path) -> None:
    def unknown(values: dict[str, Any]) -> None:
        values["seed"] = 3

    cell = recast(shiq, tmp_path / "results", unknown)
    path = submit(str(cell), tmp_path / "out").path

    def as_version(value: str, key: str = "version") -> Callable[[Files], None]:
        def edit(files: Files) -> None:
            (name,) = [n for n in files if "/eval/" in n and n.endswith("config.json")]
            files[name] = json.dumps({**json.loads(files[name]), key: value}).encode()

        return edit

    said = wrong(altered(path, tmp_path / "x.zip", as_version("99")))
    assert "it is of version 99 of mdp, and 1 is installed" in said
    assert "mdq" in wrong(altered(path, tmp_path / "y.zip", as_version("mdq", "task")))


def test_a_start_that_is_not_the_one(shiq: Path, tmp_path: Path) -> None:
    cell = recast(shiq, tmp_path / "results", lambda r: r.update(model={"cell": "e" * 64}))
    path = submit(str(cell), tmp_path / "out").path
    (start,) = [f for f in verify(path) if f.name == "start"]
    assert (start.state, start.text[:26]) == (State.WARNING, "the recipe of eeeeeeeeeeee")
    said = wrong(altered(path, tmp_path / "x.zip", lambda files: None, starts=({"seed": 1},)))
    assert "training started from eeeeeeeeeeee" in said or "a recipe has the digest" in said


@pytest.mark.slow
def test_a_task_that_cannot_score_again_says_so(tiny_model: Path, tmp_path: Path) -> None:
    words: list[str | Path] = [
        "run",
        "--algo",
        "base",
        "--task",
        "toy",
        "--plugin",
        TOY,
        "--model",
        tiny_model,
        "--engine",
        "transformers",
    ]
    run = ask(*words, "--json", "--results", tmp_path / "results")
    assert run.returncode == 0, run.stderr
    cell = json.loads(run.stdout)["path"]
    path = submit(cell, tmp_path / "out", plugins=(TOY,)).path
    assert str(tiny_model).encode() not in path.read_bytes()
    found = verify(path, (TOY,))
    assert [f.text for f in found if f.state is State.WARNING] == [
        "the task cannot score its records again: single scores are as submitted"
    ]
    assert problems(found) == []
    assert "toy" in wrong(path)  # without the plugin


def test_the_command_in_json(submission: Path, tmp_path: Path) -> None:
    done = ask("verify", submission, "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "ok")
    lines = ask("verify", submission).stdout.splitlines()
    assert lines[-1] == "verified"
    assert all(line.startswith("ok ") for line in lines[:-1])
    bad = altered(submission, tmp_path / "x.zip", change_records(lower))
    done = ask("verify", bad, "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (1, "problem")
