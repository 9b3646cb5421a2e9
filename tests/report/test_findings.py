"""p (Holm), the marks that follow it, and the smallest difference that a table can find."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import cell, evaluation
from statsmodels.stats.multitest import multipletests

from shiqbench.commands.app import main
from shiqbench.report import make_report
from shiqbench.report.estimates import Difference, Estimate
from shiqbench.report.findings import find, finding_notes
from shiqbench.report.formats import render
from shiqbench.report.rows import Block
from shiqbench.report.scores import ScoreBook
from shiqbench.report.smallest import Smallest, SmallestOfRows, smallest_of
from shiqbench.report.tables import block_frame
from shiqbench.stats.power import Components, detectable, positive

pytestmark = pytest.mark.usefixtures("own_cache")

GAINS = {"sft": 0.0, "dpo": -0.04, "shiq": -0.2, "dro": 0.15, "copg": 0.0}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A regret of five algorithms: lower is better."""
    return made(tmp_path / "results", GAINS, seeds=3)


def made(folder: Path, gains: dict[str, float], seeds: int, examples: int = 40, spread: float = 0.02) -> Path:
    rng = np.random.default_rng(0)
    hard = 0.5 + 0.1 * rng.normal(size=examples)
    for name, gain in gains.items():
        mine = hard + gain + 0.05 * rng.normal(size=examples)
        for seed in range(seeds):
            scores = mine + 0.05 * rng.normal(size=examples) + spread * rng.normal()
            evaluation(cell(folder, name, seed), list(scores))
    return folder


def block_of(results: Path, baseline: str | None = "sft") -> Block:
    (block,) = make_report(results, baseline=baseline).blocks
    return block


def test_p_is_corrected_over_all_rows_of_the_table(results: Path) -> None:
    differences = [r.difference for r in block_of(results).rows if r.difference is not None]
    assert len(differences) == 4
    assert [d.p_holm for d in differences] == pytest.approx(multipletests([d.p for d in differences], method="holm")[1])


def test_marks_follow_the_corrected_test_and_nothing_else(results: Path) -> None:
    block = block_of(results)
    marks = {r.name: r.mark for r in block.rows}
    assert marks == {"shiq": "+", "dpo": "", "sft": "", "copg": "", "dro": "-"}
    dpo = next(r.difference for r in block.rows if r.name == "dpo")
    assert dpo is not None
    assert dpo.p is not None
    assert dpo.p_holm is not None
    assert dpo.p < 0.05 < dpo.p_holm
    table = dict(zip(block_frame(block)["algorithm"], block_frame(block)["p (Holm)"], strict=True))
    assert re.fullmatch(r"[\d.e-]+ \+", table["shiq"])
    assert re.fullmatch(r"[\d.e-]+ -", table["dro"])
    assert re.fullmatch(r"[\d.]+", table["dpo"])
    assert table["sft"] == "-"


def test_nothing_is_marked_where_better_is_withheld(results: Path) -> None:
    block = block_of(results)
    for row in block.rows:
        row.mark = ""
    block.withheld = "budgets are UNEQUAL"
    find(block, ScoreBook(results))
    assert {r.mark for r in block.rows} == {""}
    (note, _) = finding_notes(block)
    assert note.endswith("no row is marked: budgets are UNEQUAL")
    assert "better" not in note


def test_unequal_budgets_leave_every_row_without_a_mark(results: Path) -> None:
    scores = list(np.random.default_rng(2).normal(size=40))
    for seed in range(3):
        evaluation(cell(results, "longer", seed, budget={"updates": 50, "tokens": 5000}), scores)
    block = block_of(results)
    assert block.withheld
    assert {r.mark for r in block.rows} == {""}
    assert any(n.endswith(f"; no row is marked: {block.withheld}") for n in block.notes)


def test_the_note_says_what_the_table_can_find(results: Path) -> None:
    block = block_of(results)
    assert block.smallest is not None
    found = block.smallest.worst
    assert (found.seeds, found.examples, found.comparisons) == (3, 40, 4)
    assert found.wished < found.value
    note = next(n for n in block.notes if n.startswith("smallest difference"))
    assert note.startswith(
        "smallest difference from sft that this table can find (80 % power, two-sided at 5 % / 4 rows): "
        f"about {found.value:.3f} for {found.row}, the largest, with 3 seeds and 40 examples; "
    )


def test_it_holds_for_the_row_that_it_names(results: Path) -> None:
    block = block_of(results)
    assert block.smallest is not None
    found = {s.row: s.value for s in block.smallest.rows}
    own = {
        r.name: detectable(positive(r.difference.components), 3, 40, 0.0125)
        for r in block.rows
        if r.difference is not None and r.difference.components is not None
    }
    assert found == pytest.approx(own)
    worst, best = max(own, key=lambda k: own[k]), min(own, key=lambda k: own[k])
    assert block.smallest.worst.row == worst
    (note,) = (n for n in block.notes if n.startswith("smallest difference"))
    assert f"about {own[worst]:.3f} for {worst}, the largest, with" in note
    undecided = [r.name for r in block.rows if r.difference and r.difference.p_holm and r.difference.p_holm >= 0.05]
    rest = [name for name in undecided if name not in (worst, best)]
    assert rest
    told = ", ".join(f"{own[name]:.3f} for {name}" for name in rest)
    found_for = "of the rows for which no difference is found"
    assert note.endswith(f"about {own[best]:.3f} for {best}, the smallest; {found_for}: about {told}")


@pytest.mark.parametrize("differing", [0, 1, 9, 10])
def test_few_examples_that_differ_say_only_what_unrelated_rows_would_find(tmp_path: Path, differing: int) -> None:
    scores = np.random.default_rng(3).normal(size=50)
    other = scores + 0.3 * (np.arange(50) < differing)
    evaluation(cell(tmp_path, "sft"), list(scores))
    evaluation(cell(tmp_path, "dpo"), list(other))
    block = block_of(tmp_path)
    (note,) = (n for n in block.notes if n.startswith("smallest difference"))
    assert block.smallest is not None
    said = block.smallest.worst
    both = float(np.var(scores, ddof=1) + np.var(other, ddof=1))
    cautious = detectable(Components(None, both, 0.0), 1, 50)
    assert (said.value == pytest.approx(cautious)) is (differing < 10)
    few = (
        f"too few examples differ ({differing} of 50) to say what this table can find; as if rows shared nothing it is"
    )
    assert (f"{few} about {cautious:.3f} with 1 seed" in note) is (differing < 10)


def test_rows_of_which_few_examples_differ_are_named_together(tmp_path: Path) -> None:
    scores = np.random.default_rng(3).normal(size=50)
    evaluation(cell(tmp_path, "sft"), list(scores))
    for name, differing in (("dpo", 3), ("copg", 7)):
        evaluation(cell(tmp_path, name), list(scores + 0.3 * (np.arange(50) < differing)))
    block = block_of(tmp_path)
    assert block.smallest is not None
    text, worst = block.smallest.text(), max(s.value for s in block.smallest.rows)
    assert text.count("too few examples differ") == 1
    assert "dpo, copg: too few examples differ (3 to 7 of 50)" in text
    assert f"it is at most about {worst:.3f} with 1 seed and 50 examples" in text


def test_differences_at_rounding_noise_are_no_finding(tmp_path: Path) -> None:
    """Regrets near 1e-12: next to each other they give no note; next to a large one they are named."""
    noise = np.random.default_rng(5)
    for name in ("sft", "dpo"):
        evaluation(cell(tmp_path, name), list(5e-11 * noise.random(40)))
    assert block_of(tmp_path).smallest is None
    assert not any("smallest" in n for n in block_of(tmp_path).notes)
    evaluation(cell(tmp_path, "dro"), list(noise.random(40)))
    block = block_of(tmp_path)
    assert block.smallest is not None
    assert [s.row for s in block.smallest.rows] == ["dro"]
    assert block.smallest.rounding == ("dpo",)
    assert "for dro with 1 seed" in block.smallest.text()
    assert block.smallest.text().endswith("; dpo: only rounding varies")
    large = tmp_path / "large"
    for name in ("sft", "dpo"):
        evaluation(cell(large, name), list(1e6 + 1e-3 * noise.random(40)))
    assert block_of(large).smallest is None


@pytest.mark.parametrize("wished", [0.03, 0.01, 2.0])
def test_find_says_what_the_asked_difference_needs(results: Path, wished: float) -> None:
    (block,) = make_report(results, baseline="sft", find=wished).blocks
    assert block.smallest is not None
    found = block.smallest.worst
    (note,) = (n for n in block.notes if n.startswith("smallest difference"))
    assert found.wished == wished
    assert f"find {wished:.3f}" in note
    difference = next(r.difference for r in block.rows if r.name == found.row)
    assert difference is not None
    assert difference.components is not None
    c = positive(difference.components)
    if found.examples_needed is not None:
        assert f"{found.examples_needed} examples find" in note
        assert detectable(c, 3, found.examples_needed, 0.0125) <= wished
    if found.seeds_needed is not None:
        assert f"; {found.seeds_needed} seeds" in note
        assert detectable(c, found.seeds_needed, 40, 0.0125) <= wished
    if wished == 2.0:
        assert (found.seeds_needed, found.examples_needed) == (3, 10)


@pytest.mark.parametrize("words", [["--find", "0"], ["--find", "-0.03"], ["--find", "nan"]])
def test_find_wants_a_difference(results: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", str(results), *words])
    assert ended.value.code == 2
    assert "is no difference (--find); give a number above 0, such as 0.03" in capsys.readouterr().err


def test_without_a_baseline_it_is_that_of_the_two_best_rows(results: Path) -> None:
    block = block_of(results, None)
    (note,) = (n for n in block.notes if n.startswith("smallest difference"))
    assert "between the two best rows, shiq and dpo, that" in note
    assert "two-sided at 5 %):" in note
    one_row = block_of(made(results.parent / "one", {"sft": 0.0}, seeds=3), None)
    assert not any("smallest" in n for n in one_row.notes)


@pytest.mark.parametrize(("seeds", "said"), [(1, "1 seed"), (2, "2 seeds")])
def test_one_or_two_seeds_speak_of_these_weights(tmp_path: Path, seeds: int, said: str) -> None:
    block = block_of(made(tmp_path / "results", GAINS, seeds))
    (note,) = (n for n in block.notes if n.startswith("smallest difference"))
    assert f"with {said} and 40 examples, for these weights; " in note
    assert re.search(r"; \d+ examples find [\d.]+; about [\d.]+ for \w+, the smallest$", note)


def test_an_untrained_baseline_does_not_count_as_a_seed(tmp_path: Path) -> None:
    folder = made(tmp_path / "results", {"sft": 0.0, "dpo": 0.0}, seeds=3)
    evaluation(cell(folder, "base"), list(0.6 + 0.1 * np.random.default_rng(1).normal(size=40)))
    found = block_of(folder, "base").smallest
    assert found is not None
    assert [s.seeds for s in found.rows] == [3, 3]


@pytest.mark.parametrize("examples", [1, 9])
def test_too_few_examples_say_nothing(tmp_path: Path, examples: int) -> None:
    folder = made(tmp_path / "results", GAINS, 3, examples)
    for baseline in ("sft", None):
        block = block_of(folder, baseline)
        assert block.smallest is None
        assert not any("smallest" in n or "Holm" in n for n in block.notes)
        assert {r.mark for r in block.rows} == {""}


def test_rows_that_do_not_vary_tell_nothing(tmp_path: Path) -> None:
    for name in ("sft", "dpo"):
        for seed in range(3):
            evaluation(cell(tmp_path, name, seed), [0.5] * 20)
    assert block_of(tmp_path).smallest is None


def test_every_format_holds_them(results: Path) -> None:
    report = make_report(results, baseline="sft")
    (block,) = json.loads(render(report, "json"))["blocks"]
    assert block["smallest_difference"]["comparisons"] == 4
    assert block["smallest_difference"]["level"] == pytest.approx(0.0125)
    rows = {r["algorithm"]: r for r in csv.DictReader(io.StringIO(render(report, "csv")))}
    assert rows["shiq"]["mark"] == "+"
    assert float(rows["shiq"]["p_holm"]) < 0.05
    assert rows["sft"]["p_holm"] == ""


def of_components(c: Components, seeds: int, examples: int, wished: float | None = None) -> Smallest:
    made = Difference(Estimate(0.0, None, None, ""), 1, 1, examples, components=c, trained_seeds=seeds)
    found = smallest_of([("dpo", made)], 1, largest=1.0, wished=wished)
    assert found is not None
    return found.worst


@pytest.mark.parametrize(
    ("value", "wished"), [(0.061, 0.05), (0.1, 0.08), (1.0, 0.8), (0.0118, 0.01), (0.0117, 0.009), (23.0, 10.0)]
)
def test_a_round_smaller_number_is_wished(value: float, wished: float) -> None:
    one = Components(None, 1.0, 0.0)
    scaled = one._replace(examples=(value / detectable(one, 1, 30)) ** 2)
    assert of_components(scaled, 1, 30).wished == pytest.approx(wished)


def test_what_neither_seeds_nor_examples_find() -> None:
    found = replace(of_components(Components(1.0, 1.0, 0.0), 3, 50), seeds_needed=None, examples_needed=None)
    assert SmallestOfRows((found,)).text().endswith("; only more seeds and more examples find 2.000")
    these = of_components(Components(None, 1.0, 0.0), 1, 50, wished=1e-4)
    assert SmallestOfRows((these,)).text().endswith(", for these weights; more than 100,000 examples find 1.0e-04")
