"""Which columns hold what: the known sources' names, or those that the user gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, did_you_mean
from shiqbench_tasks.rows.dialogues import is_dialogue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig

# Role -> where the known sources keep it: openbmb/UltraFeedback rates several completions of a prompt, the
# binarized forms have a chosen and a rejected answer, as text or as messages.
NAMES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "score_chosen": ("score_chosen", "metadata.score_chosen"),
    "score_rejected": ("score_rejected", "metadata.score_rejected"),
    "completions": ("completions",),
    "response": ("response",),
    "score": ("overall_score",),
    "model": ("model",),
    "tools": ("tools",),
}
RATED = ("completions", "response", "score", "model")
PAIRED = ("chosen", "rejected", "score_chosen", "score_rejected")
ALWAYS = ("prompt", "tools")


@dataclass(frozen=True)
class Columns:
    """Where a row keeps what.

    Attributes:
        of: Role -> dotted column; roles that the source lacks and that are not needed are absent.
        dialogues: Whether the chosen and the rejected text are whole dialogues with marks of who speaks.
    """

    of: Mapping[str, str]
    dialogues: bool = False


def resolve(rows: Sequence[dict[str, Any]], config: UltraFeedbackConfig, where: str) -> Columns:
    """Find every role's column.

    Raises:
        ConfigError: There is no row, or a column that is needed is missing; it names what there is.
    """
    if not rows:
        raise ConfigError("no rows", where=where, do="give data with one row per prompt")
    given = config.columns
    completions = given.get("completions", "completions")
    row = next((r for r in rows if value_of(r, completions)), rows[0])  # an empty list shows no columns
    found = _names(row)
    rated = "completions" in given or ("chosen" not in given and "rejected" not in given and completions in found)
    roles = RATED if rated else PAIRED
    unused = sorted(set(given) - {*roles, *ALWAYS})
    if unused:
        form = "rated completions" if rated else "a chosen and a rejected answer"
        raise ConfigError(
            f"role {unused[0]} cannot be honoured: these data have {form}", where=where, do="leave it out"
        )
    if rated and config.returns == "preference":
        raise ConfigError(
            "returns preference needs a chosen and a rejected answer; these data have rated completions",
            where=where,
            do="--set task.returns=rating",
        )
    inside = _names(_first(value_of(row, completions))) if rated else []
    optional = {"model", "tools"} if rated else {"prompt", "tools"}
    if config.returns == "preference" or _rewarded(value_of(row, given.get("chosen", "chosen"))):
        optional |= {"score_chosen", "score_rejected"}
    of: dict[str, str] = {}
    for role in (*ALWAYS, *roles):
        there = inside if role in RATED[1:] else found
        column = _column(role, given.get(role), there, role in optional, where)
        if column is not None:
            of[role] = column
    if "prompt" in of or rated:
        return Columns(of)
    if any(is_dialogue(value_of(r, of[role])) for r in rows for role in ("chosen", "rejected")):
        return Columns(of, dialogues=True)
    if not isinstance(value_of(row, of["chosen"]), list):
        raise _missing("prompt", found, where)
    return Columns(of)


def _column(role: str, given: str | None, there: list[str], optional: bool, where: str) -> str | None:
    if given == "" and optional:
        return None
    if given is not None:
        if given not in there:
            raise ConfigError(
                f"no column {given!r} for {role}{did_you_mean(given, there)}; found {', '.join(there) or 'none'}",
                where=where,
                do=f"--set task.columns.{role}=COLUMN",
            )
        return given
    for name in NAMES[role]:
        if name in there:
            return name
    if optional:
        return None
    raise _missing(role, there, where)


def _missing(role: str, there: list[str], where: str) -> ConfigError:
    hint = "; without ratings, --set task.returns=preference" if role.startswith("score_") else ""
    return ConfigError(
        f"no column for {role}, looked for {' and '.join(NAMES[role])}; found {', '.join(there) or 'none'}",
        where=where,
        do=f"--set task.columns.{role}=COLUMN{hint}",
    )


def value_of(row: Any, column: str) -> Any:
    """The value at a dotted column; None where there is none."""
    if column in ("", None):
        return None
    if isinstance(row, dict) and column in row:
        return row[column]
    head, dot, rest = column.partition(".")
    return value_of(row.get(head), rest) if dot and isinstance(row, dict) else None


def _names(row: Any, prefix: str = "") -> list[str]:
    """All columns, those inside structures dotted."""
    if not isinstance(row, dict):
        return []
    names = []
    for key, value in row.items():
        names += [prefix + key, *_names(value, f"{prefix}{key}.")]
    return names


def _rewarded(answer: Any) -> bool:
    """Whether an answer's own message says what it earned."""
    last = answer[-1] if isinstance(answer, list) and answer else None
    return isinstance(last, dict) and last.get("reward") is not None


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else {}
