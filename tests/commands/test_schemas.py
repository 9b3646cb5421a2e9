"""The published JSON Schemas are those of the files that are read; examples follow them, and mistakes do not.

``python tests/commands/test_schemas.py`` writes them again.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel
from shiqbench_tasks.episodes.schema import EpisodeRow

from shiqbench.commands.run_file import RunFile
from shiqbench.matrices.schema import MatrixFile

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "schemas"
KINDS: dict[str, type[BaseModel]] = {"matrix": MatrixFile, "run": RunFile, "episode": EpisodeRow}
EXAMPLES = [
    ("run" if path.name == "run.toml" else "matrix", path)
    for path in [*(ROOT / "examples").glob("*.toml"), *(ROOT / "examples" / "paper").glob("*.toml")]
]


def schema(name: str) -> dict[str, Any]:
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **KINDS[name].model_json_schema()}
    return {**found, "title": f"shiqbench {name} file"}


def text(name: str) -> str:
    return json.dumps(schema(name), indent=2) + "\n"


def published(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


@pytest.mark.parametrize("name", KINDS)
def test_the_published_schema_is_that_of_the_code(name: str) -> None:
    assert (SCHEMAS / f"{name}.schema.json").read_text() == text(name)
    jsonschema.Draft202012Validator.check_schema(published(name))


@pytest.mark.parametrize(("name", "path"), EXAMPLES, ids=lambda x: getattr(x, "name", x))
def test_an_example_follows_its_schema(name: str, path: Path) -> None:
    jsonschema.validate(tomllib.loads(path.read_text()), published(name))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("run", {"algo": "shiq", "sed": 1}),
        ("run", {"algo": "shiq", "seed": "one"}),
        ("run", {"algo": "shiq", "repeats": 0}),
        ("matrix", {"matrix": {"algorithms": ["shiq"]}}),
        ("matrix", {"matrix": {"algorithms": ["shiq"], "tasks": ["mdp"], "seed": [1]}}),
        ("matrix", {"matrix": {"algorithms": ["shiq"], "tasks": ["mdp"]}, "tasks": {"mdp": {"budgt": {}}}}),
        ("episode", {"messages": [{"role": "wizard", "content": "a"}]}),
    ],
)
def test_a_mistake_does_not(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, published(name))


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for each in KINDS:
        (SCHEMAS / f"{each}.schema.json").write_text(text(each))
