"""Which answers become pairs: stated comparisons, repeated and contradictory rows, one text twice, doubtful scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
from shiqbench_tasks.ultrafeedback.data import Data, Prompt
from shiqbench_tasks.ultrafeedback.returns import as_episodes, chosen, pairs, tied_pairs, transformation
from shiqbench_tasks.ultrafeedback.told import lines
from uf_rows import Row, conversations, from_rows, paired, rated

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.reward import Answered, Pair, held_out_accuracy
from shiqbench.training.units import make_units


def prompts(data: Data) -> list[Prompt]:
    return [p for split in data.prompts.values() for p in split]


def trained_pairs(data: Data, **settings: Any) -> list[tuple[str, str]]:
    """The texts of every pair that a pair-based algorithm gets, the better one first."""
    config = UltraFeedbackConfig(**settings)
    found = as_episodes(prompts(data), config, transformation(prompts(data), config))
    texts = [e.messages[-1].content for e in found]
    return [(texts[u.rows[0]], texts[u.rows[1]]) for u in make_units(Dpo(DpoConfig()), found)]


def judged_pairs(data: Data, returns: str) -> list[tuple[str, str]]:
    """The texts of every pair that a reward model gets."""
    return [(p.better, p.worse) for p in pairs(prompts(data), returns)]


def said(data: Data) -> str:
    return "\n".join(lines(data, {"tied_pairs": 0}, "x"))


def comparisons(*names: str, count: int = 60) -> list[Row]:
    """``AB`` is a row in which answer A was preferred to B."""
    return [
        {"prompt": f"question {i}", "chosen": f"{better} {i}", "rejected": f"{worse} {i}"}
        for better, worse in map(tuple, names)
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("stated", "wanted", "counts"),
    [
        (["AB", "CD"], ["AB", "CD"], {"merged_rows": 60}),
        (["AB", "AC", "AD"], ["AB", "AC", "AD"], {"merged_rows": 120}),
        (["AB", "BC"], ["AB", "BC"], {"merged_rows": 60}),
        (["AB", "AB"], ["AB"], {"duplicate_rows": 60}),
        (["AB", "CD", "AB", "AB"], ["AB", "CD"], {"duplicate_rows": 120, "merged_rows": 60}),
        (["AB", "BA", "CD"], ["CD"], {"undecided_pairs": 60, "merged_rows": 120}),
        (["AB", "AB", "BA", "CD"], ["CD"], {"undecided_pairs": 60, "duplicate_rows": 60, "merged_rows": 120}),
        (["AA", "AB"], ["AB"], {"identical_pairs": 60, "merged_rows": 60}),
    ],
)
def test_only_stated_comparisons_are_pairs_each_once(
    stated: list[str], wanted: list[str], counts: dict[str, int]
) -> None:
    data = from_rows(comparisons(*stated), returns="preference")
    found = trained_pairs(data, returns="preference")
    assert sorted(found) == sorted((f"{a} {i}", f"{b} {i}") for a, b in map(tuple, wanted) for i in range(60))
    assert sorted(judged_pairs(data, "preference")) == sorted(found)
    assert tied_pairs(prompts(data), "preference") == 0
    told = {name: n for name, n in data.counts.items() if n and not name.endswith(("_prompts", "_answers"))}
    assert told == {"rows": 60 * len(stated), **counts}


def test_both_directions_of_a_pair_are_named_by_their_rows() -> None:
    found = comparisons("AB", "CD")
    found.append({**found[3], "chosen": found[3]["rejected"], "rejected": found[3]["chosen"]})
    data = from_rows(found, returns="preference")
    assert "left out: 1 pairs of answers of which each is preferred to the other" in said(data)
    assert "pairs of answers of which each is preferred to the other: train rows 4, 121" in said(data)
    with pytest.raises(
        ConfigError, match=r"no prompt for train among 120 rows: left out: .*60 pairs of answers of which"
    ):
        from_rows(comparisons("AB", "BA"), returns="preference")


def test_an_answer_of_a_stated_comparison_earns_in_it_and_the_best_is_one_that_nothing_beats() -> None:
    data = from_rows(comparisons("BC", "AB"), returns="preference")
    config = UltraFeedbackConfig(returns="preference", centre="group")
    found = as_episodes(data.prompts["train"], config, transformation(data.prompts["train"], config))
    assert len({e.group for e in found}) == 2 * len(data.prompts["train"])
    assert [e.total_reward for e in found[:4]] == [0.5, -0.5, 0.5, -0.5]
    assert len({e.id for e in found}) == len(found)
    assert {chosen(p, "preference")[0] for p in prompts(data)} == {"A"}


def scored(*rows: tuple[str, float, str, float], count: int = 60) -> list[Row]:
    return [
        {
            "prompt": f"question {i}",
            "chosen": f"{a} {i}",
            "rejected": f"{b} {i}",
            "score_chosen": ra,
            "score_rejected": rb,
        }
        for a, ra, b, rb in rows
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("rows", "wanted", "counts"),
    [
        ([("A", 8, "B", 4), ("A", 8, "B", 4)], ["AB"], {"duplicate_rows": 60}),
        ([("A", 8, "B", 4), ("A", 8, "C", 6)], ["AB", "AC", "CB"], {"merged_rows": 60, "repeated_answers": 60}),
        ([("A", 8, "B", 4), ("B", 8, "A", 4)], [], {"repeated_answers": 120, "averaged_answers": 120}),
        ([("A", 8, "B", 4), ("A", 4, "C", 5)], ["AB", "AC", "CB"], {"repeated_answers": 60, "averaged_answers": 60}),
        ([("A", 8, "A", 4), ("B", 9, "C", 3)], ["BA", "BC", "AC"], {"repeated_answers": 60, "averaged_answers": 60}),
    ],
)
def test_a_rated_text_is_one_answer_with_the_mean_of_its_ratings(
    rows: list[tuple[str, float, str, float]], wanted: list[str], counts: dict[str, int]
) -> None:
    data = from_rows(scored(*rows))
    expected = sorted((f"{a} {i}", f"{b} {i}") for a, b in map(tuple, wanted) for i in range(60))
    assert sorted(judged_pairs(data, "rating")) == expected
    if wanted:
        assert sorted(trained_pairs(data)) == expected
    assert {name: data.counts[name] for name in counts} == counts


@pytest.mark.parametrize(
    ("make", "returns"),
    [
        (paired, "rating"),
        (conversations, "rating"),
        (rated, "rating"),
        (paired, "preference"),
        (conversations, "preference"),
    ],
)
def test_no_text_is_in_a_pair_with_itself_and_all_are_counted(make: Any, returns: str) -> None:
    found = make(100)
    for row in found[:40]:
        if make is rated:
            row["completions"][1]["response"] = row["completions"][0]["response"]
        else:
            row["rejected"] = row["chosen"]
    data = from_rows(found, returns=returns)
    assert not [pair for pair in trained_pairs(data, returns=returns) if pair[0] == pair[1]]
    assert not [pair for pair in judged_pairs(data, returns) if pair[0] == pair[1]]
    name, words = {
        "rating": ("repeated_answers", "40 answers whose text the prompt has already"),
        "preference": ("identical_pairs", "40 comparisons of a text with itself"),
    }[returns]
    assert data.counts[name] == 40
    assert words in said(data)


class LongerIsBetter:
    def score(self, answered: list[Answered]) -> list[float]:
        return [float(len(a.answer)) for a in answered]


def test_a_reward_model_that_is_always_right_is_right_on_every_held_out_pair() -> None:
    found = paired(100)
    for row in found[:75]:
        row["rejected"] = row["chosen"]
    model: Any = LongerIsBetter()
    held_out = pairs(prompts(from_rows(found)), "rating")
    assert held_out_accuracy(model, held_out) == (25, 25)
    assert held_out_accuracy(model, [*held_out, Pair((), "the same", "the same")]) == (25, 25)


def raw(overall: list[Any], aspects: list[Any]) -> list[Row]:
    """Rows of openbmb/UltraFeedback with these two scores."""
    found = rated(60)
    for row in found:
        for completion, a, b in zip(row["completions"], overall, aspects, strict=True):
            completion["overall_score"] = a
            completion.pop("fine-grained_score")
            if isinstance(b, list):
                completion["annotations"] = {str(i): {"Rating": r, "Rationale": ""} for i, r in enumerate(b)}
            else:
                completion |= {"fine-grained_score": b, "annotations": {}}
    return found


@pytest.mark.parametrize(
    ("overall", "aspects", "wanted", "corrected", "doubtful"),
    [
        ([8.0, 10.0, 10.0, 3.0], [4.5, 1.25, 4.75, 2.0], [8.0, 1.0, 10.0, 3.0], 1, 0),
        ([8.0, 10.0, 10.0, 10.0], [4.5, 2.0, 4.0, 4.25], [8.0, 1.0, 10.0], 1, 1),
        ([8.0, 10, 9.5, 10.0], [4.5, ["1", "2", "N/A", "1"], 1.0, ["5", "4", "5", "5"]], [8.0, 1.0, 9.5, 10.0], 1, 0),
        ([8.0, "10", 7.0, 10.0], [4.5, 1.0, 1.0, None], [8.0, 1.0, 7.0, 10.0], 1, 0),
    ],
)
def test_an_overall_ten_is_believed_only_if_the_answers_own_aspects_agree(
    overall: list[Any], aspects: list[Any], wanted: list[float], corrected: int, doubtful: int
) -> None:
    data = from_rows(raw(overall, aspects))
    assert {tuple(a.rating for a in p.answers) for p in prompts(data)} == {tuple(wanted)}
    assert (data.counts["corrected_tens"], data.counts["doubtful_tens"]) == (60 * corrected, 60 * doubtful)
    assert "60 overall scores of 10 read as 1, because the aspects average 2 or less" in said(data)
    assert ("60 answers rated 10 overall whose aspects average between 2 and 4" in said(data)) == bool(doubtful)
    kept = from_rows(raw(overall, aspects), doubtful_tens="keep")
    assert {tuple(a.rating for a in p.answers) for p in prompts(kept)} == {tuple(float(o) for o in overall)}


def test_the_aspects_themselves_can_be_the_rating() -> None:
    data = from_rows(raw([8.0, 10.0, 10.0, 3.0], [4.5, 1.25, 4.75, 2.0]), columns={"score": "fine-grained_score"})
    assert {tuple(a.rating for a in p.answers) for p in prompts(data)} == {(4.5, 1.25, 4.75, 2.0)}
    assert "read as 1" not in said(data)


def test_one_line_says_how_much_was_read_and_one_each_what_was_changed_and_left_out(
    tmp_path: Path,
) -> None:
    found = paired(100)
    found[0]["rejected"] = " "
    found[1]["prompt"] = ""
    data = from_rows(found + found[5:9])
    first, second, third = lines(data, {"tied_pairs": 0, "long_answers": 0}, "x")
    sizes = {s: (len(p), sum(len(q.answers) for q in p)) for s, p in data.prompts.items()}
    assert sum(n for n, _ in sizes.values()) == 99
    assert first == "x: 104 rows: " + ", ".join(f"{s} {n} prompts with {m} answers" for s, (n, m) in sizes.items())
    assert second == "x: left out: 1 rows with an empty prompt, 1 empty answers, 4 rows given before"
    assert third == "x: empty answers: train row 1"
    long = lines(data, {"tied_pairs": 2, "long_answers": 3}, "x")
    assert "x: left out of training: 3 answers longer than task.longest_answer" in long
    assert "x: 2 pairs of training answers earn the same; algorithms of pairs skip them" in long
