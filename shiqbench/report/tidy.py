"""Columns and types of the frames of :mod:`shiqbench.report.frames`."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import canonical_json
from shiqbench.store.labels import brief, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from shiqbench.store.index import EvaluationEntry

_ROW = ("algorithm", "differs_in", "name", "row", "seed")
EVALUATIONS = (
    "evaluation", "cell", "task", "split", "engine", "setting", *_ROW, "start", "update", "metric", "value", "low",
    "high", "higher_is_better", "examples", "reduced", "updates", "tokens", "train_tokens", "train_seconds",
    "eval_seconds",
)  # fmt: skip
SCORES = ("evaluation", "task", "setting", *_ROW, "update", "example", "value", "of", "left_out")
TRAINING = ("cell", "task", *_ROW, "update", "tokens", "train_tokens", "seconds", "quantity", "value")
CURVE = (
    "evaluation", "cell", "task", "split", "setting", *_ROW, "update", "tokens", "train_tokens", "seconds", "metric",
    "value", "low", "high",
)  # fmt: skip
DIFFERENCES = (
    "task", "split", "setting", *_ROW[:-1], "baseline", "metric", "higher_is_better", "value", "low", "high", "df", "p",
    "p_holm", "examples", "better", "worse", "seeds", "baseline_seeds",
)  # fmt: skip
WHOLE = ("seed", "update", "updates", "tokens", "examples", "seeds", "baseline_seeds", "better", "worse")
REAL = ("value", "low", "high", "df", "p", "p_holm", "of", "train_tokens", "train_seconds", "eval_seconds", "seconds")


def frame(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    more: Mapping[str, list[Any]] | None = None,
    *,
    as_they_are: bool = False,
) -> pd.DataFrame:
    """A frame with these columns; ``more`` are further ones, with types that fit their values.

    Args:
        columns: Names of the columns.
        rows: Values by name; one that is absent does not exist.
        more: Further columns.
        as_they_are: Whether ``value`` keeps values of any type.
    """
    import pandas as pd

    found = {name: [row.get(name) for row in rows] for name in columns}
    if as_they_are:
        return pd.DataFrame(found).astype({"value": object})
    whole = pd.DataFrame(found, columns=pd.Index(columns)).astype(_types(columns))
    for name, values in (more or {}).items():
        whole[name] = pd.Series(values, dtype=_fitting(values))
    return whole


def _fitting(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    for kind, name in ((bool, "boolean"), (int, "Int64"), (str, "str")):
        if kinds == {kind}:
            return name
    return "float64" if kinds <= {int, float} else "object"


def stacked(columns: Sequence[str], parts: Sequence[tuple[Mapping[str, Any], Mapping[str, list[Any]]]]) -> pd.DataFrame:
    """A frame of parts: what all rows of a part share, and the columns in which they differ."""
    import pandas as pd

    of_parts = parts[0][1] if parts else ()
    lengths = [len(lists["value"]) for _, lists in parts]
    found = {
        name: [x for _, lists in parts for x in lists[name]]
        if name in of_parts
        else [x for (about, _), n in zip(parts, lengths, strict=True) for x in [about.get(name)] * n]
        for name in columns
    }
    return pd.DataFrame(found, columns=pd.Index(columns)).astype(_types(columns))


def _types(columns: Sequence[str]) -> dict[str, str]:
    return {name: "Int64" for name in columns if name in WHOLE} | {name: "float64" for name in columns if name in REAL}


def varied_settings(evaluations: Sequence[EvaluationEntry]) -> dict[str, list[Any]]:
    """Settings in which rows of a task differ, with a value per evaluation."""
    flat = {e.cell.recipe.key: settings_of(e.cell.recipe.value) for e in evaluations}
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    having: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    of_algorithm: dict[tuple[str, str], set[str]] = defaultdict(set)
    for e in {(e.task, e.cell.recipe.key): e for e in evaluations}.values():
        task, key = e.task, e.cell.recipe.key
        of_algorithm[task, e.cell.algorithm].add(key)
        for name, value in flat[key].items():
            values[task, name].add(canonical_json(value))
            having[task, e.cell.algorithm, name].add(key)
    differ = {name for (_, name), found in values.items() if len(found) > 1}
    differ |= {name for (task, algorithm, name), keys in having.items() if keys != of_algorithm[task, algorithm]}
    return {name: [_plain(flat[e.cell.recipe.key].get(name)) for e in evaluations] for name in sorted(differ)}


def _plain(value: Any) -> Any:
    return brief(value) if isinstance(value, list | dict) else value
