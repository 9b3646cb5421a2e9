"""Folders that a user names: each mistake has its own line."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import cell, evaluation

from shiqbench.base.errors import ConfigError
from shiqbench.commands.clean import Wanted
from shiqbench.commands.clean import find as find_unneeded
from shiqbench.report import load, make_report
from shiqbench.report.front.make import front
from shiqbench.report.page.make import report_page
from shiqbench.store.folder import named_file, named_folder

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cell and its evaluation in ``rr``, which is below the current folder."""
    monkeypatch.chdir(tmp_path)
    return evaluation(cell(Path("rr"), "dpo"), [0.1, 0.2])


def front_of(folder: str) -> object:
    return front(folder, "ultrafeedback")


def cleaned(folder: str) -> object:
    return find_unneeded(Path(folder), Wanted(partial=True))


READERS = [make_report, load, front_of, cleaned]


@pytest.mark.parametrize("read", READERS)
def test_no_folder_and_a_file(at: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(ConfigError, match=r"^there is no such results folder \(nope\); name the folder"):
        read("nope")
    Path("r.csv").touch()
    with pytest.raises(ConfigError, match=r"^not a folder \(r.csv\); name the results folder"):
        read("r.csv")


@pytest.mark.parametrize("read", READERS)
def test_a_part_of_a_results_folder_names_the_whole(at: Path, read: object) -> None:
    assert callable(read)
    parts = {"a cell's": [at, at.parent.parent], "an algorithm's": [Path("rr/mdp/dpo")], "a task's": [Path("rr/mdp")]}
    for whose, folders in parts.items():
        for folder in folders:
            with pytest.raises(ConfigError, match=rf"^this is {whose} folder .*; name the results folder rr") as error:
                read(str(folder))
            assert error.value.line().endswith(", with --task mdp") is (read is not cleaned)


def test_an_unknown_task_names_those_that_are_there(at: Path) -> None:
    for read in (make_report, load):
        with pytest.raises(ConfigError, match=r"^no task 'mpd' in rr, did you mean 'mdp'\? \(--task\); it has mdp$"):
            read("rr", task="mpd")


def test_outputs_of_the_wrong_kind(at: Path) -> None:
    Path("file").touch()
    with pytest.raises(ConfigError, match=r"^rr is a folder; name a file$"):
        named_file(Path("rr"))
    with pytest.raises(ConfigError, match=r"^file is a file; name a folder$"):
        named_folder(Path("file"))
    with pytest.raises(ConfigError, match=r"^file/x.md is below a file"):
        named_file(Path("file/x.md"))


def test_paths_may_be_texts(at: Path) -> None:
    Path("plugin.py").write_text("")
    made = make_report("rr", baseline="dpo", figures="drawn", plugins=["plugin.py"])
    assert made.blocks
    report_page("rr", "r.html", figures="drawn", plugins=["plugin.py"])
    assert Path("r.html").is_file()
    assert len(repr(load("rr")).splitlines()) == 5
    assert "1 cells, 1 evaluations" in repr(load("rr"))
