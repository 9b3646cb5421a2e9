"""What a tracker has after a training: every number of the log, under its name, at its update, once.

Each tracker is read back from what it wrote on this disk.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from support import ask

from shiqbench.base.errors import ConfigError, MissingDependencyError
from shiqbench.base.trackers import TRACKERS, check_tracker, is_tracked, track_finished, tracking

Found = dict[int, dict[str, float]]  # update -> name -> value


def of_tensorboard(cell: Path) -> Found:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Found = {}
    events = EventAccumulator(str(cell / "tracker" / "shiqbench"))
    events.Reload()
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            assert name not in found.setdefault(event.step, {})
            found[event.step][name] = event.value
    return found


def of_wandb(cell: Path) -> Found:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = (cell / "tracker" / "wandb").glob("offline-run-*/run-*.wandb")
    found: Found = {}
    names: set[str] = set()
    config: dict[str, str] = {}
    for data in leveldb_log(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            names.add(record.run.display_name)
        elif kind == "config":
            config |= {i.key or i.nested_key[0]: i.value_json for i in record.config.update}
        elif kind == "history":
            items = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
            assert record.history.step.num not in found
            found[record.history.step.num] = {k: v for k, v in items.items() if not k.startswith("_")}
    assert names == {f"shiq/{cell.name}"}
    assert config["algorithm.name"] == '"shiq"'
    return found


def leveldb_log(content: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, in blocks of 32 KiB, after wandb's header of 7 bytes."""
    whole, at = b"", 7
    while at + 7 <= len(content):
        left = 2**15 - at % 2**15
        if left < 7:  # no record begins in the last bytes of a block
            at += left
            continue
        length, part = struct.unpack("<HB", content[at + 4 : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # the whole record, or its last part
            yield whole
            whole = b""


def of_trackio(cell: Path) -> Found:
    found: Found = {}
    with sqlite3.connect(cell.parents[3] / "trackio" / "shiqbench.db") as database:
        for name, step, metrics in database.execute("select run_name, step, metrics from metrics"):
            assert name == f"shiq/{cell.name}"
            assert step not in found
            found[step] = json.loads(metrics)
        (config,) = database.execute("select config from configs").fetchone()
    database.close()
    assert json.loads(config)["algorithm.name"] == "shiq"
    return found


def of_mlflow(cell: Path) -> Found:
    from mlflow import MlflowClient

    found: Found = {}
    client = MlflowClient((cell / "tracker" / "mlflow").as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'shiqbench'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == f"shiq/{cell.name}"
    assert run.info.status == "FINISHED"
    assert run.data.params["algorithm.name"] == "shiq"
    for name in run.data.metrics:
        for entry in client.get_metric_history(run.info.run_id, name):
            assert name not in found.setdefault(entry.step, {})
            found[entry.step][name] = entry.value
    return found


READ = {"tensorboard": of_tensorboard, "wandb": of_wandb, "trackio": of_trackio, "mlflow": of_mlflow}


def needs(kind: str) -> None:
    if importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed: pip install 'shiqbench[{kind}]'")


def logged(cell: Path) -> Found:
    lines = [json.loads(line) for line in (cell / "train.jsonl").read_text().splitlines()]
    return {x.pop("update"): {k: v for k, v in x.items() if isinstance(v, (int, float))} for x in lines}


def check(kind: str, cell: Path) -> None:
    found, expected = READ[kind](cell), logged(cell)
    assert found.keys() == expected.keys()
    for update, values in expected.items():
        assert found[update] == pytest.approx(values, rel=1e-6, nan_ok=True)  # tensorboard keeps 32 bits


def environment(place: Path) -> dict[str, str]:
    known = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))}
    local = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(place / "trackio"), "MLFLOW_ALLOW_FILE_STORE": "true"}
    return {**known, **local, "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRACKERS)
def test_a_run_is_in_the_tracker_with_names_values_and_steps(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(kind)
    words = ["run", "--algo", "shiq", "--task", "mdp", "--preset", "smoke", "--set", "train.updates=25"]
    words += ["--track", kind, "--results", str(tmp_path / "r"), "--json"]
    done = warm.start(words, env=environment(tmp_path), cwd=tmp_path).finish()
    assert done.returncode == 0, done.stderr
    cell = Path(json.loads(done.stdout)["path"])  # the trackers print nothing to standard output
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check(kind, cell)
    assert not {p.name for p in tmp_path.iterdir()} - {"r", "trackio"}


@pytest.mark.slow
def test_the_cells_of_a_matrix_are_in_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers at once find no experiment, and only one of them creates it; finished cells follow later."""
    needs("mlflow")
    from mlflow import MlflowClient

    file, store = tmp_path / "m.toml", (tmp_path / "store").as_uri()
    axes = '[matrix]\nalgorithms = ["base", "shiq", "sft"]\ntasks = ["mdp"]\npreset = "smoke"\n'
    file.write_text(axes + "[budget]\nupdates = 5\n")
    for name, value in {**environment(tmp_path), "MLFLOW_TRACKING_URI": store}.items():
        monkeypatch.setenv(name, value)
    words: list[str | Path] = ["matrix", file, "--results", tmp_path / "r", "--jobs", "2"]
    assert ask(*words, "--track", "mlflow").stdout.startswith("3 jobs: 3 done")
    client = MlflowClient(store)
    (experiment,) = client.search_experiments(filter_string="name = 'shiqbench'")
    names = [run.info.run_name.partition("/")[0] for run in client.search_runs([experiment.experiment_id])]
    assert sorted(names) == ["sft", "shiq"]
    assert ask(*words, "--track", "mlflow").stdout.startswith("3 jobs: 3 cached")
    assert len(client.search_runs([experiment.experiment_id])) == 2
    assert ask(*words, "--track", "tensorboard").stdout.startswith("3 jobs: 3 cached")
    cells = [p.parent for p in (tmp_path / "r").glob("mdp/*/*/train.jsonl")]
    assert len(cells) == 2
    for cell in cells:
        check("tensorboard", cell)


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """A folder as a training leaves it after three updates."""
    folder = tmp_path / "r" / "mdp" / "shiq" / "0123"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"algorithm": {"name": "shiq"}}))
    (folder / "train.jsonl").write_text("".join(line(i) for i in (1, 2, 3)))
    return folder


def line(update: int) -> str:
    return json.dumps({"update": update, "loss": 1 / update, "note": "no number"}) + "\n"


def test_a_continued_training_is_one_whole_run(cell: Path) -> None:
    def train(*updates: int) -> None:
        with tracking("tensorboard", "shiq/0123", cell) as tracker:
            assert tracker is not None
            for update in updates:
                tracker.log(json.loads(line(update)))

    train(1, 2, 3)
    assert is_tracked("tensorboard", cell)
    with (cell / "train.jsonl").open("a") as log:  # continued from update 3; the tracker saw 1 to 3 before the stop
        log.write(line(4) + line(5))
    assert not is_tracked("tensorboard", cell)
    train(4, 5)
    check("tensorboard", cell)
    assert is_tracked("tensorboard", cell)


def test_what_was_trained_before_is_given_later(cell: Path) -> None:
    assert is_tracked(None, cell)
    assert not is_tracked("tensorboard", cell)
    track_finished("tensorboard", "shiq/0123", cell)
    assert is_tracked("tensorboard", cell)
    check("tensorboard", cell)


def test_a_second_training_of_a_cell_is_not_tracked(tmp_path: Path) -> None:
    with tracking("tensorboard", "shiq/0123", tmp_path) as tracker:
        assert tracker is None


def test_what_cannot_track_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    check_tracker(None)
    with pytest.raises(ConfigError, match=r"unknown tracker 'wnadb', did you mean 'wandb'\? \(--track\); one of tens"):
        check_tracker("wnadb")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as refused:
        check_tracker("mlflow")
    assert str(refused.value) == "mlflow is not installed (--track mlflow); pip install 'shiqbench[mlflow]'"


def test_a_tracker_that_does_not_start_is_one_line(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://nowhere")
    with pytest.raises(Exception, match=r"^mlflow does not start: .*MLFLOW_TRACKING_URI") as refused:
        track_finished("mlflow", "shiq/0123", cell)
    assert "\n" not in str(refused.value)
