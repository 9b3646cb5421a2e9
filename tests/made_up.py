"""Finished cells with invented numbers, in the layout of real cells."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from shiqbench.base.digest import digest, short
from shiqbench.base.files import write_json, write_text
from shiqbench.plugin.task import Primary
from shiqbench.store.cell import mark_done

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

UNTRAINED = {"embedded": "some model"}


def cell(
    results: Path,
    name: str,
    seed: int | None = 0,
    *,
    task: str = "mdp",
    config: dict[str, Any] | None = None,
    data: dict[str, str] | None = None,
    model: dict[str, Any] | None = None,
    budget: dict[str, int] | None = None,
    start: str | None = None,
    facts: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    log: Sequence[Mapping[str, float]] = (),
) -> Path:
    """Write a finished cell and return its folder; ``base`` trains nothing.

    ``config`` are the algorithm's settings, ``settings`` the task's, ``facts`` are more of its manifest, ``log`` the
    lines of its ``train.jsonl``.
    """
    trains = name != "base"
    recipe = {
        "schema": 1,
        "algorithm": {"name": name, "version": "1", "config": config or {}},
        "task": {"name": task, "version": "1", "config": settings or {}, "data": data or {}},
        "model": model or UNTRAINED,
        "train": {"lr": 1e-3} if trains else None,
        "seed": seed if trains else None,
        "plugins": {},
    }
    folder = results / task / name / short(digest(recipe))
    write_json(folder / "config.json", recipe)
    spent = {"seconds": 2.0, "budget": budget or {"updates": 10, "tokens": 1000}} if trains else {}
    write_json(folder / "manifest.json", {"model": "some model", "start": start, **spent, **(facts or {})})
    if log:
        write_text(folder / "train.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    mark_done(folder, list(folder.glob("*.json*")))
    return folder


def evaluation(
    of: Path,
    scores: Sequence[float],
    *,
    task: str = "mdp",
    metric: str = "relative_regret",
    higher: bool = False,
    setting: dict[str, Any] | None = None,
    engine: str = "exact",
    split: str | None = None,
    update: int | None = None,
    reduced: bool = False,
    interval: tuple[float, float] | None = None,
    primary: Primary | None = None,
    records: Mapping[str, Sequence[Any]] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Write a finished evaluation of a cell, with these scores as records; ``records`` adds or replaces columns.

    With ``primary`` that is the headline, and ``records`` are all columns.
    """
    recipe = {
        "schema": 1,
        "train": f"{of.name:<064}".replace(" ", "0"),
        **({} if update is None else {"update": update}),
        "task": task,
        "version": "1",
        "setting": setting or {},
        "eval": {} if split is None else {"split": split},
        "engine": engine,
        "prompt": "",
    }
    folder = of / "eval" / short(digest(recipe))
    value, names = sum(scores) / len(scores), [f"x{i}" for i in range(len(scores))]
    low, high = interval or (value - 0.1, value + 0.1)
    write_json(folder / "config.json", recipe)
    write_json(folder / "manifest.json", {"seconds": {"total": 1.0}, "reduced": reduced})
    made = primary or Primary(metric, value, low, high, higher)
    values = {made.name: made.value, "return": 1 - value, **(metrics or {})}
    write_json(folder / "metrics.json", {"primary": asdict(made), "metrics": values})
    columns = dict(records or {}) if primary else {"id": names, metric: scores, **(records or {})}
    pd.DataFrame(columns).to_parquet(folder / "records.parquet")
    mark_done(folder, list(folder.glob("*.*")))
    return folder
