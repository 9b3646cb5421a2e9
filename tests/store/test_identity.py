"""Canonical JSON, digests, whole-or-absent files, DONE."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiqbench.base.digest import RECENT, canonical_json, content_sha256, digest, file_sha256, known_sha256
from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.base.files import replacing, replacing_folder, write_json
from shiqbench.store.cell import find_cell, is_done, mark_done, verified, write_error

scalars = (
    st.none() | st.booleans() | st.integers(-100, 100) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(st.dictionaries(st.text(), values))
def test_key_order_does_not_matter_and_the_text_is_json(value: dict[str, Any]) -> None:
    turned = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(turned)
    assert digest(json.loads(canonical_json(value))) == digest(value)


def test_equal_numbers_are_equal_and_different_values_differ() -> None:
    assert digest({"a": 1}) == digest({"a": 1.0})
    assert digest({"a": 1}) != digest({"a": True})
    assert digest({"a": 0.1}) != digest({"a": 0.2})
    assert digest({"a": "1"}) != digest({"a": 1})


def test_a_digest_is_what_it_always_was() -> None:
    assert digest({"b": [1, 2.5], "a": "é"}) == "1d5aa48ef9cd2b6be14efd77e6aa32fc7767713b66a7abf3c772a7863e7c199a"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for text in ("one", "two"):
        with replacing_folder(target) as folder:
            (folder / text).write_text(text)
    assert [p.name for p in target.iterdir()] == ["two"]


def test_done_is_true_only_when_every_file_is_as_named(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("hello")
    assert not is_done(tmp_path)
    mark_done(tmp_path, [file])
    assert is_done(tmp_path)
    file.write_text("hellO")
    with pytest.raises(CorruptCellError, match=r"a.txt has another sha256.*delete that folder"):
        is_done(tmp_path)
    file.unlink()
    with pytest.raises(CorruptCellError, match=r"a.txt is missing"):
        is_done(tmp_path)
    (tmp_path / "DONE").write_text("not json")
    with pytest.raises(CorruptCellError, match="DONE cannot be read"):
        is_done(tmp_path)


def test_a_file_of_any_size_is_verified_where_it_is_used(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("hello")
    mark_done(tmp_path, [file])
    assert verified(tmp_path, "a.txt") == file_sha256(file)
    file.write_text("hellO")
    with pytest.raises(CorruptCellError, match=r"a.txt has another sha256"):
        verified(tmp_path, "a.txt")


def test_a_failure_is_written_and_removed_by_success(tmp_path: Path) -> None:
    write_error(tmp_path, ConfigError("what", where="where", do="do"))
    assert json.loads((tmp_path / "error.json").read_text()) == {
        "type": "ConfigError",
        "what": "what",
        "where": "where",
        "do": "do",
        "cause": "configuration",
    }
    mark_done(tmp_path, [])
    assert not (tmp_path / "error.json").exists()


def test_cells_are_found_by_folder_or_by_their_first_digits(tmp_path: Path) -> None:
    for name in ("abc1", "abd2"):
        folder = tmp_path / "task" / "algo" / name
        write_json(folder / "config.json", {})
        mark_done(folder, [folder / "config.json"])
    assert find_cell("abc", tmp_path).name == "abc1"
    assert find_cell(str(tmp_path / "task" / "algo" / "abd2"), tmp_path).name == "abd2"
    with pytest.raises(ConfigError, match="2 cells match"):
        find_cell("ab", tmp_path)
    with pytest.raises(ConfigError, match="no cells match"):
        find_cell("x", tmp_path)
    (tmp_path / "task" / "algo" / "abc1" / "DONE").unlink()
    with pytest.raises(ConfigError, match="not finished"):
        find_cell("abc", tmp_path)


def test_a_known_file_is_hashed_again_once_it_was_touched(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = known_sha256(file)
    assert first == known_sha256(file) == file_sha256(file)
    file.write_bytes(b"other")
    assert known_sha256(file) == file_sha256(file) != first


def test_a_file_that_just_changed_is_not_known_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may change again within one tick of the file system's clock."""
    file, hashed = tmp_path / "a.bin", []
    file.write_bytes(b"one")
    os.utime(file, (1, 1))  # as ``cp -p`` does
    real = hashlib.file_digest

    def counting(stream: Any, name: str) -> Any:
        hashed.append(stream.name)
        return real(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    assert known_sha256(file) == known_sha256(file)
    assert len(hashed) == 2
    later = time.time_ns() + 10 * RECENT
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert known_sha256(file) == known_sha256(file)
    assert len(hashed) == 3


def test_content_is_known_by_its_bytes_and_its_names_inside_a_folder(tmp_path: Path) -> None:
    folder, copy = tmp_path / "a", tmp_path / "b" / "c"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "x.txt").write_text("x")
    (folder / "y.txt").write_text("y")
    shutil.copytree(folder, copy)
    assert content_sha256(folder) == content_sha256(copy)
    assert content_sha256(folder / "y.txt") == file_sha256(copy / "y.txt")
    for unread in (".git", "__pycache__"):
        (copy / unread).mkdir()
        (copy / unread / "z").write_text("z")
    assert content_sha256(folder) == content_sha256(copy)
    (copy / "y.txt").rename(copy / "z.txt")
    renamed = content_sha256(copy)
    (copy / "z.txt").write_text("Y")
    assert len({content_sha256(folder), renamed, content_sha256(copy)}) == 3
