"""Text files that users write."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json, read_text, write_json
from shiqbench.matrices.read import read
from shiqbench.models.sources import check_chat_template

FRENCH = '{\n  "a": "b",\n  "name": "café"\n}\n'


def test_a_text_that_is_not_utf_8_names_file_line_and_byte(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(FRENCH, encoding="utf-8")
    assert read_json(file)["name"] == "café"
    file.write_text(FRENCH, encoding="latin-1")
    with pytest.raises(ConfigError, match=rf"not UTF-8: line 3, byte 15 is 0xe9 \({file}\); save the file as UTF-8"):
        read_json(file)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="line 1, byte 1 is 0xff"):
        read_text(file)


def test_so_does_a_matrix_file_and_a_file_of_a_model(tmp_path: Path) -> None:
    for name in ("matrix.toml", "tokenizer_config.json"):
        (tmp_path / name).write_text(FRENCH, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"line 3, byte 15 .*matrix\.toml"):
        read(tmp_path / "matrix.toml")
    with pytest.raises(ConfigError, match=r"line 3, byte 15 .*tokenizer_config\.json"):
        check_chat_template(tmp_path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"metrics": {"a": 1.0, "b": math.nan}}, r"metrics\.b=nan is not finite"),
        ({"rows": [{"x": 0.0}, {"x": -math.inf}]}, r"rows\.1\.x=-inf is not finite"),
        (math.inf, r"the value=inf is not finite"),
    ],
)
def test_json_of_a_number_that_is_not_finite_is_refused_by_its_key(tmp_path: Path, value: object, said: str) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(
        ConfigError, match=rf"{said}, and JSON has only finite numbers \(.*x\.json\); write null or text"
    ):
        write_json(path, value)
    assert list(tmp_path.iterdir()) == []
