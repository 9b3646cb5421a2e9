"""What was read, changed and left out, in a few lines for the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench_tasks.rows.bad_rows import named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shiqbench_tasks.ultrafeedback.data import Data

LEFT_OUT = {
    "empty_prompts": "rows with an empty prompt",
    "empty_answers": "empty answers",
    "long_prompts": "prompts longer than task.longest_prompt",
    "prompts_without_answers": "prompts of which no answer is left",
    "rows_of_another_split": "rows whose prompt is in another split",
    "duplicate_rows": "rows given before",
    "repeated_answers": "answers whose text the prompt has already",
    "identical_pairs": "comparisons of a text with itself",
    "undecided_pairs": "pairs of answers of which each is preferred to the other",
    "doubtful_tens": "answers rated 10 overall whose aspects average between 2 and 4",
}
LONG_ANSWERS = "answers longer than task.longest_answer"
CHANGED = {
    "merged_rows": "rows joined with an earlier row of their prompt",
    "averaged_answers": "answers with several ratings, which get the mean",
    "corrected_tens": "overall scores of 10 read as 1, because the aspects average 2 or less",
}


def lines(data: Data, training: Mapping[str, int], where: str) -> list[str]:
    """The lines.

    Args:
        data: What was read.
        training: Counts of the training episodes: ``long_answers``, and ``tied_pairs`` if it is known already.
        where: The source.
    """
    sizes = ", ".join(
        f"{split} {len(prompts)} prompts with {sum(len(p.answers) for p in prompts)} answers"
        for split, prompts in data.prompts.items()
    )
    found = [f"{data.counts['rows']} rows: {sizes}", *left_out(data)]
    found += _counted("left out of training", {"long_answers": LONG_ANSWERS}, training)
    found += _counted("changed", CHANGED, data.counts)
    if data.unread_columns:
        found.append(f"columns that are not read: {', '.join(data.unread_columns)}")
    if data.unread:
        keys = ", ".join(f"{key} ({rows} rows)" for key, rows in sorted(data.unread.items()))
        found.append(f"keys of messages that mean nothing here: {keys}")
    if training.get("tied_pairs"):
        found.append(f"{training['tied_pairs']} pairs of training answers earn the same; algorithms of pairs skip them")
    return [f"{where}: {line}" for line in found]


def left_out(data: Data) -> list[str]:
    """The lines about what was left out."""
    found = [f"rows skipped: {cause}" for cause in data.bad.causes()]
    found += _counted("left out", LEFT_OUT, data.counts)
    for name, places in data.places_of.items():
        if places:
            found.append(f"{LEFT_OUT[name]}: {named([(place, '') for place in sorted(places)])}")
    return found


def _counted(what: str, words: Mapping[str, str], counts: Mapping[str, int]) -> list[str]:
    parts = [f"{counts[name]} {meaning}" for name, meaning in words.items() if counts.get(name)]
    return [f"{what}: {', '.join(parts)}"] if parts else []
