"""Rows: which conversations are kept whole, which are refused by cause and number, which are skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from shiqbench_tasks.rows.sources import locate, rows
from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
from shiqbench_tasks.ultrafeedback.data import Data, Prompt, read
from shiqbench_tasks.ultrafeedback.returns import as_episodes, pairs, transformation
from shiqbench_tasks.ultrafeedback.told import lines
from uf_rows import Row, calling, conversations, from_rows, paired, rated, write

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Episode

ROLE = {"role": "user", "content": "Thanks a lot!"}


def everything(data: Data) -> list[Prompt]:
    return [p for split in data.prompts.values() for p in split]


def episodes(data: Data, **settings: Any) -> list[Episode]:
    prompts, config = everything(data), UltraFeedbackConfig(**settings)
    return as_episodes(prompts, config, transformation(prompts, config))


def changed(count: int, change: Any, total: int = 80) -> list[Row]:
    """Conversations of which the first few are changed."""
    found = conversations(total)
    for row in found[:count]:
        change(row)
    return found


def ends_with_user(row: Row) -> None:
    row["chosen"].append(ROLE)


def rejected_ends_with_tool(row: Row) -> None:
    row["rejected"].append({"role": "tool", "content": "{}"})


def only_a_system_message(row: Row) -> None:
    row["chosen"] = [{"role": "system", "content": "Be brief."}]


def other_question(row: Row) -> None:
    row["rejected"][0] = {"role": "user", "content": "a different question altogether"}


def other_prompt_column(row: Row) -> None:
    row["prompt"] = "another question"


def other_prompt_messages(row: Row) -> None:
    row["prompt"] = [{"role": "user", "content": "another question"}]


def other_turn(row: Row) -> None:
    for who, turn in (("chosen", "blue?"), ("rejected", "red?")):
        row[who][1:1] = [{"role": "assistant", "content": turn}, {"role": "user", "content": "yes"}]


def image(row: Row) -> None:
    row["chosen"][0]["content"] = [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": "x"}]


def plain_parts(row: Row) -> None:
    row["rejected"][1]["content"] = ["bare text"]


def number(row: Row) -> None:
    row["chosen"][0]["content"] = 17


def unknown_role(row: Row) -> None:
    row["chosen"][0]["role"] = "human"


def from_and_value(row: Row) -> None:
    row["chosen"] = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]


def two_answers(row: Row) -> None:
    for who in ("chosen", "rejected"):
        row[who].insert(1, {"role": "assistant", "content": "Well."})


def no_content(row: Row) -> None:
    for who in ("chosen", "rejected"):
        row[who][0]["content"] = None


def function_call(row: Row) -> None:
    row["chosen"][1]["function_call"] = {"name": "f", "arguments": "{}"}


def answer_is_a_call(row: Row) -> None:
    row["chosen"][1] |= {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}


def broken_arguments(row: Row) -> None:
    row["chosen"][0] = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": "{"}}],
    }


def reward_of_a_user(row: Row) -> None:
    row["chosen"][0]["reward"] = 1.0


def two_ratings(row: Row) -> None:
    row["chosen"][1]["reward"] = 2.0


def tools_as_names(row: Row) -> None:
    row["tools"] = ["search"]


REFUSED = [
    (ends_with_user, r"last message is not the assistant's \(train rows 1 \('user'\), 2 \('user'\), 3 \('user'\)\)"),
    (rejected_ends_with_tool, r"last message is not the assistant's \(train rows 1 \('tool'\)"),
    (only_a_system_message, r"last message is not the assistant's \(train rows 1 \('system'\)"),
    (other_question, "answers whose conversations differ before the last message"),
    (other_turn, "answers whose conversations differ before the last message"),
    (other_prompt_column, "a prompt that is not the beginning of the answer's conversation"),
    (other_prompt_messages, "a prompt that is not the beginning of the answer's conversation"),
    (image, "a content part that is no text .*'image_url'"),
    (plain_parts, "a content part that is no text .*'str'"),
    (number, "a content that is neither text nor parts .*17"),
    (unknown_role, "a role that is none of system, .*'human'"),
    (from_and_value, "a message without role and content .*'from, value'"),
    (two_answers, "an answer that follows another message of the assistant"),
    (no_content, "a message with neither content nor tool calls"),
    (function_call, "function_call of a message .*write it as tool_calls"),
    (answer_is_a_call, "an answer that is a tool call"),
    (broken_arguments, "arguments of a tool call that are no JSON object"),
    (reward_of_a_user, "a reward of a message that is not the assistant's"),
    (two_ratings, "an answer with a rating and another reward"),
    (tools_as_names, "tools are no list of tool documents"),
]


@pytest.mark.parametrize(("change", "what"), REFUSED)
def test_a_row_that_cannot_be_kept_whole_is_refused_by_cause_and_number_or_skipped_and_counted(
    change: Any, what: str
) -> None:
    found = changed(3, change)
    for row in found:  # `datasets` gives every row the same columns
        row.setdefault("tools", None)
        row.setdefault("prompt", None)
    with pytest.raises(ConfigError, match=f"3 of 80 rows cannot be used: 3 with .*{what}") as caught:
        from_rows(found)
    assert "leave these rows out: --set task.on_bad_row=skip" in caught.value.line()
    assert "\n" not in caught.value.line()
    data = from_rows(found, on_bad_row="skip")
    assert sum(data.counts[f"{split}_prompts"] for split in data.prompts) == 77
    ((facts,),) = [data.facts()["bad_rows"].values()]
    assert facts == {"rows": 3, "first": ["train row 1", "train row 2", "train row 3"]}
    assert any(line.startswith("x: rows skipped: 3 with") for line in lines(data, {"tied_pairs": 0}, "x"))


def test_several_causes_are_one_line_with_a_count_and_the_first_rows_of_each() -> None:
    found = paired(200)
    for row in found[10:20]:
        row["metadata"] = {"score_chosen": "N/A", "score_rejected": 1.0}
    found[29]["metadata"] = {"score_chosen": 9.0, "score_rejected": -1.0}
    with pytest.raises(ConfigError) as caught:
        from_rows(found)
    assert caught.value.line() == (
        "11 of 200 rows cannot be used: 10 with a rating that is no number (train rows 11 ('N/A'), 12 ('N/A'), "
        "13 ('N/A'), 14 ('N/A'), 15 ('N/A') and 5 more); 1 with a rating outside [1, 10] (train row 30 (-1)) (rows); "
        "fix the data, --set task.returns=preference, set task.rating_low and task.rating_high, "
        "or leave these rows out: --set task.on_bad_row=skip"
    )
    data = from_rows(found, on_bad_row="skip")
    assert sum(data.counts[f"{split}_prompts"] for split in data.prompts) == 189
    assert {cause: facts["rows"] for cause, facts in data.facts()["bad_rows"].items()} == {
        "a rating that is no number": 10,
        "a rating outside [1, 10]": 1,
    }


def test_rows_are_named_in_their_own_split() -> None:
    found = [("train", i, r) for i, r in enumerate(paired(40))]
    found += [("test", i, r) for i, r in enumerate(paired(9, start=100))]
    for i in (2, 44):
        found[i][2]["metadata"] = {"score_chosen": None, "score_rejected": 1.0}
    with pytest.raises(ConfigError, match=r"\(test row 5 \(None\), train row 3 \(None\)\) \(file\)"):
        read(found, UltraFeedbackConfig(), "file")


def several_turns(row: Row) -> Row:
    for who in ("chosen", "rejected"):
        row[who][1:1] = [{"role": "assistant", "content": "Which?"}, {"role": "user", "content": "The second."}]
    return row


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        lambda row: row["chosen"][0]["content"],  # the first question, as text
        lambda row: row["chosen"][0]["content"] + "\n",
        lambda row: "The second.",  # the last one
        lambda row: row["chosen"][:1],
        lambda row: row["chosen"][:-1],
    ],
)
def test_turns_before_the_answer_are_its_context_with_and_without_a_prompt_column(prompt: Any) -> None:
    found = [several_turns(row) for row in conversations(60)]
    for row in found:
        row |= {} if prompt is None else {"prompt": prompt(row)}
    for episode in episodes(from_rows(found)):
        assert [m.role for m in episode.messages] == ["user", "assistant", "user", "assistant"]
        assert [m.content for m in episode.messages[1:3]] == ["Which?", "The second."]
        assert [m.action for m in episode.messages] == [False, False, False, True]


def test_a_system_message_before_the_prompts_text_is_kept() -> None:
    found = conversations(60)
    for row in found:
        row["prompt"] = row["chosen"][0]["content"]
        for who in ("chosen", "rejected"):
            row[who].insert(0, {"role": "system", "content": "Be brief."})
    assert {p.messages[0].content for p in everything(from_rows(found))} == {"Be brief."}


def test_answers_that_go_on_where_a_prompt_of_messages_ends_are_put_behind_it() -> None:
    found = [several_turns(row) for row in conversations(60)]
    whole = everything(from_rows(found))
    parted = [
        {**r, "prompt": r["chosen"][:-1], "chosen": r["chosen"][-1:], "rejected": r["rejected"][-1:]} for r in found
    ]
    assert everything(from_rows(parted)) == whole
    split = [{**r, "prompt": r["chosen"][:1], "chosen": r["chosen"][1:], "rejected": r["rejected"][1:]} for r in found]
    assert everything(from_rows(split)) == whole
    texts = [{**r, "chosen": r["chosen"][0]["content"], "rejected": r["rejected"][0]["content"]} for r in parted]
    assert everything(from_rows(texts)) == whole


@pytest.mark.parametrize("form", ["paired", "rated", "prompt"])
def test_parts_of_text_are_joined(form: str) -> None:
    def parts(text: str) -> list[Row]:
        return [{"type": "text", "text": text[:3]}, {"type": "text", "text": text[3:], "image_url": None}]

    found = rated(60) if form == "rated" else conversations(60)
    whole = everything(from_rows(found))
    for row in found:
        if form == "rated":
            row["instruction"] = [{"role": "user", "content": parts(row["instruction"])}]
            for c in row["completions"]:
                c["response"] = [{"role": "assistant", "content": parts(c["response"])}]
        else:
            for message in [*row["chosen"], *row["rejected"]]:
                message["content"] = parts(message["content"])
        if form == "prompt":
            row["prompt"] = row["chosen"][:1]
    assert everything(from_rows(found)) == whole


def test_tool_calls_results_and_tools_of_openai_are_kept_whole(tmp_path: Path) -> None:
    found = calling(60)
    data = from_rows(found)
    for episode in episodes(data):
        assert [m.role for m in episode.messages] == ["user", "assistant", "tool", "assistant"]
        _, call, result, answer = episode.messages
        assert (call.content, call.action) == ("", False)
        assert call.extra["tool_calls"][0]["function"] == {
            "name": "weather",
            "arguments": {"city": "Rome", "unit": None},
        }
        assert result.extra == {"tool_call_id": "call_1"}
        assert answer.action
        assert episode.tools[0]["function"]["name"] == "weather"
    assert everything(
        read(rows(locate(str(write(tmp_path / "x.jsonl", found)), None)), UltraFeedbackConfig(), "x")
    ) == (everything(data))
    as_json = [{**row, "tools": str(row["tools"]).replace("'", '"')} for row in found]
    assert everything(from_rows(as_json)) == everything(data)
    assert all(p.tools == () for p in everything(from_rows(found, columns={"tools": ""})))


def test_parquet_fills_structures_with_nulls_which_are_no_part_of_tools_or_messages(tmp_path: Path) -> None:
    found = calling(60)
    for row in found[::2]:
        properties = {"place": {"type": "string", "enum": ["Rome"]}}
        row["tools"][0]["function"] = {"name": "map", "description": "a map", "parameters": {"properties": properties}}
    pd.DataFrame(found).to_parquet(tmp_path / "x.parquet")
    stored = pd.read_parquet(tmp_path / "x.parquet")["tools"][0][0]["function"]["parameters"]["properties"]
    assert stored["city"] is None
    data = read(rows(locate(str(tmp_path / "x.parquet"), None)), UltraFeedbackConfig(), "x")
    wanted = {p.messages: p.tools for p in everything(from_rows(found))}
    assert {p.messages: p.tools for p in everything(data)} == wanted


def test_prompts_that_differ_in_their_tools_are_two_prompts_of_one_split() -> None:
    found = calling(60)
    without = [{**row, "tools": None} for row in found]
    plain = {p.messages: p for p in everything(from_rows(without))}
    both = everything(from_rows(found + without))
    assert len(both) == 2 * len({p.id for p in plain.values()})
    assert {p.split for p in both if p.messages == both[0].messages} == {both[0].split}
    assert len({p.id for p in both}) == len(both)


def test_rewards_of_messages_make_them_actions_and_are_the_returns() -> None:
    found = [several_turns(row) for row in conversations(60)]
    for row in found:
        del row["score_chosen"], row["score_rejected"]
        for who, reward in (("chosen", 8.0), ("rejected", 4.0)):
            row[who][1]["reward"] = 0.5
            row[who][3]["reward"] = reward
    data = from_rows(found)
    for episode in episodes(data):
        assert [m.reward for m in episode.messages] == [None, 0.5, None, {"chosen": 8.0}.get(episode.behaviour, 4.0)]
        assert [m.action for m in episode.messages] == [False, True, False, True]
    total = sum(e.total_reward for e in episodes(data, centre="dataset", scale="deviation"))
    assert total == pytest.approx(0)
    assert {e.total_reward for e in episodes(data, centre="group")} == {2.0, -2.0}
    # A model that is asked, or that judges, gets no actions and no rewards.
    assert not any(m.action or m.reward for p in pairs(everything(data), "rating") for m in p.prompt)
    with pytest.raises(ConfigError, match="a message's reward, which returns=preference does not use"):
        from_rows(found, returns="preference")


def test_keys_of_messages_that_mean_nothing_here_are_named() -> None:
    found = conversations(60)
    for row in found[:7]:
        row["chosen"][1] |= {"weight": 0, "refusal": None, "annotations": []}
    data = from_rows(found)
    assert data.facts()["unread_keys"] == {"weight": 7}
    assert data.facts()["unread_columns"] == []
    assert "x: keys of messages that mean nothing here: weight (7 rows)" in lines(data, {"tied_pairs": 0}, "x")


def test_a_thought_of_an_answer_is_kept_for_the_template() -> None:
    found = conversations(60)
    for row in found:
        row["chosen"][1]["reasoning_content"] = "Hm."
    assert {e.messages[-1].extra.get("reasoning_content") for e in episodes(from_rows(found))} == {"Hm.", None}
