"""``run --profile``: where the time of a run's trainings and evaluations went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.files import read_json
from shiqbench.running.runner import steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shiqbench.planning.plan import RunPlan

REST = "rest"
LEAST = 0.005  # share of a step below which a part is added to the rest


def seconds_of(plan: RunPlan) -> dict[str, dict[str, float]]:
    """Seconds of each part of each finished step, also of those that were computed earlier; parts add up."""
    found = {}
    for step in steps(plan):
        facts = read_json(step.folder / "manifest.json")
        if step.evaluation is None:
            found[step.text] = _parts(facts.get("seconds_of", {}), facts["seconds"])
        elif isinstance(facts.get("seconds"), dict):
            parts = dict(facts["seconds"])
            found[step.text] = _parts(parts, parts.pop("total"))
    return found


def _parts(parts: Mapping[str, float], total: float) -> dict[str, float]:
    kept = {name: seconds for name, seconds in parts.items() if seconds >= LEAST * total}
    return dict(sorted(kept.items(), key=lambda part: -part[1])) | {REST: total - sum(kept.values())}


def profile_table(found: dict[str, dict[str, float]]) -> str:
    """The seconds as a table in Markdown, the longest part of each step first."""
    lines = ["## Where the time went", "", "| step | seconds | of which |", "|---|---|---|"]
    for step, parts in found.items():
        of_which = ", ".join(f"{name} {_seconds(s)}" for name, s in parts.items())
        lines.append(f"| {step} | {_seconds(sum(parts.values()))} | {of_which} |")
    return "\n".join(lines)


def _seconds(value: Any) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
