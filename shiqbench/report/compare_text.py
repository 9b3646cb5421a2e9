"""A comparison of two evaluations as markdown and as JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from shiqbench.base.words import counted
from shiqbench.report.formats.markdown import markdown_table
from shiqbench.report.numbers import short_number
from shiqbench.report.side_by_side import in_pairs, marked, visible
from shiqbench.report.smallest import LEVEL
from shiqbench.store.labels import brief

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from shiqbench.report.compare import Comparison, Example
    from shiqbench.report.rows import Row
    from shiqbench.report.side_by_side import Message

SIDES = (("A higher", "A"), ("B higher", "B"), ("same", "same"))
FEW = 10  # examples that are shown if no number is given
LEFT, RIGHT = ("[-", "-]"), ("{+", "+}")  # marks of words that only the first or only the second text has


def markdown(found: Comparison, count: int | None = None) -> str:
    """The comparison in markdown.

    Args:
        found: The comparison.
        count: Number of examples to show; None shows 10.
    """
    parts = [heading(found), markdown_table(header(found))]
    parts += [
        "\n".join(f"- {visible(n)}" for n in further(found)),
        *(f"**{visible(line)}**" for line in found.block.above),
        "\n".join(f"**{s}**" if not i else s for i, s in enumerate(summary(found))),
    ]
    parts += ["\n".join(f"- {visible(n)}" for n in found.block.notes)]
    return "\n\n".join(p for p in parts + _most_different(found, FEW if count is None else count) if p) + "\n"


def heading(found: Comparison) -> str:
    """The title, and what both have in common."""
    a, b = (r.name for r in found.block.rows)
    return f"## A ({a}) and B ({b})\n\n{found.block.title}"


def header(found: Comparison) -> pd.DataFrame:
    """Table of both evaluations: where they are, their values, and the settings that differ."""
    rows, block = found.block.rows, found.block
    both = [(r, r.evaluations[0]) for r in rows]
    lines = [["cell", *("/".join(Path(e.cell.folder).parts[-2:]) for _, e in both)]]
    lines += [["evaluation", *(Path(e.folder).name for _, e in both)]]
    lines += [[f"{block.metric} [95 %]", *(str(r.estimate) for r in rows)]]
    for name, head, spec in block.columns:
        values = [r.metric(name) for r in rows]
        lines += [[head, *("-" if v is None else format(v, spec) for v in values)]]
    lines += [[key, *("-" if v is None else brief(v) for v in values)] for key, values in found.differs.items()]
    return _frame(["what", "A", "B"], lines)


def further(found: Comparison) -> list[str]:
    """What the table of both leaves out."""
    if not found.in_one:
        return []
    return [f"{found.in_one} settings belong to one of the two only; shiqbench diff lists them"]


def summary(found: Comparison) -> list[str]:
    """What can be concluded, in sentences."""
    d, (a, b) = found.difference, found.block.rows
    if d is None:
        return [f"Not compared: {found.why_not}."]
    metric, value = found.block.metric, d.estimate.value
    both = [r.estimate.value for r in (a, b)]
    values = f"{short_number(both[0])} and {short_number(both[1])}, " if all(map(math.isfinite, both)) else ""
    values += f"A less B {_signed(d)}"
    tail = f", p = {d.p:.2g}" if d.p is not None else ""
    if d.estimate.low is None or d.p is None:
        said = [f"Nothing can be concluded: {metric} {values}; {d.estimate.how}."]
    elif d.p >= LEVEL:
        said = [f"No difference is found: {metric} {values}{tail}."]
    else:
        # Which direction is better is a fact about the metric; whether A is better depends on what else differs.
        good = "higher" if found.block.higher_is_better else "lower"
        said = [f"{metric} of A ({a.name}) is {'higher' if value > 0 else 'lower'} ({good} is better): {values}{tail}."]
    if d.units is not None:
        sides = [found.higher(e) for e in found.scored]
        counts = ", ".join(f"{name} in {sides.count(side)}" for name, side in SIDES)
        said.append(f"Of {counted(d.units, 'example')}: {counts}.")
    if d.left_out:
        said.append(f"{counted(len(d.left_out), 'example')} left out on both sides.")
    if found.texts:
        differ = sum(e.differs for e in found.scored)
        said.append(f"The texts differ in {differ} of {len(found.scored)}.")
    if any(e.cell.seed is not None for e in (found.left, found.right)):
        said.append("No other training seeds are in it: this is about these weights, not about the algorithms.")
    return said


def _signed(difference: Any) -> str:
    e = difference.estimate
    ends = "" if e.low is None else f" [{short_number(e.low)}, {short_number(e.high)}]"
    return _sign(e.value) + ends


def _sign(value: float) -> str:
    return ("+" if value >= 0 else "") + short_number(value)


def scores(found: Comparison, example: Example) -> list[str]:
    """Values of an example in words: of A, of B, their difference, which is higher; with a reason if there are none."""
    if example.why:
        return ["-", "-", "-", example.why]
    a, b = (short_number(v) for v in (example.left or 0.0, example.right or 0.0))
    return [a, b, _sign(example.difference), found.higher(example)]


def _most_different(found: Comparison, count: int) -> list[str]:
    shown = found.examples[:count]
    if not shown:
        return []
    title = f"### The examples that differ most ({len(shown)} of {len(found.examples)})"
    frame = _frame(
        ["example", "A", "B", "A less B", "higher"],
        [[visible(e.name, one_line=True), *scores(found, e)] for e in shown],
    )
    parts = [title, markdown_table(frame)]
    lines = [line for e in shown if e.first is not None for line in _excerpt(e)]
    if lines:
        parts += [
            "### Where their texts differ first",
            "\n".join(lines),
            f"`--example {shown[0].name}` shows an example in full.",
        ]
    return parts


def _excerpt(example: Example) -> list[str]:
    title, first = example.first  # type: ignore[misc]
    where = f"message {first.message} ({first.role})" + (f", word {first.word}" if first.word > 1 else "")
    where = f"{title}, {where}" if title else where
    after = f", after {code(first.before.strip())}" if first.before.strip() else ""
    sides = [
        f"  - {letter}: {'(no such message)' if text is None else code(text)}"
        for letter, text in (("A", first.left), ("B", first.right))
    ]
    return [f"- **{visible(example.name, one_line=True)}**: {where}{after}", *sides]


def _frame(head: Sequence[str], rows: Sequence[Sequence[str]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=pd.Index(head))


def code(text: str) -> str:
    """Text of a model as code in a line of markdown."""
    if not text.strip():
        return "(empty)" if not text else f"({len(text)} spaces)"
    fence = "`" * (1 + max((len(run) for run in _runs(text)), default=0))
    room = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{room}{text}{room}{fence}"


def _runs(text: str) -> list[str]:
    import re

    return re.findall("`+", text)


def example_markdown(found: Comparison, example: Example) -> str:
    """One example in full, in markdown: the messages of A and B one after the other, differing words in marks."""
    frame = _frame(["example", "A", "B", "A less B", "higher"], [[visible(example.name), *scores(found, example)]])
    parts = [heading(found), markdown_table(frame)]
    if example.first is not None:
        parts.append(f"Only in A: `{LEFT[0]}words{LEFT[1]}`; only in B: `{RIGHT[0]}words{RIGHT[1]}`.")
    for pair in example.pairs:
        parts += [f"### {visible(pair.title)}"] * bool(pair.title)
        for i, one, j, other in in_pairs(pair.left, pair.right):
            if one == other and one is not None:
                parts += [f"A and B, {place(i, j)} ({one.role})", _fenced(visible(one.text))]
                continue
            texts = with_marks(one, other)
            for letter, number, message, text in (("A", i, one, texts[0]), ("B", j, other, texts[1])):
                if message is not None:
                    parts += [f"{letter}, message {number} ({message.role})", _fenced(text)]
    if not any(p.left or p.right for p in example.pairs):
        parts.append("Its records have no texts.")
    return "\n\n".join(parts) + "\n"


def place(i: int | None, j: int | None) -> str:
    """Number of a message that both have."""
    return f"message {i}" if i == j else f"message {i} and {j}"


def with_marks(one: Message | None, other: Message | None) -> list[str]:
    """Both texts with marks around what differs; a text without partner has none."""
    if one is None or other is None:
        return [visible((one or other).text)] * 2  # type: ignore[union-attr]
    sides = zip(marked(one.text, other.text), (LEFT, RIGHT), strict=True)
    return ["".join(f"{m[0]}{visible(t)}{m[1]}" if differs else visible(t) for t, differs in side) for side, m in sides]


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in _runs(text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def as_json(found: Comparison, examples: Sequence[Example]) -> dict[str, Any]:
    """The comparison as a value of JSON, with these examples; null for what is not finite."""
    d, block = found.difference, found.block
    versus = {}
    if d is not None:
        e = d.estimate
        versus = {"value": e.value, "low": e.low, "high": e.high, "interval": e.how, "df": e.df, "p": d.p}
        versus |= {"examples": d.units, "left_out": len(d.left_out)}
    whole: dict[str, Any] = from_json(
        to_json(
            {
                "a": _side_json(block.rows[0]),
                "b": _side_json(block.rows[1]),
                "setting": block.values,
                "metric": block.metric,
                "higher_is_better": block.higher_is_better,
                "differs": found.differs,
                "in_one_only": found.in_one,
                "difference": versus or None,
                "summary": summary(found),
                "examples": [_example_json(found, e) for e in examples],
                "above": block.above,
                "notes": block.notes,
            },
            inf_nan_mode="null",
        )
    )
    return whole


def _side_json(row: Row) -> dict[str, Any]:
    (e,), value = row.evaluations, row.estimate
    of = {"cell": e.cell.folder, "evaluation": e.folder, "algorithm": e.cell.algorithm, "seed": e.cell.seed}
    numbers = {"value": value.value, "low": value.low, "high": value.high, "metrics": dict(e.metrics)}
    return {**of, "update": e.update, **numbers}


def _example_json(found: Comparison, example: Example) -> dict[str, Any]:
    title, first = example.first or ("", None)
    return {
        "example": example.name,
        "a": example.left,
        "b": example.right,
        "difference": None if math.isnan(example.difference) else example.difference,
        "higher": found.higher(example),
        "left_out": example.why or None,
        "first_difference": None if first is None else {"record": title, **first._asdict()},
    }
