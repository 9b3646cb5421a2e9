"""Every form is recognised, and becomes the same episodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ep_rows import Row, calls, from_rows, kto, own, said, sharegpt, texts
from shiqbench_tasks.episodes.reading import Data

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Episode


def completions(count: int) -> list[Row]:
    return [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(count)]


FORMS: list[tuple[str, list[Row]]] = [
    ("episodes", own(60)),
    ("openai", calls(60)),
    ("sharegpt", sharegpt(60)),
    ("preference", texts(60)),
    ("kto", kto(60)),
    ("completion", completions(60)),
]


def first(data: Data) -> Episode:
    """The episode of the first row of them all."""
    return min(data.all, key=lambda e: e.place.number).episode


def shape(episode: Episode) -> list[tuple[str, str, bool, float | None]]:
    return [(m.role, m.content, m.action, m.reward) for m in episode.messages]


@pytest.mark.parametrize(("name", "rows"), FORMS)
def test_a_form_is_recognised_by_its_columns_and_can_be_named(name: str, rows: list[Row]) -> None:
    data = from_rows(rows)
    assert data.form.name == data.facts()["form"] == name
    assert not data.bad
    assert not data.unread
    assert not data.unread_columns
    assert [e.episode for e in from_rows(rows, form=name).all] == [e.episode for e in data.all]


@pytest.mark.parametrize("column", ["group", "split", "behaviour"])
def test_messages_with_a_column_of_ours_are_ours(column: str) -> None:
    value = {"group": "g{}", "split": "{}", "behaviour": "me"}[column]
    rows = [
        {**r, column: value.format(i if column == "group" else ("train", "test")[i % 2])} for i, r in enumerate(CALLS)
    ]
    assert from_rows(rows).form.name == "episodes"
    plain = from_rows([{**row, column: None} for row in CALLS])
    assert plain.form.name == "openai"


def test_no_known_form_is_one_line_that_names_the_columns() -> None:
    with pytest.raises(ConfigError, match=r"no known form has the columns answer, question \(rows\); give one of: ch"):
        from_rows([{"question": "a", "answer": "b", "empty": None}])
    with pytest.raises(ConfigError, match="no rows"):
        from_rows([])


def test_rewards_and_actions_of_our_own_form_stay_on_their_messages() -> None:
    rows = own(60)
    rows[0]["messages"][1] = said("assistant", "which one 0?", action=False)
    episode = first(from_rows(rows))
    assert shape(episode) == [
        ("user", "question 0", False, None),
        ("assistant", "which one 0?", False, None),
        ("user", "the red one", False, None),
        ("assistant", "bad answer 0", True, 0.0),
    ]
    assert (episode.group, episode.behaviour) == ("g0", "recorded")


def test_openai_calls_are_actions_and_a_weight_of_0_is_none() -> None:
    rows = calls(60, unit=None)
    episode = first(from_rows(rows))
    assert [m.action for m in episode.messages] == [False, False, True, False, True]
    assert [m.reward for m in episode.messages] == [None, None, None, None, 1.0]  # a demonstration
    (call,) = episode.messages[2].extra["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": {"city": "town 0", "unit": None}}
    assert episode.tools[0]["function"]["name"] == "weather"
    del rows[0]["messages"][2]["content"]  # some exports leave it out next to calls
    rows[0]["messages"][2]["weight"] = 0
    episode = first(from_rows(rows))
    assert [m.action for m in episode.messages] == [False, False, False, False, True]


def test_sharegpt_is_the_same_as_openai_messages() -> None:
    one, two = first(from_rows(sharegpt(60))), first(from_rows(calls(60)))
    assert shape(one) == shape(two)
    assert one.tools == two.tools
    assert one.messages[2].extra["tool_calls"][0]["function"] == two.messages[2].extra["tool_calls"][0]["function"]


QUESTION, GOOD, BAD = said("user", "why?"), said("assistant", "good"), said("assistant", "bad")
MORE = [said("user", "and?"), said("assistant", "so")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "why?", "chosen": "good", "rejected": "bad"},
        {"prompt": [QUESTION], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [QUESTION], "chosen": GOOD, "rejected": BAD},
        {"prompt": "why?", "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
        {"prompt": None, "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
        {"chosen": "\n\nHuman: why?\n\nAssistant: good", "rejected": "\n\nHuman: why?\n\nAssistant: bad"},
    ],
)
def test_every_spelling_of_a_preference_is_the_same_pair(row: Row) -> None:
    data = from_rows([*texts(60), row])
    good, bad = (e.episode for e in data.all if e.place.number == 61)
    assert shape(good) == [("user", "why?", False, None), ("assistant", "good", True, 1.0)]
    assert shape(bad) == [("user", "why?", False, None), ("assistant", "bad", True, 0.0)]
    assert (good.behaviour, bad.behaviour) == ("chosen", "rejected")
    assert good.group == bad.group


def test_a_preference_of_several_turns_acts_only_after_what_both_share() -> None:
    shared = [QUESTION, said("assistant", "hm"), said("user", "well?")]
    row = {"chosen": [*shared, GOOD, *MORE], "rejected": [*shared, BAD, *MORE]}
    good, bad = (e.episode for e in from_rows([*texts(60), row]).all if e.place.number == 61)
    assert [m.action for m in good.messages] == [False, False, False, True, False, True]
    assert [m.reward for m in good.messages] == [None] * 5 + [1.0]
    assert [m.reward for m in bad.messages] == [None] * 5 + [0.0]


def test_two_comparisons_of_a_prompt_are_two_groups_of_one_split() -> None:
    rows = [*texts(60), {"prompt": "question 3", "chosen": "another good", "rejected": "another bad"}]
    data = from_rows(rows)
    by_row = {e.place.number: e.episode.group for e in data.all}
    assert by_row[4] != by_row[61]
    where = {e.place.number: split for split, found in data.episodes.items() for e in found}
    assert where[4] == where[61]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "why?", "completion": "good", "label": True},
        {"prompt": [QUESTION], "completion": [GOOD], "label": True},
        {"prompt": "why?", "completion": [QUESTION, GOOD], "label": 1},
    ],
)
def test_a_judged_completion_earns_its_label(row: Row) -> None:
    (episode,) = (e.episode for e in from_rows([*kto(60), row]).all if e.place.number == 61)
    assert shape(episode) == [("user", "why?", False, None), ("assistant", "good", True, 1.0)]
    assert first(from_rows(kto(60))).total_reward == 1.0
    assert {e.behaviour for e in (r.episode for r in from_rows(kto(60)).all)} == {"desirable", "undesirable"}


def changed(rows: list[Row], **changes: Any) -> list[Row]:
    return [{**rows[0], **changes}, *rows[1:]]


OWN, CALLS, SHARED, TEXTS, KTO = own(60), calls(60), sharegpt(60), texts(60), kto(60)
BROKEN: list[tuple[list[Row], str]] = [
    (changed(OWN, messages=[QUESTION]), "no action, so nothing to learn"),
    (changed(OWN, messages=[GOOD]), "an action at the start"),
    (changed(OWN, messages=[QUESTION, GOOD, BAD]), "an action that follows another message of the assistant"),
    (changed(OWN, messages=[{**QUESTION, "action": True}, GOOD]), "an action of a message that is not the assistant's"),
    (changed(OWN, messages=[QUESTION, {**GOOD, "action": "yes"}]), "an action that is neither true nor false"),
    (changed(OWN, messages=[QUESTION, {**GOOD, "action": False, "reward": 1.0}]), "a reward of a message that is no a"),
    (changed(OWN, messages=[{**QUESTION, "reward": 1.0}, GOOD]), "a reward of a message that is not the assistant's"),
    (changed(OWN, messages=[QUESTION, {**GOOD, "reward": "much"}]), "a message's reward that is no number"),
    (changed(OWN, messages=[QUESTION, {**GOOD, "reward": float("nan")}]), "a message's reward that is no number"),
    (changed(OWN, messages=[QUESTION, GOOD]), "no reward, which other rows have"),
    (changed(OWN, messages=[said("wizard", "a"), GOOD]), "a role that is none of"),
    (changed(OWN, messages="text"), "messages that are no list"),
    (
        [OWN[0], *({**row, "split": ("train", "test")[i // 2 % 2]} for i, row in enumerate(OWN[2:]))],
        "no split, which other",
    ),
    (changed(CALLS, messages=None), "no messages, which OpenAI messages have"),
    (changed(CALLS, tools="[1]"), "tools are no list of tool documents"),
    (changed(SHARED, conversations=[{"from": "cat", "value": "meow"}]), "a turn whose `from` is none of"),
    (changed(SHARED, conversations=[{"from": "function_call", "value": "{"}]), "a function_call that is no JSON"),
    (changed(TEXTS, chosen=None), "no chosen, which preferences"),
    (changed(TEXTS, chosen=7), "a column that has neither text nor messages"),
    (
        changed(TEXTS, prompt=None, chosen=[said("user", "when?"), GOOD], rejected=[QUESTION, BAD]),
        "differ before",
    ),
    (changed(TEXTS, prompt="what?", chosen=[QUESTION, GOOD], rejected=[QUESTION, BAD]), "a prompt that is not the beg"),
    (changed(TEXTS, chosen=[GOOD, QUESTION]), "a conversation whose last message is not the assistant's"),
    (changed(KTO, label="yes"), "a label that is neither true nor false"),
]


@pytest.mark.parametrize(("rows", "cause"), BROKEN, ids=[cause for _, cause in BROKEN])
def test_a_bad_row_is_one_line_with_its_cause_and_number_or_is_skipped(rows: list[Row], cause: str) -> None:
    with pytest.raises(ConfigError, match=r"rows cannot be used: .*train rows? 1") as caught:
        from_rows(rows)
    assert cause in str(caught.value)
    assert "--set task.on_bad_row=skip" in str(caught.value)
    skipped = from_rows(rows, on_bad_row="skip")
    assert any(cause in c for c in skipped.bad.places)
    assert all(e.place.number != 1 or "split" in cause for e in skipped.all)


def test_what_is_empty_or_the_same_is_left_out_and_counted() -> None:
    rows = [*texts(60), {"prompt": "a", "chosen": "x", "rejected": "x"}, {"prompt": "b", "chosen": "x", "rejected": ""}]
    data = from_rows(rows)
    assert (data.counts["identical_pairs"], data.counts["empty_answers"]) == (1, 1)
    assert [e.episode.behaviour for e in data.all if e.place.number > 60] == ["chosen"]


def test_columns_and_keys_without_a_meaning_are_named() -> None:
    rows = changed(CALLS, source="web", messages=[{**QUESTION, "likes": 3}, GOOD])
    data = from_rows(json.loads(json.dumps(rows)))
    assert (dict(data.unread_columns), dict(data.unread)) == ({"source": 1}, {"likes": 1})
