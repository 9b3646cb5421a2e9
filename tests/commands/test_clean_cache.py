"""What of the cache goes first, what stays, and that nothing of anybody else's is touched."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from shiqbench.base.cache import locked, seal
from shiqbench.commands.clean_cache import find_cache
from shiqbench.commands.removal import remove
from shiqbench.store.cell import lock

NEVER = 2**22 + 1  # no process has this number


def put(path: Path, size: int, used: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (used, used))
    return path


def sealed(folder: Path, size: int, used: int) -> Path:
    put(folder / "file", size, used)
    seal(folder, "identity")
    os.utime(folder / ".shiqbench.json", (used, used))
    return folder


@pytest.fixture
def cache(own_cache: Path) -> Path:
    """One of each kind, a thousand bytes or a little more; the older, the later in this list."""
    sealed(own_cache / "models" / "smollm2-135m-instruct-0-v1", 1000, 10)
    sealed(own_cache / "wheels" / "data-1", 1000, 20)
    put(own_cache / "reference" / "0123456789ab.sqlite", 1000, 60)
    put(own_cache / "rollouts" / "0123456789ab" / "rows.jsonl", 1000, 50)
    sealed(own_cache / "rewards" / "bradley_terry-0123456789ab", 1000, 40)
    put(own_cache / "datasets" / "json" / "default-0" / "0.0.0" / ("0" * 64) / "dataset_info.json", 1000, 30)
    return own_cache


def total(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def kinds(limit: int) -> list[str]:
    return [i.path.relative_to(Path(os.environ["SHIQBENCH_CACHE"])).parts[0] for i in find_cache(limit).items]


def test_the_least_recently_used_goes_first_and_no_more_than_needed(cache: Path) -> None:
    size = total(cache)
    assert kinds(size) == []
    assert kinds(size - 1) == ["datasets"]
    assert kinds(size - 1001) == ["datasets", "rewards"]
    found = find_cache(size - 2500)
    assert not remove(found.items).failed
    assert total(cache) <= size - 2500
    assert find_cache(size - 2500).items == []


def test_downloads_go_last_and_that_is_said(cache: Path) -> None:
    downloads = total(cache / "models") + total(cache / "wheels")
    found = find_cache(downloads)
    assert {i.kind for i in found.items} == {"computed"}
    assert found.notes == []
    found = find_cache(downloads - 1)
    assert [i.kind for i in found.items] == ["computed"] * 4 + ["download"]
    assert found.items[-1].path.name.startswith("smollm2")
    assert "downloads go too" in found.notes[0]
    remove(found.items)
    assert (cache / "wheels" / "data-1" / "file").is_file()
    assert not list((cache / "models").glob("[!.]*"))


def test_a_judges_replies_stay_and_a_cache_that_stays_too_large_is_said(cache: Path) -> None:
    replies = put(cache / "judge" / "0123456789ab" / "replies.jsonl", 500, 1)
    found = find_cache(100)
    assert found.short
    assert "500 B of it replies of a judge" in found.notes[-1]
    remove(found.items)
    assert replies.is_file()
    from shiqbench.commands.clean import Wanted
    from shiqbench.commands.clean_dialog import clean

    assert clean(cache, Wanted(cache=100), dry_run=False, yes=True, as_json=False) == 1
    assert clean(cache, Wanted(cache=500), dry_run=False, yes=True, as_json=False) == 0


def test_what_a_process_uses_stays(cache: Path) -> None:
    database = cache / "reference" / "0123456789ab.sqlite"
    database.unlink()
    rollouts, reward = cache / "rollouts" / "0123456789ab", cache / "rewards" / "bradley_terry-0123456789ab"
    with closing(sqlite3.connect(database)) as connection, lock(rollouts), locked(reward):
        connection.execute("CREATE TABLE t (x)")
        found = find_cache(0)
        assert {k.path: k.why for k in found.kept} == {
            database: "a process has it open",
            rollouts: "a process has it open",  # its lock is inside
            reward: "a process holds it",
        }
        assert found.short
    later = find_cache(0)
    assert not later.kept
    with lock(rollouts):
        outcome = remove([i for i in later.items if i.path == rollouts])
        assert (len(outcome.kept), rollouts.is_dir()) == (1, True)
    assert len(remove(later.items).removed) == 6


def test_a_database_goes_with_its_journal(cache: Path) -> None:
    journal = put(cache / "reference" / "0123456789ab.sqlite-journal", 1, 60)
    remove(find_cache(0).items)
    assert not journal.exists()


def test_what_dead_processes_left_goes_at_any_size(cache: Path) -> None:
    left = put(cache / "models" / f".m.{NEVER}.tmp" / "model.safetensors", 10, 1).parent
    living = put(cache / "models" / f".m.{os.getpid()}.tmp" / "model.safetensors", 10, 1)
    found = find_cache(10**9)
    assert [i.path for i in found.items] == [left]
    remove(found.items)
    assert not left.exists()
    assert living.is_file()


def test_what_is_not_ours_is_not_touched(cache: Path, tmp_path: Path) -> None:
    mine = [
        put(cache / "models" / "mine" / "model.safetensors", 10, 1),
        put(cache / "datasets" / "mine" / "train" / "a" / "b" / "data.arrow", 10, 1),
        put(cache / "datasets" / "mine.jsonl", 10, 1),
        put(cache / "reference" / "thesis.sqlite", 10, 1),
        put(cache / "rollouts" / "mine" / "rows.jsonl", 10, 1),
        put(tmp_path / "elsewhere" / "file", 10, 1),
    ]
    (cache / "wheels" / "linked").symlink_to(tmp_path / "elsewhere")
    found = find_cache(0)
    assert not found.short  # nor counted
    assert len(remove(found.items).removed) == 6
    assert all(m.is_file() for m in mine)


def test_an_empty_cache(own_cache: Path) -> None:
    shutil.rmtree(own_cache, ignore_errors=True)
    found = find_cache(0)
    assert (found.items, found.short) == ([], False)
    assert found.lines() == ["nothing to remove"]
