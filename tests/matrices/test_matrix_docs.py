"""The page about matrix files names every key."""

from __future__ import annotations

from pydantic import BaseModel
from support import HERE

from shiqbench.matrices import schema


def test_every_key_is_in_the_docs() -> None:
    text = (HERE.parent / "docs" / "matrix.md").read_text()
    sections = [
        s
        for s in vars(schema).values()
        if isinstance(s, type) and issubclass(s, BaseModel) and s.__module__ == schema.__name__
    ]
    names = {name for section in sections for name in section.model_fields}
    assert len(names) > 25
    for name in names:
        assert f"`{name}`" in text or f".{name}`" in text, name
