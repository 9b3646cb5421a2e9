"""Data are known by their content: a file that was written again is read again, and a copy is the same data."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from shiqbench_tasks.rows.sources import locate, rows
from uf_rows import paired, write

from shiqbench.base.errors import ConfigError

TIME = (1_700_000_000, 1_700_000_000)


@pytest.fixture(autouse=True)
def _own_cache(own_cache: Path) -> None:
    """``datasets`` keeps what it has read."""


def write_again(path: Path, answer: str, count: int = 40) -> None:
    """Write a file with the time that it had, as ``cp -p``, ``rsync -t`` and ``tar`` do."""
    found: Any = paired(count, chosen=answer)
    if path.suffix == ".parquet":
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(found).to_parquet(path)
    else:
        write(path, found)
    os.utime(path, TIME)


def answers(path: Path) -> set[str]:
    return {row["chosen"] for _, _, row in rows(locate(str(path), None))}


@pytest.mark.parametrize(
    "file", ["mine.jsonl", "mine.json", "mine.parquet", "folder/train.jsonl", "folder/a/b.parquet"]
)
def test_a_file_that_was_written_again_with_its_old_time_is_read_again(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    given = tmp_path / file.split("/", 1)[0]
    seen = []
    for answer, count in (("alpha", 40), ("gamma", 40), ("delta", 41)):
        write_again(path, answer, count)
        seen.append(locate(str(given), None).identity["sha256"])
        assert answers(given) == {answer}
    assert len(set(seen)) == 3


def test_every_file_of_a_folder_that_decides_what_is_read_is_in_its_identity(tmp_path: Path) -> None:
    folder, far = tmp_path / "folder", tmp_path / "far"
    write_again(folder / "one.jsonl", "one")
    write_again(folder / "two.jsonl", "two")
    write_again(far / "train.jsonl", "far")
    found = {}
    card = "---\nconfigs:\n- config_name: default\n  data_files: {}.jsonl\n---\n"
    for name in ("one", "two"):
        (folder / "README.md").write_text(card.format(name))
        assert answers(folder) == {name}
        found[name] = locate(str(folder), None).identity["sha256"]
    (folder / "README.md").unlink()
    (folder / "linked").symlink_to(far)
    found["linked"] = locate(str(folder), None).identity["sha256"]
    write_again(far / "train.jsonl", "gone")
    found["linked, other content"] = locate(str(folder), None).identity["sha256"]
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("name", ["mine.jsonl", "folder"])
def test_a_copy_is_the_same_data_however_its_place_is_written(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / ("mine.jsonl" if name == "mine.jsonl" else "folder/train.jsonl"), paired(40))
    copied = tmp_path / "elsewhere" / ("yours.jsonl" if name == "mine.jsonl" else "yours")
    copied.parent.mkdir()
    (shutil.copyfile if name == "mine.jsonl" else shutil.copytree)(tmp_path / name, copied)
    link = copied.with_stem("link")
    link.symlink_to(copied)
    places = [name, f"./{name}", str(tmp_path / name), f"elsewhere/../{name}", str(copied)]
    assert len({locate(place, None).identity["sha256"] for place in places}) == 1
    assert locate(str(link), None).identity == locate(name, None).identity


def test_data_that_change_while_they_are_read_are_refused_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    write_again(path, "alpha")
    source = locate(str(path), None)
    write_again(path, "gamma")
    with pytest.raises(ConfigError, match="the data changed while they were read"):
        list(rows(source))
    write_again(path, "alpha")
    assert {row["chosen"] for _, _, row in rows(source)} == {"alpha"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("name", ["rows.jsonl", "folder/test.jsonl", "list.json"])
def test_another_encoding_names_the_file_and_the_place(tmp_path: Path, name: str, encoding: str) -> None:
    found: list[Any] = paired(3)
    found[1]["chosen"] = "café"
    data, file = tmp_path / name.partition("/")[0], tmp_path / name
    file.parent.mkdir(exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in found]
    text = "[" + ",\n".join(lines) + "]" if name == "list.json" else "\n".join(lines)
    file.write_bytes(text.encode(encoding))
    if name == "folder/test.jsonl":
        write(data / "train.jsonl", found)
    line, byte = (1, 1) if encoding == "utf-16" else (2, text.splitlines()[1].index("é") + 1)
    with pytest.raises(ConfigError, match=rf"not UTF-8: line {line}, byte {byte} is 0x.. \({file}\); save"):
        answers(data)
