"""TOML and YAML files give the same values, and a mistake in one is one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from shiqbench.base.errors import ConfigError
from shiqbench.base.structured import read_structured

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.toml"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# PyYAML writes for YAML 1.1, where the texts 1e5 and -.5 need no quotes. In 1.2 they are numbers.
TEXTS = some.text().filter(lambda text: not _is_number(text))
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=8,
)


def read(folder: Path, text: str, name: str = "file.yaml") -> dict[str, Any]:
    (folder / name).write_text(text, encoding="utf-8")
    return read_structured(folder / name, "another file")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_an_example_has_the_same_values_in_yaml(tmp_path: Path, path: Path) -> None:
    values = tomllib.loads(path.read_text())
    assert read(tmp_path, yaml.safe_dump(values)) == values == read_structured(path, "")


@given(values=some.dictionaries(TEXTS.filter(bool), VALUES, max_size=4))
def test_what_yaml_writes_is_read_again(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    found = read(tmp_path_factory.mktemp("yaml"), yaml.safe_dump(values) if values else "{}")
    assert found == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("-2.5E3", -2500.0),
        (".5", 0.5),
        ("0E0", 0.0),
        ('"0E0"', "0E0"),
        ("3.", 3.0),
        ("0", 0),
        ("-12", -12),
        ("010", "010"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("2026-01-02", "2026-01-02"),
        ("cell:12ab", "cell:12ab"),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: Any) -> None:
    found = read(tmp_path, f"key: {text}\n")["key"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "a: 1\nb: 2\na: 3\n", "'a' appears twice"),
        ("a.yml", "a: [1\n", "not YAML"),
        ("a.yaml", "- 1\n", "holds no keys"),
        ("a.yaml", "", "holds no keys"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []\n", "not YAML"),
        ("a.toml", "a: 1\n", "not TOML"),
        ("a.conf", "a: 1\n", "end the name of a YAML file in .yaml"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        read(tmp_path, text, name)
    assert str(tmp_path / name) in error.value.line()
    assert "\n" not in error.value.line()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file .*give another file"):
        read_structured(tmp_path / "none.yaml", "another file")
