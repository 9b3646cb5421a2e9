"""Whole runs on the toy task and a tiny model: cells, caching, kill -9, corruption, starts."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import warm
from families import build
from support import TOY

import shiqbench
from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import CorruptCellError
from shiqbench.commands.common import parse_assignments
from shiqbench.models.identity import model_identity
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.store import cell
from shiqbench.store.cell import is_done


def run(algo: str, model: Path, results: Path, **options: Any) -> shiqbench.RunResult:
    return shiqbench.run(algo, "toy", model=str(model), results=results, plugins=(TOY,), **options)


@pytest.fixture(autouse=True)
def _cache(own_cache: Path) -> None:
    """Give every test its own cache, so that it computes its own reference statistics."""


def test_a_run_trains_evaluates_and_does_nothing_the_second_time(tiny_model: Path, tmp_path: Path) -> None:
    first = run("shiq", tiny_model, tmp_path)
    assert (first.cached, first.state) == (False, "done")
    assert first.budget == {"updates": 6, "tokens": first.budget["tokens"], "episodes": 24}  # type: ignore[index]
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = run("shiq", tiny_model, tmp_path)
    assert again.cached
    assert again.metrics == first.metrics
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_folder_is_what_the_design_says(tiny_model: Path, tmp_path: Path) -> None:
    result = run("dpo", tiny_model, tmp_path)
    assert result.path == tmp_path / "toy" / "dpo" / result.cell[:12]
    for name in ("config.json", "manifest.json", "train.jsonl", "checkpoint/model.safetensors", "DONE"):
        assert (result.path / name).is_file()
    evaluation = Path(result.evaluation["path"])
    records = pd.read_parquet(evaluation / "records.parquet")
    assert len(records) == 8
    assert "seconds" not in (evaluation / "metrics.json").read_text()
    manifest = json.loads((evaluation / "manifest.json").read_text())
    assert manifest["engine"]["version"].startswith("transformers ")
    assert manifest["weights_sha256"] == file_sha256(result.path / "checkpoint/model.safetensors")
    assert not (result.path / "checkpoint/state.pt").exists()


def test_a_model_that_cannot_share_prefixes_needs_no_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build("gpt-oss", tmp_path / "model")
    result = run("shiq", model, tmp_path / "results")
    note = "the model cannot share prefixes: its attention uses s_aux; each text is computed in full"
    assert json.loads((result.path / "manifest.json").read_text())["settled"] == note
    assert capsys.readouterr().err.count(note) == 1


def test_base_is_shared_whatever_the_data_recipe(tiny_model: Path, tmp_path: Path) -> None:
    run("sft", tiny_model, tmp_path)
    run("sft", tiny_model, tmp_path, set={"task.good": False}, seed=3)
    assert len(list((tmp_path / "toy" / "base").iterdir())) == 1
    assert len(list((tmp_path / "toy" / "sft").iterdir())) == 2


def test_a_start_is_trained_once_and_is_the_reference(tiny_model: Path, tmp_path: Path) -> None:
    first = run("dpo", tiny_model, tmp_path, preset="started")
    (start,) = (tmp_path / "toy" / "sft").iterdir()
    made = (start / "DONE").stat().st_mtime_ns
    manifest = json.loads((first.path / "manifest.json").read_text())
    assert manifest["start"] == f"sft/{start.name}"
    assert manifest["start_weights_sha256"] == model_identity(start / "checkpoint")
    losses = [json.loads(x)["loss"] for x in (first.path / "train.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    run("shiq", tiny_model, tmp_path, preset="started")
    assert (start / "DONE").stat().st_mtime_ns == made
    named = run("dpo", Path(f"cell:{start.name}"), tmp_path, preset="started")
    assert named.cell == first.cell


def test_the_weights_of_a_start_are_hashed_once_before_the_first_update(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("dpo", tiny_model, tmp_path, preset="started")
    (start,) = (tmp_path / "toy" / "sft").iterdir()
    monkeypatch.setattr(cell, "SMALL", 0)  # as for a real model, whose file is too large to hash at every check
    hashed = []
    file_digest = hashlib.file_digest

    def recording(stream: Any, name: str) -> Any:
        if not any(log.stat().st_size for log in tmp_path.glob("toy/shiq/*/train.jsonl")):
            hashed.append(Path(stream.name))
        return file_digest(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", recording)
    run("shiq", tiny_model, tmp_path, preset="started")
    assert hashed.count(start / "checkpoint/model.safetensors") == 1


def test_continued_training_is_another_cell_than_its_start(tiny_model: Path, tmp_path: Path) -> None:
    run("sft", tiny_model, tmp_path, preset="started")
    assert len(list((tmp_path / "toy" / "sft").iterdir())) == 2


def digest(tiny_model: Path, *assignments: str, **changes: Any) -> str:
    values = {"algo": "shiq", "task": "toy", "model": str(tiny_model), "plugins": (TOY,), **changes}
    return make_plan(Request(settings=parse_assignments(assignments), **values)).cell.digest


def test_what_changes_a_digest_and_what_does_not(tiny_model: Path) -> None:
    plain = digest(tiny_model)
    assert digest(tiny_model, "algo.beta=0.02") == plain  # the default value, given explicitly
    assert digest(tiny_model, "train.save_every=7") == plain  # changes how it runs, not the result
    assert digest(tiny_model, "eval.max_tokens=9") == plain  # belongs to the evaluation
    assert digest(tiny_model, engine="vllm") == plain
    others = {
        digest(tiny_model, "algo.beta=0.03"),
        digest(tiny_model, "task.words=7"),
        digest(tiny_model, "train.lr=1e-4"),
        digest(tiny_model, seed=1),
        digest(tiny_model, algo="sft"),
        digest(tiny_model, preset="started"),
    }
    assert len(others | {plain}) == 7


def test_a_changed_file_is_noticed_and_not_repaired(tiny_model: Path, tmp_path: Path) -> None:
    result = run("sft", tiny_model, tmp_path)
    log = result.path / "train.jsonl"
    text = log.read_text()
    log.write_text(text.replace("1", "2", 1))
    with pytest.raises(CorruptCellError, match=r"train.jsonl has another sha256"):
        run("sft", tiny_model, tmp_path)
    log.write_text(text)
    weights = result.path / "checkpoint" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CorruptCellError, match=r"model.safetensors is missing or has another size"):
        is_done(result.path)


KILLED = ["--set", "train.updates=60", "--set", "train.save_every=5"]


def command(model: Path, results: Path) -> list[str]:
    words = [
        "run",
        "--algo",
        "shiq",
        "--task",
        "toy",
        "--plugin",
        TOY,
        "--model",
        model,
        "--results",
        results,
    ]
    return [*map(str, words), *KILLED]


def losses(results: Path) -> list[dict[str, Any]]:
    (log,) = (results / "toy" / "shiq").glob("*/train.jsonl")
    lines = [json.loads(x) for x in log.read_text().splitlines()]
    return [{k: v for k, v in x.items() if k != "seconds"} for x in lines]


@pytest.mark.slow
def test_kill_9_in_training_then_the_same_command_gives_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        words = command(tiny_model, tmp_path / name)
        if name == "whole":
            assert warm.start(words).wait() == 0
        else:
            process = warm.start(words)
            deadline = time.monotonic() + 120
            while not list((tmp_path / name).glob("toy/shiq/*/checkpoint/state.pt")):
                assert process.poll() is None, "ended before a checkpoint was seen"
                assert time.monotonic() < deadline
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not list((tmp_path / name).glob("toy/shiq/*/DONE"))
            # A new program, so that nothing equal in forked processes, such as the seed of hashes, can help.
            subprocess.run([sys.executable, "-m", "shiqbench", *words], check=True, capture_output=True)
    (whole,) = (tmp_path / "whole").glob("toy/shiq/*/checkpoint/model.safetensors")
    (killed,) = (tmp_path / "killed").glob("toy/shiq/*/checkpoint/model.safetensors")
    assert file_sha256(whole) == file_sha256(killed)
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")
    (manifest,) = (tmp_path / "killed").glob("toy/shiq/*/manifest.json")
    assert json.loads(manifest.read_text())["resumed_at_update"] >= 5


@pytest.mark.slow
def test_two_processes_on_one_cell_make_it_once(tiny_model: Path, tmp_path: Path) -> None:
    both = [warm.start(command(tiny_model, tmp_path / "r")) for _ in range(2)]
    done = [process.finish() for process in both]
    assert [d.returncode for d in done] == [0, 0], [d.stderr for d in done]
    assert any("held by process" in d.stderr for d in done)
    assert len(losses(tmp_path / "r")) == 60


def test_a_tracker_writes_its_files(tiny_model: Path, tmp_path: Path) -> None:
    result = run("sft", tiny_model, tmp_path, track="tensorboard")
    assert list((result.path / "tracker").rglob("events.out.tfevents*"))


@pytest.mark.slow
def test_json_is_one_object_and_everything_else_is_on_standard_error(tiny_model: Path, tmp_path: Path) -> None:
    done = warm.start([*command(tiny_model, tmp_path / "r"), "--json"]).finish()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {
        "cell",
        "path",
        "state",
        "cached",
        "evaluation",
        "primary",
        "metrics",
        "budget",
        "also",
        "curve",
        "best",
    }
    assert "train shiq/" in done.stderr
