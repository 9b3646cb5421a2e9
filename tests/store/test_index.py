"""The index: what is there, read once, checked, and never out of date."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from made_up import cell, evaluation

from shiqbench.base.cache import cache_dir
from shiqbench.base.errors import CorruptCellError
from shiqbench.base.files import read_json, write_json
from shiqbench.store.cell import lock, mark_done
from shiqbench.store.index import origins, read_index, reading

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file that is opened."""
    opened: list[str] = []
    real = reading._bytes

    def noted(folder: str, name: str) -> bytes:
        opened.append(f"{folder}/{name}")
        return real(folder, name)

    monkeypatch.setattr(reading, "_bytes", noted)
    return opened


def test_it_holds_what_was_written(tmp_path: Path) -> None:
    of = cell(tmp_path, "dpo", 3, config={"beta": 0.1}, start="sft/abc")
    evaluation(of, [0.2, 0.4], reduced=True, update=5, split="validation")
    index = read_index(tmp_path)
    (found,) = index.evaluations.values()
    assert (found.cell.algorithm, found.cell.seed, found.cell.start) == ("dpo", 3, "sft/abc")
    assert found.cell.budget == {"updates": 10, "tokens": 1000}
    assert found.cell.recipe.value["algorithm"]["config"] == {"beta": 0.1}
    assert "seed" not in found.cell.recipe.value
    assert found.cell.folder.endswith(found.cell.digest[:12])
    assert (found.update, found.reduced, found.primary["value"]) == (5, True, pytest.approx(0.3))
    assert found.setting.value["eval"] == {"split": "validation"}
    assert not {"train", "schema", "update"} & set(found.setting.value)


def test_seeds_share_a_recipe_and_cells_share_a_setting(tmp_path: Path) -> None:
    for seed in (0, 12):
        evaluation(cell(tmp_path, "dpo", seed), [0.2])
    evaluation(cell(tmp_path, "base"), [1.0])
    index = read_index(tmp_path)
    assert len({e.setting.key for e in index.evaluations.values()}) == 1
    assert len({c.recipe.key for c in index.cells.values()}) == 2
    assert sorted(c.seed for c in index.cells.values() if c.seed is not None) == [0, 12]
    assert [c.seed for c in index.cells.values() if c.algorithm == "base"] == [None]


def test_a_recipe_in_another_layout_is_the_same_recipe(tmp_path: Path) -> None:
    first, second = cell(tmp_path, "dpo", 0), cell(tmp_path, "dpo", 1)
    (second / "config.json").write_text(json.dumps(read_json(second / "config.json")))
    mark_done(second, list(second.glob("*.json")))
    assert len({c.recipe.key for c in read_index(tmp_path).cells.values()}) == 1
    assert {c.seed for c in read_index(tmp_path).cells.values()} == {0, 1}
    assert first.name != second.name


def test_no_file_is_opened_twice(tmp_path: Path, reads: list[str]) -> None:
    for seed in range(3):
        evaluation(cell(tmp_path, "dpo", seed), [0.2])
    first = read_index(tmp_path)
    assert len(reads) == len(set(reads)) == 3 * (3 + 4)
    assert read_index(tmp_path).evaluations.keys() == first.evaluations.keys()
    assert len(reads) == 3 * (3 + 4)
    evaluation(cell(tmp_path, "dpo", 3), [0.2])
    assert len(read_index(tmp_path).evaluations) == 4
    assert len(reads) == 4 * (3 + 4)


def test_what_changes_is_read_again_and_what_goes_is_forgotten(tmp_path: Path) -> None:
    at = evaluation(cell(tmp_path, "dpo"), [0.2])
    other = evaluation(cell(tmp_path, "sft"), [0.5])
    assert len(read_index(tmp_path).evaluations) == 2
    metrics = read_json(at / "metrics.json")
    metrics["primary"]["value"] = 0.25
    write_json(at / "metrics.json", metrics)
    mark_done(at, list(at.glob("*.*")))
    shutil.rmtree(other.parents[1])
    (left,) = read_index(tmp_path).evaluations.values()
    assert left.primary["value"] == 0.25
    assert read_index(tmp_path, "other_task").evaluations == {}
    assert len(read_index(tmp_path).evaluations) == 1


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "metrics.json", "DONE"])
def test_a_flipped_byte_is_damage_and_gives_no_number(tmp_path: Path, name: str) -> None:
    at = evaluation(cell(tmp_path, "dpo"), [0.2])
    evaluation(cell(tmp_path, "sft"), [0.5])
    content = bytearray((at / name).read_bytes())
    content[len(content) // 2] ^= 1
    (at / name).write_bytes(content)
    index = read_index(tmp_path)
    assert [e.cell.algorithm for e in index.evaluations.values()] == ["sft"]
    (damaged,) = index.unfinished
    assert damaged.cause == "corrupt"
    assert str(tmp_path / damaged.folder) == str(at)
    with pytest.raises(CorruptCellError, match=at.name):
        index.check()


def test_a_lost_file_is_damage(tmp_path: Path) -> None:
    at = evaluation(cell(tmp_path, "dpo"), [0.2])
    (at / "metrics.json").unlink()
    assert [u.what for u in read_index(tmp_path).unfinished] == ["metrics.json is missing"]


def test_unfinished_folders_say_why(tmp_path: Path) -> None:
    def begun(name: str) -> Path:
        folder = cell(tmp_path, name)
        (folder / "DONE").unlink()
        return folder

    begun("sft")
    write_json(begun("dpo") / "error.json", {"type": "DivergedError", "what": "loss nan", "cause": "diverged"})
    (begun("dro") / "error.json").write_text("{")
    evaluation(begun("copg"), [0.1])
    (tmp_path / "mdp" / "notes" / "of-mine").mkdir(parents=True)
    with lock(begun("shiq")):
        index = read_index(tmp_path)
    assert {u.folder.split("/")[1]: u.cause for u in index.unfinished} == {
        "sft": "partial", "dpo": "diverged", "dro": "corrupt", "copg": "partial", "shiq": "running",
    }  # fmt: skip
    assert index.evaluations == {}


def test_many_folders_are_read_by_several_processes_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(8):
        evaluation(cell(tmp_path, "dpo", seed), [seed / 10])
    monkeypatch.setattr(reading, "PART", 3)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    several = read_index(tmp_path)
    monkeypatch.setattr(reading, "PART", 2000)
    shutil.rmtree(cache_dir())
    assert list(several.evaluations) == list(read_index(tmp_path).evaluations)
    assert [e.primary for e in several.evaluations.values()] == [
        e.primary for e in read_index(tmp_path).evaluations.values()
    ]


def damage(cache: Path) -> None:
    for file in (cache / "index").iterdir():
        file.write_bytes(b"no database" * 500)


def older(cache: Path) -> None:
    import sqlite3
    from contextlib import closing

    for file in (cache / "index").iterdir():
        with closing(sqlite3.connect(file)) as database:
            database.executescript("DROP TABLE entries; PRAGMA user_version = 0")


def no_folder(cache: Path) -> None:
    shutil.rmtree(cache)
    cache.write_text("a file")


@pytest.mark.parametrize("harm", [damage, older, no_folder])
def test_a_spoilt_cache_is_made_anew(tmp_path: Path, own_cache: Path, harm: Any) -> None:
    results = tmp_path / "results"
    evaluation(cell(results, "dpo"), [0.2])
    read_index(results)
    harm(own_cache)
    assert len(read_index(results).evaluations) == 1
    assert len(read_index(results).evaluations) == 1


def test_origins_are_what_training_started_from(tmp_path: Path) -> None:
    base, sft = cell(tmp_path, "base"), cell(tmp_path, "sft")
    digest = read_index(tmp_path).cells[str(sft.relative_to(tmp_path))].digest
    dpo = cell(tmp_path, "dpo", model={"cell": digest})
    for each in (base, sft, dpo):
        evaluation(each, [0.5])
    index = read_index(tmp_path)
    find = origins(index.evaluations.values())
    by_name = {c.algorithm: c for c in index.cells.values()}
    of_dpo, of_sft = find(by_name["dpo"]), find(by_name["sft"])
    assert of_dpo is not None
    assert of_sft is not None
    assert (of_dpo.cell.algorithm, of_sft.cell.algorithm) == ("sft", "base")
