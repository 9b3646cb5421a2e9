"""Differences between two cells or two evaluations, field by field: inside the digest, and outside of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import canonical_json, digest, short
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json
from shiqbench.store.cell import locate
from shiqbench.store.labels import differing

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 60  # characters of a value in the output
# Manifest keys: where the cell was made, and the bytes that it was made from.
CIRCUMSTANCES = (
    "shiqbench",
    "git",
    "packages",
    "python",
    "platform",
    "hardware",
    "engine",
    "model",
    "model_revision",
    "places",
)
BYTES = ("start_weights_sha256", "weights_sha256", "tokenizer_sha256", "chat_template_sha256")


@dataclass
class Difference:
    """Differences between two recipes.

    Attributes:
        left: First folder.
        right: Second folder.
        left_digest: Sha256 of the first recipe.
        right_digest: Sha256 of the second recipe.
        fields: Dotted key -> both values; a value is None if that recipe lacks the key.
        outside: The same for the manifests, which are not part of the digest.
        start: Differences between the cells that they start from, if these differ and are in the results folder.
    """

    left: Path
    right: Path
    left_digest: str
    right_digest: str
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    outside: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    start: Difference | None = None

    @property
    def equal(self) -> bool:
        """Whether both digests are the same."""
        return self.left_digest == self.right_digest

    def as_json(self) -> dict[str, Any]:
        """Return a value that JSON can represent."""
        return {
            "left": {"path": str(self.left), "digest": self.left_digest},
            "right": {"path": str(self.right), "digest": self.right_digest},
            "equal": self.equal,
            "fields": self.fields,
            "outside": self.outside,
            "start": self.start.as_json() if self.start else None,
        }

    def lines(self) -> list[str]:
        """Return the lines for a terminal."""
        if self.equal:
            said = [f"the same recipe, {short(self.left_digest)}"]
        else:
            said = [f"{self.left} ({short(self.left_digest)})", f"{self.right} ({short(self.right_digest)})"]
            said += [f"  {key}: {_brief(a)} | {_brief(b)}" for key, (a, b) in self.fields.items()]
        if self.start is not None:
            said += ["they start from cells that differ:", *(f"  {line}" for line in self.start.lines())]
        if self.outside:
            said.append("not part of the digest:")
            said += [f"  {key}: {_brief(a)} | {_brief(b)}" for key, (a, b) in self.outside.items()]
        return said


def diff(left: str | Path, right: str | Path, results: Path = Path("results")) -> Difference:
    """Compare two cells, or two evaluations, finished or not.

    Args:
        left: A folder with a config.json, or the first digits of a cell's or an evaluation's digest.
        right: The same, for the second.
        results: Results folder, in which digests are searched.

    Raises:
        ConfigError: One of them is not found, or one is a cell and the other an evaluation.
    """
    one, two = (locate(str(text), results, evaluations=True) for text in (left, right))
    return _compare(one, two, results)


def _compare(left: Path, right: Path, results: Path) -> Difference:
    one, two = read_json(left / "config.json"), read_json(right / "config.json")
    if ("algorithm" in one) != ("algorithm" in two):
        raise ConfigError(
            "a cell and an evaluation cannot be compared",
            where=f"{left}, {right}",
            do="give two cells or two evaluations",
        )
    found = Difference(left, right, digest(one), digest(two), differing(one, two))
    found.outside = differing(_circumstances(left), _circumstances(right))
    starts = [_start(recipe, results) for recipe in (one, two)]
    if one.get("model") != two.get("model") and starts[0] is not None and starts[1] is not None:
        found.start = _compare(starts[0], starts[1], results)
    return found


def _start(recipe: Mapping[str, Any], results: Path) -> Path | None:
    """Folder of the cell that this cell starts from; None if it starts from another model or the folder is missing."""
    model = recipe.get("model")
    start = model.get("cell") if isinstance(model, dict) else None
    return next(iter(sorted(results.glob(f"*/*/{short(start)}"))), None) if isinstance(start, str) else None


def _circumstances(folder: Path) -> dict[str, Any]:
    """The manifest entries that the recipe does not determine; empty if there is no manifest yet."""
    try:
        manifest: dict[str, Any] = read_json(folder / "manifest.json")
    except FileNotFoundError:
        return {}
    return {k: manifest[k] for k in (*CIRCUMSTANCES, *BYTES) if k in manifest}


def _brief(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
