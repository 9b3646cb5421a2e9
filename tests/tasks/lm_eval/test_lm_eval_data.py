"""Local data of suites: by content, from their own folder, and from no older copy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shiqbench_tasks.lm_eval.config import LmEvalConfig
from shiqbench_tasks.lm_eval.local_data import own_data
from shiqbench_tasks.lm_eval.suites import load_suites
from shiqbench_tasks.lm_eval.task import LmEvalTask

from shiqbench.base.errors import ConfigError

SUITE = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {train: FILE}}
output_type: generate_until
test_split: train
doc_to_text: question
doc_to_target: answer
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
FORMS: dict[str, tuple[str, Any]] = {
    "a file": ("json", {"data_files": "mine.jsonl"}),
    "files by split": ("json", {"data_files": {"train": ["mine.jsonl"]}}),
    "a folder of a format": ("json", {"data_dir": "rows"}),
    "a folder": ("rows", {}),
    "csv": ("csv", {"data_files": {"train": "mine.csv"}}),
}


@pytest.fixture(autouse=True)
def _apart(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``datasets`` keeps what it has read; the working folder is not the suites'."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    before = datasets.load_dataset
    yield
    assert datasets.load_dataset is before


def write_rows(folder: Path, question: str) -> None:
    """Files with the time that they had."""
    (folder / "rows").mkdir(exist_ok=True, parents=True)
    line = json.dumps({"question": question, "answer": "a"}) + "\n"
    for file, text in (("mine.jsonl", line), ("mine.csv", f"question,answer\n{question},a\n"), ("rows/a.jsonl", line)):
        (folder / file).write_text(text)
        os.utime(folder / file, (1_700_000_000, 1_700_000_000))


def asked(folder: Path, path: str, **kwargs: Any) -> list[str]:
    """As lm-eval calls it."""
    import datasets

    with own_data(folder):
        return list(datasets.load_dataset(path=path, name=None, **kwargs)["train"]["question"])


@pytest.mark.parametrize("form", FORMS)
def test_data_that_were_written_again_with_their_old_time_are_read_again(tmp_path: Path, form: str) -> None:
    folder, (path, kwargs) = tmp_path / "suites", FORMS[form]
    for question in ("alpha", "gamma"):
        write_rows(folder, question)
        assert asked(folder, path, **kwargs) == [question]
    assert asked(Path(shutil.copytree(folder, tmp_path / "far" / "away")), path, **kwargs) == ["gamma"]


def test_data_that_change_while_they_are_read_are_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    folder = tmp_path / "suites"
    write_rows(folder, "alpha")
    load = datasets.load_dataset

    def slow(*arguments: Any, **options: Any) -> Any:
        write_rows(folder, "gamma")
        return load(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", slow)
        with pytest.raises(ConfigError, match="the data changed while they were read"):
            asked(folder, "json", data_files="mine.jsonl")
    write_rows(folder, "alpha")
    assert asked(folder, "json", data_files="mine.jsonl") == ["alpha"]


@pytest.mark.parametrize("data", ["../outside.jsonl", "{tmp}/outside.jsonl", "~/outside.jsonl"])
def test_data_that_no_digest_names_are_refused(tmp_path: Path, data: str) -> None:
    (tmp_path / "outside.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    write_rows(tmp_path / "suites", "x")
    with pytest.raises(ConfigError, match=r"a suite reads .*outside.jsonl, which is not in its folder"):
        asked(tmp_path / "suites", "json", data_files={"train": data.format(tmp=tmp_path)})


def test_a_data_set_of_the_hub_stays_where_the_hub_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    seen = []

    def load(path: str, **options: Any) -> Any:
        seen.append((path, options))
        return {"train": {"question": ["q"]}}

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", load)
        assert asked(tmp_path, "org/name", data_files={"train": "mine.jsonl"}) == ["q"]
    assert seen == [("org/name", {"name": None, "data_files": {"train": "mine.jsonl"}})]


def test_a_copy_of_suites_is_the_same_data(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    write_rows(tmp_path / "one", "alpha")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    found = [LmEvalTask.data_identity(LmEvalConfig(task_path=str(tmp_path / name))) for name in ("one", "two")]
    assert found[0] == found[1]


@pytest.mark.slow  # importing lm-eval takes seconds
def test_a_suite_of_ones_own_reads_its_folder(tmp_path: Path) -> None:
    for question in ("alpha", "gamma"):
        write_rows(tmp_path / "suites", question)
        (tmp_path / "suites" / "mine.yaml").write_text(SUITE.replace("FILE", "mine.jsonl"))
        suites = load_suites(LmEvalConfig(suites=("mine",), task_path=str(tmp_path / "suites")), "test")
        assert [doc["question"] for doc in suites.tasks["mine"].eval_docs] == [question]
    (tmp_path / "suites" / "mine.yaml").write_text(SUITE.replace("FILE", "/nowhere/mine.jsonl"))
    with pytest.raises(ConfigError, match=r"a suite reads /nowhere/mine.jsonl, which is not in its folder"):
        load_suites(LmEvalConfig(suites=("mine",), task_path=str(tmp_path / "suites")), "test")
