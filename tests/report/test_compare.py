"""Two evaluations, example by example: the numbers are those of a report, and what cannot be compared is said."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up import cell, evaluation

from shiqbench.base.errors import ConfigError, CorruptCellError
from shiqbench.plugin.record_view import RecordView
from shiqbench.plugin.registry import registry
from shiqbench.plugin.task import Scores
from shiqbench.report.compare import Comparison, compare
from shiqbench.report.compare_text import as_json, example_markdown, markdown, summary
from shiqbench.report.estimates import against
from shiqbench.report.known import KnownTask
from shiqbench.report.ledger import Ledger
from shiqbench.report.page.two import page_of_two
from shiqbench.report.scores import ScoreBook
from shiqbench.report.side_by_side import messages
from shiqbench.store.cell import mark_done
from shiqbench.store.index import Index, read_evaluation

pytestmark = pytest.mark.usefixtures("own_cache")
HOW = Scores("id", "wins", without={"stop": "error"})
TOYS: dict[str, Any] = {"task": "toys", "metric": "wins", "higher": True}
VIEW = RecordView(conversation="talk", answer="answer", verdict=("wins",))
KNOWN = KnownTask("toys", scores={"wins": HOW}, record_view=VIEW)


def played(
    results: Path,
    name: str,
    scores: Sequence[float],
    crashed: str = "",
    answers: Sequence[str] | None = None,
    **more: Any,
) -> Path:
    """An evaluation; ``crashed`` has one letter per example, x for a crash."""
    stops = ["error" if c == "x" else "model" for c in crashed.ljust(len(scores))]
    talk = json.dumps([["user", "Say yes."]])
    records = {"stop": stops, "talk": [talk] * len(scores), "answer": answers or [f"{name} says {s}" for s in scores]}
    of = cell(results, name, more.pop("seed", 0), task="toys")
    return evaluation(of, scores, records={**records, **more.pop("records", {})}, **{**TOYS, **more})


def compared(*two: Path, known: KnownTask = KNOWN) -> Comparison:
    left, right = map(read_evaluation, two)
    return compare(left, right, known, ScoreBook(Path()), Ledger(Index(two[0].parents[4]), registry()))


SCORES = [0.1 * n for n in range(12)]


def test_the_numbers_are_those_of_a_report(tmp_path: Path) -> None:
    shift = [0.0, 0.3, -0.2, *[0.1] * 9]
    left = played(tmp_path, "dpo", [s + d for s, d in zip(SCORES, shift, strict=True)])
    right = played(tmp_path, "sft", SCORES)
    found = compared(left, right)
    wanted = against([found.left], [found.right], HOW, ScoreBook(Path()))
    assert wanted is not None
    assert found.difference == wanted
    assert any(n.startswith("smallest difference from sft") for n in found.block.notes)
    assert wanted.estimate.value == pytest.approx(sum(shift) / 12)
    assert [e.name for e in found.examples[:2]] == ["x1", "x2"]
    assert [e.difference for e in found.examples[:3]] == pytest.approx([0.3, -0.2, 0.1])
    assert found.examples[-1].name == "x0"
    counts = [sum(found.higher(e) == side for e in found.examples) for side in ("A", "B", "same")]
    assert counts == [wanted.better, wanted.worse, 1] == [10, 1, 1]
    said = " ".join(summary(found))
    assert f"p = {wanted.p:.2g}" in said
    assert "wins of A (dpo) is higher (higher is better): " in said
    assert "Of 12 examples: A higher in 10, B higher in 1, same in 1." in said
    assert "The texts differ in 12 of 12." in said


def test_lower_can_be_better(tmp_path: Path) -> None:
    left, right = (played(tmp_path, n, s, higher=False) for n, s in (("dpo", [0.1] * 12), ("sft", [0.2] * 12)))
    found = compared(left, right)
    assert {found.higher(e) for e in found.examples} == {"B"}
    assert "lower (lower is better)" in summary(found)[0]


def test_a_difference_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    turned = [s + (0.1 if i % 2 else -0.1) for i, s in enumerate(SCORES)]
    assert summary(compared(played(tmp_path, "dpo", turned), played(tmp_path, "sft", SCORES)))[0].startswith(
        "No difference is found: wins "
    )


def test_crashes_are_counted_and_come_last(tmp_path: Path) -> None:
    found = compared(played(tmp_path, "dpo", SCORES, crashed="  x"), played(tmp_path, "sft", SCORES, crashed="x"))
    assert [(e.name, e.why) for e in found.examples[-2:]] == [("x0", "stop=error"), ("x2", "stop=error")]
    assert found.difference is not None
    assert found.difference.units == 10
    assert "2 examples left out on both sides." in summary(found)
    assert "| x2" in markdown(found, 12)
    assert "stop=error" in example_markdown(found, found.example("x2"))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_left_out(tmp_path: Path, bad: float) -> None:
    found = compared(played(tmp_path, "dpo", [bad, *SCORES[1:]]), played(tmp_path, "sft", SCORES))
    assert [(e.name, e.why) for e in found.examples if e.why] == [("x0", "no finite score")]
    assert "NOT FINITE" in markdown(found)
    whole = json.dumps(as_json(found, found.examples), allow_nan=False)
    assert json.loads(whole)["a"]["value"] is None
    assert summary(found)[0].startswith("No difference is found: wins A less B +0.000 [")
    assert "1 example left out on both sides." in summary(found)


@pytest.mark.parametrize("n", [1, 9])
def test_few_examples_conclude_nothing(tmp_path: Path, n: int) -> None:
    found = compared(played(tmp_path, "dpo", [1.0] * n), played(tmp_path, "sft", [0.0] * n))
    assert summary(found)[0].startswith("Nothing can be concluded: wins 1.000 and 0.000, A less B +1.000;")
    assert as_json(found, [])["difference"]["p"] is None


@pytest.mark.parametrize("known", [KnownTask("toys"), KnownTask("toys", record_view=VIEW)])
def test_without_single_scores_the_values_are_shown(tmp_path: Path, known: KnownTask) -> None:
    found = compared(played(tmp_path, "dpo", SCORES), played(tmp_path, "sft", SCORES[::-1]), known=known)
    assert summary(found)[0].startswith("Nothing can be concluded: wins 0.550 and 0.550")
    assert {e.why for e in found.examples} == {"the task names no single scores"}
    assert found.texts
    assert "A: `0.0`" in markdown(found) or "A: `dpo says 0.0`" in markdown(found)


def test_other_examples_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    left = played(tmp_path, "dpo", SCORES)
    right = played(tmp_path, "sft", SCORES[:-1])
    found = compared(left, right)
    assert summary(found) == ["Not compared: they share no scored example."]
    assert found.example("x11").why == "only one of the two has it"
    assert page_of_two(found).notes == summary(found)


def test_seeds_of_one_recipe_are_named_by_their_seed(tmp_path: Path) -> None:
    found = compared(*(played(tmp_path, "dpo", SCORES, seed=seed) for seed in (0, 3)))
    assert found.differs == {"seed": (0, 3)}
    assert markdown(found).startswith("## A (dpo seed 0) and B (dpo seed 3)\n")
    assert not any("seeds differ" in n for n in found.block.notes)


def test_unequal_budgets_are_said(tmp_path: Path) -> None:
    of = [cell(tmp_path, n, task="toys", budget={"updates": u, "tokens": u}) for n, u in (("dpo", 10), ("sft", 99))]
    found = compared(*(evaluation(c, SCORES, **TOYS, records={"stop": ["model"] * 12}) for c in of))
    assert found.block.above[0].startswith("UNEQUAL budgets")
    assert found.block.withheld
    text = markdown(found)
    assert text.index("UNEQUAL budgets") < text.index(summary(found)[0])
    assert found.block.above[0] in page_of_two(found).main_notes


def test_settings_that_differ_are_named(tmp_path: Path) -> None:
    left = played(tmp_path, "dpo", SCORES, engine="vllm 1", split="test")
    with pytest.raises(ConfigError, match=r"not .* the same setting \(engine: vllm 1 and vllm 2\) .*--engine"):
        compared(left, played(tmp_path, "sft", SCORES, engine="vllm 2", split="test"))
    with pytest.raises(ConfigError, match=r"same setting \(toys and games\).*one task"):
        compared(left, played(tmp_path, "sft", SCORES, task="games"))
    with pytest.raises(ConfigError, match="both are the same evaluation"):
        compared(left, left)


def test_damaged_records_are_an_error_of_one_line(tmp_path: Path) -> None:
    left, right = played(tmp_path, "dpo", SCORES), played(tmp_path, "sft", SCORES)
    (right / "records.parquet").write_bytes((left / "records.parquet").read_bytes())
    with pytest.raises(CorruptCellError, match=r"records\.parquet has another sha256"):
        compared(left, right)


def test_records_in_another_order_are_the_same_examples(tmp_path: Path) -> None:
    left, right = played(tmp_path, "dpo", SCORES), played(tmp_path, "sft", SCORES)
    shuffled = pd.read_parquet(right / "records.parquet")[::-1]
    shuffled.to_parquet(right / "records.parquet")
    mark_done(right, list(right.glob("*.*")))
    found = compared(left, right)
    assert [e.difference for e in found.examples] == [0.0] * 12
    for e in found.examples:
        assert e.pairs[0].left[-1].text == f"dpo says {e.left}"
        assert e.pairs[0].right[-1].text == f"sft says {e.right}"


def test_repeats_of_an_example_are_paired_and_named(tmp_path: Path) -> None:
    folders = []
    for name, order in (("dpo", [0, 1]), ("sft", [1, 0])):
        records = {"id": [f"x{i // 2}" for i in range(24)], "repeat": order * 12}
        folders.append(played(tmp_path, name, [1.0] * 24, answers=[f"{r}" for r in order * 12], records=records))
    found = compared(*folders)
    assert [p.title for p in found.examples[0].pairs] == ["id x0, repeat 0", "id x0, repeat 1"]
    assert all(e.first is None for e in found.examples)


def test_equal_scores_with_different_texts_come_before_equal_texts(tmp_path: Path) -> None:
    answers = ["same"] * 12
    left = played(tmp_path, "dpo", SCORES, answers=[*answers[:7], "other", *answers[8:]])
    found = compared(left, played(tmp_path, "sft", SCORES, answers=answers))
    assert found.examples[0].name == "x7"
    assert "The texts differ in 1 of 12." in summary(found)
    text = markdown(found)
    assert "- **x7**: message 2 (assistant)\n  - A: `other`\n  - B: `same`" in text
    full = example_markdown(found, found.example("x7"))
    assert "[-other-]" in full
    assert "{+same+}" in full
    assert "A and B, message 1 (user)\n\n```text\nSay yes.\n```" in full


def test_an_example_that_does_not_exist_is_refused_with_a_guess(tmp_path: Path) -> None:
    found = compared(played(tmp_path, "dpo", SCORES), played(tmp_path, "sft", SCORES))
    with pytest.raises(ConfigError, match=r"no example 'x111'.*did you mean"):
        found.example("x111")


def test_texts_of_models_cannot_break_out_of_the_markdown(tmp_path: Path) -> None:
    hostile = "```\n# Title\x1b[2J `x` | <script>"
    answers = [hostile, *["a"] * 11]
    found = compared(played(tmp_path, "dpo", SCORES, answers=answers), played(tmp_path, "sft", SCORES))
    assert "````" in example_markdown(found, found.example("x0"))
    for text in (markdown(found, 12), example_markdown(found, found.example("x0"))):
        assert "\x1b" not in text
    (line,) = (line for line in markdown(found, 12).splitlines() if "Title" in line)
    assert line == "  - A: ```` ```⏎# Title␛[2J `x` | <script> ````"


@pytest.mark.parametrize(
    ("talk", "texts"),
    [
        ('[{"role": "user", "content": "a"}, ["assistant", "b"]]', ["a", "b"]),
        ('[{"role": "assistant", "content": null, "tool_calls": ["f"], "token_ids": [1]}]', ['tool_calls: ["f"]']),
        ("no json", ["no json"]),
        ('{"a": 1}', ['{"a": 1}']),
        ('[{"role": "user", "content": [{"type": "text"}]}, 7]', ['[{"type": "text"}]', "7"]),
        ("", []),
        (None, []),
    ],
)
def test_every_conversation_has_messages(talk: str | None, texts: list[str]) -> None:
    assert [m.text for m in messages({"talk": talk}, RecordView(conversation="talk"))] == texts


def test_without_a_view_every_column_of_text_is_one() -> None:
    record = {"id": "x", "output": "hello", "n": 3, "note": "y"}
    assert messages(record, RecordView()) == [("output", "hello"), ("note", "y")]
    assert messages(record, RecordView(verdict=("output",), omit=("note",))) == []


def test_the_page_links_the_difference_to_both_sides(tmp_path: Path) -> None:
    found = compared(played(tmp_path, "dpo", [s + 0.1 for s in SCORES]), played(tmp_path, "sft", SCORES))
    page = page_of_two(found, 5)
    links = {c.link for t in page.tables for row in t.rows for c in row if c.link}
    assert {"#b0-r0", "#b0-r1", "#b0-r0-r1", "#b0-r0-r1-xx3"} <= links
    assert [len(t.rows) for t in page.tables] == [len(page.tables[0].rows), 2, 5]
    assert dict(page.facts)["A higher"] == "12"
    assert not any(r.why for r in page.records)
