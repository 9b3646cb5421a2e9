"""Splits, groups, ids, the published schema, and files as they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ep_rows import calls, from_file, from_rows, own, said, texts, write
from shiqbench_tasks.episodes import told
from shiqbench_tasks.episodes.config import EpisodesConfig
from shiqbench_tasks.episodes.questions import pairs, turns
from shiqbench_tasks.episodes.reading import KEYS, read
from shiqbench_tasks.episodes.schema import EpisodeRow, MessageRow
from shiqbench_tasks.rows.conversations import ROLES
from support import SHARED

from shiqbench.base.errors import ConfigError
from shiqbench.stats.intervals import LEAST_EXAMPLES

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "episode.schema.json").read_text())


@pytest.fixture(autouse=True)
def _own_cache(own_cache: Path) -> None:
    """``datasets`` keeps what it has read."""


def test_a_tenth_of_the_prompts_each_is_held_out_with_all_episodes_of_their_groups() -> None:
    data = from_rows(own(300))
    sizes = {split: len(found) for split, found in data.episodes.items()}
    assert sum(sizes.values()) == 600
    assert 30 < sizes["test"] < 90
    assert 30 < sizes["validation"] < 90
    groups = [{e.episode.group for e in found} for found in data.episodes.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 300


def test_splits_that_rows_name_are_taken_and_shared_prompts_are_in_one_of_them() -> None:
    rows = [{**row, "split": ("train", "validation", "test")[i // 2 % 3]} for i, row in enumerate(own(30))]
    data = from_rows(rows)
    assert data.stated_splits
    assert {split: len(found) for split, found in data.episodes.items()} == dict.fromkeys(data.episodes, 20)
    again = {**rows[4], "split": "train", "group": "another"}  # a prompt of the test split
    data = from_rows([*rows, again])
    assert data.counts["episodes_of_another_split"] == 1
    assert len(data.episodes["test"]) == 20
    with pytest.raises(ConfigError, match=r"1 with a split that is none of train, validation, test .*'dev'"):
        from_rows([{**rows[0], "split": "dev"}, *rows[1:]])


def test_a_prompt_of_the_sources_test_split_is_not_trained_on_and_the_test_split_stays() -> None:
    rows = calls(60)
    source = [("test", i, r) for i, r in enumerate(rows[:5])] + [("train", i, r) for i, r in enumerate(rows)]
    data = read(source, EpisodesConfig(), "rows")
    assert [e.place.split for e in data.episodes["test"]] == ["test"] * 5
    assert data.counts["episodes_of_another_split"] == 5
    assert {e.place.split for split in ("train", "validation") for e in data.episodes[split]} == {"train"}


def test_a_split_without_an_episode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no episode for test among 2 rows.*split in every row"):
        from_rows([{**row, "split": "train"} for row in own(1)])


def test_ids_are_given_or_made_and_a_repeated_one_is_a_bad_row() -> None:
    rows = [{**row, "id": i} for i, row in enumerate(own(60))]
    assert {e.episode.id for e in from_rows(rows).all} == {str(i) for i in range(120)}
    made = {e.place.number: e.episode.id for e in from_rows(own(60)).all}
    assert (made[1], made[2], made[3]) == ("g0-0", "g0-1", "g1-0")
    with pytest.raises(ConfigError, match=r"1 with an id that an earlier row has \(train row 2 \(0\)\)"):
        from_rows([rows[0], {**rows[1], "id": 0}, *rows[2:]])


def test_the_order_of_rows_changes_no_group_and_no_turn() -> None:
    one, two = from_rows(calls(80)), from_rows(calls(80)[::-1])
    assert {e.episode.group for e in one.episodes["test"]} == {e.episode.group for e in two.episodes["test"]}
    asked = [turns(d.episodes["test"], "all") for d in (one, two)]
    assert [t.id for t in asked[0]] == [t.id for t in asked[1]]


def test_an_evaluation_asks_each_conversation_once_with_what_was_recorded_before_it() -> None:
    data = from_rows(own(60))
    test = data.episodes["test"]
    last, every = turns(test, "last"), turns(test, "all")
    assert len(last) == len(test)  # the two episodes of a group differ before their last action
    assert len(every) == len(test) + len(test) // 2  # and begin alike
    for turn in last:
        assert [m.role for m in turn.asked] == ["user", "assistant", "user"]
        assert not any(m.action or m.reward is not None for m in turn.asked)
    start = next(t for t in every if len(t.asked) == 1)
    assert [r.earned for r in start.recorded] == [0.25, 1.25]
    assert start.best.message.content == "which one 1?"
    found = pairs(every)
    assert {(p.better, p.worse) for p in found} == {("which one 1?", "which one 0?")}
    assert len(found) == len(test) // 2


def test_calls_are_in_no_pair_of_texts() -> None:
    assert pairs(turns(from_rows(calls(60)).all, "all")) == []
    assert len(pairs(turns(from_rows(texts(60)).all, "last"))) == 60


def test_what_was_read_is_said_in_a_few_lines() -> None:
    rows = [*own(60), {"messages": [said("user", "a")]}]
    lines = told.lines(from_rows(rows, on_bad_row="skip"), 3, "mine.jsonl")
    assert lines[0] == "mine.jsonl: read as episodes of shiqbench: 121 rows, 120 episodes in 60 groups"
    assert lines[1].startswith("mine.jsonl: episodes by split: train ")
    assert lines[2:] == [
        "mine.jsonl: 240 actions, 240 of them with a reward: min 0, mean 0.375, max 1",
        "mine.jsonl: an episode earns 0.75 on average; in 60 of 60 groups the episodes earn differently",
        "mine.jsonl: test groups: 7; fewer than 10 give no interval, splits in the rows hold out more",
        "mine.jsonl: rows skipped: 1 with no action, so nothing to learn (train row 121)",
        "mine.jsonl: left out of training: 3 episodes longer than task.longest_episode",
    ]
    assert told.lines(from_rows(calls(60)), 0, "x")[2] == (
        "x: 120 actions; no row has a reward: every episode is a demonstration and earns 1"
    )


def test_arguments_of_calls_are_read_from_a_file_as_they_are(tmp_path: Path) -> None:
    """Columns of structures get the keys of all rows in some readers."""
    rows = calls(60)
    for i, row in enumerate(rows):
        call = row["messages"][2]["tool_calls"][0]
        call["function"]["arguments"] = {f"key{i % 3}": i if i % 2 else str(i)}
    data = from_file(write(tmp_path / "x.jsonl", rows))
    for each in data.all:
        i = each.place.number - 1
        (call,) = each.episode.messages[2].extra["tool_calls"]
        assert call["function"]["arguments"] == {f"key{i % 3}": i if i % 2 else str(i)}


def test_the_published_schema_is_of_what_is_read() -> None:
    assert {"role", "content", *MessageRow.model_fields} == set(KEYS)
    assert set(MessageRow.model_json_schema()["properties"]["role"]["enum"]) == set(ROLES)
    assert {"messages", "tools", "id", "group", "split", "behaviour", "reward"} == set(EpisodeRow.model_fields)


GOOD_ROWS = [*own(2), *calls(2), {**own(1)[0], "split": "test", "id": 3, "source": "anything"}]
USER = said("user", "a")
BAD_ROWS: list[dict[str, Any]] = [
    {"messages": []},
    {"messages": [USER, said("wizard", "b")]},
    {"messages": [USER, said("assistant", "b", reward="much")]},
    {"messages": [USER, said("assistant", "b", action="maybe")]},
    {"messages": [USER, said("assistant", [{"type": "image"}])]},
    {"messages": [USER, said("assistant", "b", tool_calls=[{"function": {}}])]},
    {"messages": [USER, said("assistant", "b")], "tools": [1]},
    {"messages": [USER, said("assistant", "b")], "split": "dev"},
]


@pytest.mark.parametrize("row", GOOD_ROWS)
def test_a_row_that_is_read_follows_the_schema(row: dict[str, Any]) -> None:
    jsonschema.validate(row, SCHEMA)


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_row_that_breaks_the_schema_is_not_read(row: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(row, SCHEMA)
    others = [{**r, "split": ("train", "test")[i % 2]} for i, r in enumerate(calls(4))]
    data = from_rows([{"split": "train", **row}, *others], on_bad_row="skip")
    assert len(data.bad) == 1
    assert len(data.all) == 4


UF, HH = SHARED / "ultrafeedback", SHARED / "hh_rlhf" / "harmless_base_test.jsonl.gz"


@pytest.mark.shared
@pytest.mark.skipif(not UF.is_dir(), reason=f"{UF} is not there")
def test_real_preferences_are_read_whole() -> None:
    data = from_file(UF)
    assert data.form.name == "preference"
    assert data.counts["rows"] == 1200
    assert not data.bad
    assert data.counts["empty_answers"] == 2
    assert len(data.all) == 2 * (1200 - data.counts["identical_pairs"]) - 2 - data.counts["episodes_of_another_split"]
    assert set(data.unread_columns) == {"metadata", "source_index"}
    assert {len(e.episode.messages) for e in data.all} == {2}


@pytest.mark.shared
@pytest.mark.skipif(not HH.is_file(), reason=f"{HH} is not there")
def test_real_dialogues_are_read_with_only_the_last_answers_as_actions() -> None:
    data = from_file(HH, on_bad_row="skip")
    assert data.counts["rows"] == 2312
    assert data.counts["empty_answers"] == 4
    actions = [sum(m.action for m in e.episode.messages) for e in data.all]
    assert actions.count(1) > 0.99 * len(actions)
    assert max(len(e.episode.messages) for e in data.all) > 6


def scored(count: int, name: str) -> list[dict[str, Any]]:
    return [{**row, name: float(i % 3)} for i, row in enumerate(calls(count))]


@pytest.mark.parametrize(("name", "settings"), [("reward", {}), ("score", {"columns": {"reward": "score"}})])
def test_a_reward_of_the_whole_conversation_is_on_its_last_action(name: str, settings: dict[str, Any]) -> None:
    data = from_rows(scored(60, name), **settings)
    assert not data.counts["demonstrations"]
    assert name not in data.unread_columns
    assert sorted(e.episode.total_reward for e in data.all) == sorted(float(i % 3) for i in range(60))
    for e in data.all:
        assert [m.reward is not None for m in e.episode.messages if m.action] == [False, True]
    told_of = "\n".join(told.lines(data, 0, "rows"))
    assert "an episode earns 1 on average; in 0 of 60 groups the episodes earn differently" in told_of


def test_a_column_that_may_be_a_reward_is_named_where_there_is_none() -> None:
    data = from_rows(scored(60, "score"))
    assert data.counts["demonstrations"] == 60
    assert "columns with numbers: score; if one is a reward: --set task.columns.reward=COLUMN" in "\n".join(
        told.lines(data, 0, "rows")
    )
    assert "columns with numbers" not in "\n".join(told.lines(from_rows(own(60)), 0, "rows"))


@pytest.mark.parametrize(
    ("rows", "settings", "what"),
    [
        ([{**row, "reward": 1.0} for row in own(60)], {}, "120 with a reward of the conversation and rewards of its"),
        ([{**row, "reward": "good"} for row in calls(60)], {}, "60 with a conversation's reward that is no number"),
        (calls(60), {"columns": {"reward": "score"}}, "no column 'score' in rows (task.columns.reward)"),
        (texts(60), {"columns": {"reward": "chosen"}}, "preferences (chosen, rejected) say what they earn"),
    ],
)
def test_a_reward_that_cannot_be_read_is_refused(rows: list[Any], settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_rows(rows, **settings)
    assert what in str(error.value)


def test_only_the_reward_has_a_column_of_another_name() -> None:
    with pytest.raises(ValueError, match="unknown role chosen; the only role is reward"):
        EpisodesConfig(columns={"chosen": "good"})


def test_a_tool_message_without_its_call_is_a_bad_row() -> None:
    rows = calls(60)
    rows[7]["messages"][3]["tool_call_id"] = "c2"
    del rows[8]["messages"][3]["tool_call_id"]  # some data have no ids
    with pytest.raises(ConfigError, match=r"1 with a tool message whose tool_call_id no earlier call has .*8 \('c2'\)"):
        from_rows(rows)


def test_few_test_groups_are_said() -> None:
    assert told.FEWEST == LEAST_EXAMPLES
    assert "fewer than 10 give no interval" in "\n".join(told.lines(from_rows(own(20)), 0, "rows"))
    assert "give no interval" not in "\n".join(told.lines(from_rows(own(300)), 0, "rows"))
