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
from shiqbench_tasks.lm_eval.suites import load_suites
from shiqbench_tasks.lm_eval.task import LmEvalTask

from shiqbench.base.errors import ConfigError

pytest.importorskip("lm_eval")
SUITE = """
task: mine
dataset_path: PATH
dataset_kwargs: KWARGS
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


def write_mine(folder: Path, path: str, kwargs: Any, question: str) -> None:
    (folder / "rows").mkdir(exist_ok=True, parents=True)
    (folder / "mine.yaml").write_text(SUITE.replace("PATH", path).replace("KWARGS", json.dumps(kwargs)))
    line = json.dumps({"question": question, "answer": "a"}) + "\n"
    for file, text in (("mine.jsonl", line), ("mine.csv", f"question,answer\n{question},a\n"), ("rows/a.jsonl", line)):
        (folder / file).write_text(text)
        os.utime(folder / file, (1_700_000_000, 1_700_000_000))


def asked(folder: Path) -> set[str]:
    suites = load_suites(LmEvalConfig(suites=("mine",), task_path=str(folder)), "test")
    return {doc["question"] for doc in suites.tasks["mine"].eval_docs}


@pytest.mark.parametrize("form", FORMS)
def test_data_that_were_written_again_with_their_old_time_are_read_again(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "suites"
    for question in ("alpha", "gamma"):
        write_mine(folder, *FORMS[form], question)
        assert asked(folder) == {question}
    copied = Path(shutil.copytree(folder, tmp_path / "far" / "away"))
    assert asked(copied) == {"gamma"}
    of = [LmEvalTask.data_identity(LmEvalConfig(task_path=str(f))) for f in (folder, copied)]
    assert of[0] == of[1]


@pytest.mark.parametrize("data", ["../outside.jsonl", "{tmp}/outside.jsonl"])
def test_data_that_no_digest_names_are_refused(tmp_path: Path, data: str) -> None:
    folder = tmp_path / "suites"
    (tmp_path / "outside.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    write_mine(folder, "json", {"data_files": {"train": data.format(tmp=tmp_path)}}, "x")
    with pytest.raises(ConfigError, match=r"a suite reads .*outside.jsonl, which is not in its folder"):
        asked(folder)


def test_a_data_set_of_the_hub_stays_where_the_hub_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    seen = []

    def load(path: str, **options: Any) -> Any:
        seen.append((path, options))
        return datasets.DatasetDict(train=datasets.Dataset.from_list([{"question": "q", "answer": "a"}]))

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", load)
        write_mine(tmp_path / "suites", "org/name", {"data_files": {"train": "mine.jsonl"}}, "x")
        assert asked(tmp_path / "suites") == {"q"}
    assert seen == [("org/name", {"name": None, "data_files": {"train": "mine.jsonl"}})]
