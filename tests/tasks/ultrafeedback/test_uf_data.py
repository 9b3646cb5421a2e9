"""Reading: forms, columns, splits, what is refused and what is counted."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from shiqbench_tasks.rows.sources import locate, rows
from shiqbench_tasks.rows.splits import split_of
from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
from shiqbench_tasks.ultrafeedback.data import Data, read
from shiqbench_tasks.ultrafeedback.returns import as_episodes, chosen, pairs, tied_pairs, transformation
from support import SHARED
from uf_rows import Row, conversations, from_rows, paired, rated, write

from shiqbench.base.errors import ConfigError

REAL = SHARED / "ultrafeedback"


@pytest.fixture(autouse=True)
def _own_cache(own_cache: Path) -> None:
    """``datasets`` keeps what it has read."""


def load(path: Path, **settings: Any) -> Data:
    config = UltraFeedbackConfig(data=str(path), **settings)
    return read(rows(locate(config.data, config.revision)), config, str(path))


def everything(data: Data) -> list[Any]:
    return [p for split in data.prompts.values() for p in split]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_file_is_read_in_either_format_and_split_by_the_prompts_hash(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    if suffix == ".parquet":
        pd.DataFrame(paired(200)).to_parquet(path)
    else:
        write(path, paired(200))
    data = load(path)
    sizes = {split: len(found) for split, found in data.prompts.items()}
    assert sum(sizes.values()) == 200
    assert 140 <= sizes["train"] <= 180
    assert min(sizes["validation"], sizes["test"]) >= 8
    assert data.prompts == load(write(tmp_path / "reversed.jsonl", paired(200)[::-1])).prompts
    first = data.prompts["train"][0]
    assert (first.answers[0].who, first.answers[0].rating) == ("chosen", 8.0)


def test_a_folder_keeps_its_own_test_split_and_no_prompt_is_in_two(tmp_path: Path) -> None:
    write(tmp_path / "d" / "train.jsonl", paired(100) + paired(3, start=500))
    write(tmp_path / "d" / "eval.jsonl", paired(20, start=490))
    data = load(tmp_path / "d")
    assert len(data.prompts["test"]) == 20
    assert data.counts["rows_of_another_split"] == 3
    ids = Counter(p.id for p in everything(data))
    assert set(ids.values()) == {1}
    assert len(data.prompts["train"]) + len(data.prompts["validation"]) == 100


def test_a_prompt_in_several_splits_is_first_for_test_then_for_validation() -> None:
    rows_of = {"train": paired(80), "valid": paired(8), "test": paired(4)}
    data = read([(s, i, r) for s, found in rows_of.items() for i, r in enumerate(found)], UltraFeedbackConfig(), "rows")
    assert {s: len(found) for s, found in data.prompts.items()} == {"train": 72, "validation": 4, "test": 4}
    assert data.counts["rows_of_another_split"] == 12


def test_of_several_kinds_of_splits_the_preferences_are_read(tmp_path: Path) -> None:
    for name, start, count in (("train_prefs", 0, 60), ("test_prefs", 100, 10), ("train_sft", 200, 30)):
        folder = tmp_path / "d" / "data"
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(conversations(count, start)).to_parquet(folder / f"{name}-00000-of-00001.parquet")
    data = load(tmp_path / "d")
    assert data.counts["rows"] == 70
    assert len(data.prompts["test"]) == 10


def test_conversations_and_texts_of_the_same_prompts_are_the_same_prompts(tmp_path: Path) -> None:
    texts, messages = from_rows(paired(50)), from_rows(conversations(50))
    assert {p.id for p in everything(texts)} == {p.id for p in everything(messages)}
    (answer, _) = messages.prompts["train"][0].answers
    assert answer.text.startswith("good ")


def test_four_completions_make_a_group_of_four_and_up_to_six_pairs(tmp_path: Path) -> None:
    data = load(write(tmp_path / "openbmb.jsonl", rated(80)))
    prompts = data.prompts["train"]
    assert {len(p.answers) for p in prompts} == {4}
    config = UltraFeedbackConfig()
    episodes = as_episodes(prompts, config, transformation(prompts, config))
    assert len(episodes) == 4 * len(prompts)
    assert {e.behaviour for e in episodes} == {f"model-{k}" for k in range(4)}
    # Ratings of one prompt are 2 + (i, i + 2, i + 4, i + 6) mod 6: one tie each.
    assert tied_pairs(prompts, "rating") == len(prompts)
    assert len(pairs(prompts, "rating")) == 5 * len(prompts)
    other = load(tmp_path / "openbmb.jsonl", columns={"score": "fine-grained_score"})
    assert tied_pairs(other.prompts["train"], "rating") == 6 * len(prompts)


def test_any_names_of_columns_will_do(tmp_path: Path) -> None:
    found = [{"q": f"question {i}", "a": {"yes": f"fine {i}", "no": f"poor {i}"}} for i in range(60)]
    columns = {"prompt": "q", "chosen": "a.yes", "rejected": "a.no"}
    data = load(write(tmp_path / "x.jsonl", found), columns=columns, returns="preference")
    prompt = data.prompts["train"][0]
    assert [a.text[:4] for a in prompt.answers] == ["fine", "poor"]
    assert chosen(prompt, "preference").startswith("fine")
    assert [p.better[:4] for p in pairs([prompt], "preference")] == ["fine"]


@pytest.mark.parametrize(
    ("change", "settings", "what"),
    [
        ({"drop": "rejected"}, {}, "no column for rejected, looked for rejected; found prompt, chosen, metadata"),
        ({"drop": "metadata"}, {}, "no column for score_chosen, .*found prompt, chosen, rejected .*returns=preference"),
        ({}, {"columns": {"prompt": "promt"}}, "no column 'promt' for prompt, did you mean 'prompt'"),
        ({}, {"columns": {"response": "x"}}, "role response cannot be honoured: these data have a chosen and"),
        (
            {"metadata": {"score_chosen": 11.0, "score_rejected": 1.0}},
            {},
            r"a rating outside \[1, 10\] \(train rows 1 \(11\)",
        ),
        (
            {"metadata": {"score_chosen": math.nan, "score_rejected": 1.0}},
            {},
            r"a rating that is no number \(.*1 \(nan\)",
        ),
        ({"metadata": {"score_chosen": None, "score_rejected": 1.0}}, {}, r"a rating that is no number \(.*1 \(None\)"),
        (
            {"metadata": {"score_chosen": "many", "score_rejected": 1.0}},
            {},
            r"a rating that is no number \(.*1 \('many'\)",
        ),
        ({"chosen": 17}, {}, r"60 with a column that has neither text nor messages \(train rows 1 \(17\)"),
    ],
)
def test_what_cannot_be_read_is_said_by_name(change: Row, settings: dict[str, Any], what: str) -> None:
    found = paired(60)
    for row in found:
        row |= {k: v for k, v in change.items() if k != "drop"}
        row.pop(change.get("drop", ""), None)
    with pytest.raises(ConfigError, match=what):
        from_rows(found, **settings)


def test_rated_completions_are_no_preference_and_strange_roles_are_refused() -> None:
    with pytest.raises(ConfigError, match="returns preference needs a chosen and a rejected answer"):
        from_rows(rated(40), returns="preference")
    with pytest.raises(ValueError, match="unknown role promt; roles are prompt, chosen"):
        UltraFeedbackConfig(columns={"promt": "q"})


@pytest.mark.parametrize(
    ("data", "settings", "what"),
    [
        ("nowhere/at/all.jsonl", {}, "no data at 'nowhere/at/all.jsonl'"),
        ("org/name", {}, "cannot get the data set org/name from the hub: .*--set task.data=PATH"),
        ("{tmp}", {}, "no data files"),
        ("{tmp}/x.csv", {}, "cannot read .csv files"),
        ("{tmp}/x.jsonl", {"revision": "v1"}, "a local path has no revision 'v1'"),
        ("{tmp}/x.jsonl", {}, "cannot read the data"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(tmp_path: Path, data: str, settings: dict[str, Any], what: str) -> None:
    if "x." in data:
        (tmp_path / data.rpartition("/")[2]).write_text("no JSON\n")
    config = UltraFeedbackConfig(data=data.format(tmp=tmp_path), **settings)
    with pytest.raises(ConfigError, match=what) as caught:
        list(rows(locate(config.data, config.revision)))
    assert "\n" not in caught.value.line()


def test_a_hub_is_asked_for_data_files_and_known_by_the_commit_that_it_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "snapshots" / "0123abcd"
    write(folder / "train.jsonl", paired(40))
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = locate("org/name", "v1")
    assert source.identity == {"hub": "org/name", "revision": "0123abcd"}
    assert asked["name"] == "org/name"
    assert (asked["repo_type"], asked["revision"]) == ("dataset", "v1")
    assert {"*.jsonl", "*.parquet"} <= set(asked["allow_patterns"])
    assert len(list(rows(source))) == 40


def test_the_identity_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a" / "x.jsonl", paired(5)), write(tmp_path / "b" / "x.jsonl", paired(5))
    assert locate(str(one), None).identity == locate(str(two), None).identity
    assert locate(str(one.parent), None).identity == locate(str(two.parent), None).identity
    write(two, paired(6))
    assert locate(str(one), None).identity != locate(str(two), None).identity


def test_empty_texts_and_long_prompts_are_left_out_and_counted() -> None:
    found = paired(200)
    found[0]["chosen"] = " \n"
    found[1] |= {"chosen": "", "rejected": None}
    found[2]["prompt"] = ""
    data = from_rows(found)
    assert data.counts["empty_answers"] == 3
    assert data.counts["prompts_without_answers"] == 1
    assert data.counts["empty_prompts"] == 1
    assert sum(data.counts[f"{s}_prompts"] for s in data.prompts) == 198
    assert from_rows(found, longest_prompt=len("question 99")).counts["long_prompts"] == 100


def test_rows_of_one_prompt_are_merged() -> None:
    data = from_rows(paired(60) + paired(60, chosen="another good one"))
    assert data.counts["merged_rows"] == 60
    assert {len(p.answers) for p in everything(data)} == {3}  # the rejected answer is the same


def test_too_little_data_for_three_splits_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no prompt for (train|validation|test) among 2 rows"):
        from_rows(paired(2))


def test_the_split_is_a_function_of_the_prompt_alone() -> None:
    sha256 = "00000001" + "0" * 56
    assert split_of(sha256, "train", {None}) == split_of(sha256, "train", {None, "test"}) == "validation"
    assert split_of(sha256, "train", {None, "validation"}) == "train"
    assert split_of("0" * 64, "train", {None}) == "test"
    assert split_of("0" * 64, "train", {None, "test"}) == "train"
    assert split_of("f" * 64, "test_prefs", {"test"}) == split_of("f" * 64, "evaluation", {"test"}) == "test"
    assert split_of("f" * 64, "validation", {"validation"}) == "validation"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, [8.0, 2.0, 6.0, 4.0]),
        ({"centre": "dataset"}, [3.0, -3.0, 1.0, -1.0]),
        ({"centre": "group"}, [3.0, -3.0, 1.0, -1.0]),
        ({"scale": "range"}, [8 / 9, 2 / 9, 6 / 9, 4 / 9]),
        ({"centre": "dataset", "scale": "deviation"}, [3 / 5**0.5, -3 / 5**0.5, 1 / 5**0.5, -1 / 5**0.5]),
        ({"returns": "preference"}, [1.0, 0.0, 1.0, 0.0]),
    ],
)
def test_returns_are_raw_unless_a_choice_is_stated(settings: dict[str, Any], wanted: list[float]) -> None:
    found = paired(40)
    for i, row in enumerate(found):
        high, low = ((8.0, 2.0), (6.0, 4.0))[i % 2]
        row["metadata"] = {"score_chosen": high, "score_rejected": low}
    config = UltraFeedbackConfig(**settings)
    prompts = sorted(everything(from_rows(found, **settings)), key=lambda p: int(p.messages[0].content.split()[1]))
    episodes = as_episodes(prompts, config, transformation(prompts, config))
    assert [e.total_reward for e in episodes[:4]] == pytest.approx(wanted)


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not there")
def test_the_real_data_come_out_as_their_readme_says() -> None:
    data = load(REAL)
    assert data.counts["rows"] == 1200
    assert data.counts["empty_answers"] == 2
    assert (data.counts["repeated_answers"], data.counts["averaged_answers"]) == (5, 3)  # chosen is rejected
    assert not data.bad
    assert len(data.prompts["test"]) == 200
    assert tied_pairs(data.prompts["train"] + data.prompts["validation"], "rating") == 110
    assert tied_pairs(data.prompts["test"], "rating") == 24
    assert "rows_of_another_split" not in data.counts
