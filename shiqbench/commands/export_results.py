"""An evaluation in the two schemas that leaderboards read: Every Eval Ever, and the hub's ``.eval_results``."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import short
from shiqbench.base.errors import ConfigError, ShiqbenchError
from shiqbench.base.files import read_json, write_json, write_text
from shiqbench.models.sources import HUB_NAME
from shiqbench.store.index import read_evaluation
from shiqbench.store.index.reading import checked_columns
from shiqbench.submissions.private import public_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.task import Scores
    from shiqbench.store.index import EvaluationEntry

SCHEMA = "0.3.0"  # of Every Eval Ever
UNKNOWN = "unknown"
SAMPLING = ("temperature", "top_p", "max_tokens")  # of an evaluation, under the names of Every Eval Ever
_PORTABLE = re.compile(r"\w[\w.-]*", re.ASCII)
Told = tuple[tuple[str, ...], tuple[str, ...]]  # notices, commands to type next


@dataclass(frozen=True)
class Result:
    """A finished evaluation with what its manifests add.

    Attributes:
        entry: The evaluation and its cell.
        manifest: Manifest of the evaluation.
        of_cell: Manifest of the cell.
        scores: The columns that make the primary metric; None if they are not known.
        count: Number of records.
    """

    entry: EvaluationEntry
    manifest: Mapping[str, Any]
    of_cell: Mapping[str, Any]
    scores: Scores | None
    count: int

    @property
    def digest(self) -> str:
        """First digits of the evaluation's digest."""
        return self.entry.folder.rpartition("/")[2]

    @property
    def trained(self) -> bool:
        """Whether the cell trained anything."""
        return self.entry.cell.seed is not None

    @property
    def model(self) -> str:
        """The model that training started from, or that was evaluated."""
        return public_model(self.entry.cell.model, self.of_cell.get("model_revision"))

    @property
    def name(self) -> str:
        """A name of the evaluated model."""
        cell = self.entry.cell
        return "-".join((cell.algorithm, cell.recipe.value["task"]["name"], short(cell.digest)))


def read_result(evaluation: Path, found: Registry) -> Result:
    """Read a finished evaluation.

    Raises:
        CorruptCellError: A file differs from what was written.
    """
    entry = read_evaluation(evaluation)
    try:
        scores = found.task(entry.task).load().scores_of(entry.primary["name"])
    except ShiqbenchError:  # its plugin is not here
        scores = None
    manifest, of_cell = (read_json(folder / "manifest.json") for folder in (evaluation, evaluation.parent.parent))
    return Result(entry, manifest, of_cell, scores, _count(evaluation))


def _count(evaluation: Path) -> int:
    import pyarrow.parquet as pq

    checked_columns(evaluation, [])  # against DONE
    return int(pq.read_metadata(evaluation / "records.parquet").num_rows)


def hf_eval_results(result: Result, folder: Path, target: Path, dataset: str | None, name: str | None) -> Told:
    """Write a file for ``.eval_results/`` of a model's repository on the hub.

    Args:
        result: The evaluation.
        folder: Folder to write to.
        target: Path of the folder after it is complete.
        dataset: The data set whose leaderboard lists the result, ``ORG/NAME[:TASK_ID]``.
        name: The model's repository, for the command to type next.

    Raises:
        ConfigError: There is no such data set.
    """
    import yaml

    repository, _, task_id = (dataset or "").partition(":")
    if not HUB_NAME.fullmatch(repository):
        raise ConfigError(
            "hf-eval-results needs the hub's data set that has the leaderboard",
            where=f"--dataset {dataset}" if dataset else "--dataset",
            do="write --dataset ORG/NAME, or ORG/NAME:TASK_ID with a task of its eval.yaml",
        )
    entry = result.entry
    said = {
        "dataset": {"id": repository, "task_id": task_id or "default"},
        "value": entry.primary["value"],
        "date": result.manifest["created"],
        "notes": _notes(result),
    }
    file = f".eval_results/{entry.task}-{result.digest}.yaml"
    write_text(folder / file, yaml.safe_dump([said], sort_keys=False, allow_unicode=True, width=1000))
    notices = ("the hub lists a value only if the data set is a benchmark, in the unit of that benchmark",)
    return notices, (f"hf upload {name or 'ORG/MODEL'} {target} . --create-pr",)


def _notes(result: Result) -> str:
    entry, p = result.entry, result.entry.primary
    ends = "" if None in (p["low"], p["high"]) else f" [{p['low']:.4g}, {p['high']:.4g}] (95 %)"
    better = "higher" if p["higher_is_better"] else "lower"
    parts = [
        f"{p['name']}{ends}, {better} is better",
        f"{entry.task} {entry.split}".strip(),
        "REDUCED setting" if entry.reduced else "",
        entry.engine,
        f"shiqbench {entry.cell.version}, cell {short(entry.cell.digest)}, setting {short(entry.setting.key)}",
    ]
    return "; ".join(filter(None, parts))


def write_every_eval_ever(
    result: Result, folder: Path, target: Path, organization: str | None, name: str | None
) -> Told:
    """Write an evaluation at its place in a data store of Every Eval Ever.

    Args:
        result: The evaluation.
        folder: Folder to write to.
        target: Path of the folder after it is complete.
        organization: Who ran the evaluation.
        name: Name of the model; None makes it of the cell.

    Raises:
        ConfigError: A name cannot be that of a folder.
    """
    for option, value in (("--organization", organization), ("--name", name)):
        if value is not None and not _PORTABLE.fullmatch(value):
            raise ConfigError(f"{value!r} is no name", where=option, do="use letters, digits, dots and hyphens")
    log = every_eval_ever(result, organization, name)
    developer, _, model = log["model_info"]["id"].partition("/")
    key = hashlib.sha256(f"{result.entry.cell.digest}/{result.digest}".encode()).digest()
    file = f"data/shiqbench-{result.entry.task}/{developer}/{model}/{uuid.UUID(bytes=key[:16], version=4)}.json"
    write_json(folder / file, log)
    notices = ["it holds the primary metric; single records are in the file of shiqbench submit"]
    if organization is None:
        notices.append("the organization is 'unknown'; --organization names it")
    return tuple(notices), (f"cd {target} && every_eval_ever validate {file}",)


def every_eval_ever(result: Result, organization: str | None, name: str | None) -> dict[str, Any]:
    """The JSON of an evaluation in the schema of Every Eval Ever."""
    entry = result.entry
    made = datetime.datetime.fromisoformat(result.manifest["created"])
    model = _model_info(result, organization, name)
    engine, _, version = entry.engine.partition(" ")
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"shiqbench-{entry.task}/{model['id']}/{int(made.timestamp())}-{result.digest}",
        "evaluation_timestamp": made.isoformat(),
        "retrieved_timestamp": str(int(time.time())),
        "source_metadata": {
            "source_name": "shiqbench",
            "source_type": "evaluation_run",
            "source_organization_name": organization or UNKNOWN,
            "evaluator_relationship": "first_party" if result.trained else "third_party",
        },
        "eval_library": {
            "name": "shiqbench",
            "version": entry.cell.version or UNKNOWN,
            "additional_details": _texts({"evaluation": result.digest, "setting": short(entry.setting.key)}),
        },
        "model_info": {**model, "inference_engine": {"name": engine, "version": version or UNKNOWN}},
        "evaluation_results": [_evaluation_result(result, made.isoformat())],
    }


def _model_info(result: Result, organization: str | None, name: str | None) -> dict[str, Any]:
    cell = result.entry.cell
    as_it_is = not result.trained and name is None and HUB_NAME.fullmatch(result.model)
    developer, own = result.model.split("/") if as_it_is else (organization or UNKNOWN, name or result.name)
    details = {
        "deployment_type": "self_deployed",
        "model_availability": UNKNOWN,
        "model": result.model,
        "start": cell.start,
        "algorithm": cell.recipe.value["algorithm"],
        "train": cell.recipe.value["train"],
        "seed": cell.seed,
        "cell": cell.digest,
        "budget": dict(cell.budget) or None,
    }
    return {"name": own, "id": f"{developer}/{own}", "developer": developer, "additional_details": _texts(details)}


def _evaluation_result(result: Result, when: str) -> dict[str, Any]:
    entry, primary, scores = result.entry, result.entry.primary, result.scores
    share = scores is not None and bool(scores.share)
    least = 0.0 if share else scores.least if scores is not None else None
    setting = entry.setting.value
    uncertainty: dict[str, Any] = {"num_samples": result.count}
    if None not in (primary["low"], primary["high"]):
        ends = {"lower": primary["low"], "upper": primary["high"], "confidence_level": 0.95}
        uncertainty["confidence_interval"] = ends
    found: dict[str, Any] = {
        "evaluation_name": ".".join(filter(None, ("shiqbench", entry.task, entry.split))),
        "evaluation_result_id": result.digest,
        "evaluation_timestamp": when,
        "source_data": {
            "dataset_name": entry.task,
            "source_type": "other",
            "additional_details": _texts(dict(entry.cell.recipe.value["task"].get("data") or {})),
        },
        "metric_config": {
            "metric_id": f"shiqbench.{entry.task}.{primary['name']}",
            "metric_name": primary["name"],
            **({"metric_unit": "proportion"} if share else {}),
            "lower_is_better": not primary["higher_is_better"],
            "score_type": "continuous",
            "min_score": "-Infinity" if least is None else least,
            "max_score": 1.0 if share else "Infinity",
            "additional_details": _texts({"reduced": entry.reduced, "setting": setting.get("setting")}),
        },
        "score_details": {
            "score": primary["value"],
            "uncertainty": uncertainty,
            "details": _texts(dict(entry.metrics)),
        },
    }
    asked = dict(setting.get("eval") or {})
    if asked:
        sampling = {name: asked.pop(name) for name in SAMPLING if name in asked}
        found["generation_config"] = {"generation_args": sampling, "additional_details": _texts(asked)}
    return found


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """The values as texts, which the schema demands; those that do not exist are left out."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in values.items()
        if value is not None
    }
