"""``export``: choice of evaluation, format and folder; the task writes the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import TOY, ask

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_json
from shiqbench.commands.export import export
from shiqbench.running.evaluation import write_records
from shiqbench.store.cell import mark_done

PLUGIN = """
from shiqbench.plugin.config import TaskConfig
from shiqbench.plugin.specs import TaskSpec, hookimpl
from shiqbench.plugin.task import Task

class Letters(Task):
    formats = ("list", "broken")

    @classmethod
    def data_identity(cls, config):
        return {}

    def evaluate(self, chat, config, progress):
        return []

    def metrics(self, records):
        raise NotImplementedError

    def export(self, records, form, folder, target, name):
        (folder / "ids").write_text(" ".join(r["id"] for r in records) + str(name))
        if form == "broken":
            raise RuntimeError("half written")
        return ["one is missing"], [f"cat {target}/ids"]

@hookimpl
def shiqbench_register_tasks():
    return [TaskSpec(name="letters", version="2", summary="", target=f"{__name__}:Letters",
                     config=f"{TaskConfig.__module__}:{TaskConfig.__name__}")]
"""


@pytest.fixture
def plugins(tmp_path: Path) -> tuple[Path, ...]:
    file = tmp_path / "letters.py"
    file.write_text(PLUGIN)
    return (file,)


def make_cell(
    results: Path, task: str = "letters", evaluations: tuple[str, ...] = ("e1f2",), version: str = "2"
) -> Path:
    cell = results / task / "base" / "abc123"
    write_json(cell / "config.json", {"task": {"name": task}, "train": None})
    mark_done(cell, [cell / "config.json"])
    for number, name in enumerate(evaluations):
        folder = cell / "eval" / name
        values = {"split": ("test", "validation")[number], "repeats": number + 1}
        recipe = {"task": task, "version": version, "setting": {}, "eval": values, "engine": "transformers 5"}
        write_json(folder / "config.json", recipe)
        write_records(folder / "records.parquet", [{"id": "a"}, {"id": "b"}])
        mark_done(folder, [folder / "config.json", folder / "records.parquet"])
    return cell


def write(tmp_path: Path, plugins: tuple[Path, ...], form: str = "list", **options: Any) -> Any:
    options = {"output": tmp_path / "out", **options}
    return export("abc", form, results=tmp_path / "results", plugins=plugins, **options)


def test_the_task_writes_and_says_what_is_next(tmp_path: Path, plugins: tuple[Path, ...]) -> None:
    make_cell(tmp_path / "results")
    done = write(tmp_path, plugins, name="ours")
    assert (tmp_path / "out" / "ids").read_text() == "a bours"
    assert done.as_json() == {
        "folder": str(tmp_path / "out"),
        "files": ("ids",),
        "notices": ("one is missing",),
        "commands": (f"cat {tmp_path}/out/ids",),
    }


def test_one_of_several_evaluations_is_never_chosen_by_chance(tmp_path: Path, plugins: tuple[Path, ...]) -> None:
    make_cell(tmp_path / "results", evaluations=("e1f2", "e3aa"))
    named = r"--evaluation takes one of e1f2 \(test transformers 5 1x\), e3aa \(validation transformers 5 2x\)"
    with pytest.raises(ConfigError, match=f"that cell has 2 evaluations.*{named}"):
        write(tmp_path, plugins)
    with pytest.raises(ConfigError, match=f"2 evaluations match 'e'.*{named}"):
        write(tmp_path, plugins, evaluation="e")
    with pytest.raises(ConfigError, match=f"no evaluations match 'f'.*{named}"):
        write(tmp_path, plugins, evaluation="f")
    assert not (tmp_path / "out").exists()
    assert write(tmp_path, plugins, evaluation="e3").files == ("ids",)


def test_a_cell_without_a_finished_evaluation_is_refused(tmp_path: Path, plugins: tuple[Path, ...]) -> None:
    cell = make_cell(tmp_path / "results")
    (cell / "eval" / "e1f2" / "DONE").unlink()
    with pytest.raises(ConfigError, match="no finished evaluation"):
        write(tmp_path, plugins)


def test_a_format_that_the_task_does_not_offer_is_refused(tmp_path: Path, plugins: tuple[Path, ...]) -> None:
    make_cell(tmp_path / "results")
    with pytest.raises(
        ConfigError,
        match=r"letters cannot be exported as 'lst', did you mean 'list'.*offers hf, every-eval-ever, .*, list, broken",
    ):
        write(tmp_path, plugins, "lst")
    make_cell(tmp_path / "toys", "toy")
    with pytest.raises(ConfigError, match=r"toy cannot be exported as 'bfcl'.*it offers hf"):
        export("abc", "bfcl", results=tmp_path / "toys", plugins=(TOY,))


def test_nothing_is_overwritten_and_nothing_is_left_half_written(tmp_path: Path, plugins: tuple[Path, ...]) -> None:
    make_cell(tmp_path / "results")
    with pytest.raises(RuntimeError, match="half written"):
        write(tmp_path, plugins, "broken")
    assert not (tmp_path / "out").exists()
    write(tmp_path, plugins)
    with pytest.raises(ConfigError, match=r"exists already \(--output "):
        write(tmp_path, plugins)


def test_records_of_another_version_are_refused(tmp_path: Path, plugins: tuple[Path, ...]) -> None:
    make_cell(tmp_path / "results", version="1")
    with pytest.raises(ConfigError, match="of version 1 of letters, but 2 is installed"):
        write(tmp_path, plugins)


def test_the_command(tmp_path: Path, plugins: tuple[Path, ...]) -> None:
    cell = make_cell(tmp_path / "results")
    words: list[str | Path] = ["export", cell, "--format", "list", "--plugin", plugins[0]]
    done = ask(*words, cwd=tmp_path)
    folder = tmp_path / "list-abc123-e1f2"
    assert done.returncode == 0, done.stderr
    assert done.stderr == "note: one is missing\n"
    assert done.stdout == f"{folder}: wrote 1 file; next:\n  cat {folder}/ids\n"
    again = ask(*words, "--json", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    done = ask(*words, "--json", "--output", "there", cwd=tmp_path)
    assert json.loads(done.stdout)["files"] == ["ids"]
