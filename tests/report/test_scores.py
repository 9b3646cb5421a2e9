"""Single scores: read once, kept while DONE is the same, and read again from the results when the cache is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up import cell, evaluation

from shiqbench.base.cache import cache_dir
from shiqbench.base.errors import CorruptCellError
from shiqbench.plugin.task import Scores
from shiqbench.report.scores import ScoreBook
from shiqbench.store.cell import mark_done
from shiqbench.store.index import EvaluationEntry, read_index, reading
from shiqbench.store.index.kept import kept

pytestmark = pytest.mark.usefixtures("own_cache")
HOW = Scores("id", "wins")
SCORES = [0.1, 0.2, 0.4]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folder of every records.parquet that is opened."""
    found: list[str] = []
    real = reading._bytes

    def noted(folder: str, name: str) -> bytes:
        found.extend([folder] * (name == "records.parquet"))
        return real(folder, name)

    monkeypatch.setattr(reading, "_bytes", noted)
    return found


def made(results: Path, seeds: int = 1, **options: Any) -> list[EvaluationEntry]:
    for seed in range(seeds):
        evaluation(cell(results, "dpo", seed, task="toys"), SCORES, task="toys", metric="wins", **options)
    return list(read_index(results).evaluations.values())


def read(results: Path, entries: list[EvaluationEntry], how: Scores = HOW) -> list[float]:
    return ScoreBook(results).of(entries, how).value.iloc[0].tolist()


def written_again(folder: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(folder / "records.parquet")
    mark_done(folder, list(folder.glob("*.*")))


def test_records_are_opened_once_whatever_the_number_of_reports(tmp_path: Path, opened: list[str]) -> None:
    entries = made(tmp_path, 3)
    opened.clear()
    for _ in range(3):
        assert read(tmp_path, entries) == SCORES
    assert len(opened) == 3


def test_other_columns_are_other_scores(tmp_path: Path) -> None:
    entries = made(tmp_path, records={"right": [1, 0, 1], "of": [2, 2, 4]})
    assert read(tmp_path, entries) == SCORES
    assert read(tmp_path, entries, Scores("id", "right", "of")) == [1, 0, 1]
    assert ScoreBook(tmp_path).of(entries, Scores("id", "right", "of")).of.iloc[0].tolist() == [2, 2, 4]


def test_records_that_change_are_read_again(tmp_path: Path) -> None:
    entries = made(tmp_path)
    assert read(tmp_path, entries) == SCORES
    written_again(tmp_path / entries[0].folder, pd.DataFrame({"id": ["x0", "x1"], "wins": [0.5, 0.6]}))
    assert read(tmp_path, entries) == [0.5, 0.6]


def test_damage_is_noticed_when_records_are_read_first(tmp_path: Path) -> None:
    entries = made(tmp_path)
    records = tmp_path / entries[0].folder / "records.parquet"
    records.write_bytes(records.read_bytes()[:-1] + b"x")
    for _ in range(2):
        with pytest.raises(CorruptCellError, match="another sha256"):
            read(tmp_path, entries)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"id": ["a"], "score": [1.0]}, "has no column wins"),
        ({"id": ["a"], "wins": ["much"]}, "column wins are no numbers"),
    ],
    ids=["lacks", "text"],
)
def test_records_of_another_kind_are_named(tmp_path: Path, frame: dict[str, Any], said: str) -> None:
    entries = made(tmp_path)
    written_again(tmp_path / entries[0].folder, pd.DataFrame(frame))
    with pytest.raises(CorruptCellError, match=said):
        read(tmp_path, entries)


@pytest.mark.parametrize("units", [[7, 3, 3, 11], [0.5, 0.25, 0.25, 2.0], ["b", "a", "a", None]], ids=str)
def test_units_are_sorted_summed_and_keep_their_type(tmp_path: Path, units: list[Any]) -> None:
    entries = made(tmp_path)
    written_again(tmp_path / entries[0].folder, pd.DataFrame({"id": units, "wins": [1.0, 2.0, 4.0, 8.0]}))
    for _ in range(2):  # from the records, then from the cache
        found = ScoreBook(tmp_path).of(entries, HOW)
        by_hand = pd.DataFrame({"id": units, "wins": [1.0, 2.0, 4.0, 8.0]}).groupby("id")["wins"].sum()
        assert found.value.columns.tolist() == by_hand.index.tolist()
        assert found.value.iloc[0].tolist() == by_hand.tolist()


@pytest.mark.parametrize("content", [b"", b"no database at all" * 99, None], ids=["empty", "other", "middle"])
def test_a_broken_cache_is_replaced(tmp_path: Path, content: bytes | None, opened: list[str]) -> None:
    entries = made(tmp_path, 40)
    assert read(tmp_path, entries) == SCORES
    (database,) = (cache_dir() / "index").glob("*.sqlite")
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096) if content is None else content)
    assert read(tmp_path, entries) == SCORES
    assert len(read_index(tmp_path).evaluations) == 40
    assert read(tmp_path, entries) == SCORES
    opened.clear()
    assert read(tmp_path, entries) == SCORES
    assert opened == []


def test_the_cache_forgets_what_is_gone(tmp_path: Path) -> None:
    entries = made(tmp_path, 2)
    read(tmp_path, entries)
    shutil.rmtree(tmp_path / entries[0].cell.folder)
    read_index(tmp_path)
    with kept(tmp_path) as database:
        assert database.execute("SELECT folder FROM derived").fetchall() == [(entries[1].folder,)]


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    entries = made(tmp_path)
    shutil.rmtree(cache_dir())
    cache_dir().write_text("a file, not a folder")
    assert read(tmp_path, entries) == SCORES


def test_processes_at_the_same_time_read_the_same(tmp_path: Path) -> None:
    entries = made(tmp_path, 30)
    code = (
        "import sys; from pathlib import Path; from shiqbench.plugin.task import Scores\n"
        "from shiqbench.report.scores import ScoreBook; from shiqbench.store.index import read_index\n"
        "at = Path(sys.argv[1]); found = read_index(at).evaluations.values()\n"
        "print(ScoreBook(at).of(list(found), Scores('id', 'wins')).value.to_numpy().sum())"
    )
    shutil.rmtree(cache_dir())
    several = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [float(p.communicate(timeout=120)[0]) for p in several] == [pytest.approx(30 * sum(SCORES))] * 3
    assert read(tmp_path, entries) == SCORES
