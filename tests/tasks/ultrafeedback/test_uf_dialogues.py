"""Whole dialogues in the form of Anthropic/hh-rlhf; every dialogue here is made up."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from shiqbench_tasks.rows.sources import locate, rows
from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
from shiqbench_tasks.ultrafeedback.data import Data, read
from support import SHARED
from uf_rows import Row, from_rows, write

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Message

REAL = SHARED / "hh_rlhf" / "harmless_base_test.jsonl.gz"
ASKED = (
    "How do I clean a kettle?",
    "My neighbour is loud at night.\n\nWhat can I do?",
    "Which bread keeps longest?",
    "Tell me about tides.",
)


def dialogue(*said: str) -> str:
    """Human and assistant speak in turn."""
    return "".join(f"\n\n{('Human', 'Assistant')[i % 2]}: {text}" for i, text in enumerate(said))


def pair(i: int, chosen: str = "", rejected: str = "") -> Row:
    """Two dialogues that are the same up to the last answer."""
    before = (f"{ASKED[i % 4]} ({i})",) + ("I can help with that.", "Please do.") * (i % 3)
    return {
        "chosen": dialogue(*before, chosen or f"Certainly: advice {i}.\n\n1. First this.\n\n2. Then that."),
        "rejected": dialogue(*before, rejected or f"No idea {i}"),
    }


def pairs(count: int) -> list[Row]:
    return [pair(i) for i in range(count)]


def pack(path: Path, found: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in found).encode()))
    return path


def loaded(data: Path | str, **settings: Any) -> Data:
    return read(rows(locate(str(data), None)), UltraFeedbackConfig(returns="preference", **settings), str(data))


def preferred(found: list[Row], **settings: Any) -> Data:
    return from_rows(found, returns="preference", **settings)


def everything(data: Data) -> dict[str, Any]:
    return {p.id: p for prompts in data.prompts.values() for p in prompts}


def test_the_last_answer_is_the_action_and_all_before_it_is_the_prompt() -> None:
    data = preferred(pairs(60))
    assert sum(len(p.answers) for p in everything(data).values()) == 120
    found = next(p for p in everything(data).values() if p.messages[0].content.endswith("(5)"))
    assert found.messages == (
        Message("user", f"{ASKED[1]} (5)"),  # an empty line inside a message stays in it
        *(Message("assistant", "I can help with that."), Message("user", "Please do.")) * 2,
    )
    good, bad = found.answers
    assert (good.who, good.text) == ("chosen", "Certainly: advice 5.\n\n1. First this.\n\n2. Then that.")
    assert (bad.who, bad.text) == ("rejected", "No idea 5")
    assert (good.earns("preference"), bad.earns("preference")) == (1, 0)
    assert data.counts["rows"] == 60
    assert not len(data.bad)


SIZES = {"harmless-base": (40, 20), "helpful-base": (30, 12)}  # rows of train and of test


def hub_folder(root: Path) -> Path:
    """Both sets in the layout of the hub, with dialogues of their own in every file."""
    for s, (name, sizes) in enumerate(SIZES.items()):
        for part, (split, count) in enumerate(zip(("train", "test"), sizes, strict=True)):
            first = 1000 * (2 * s + part)
            pack(root / name / f"{split}.jsonl.gz", [pair(first + i) for i in range(count)])
    return root


@pytest.mark.parametrize("name", ["harmless-base", "helpful-base", "."])
def test_a_folder_in_the_layout_of_the_hub_is_read_with_its_own_test_split(
    tmp_path: Path, own_cache: Path, name: str
) -> None:
    data = loaded(hub_folder(tmp_path / "hh") / name)
    train, test = SIZES[name] if name in SIZES else map(sum, zip(*SIZES.values(), strict=True))
    assert len(data.prompts["test"]) == test
    assert len(data.prompts["train"]) + len(data.prompts["validation"]) == train
    assert all(len(p.answers) == 2 for p in everything(data).values())
    assert not len(data.bad)


def test_dialogues_that_differ_before_the_last_answer_are_named_by_split_and_row(
    tmp_path: Path, own_cache: Path
) -> None:
    """In hh-rlhf's own format: the human's words, an earlier answer, and the number of turns, in two files."""
    hub_folder(tmp_path)
    train, test = ([pair(i) for i in range(start, start + 20)] for start in (0, 100))
    train[6] = {"chosen": dialogue("a question", "yes"), "rejected": dialogue("a  question", "yes")}
    train[1] = {"chosen": dialogue("q", "one", "r", "yes"), "rejected": dialogue("q", "two", "r", "no")}
    test[2] = {"chosen": dialogue("q", "yes"), "rejected": dialogue("q", "no", "r", "no")}
    for name, part in (("train", train), ("test", test)):
        pack(tmp_path / "helpful-base" / f"{name}.jsonl.gz", part)
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path / "helpful-base")
    line = caught.value.line()
    cause = "3 of 40 rows cannot be used: 3 with answers whose conversations differ before the last message ("
    assert line.startswith(cause)
    named = line.removeprefix(cause)
    assert "train rows 2, 7" in named
    assert "test row 3" in named
    assert named.endswith("fix the data, or leave these rows out: --set task.on_bad_row=skip")
    assert len(loaded(tmp_path / "helpful-base", on_bad_row="skip").bad) == 3


def test_one_file_is_the_same_packed_or_not(tmp_path: Path, own_cache: Path) -> None:
    plain, packed = write(tmp_path / "mine.jsonl", pairs(60)), pack(tmp_path / "yours.jsonl.gz", pairs(60))
    assert everything(loaded(plain)) == everything(loaded(packed))
    assert {name for name, _, _ in rows(locate(str(pack(tmp_path / "test.jsonl.gz", pairs(3))), None))} == {"test"}


def test_a_folder_of_a_hub_is_a_source_of_its_own(tmp_path: Path, own_cache: Path, monkeypatch: Any) -> None:
    root = tmp_path / "snapshots" / "0123abcd"
    for name, count in (("harmless-base", 40), ("helpful-base", 50)):
        pack(root / name / "train.jsonl.gz", pairs(count))
    asked: list[list[str]] = []

    def download(name: str, **options: Any) -> str:
        assert name == "Anthropic/hh-rlhf"
        asked.append(options["allow_patterns"])
        return str(root)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for name, count in (("harmless-base", 40), ("helpful-base", 50)):
        source = locate(f"Anthropic/hh-rlhf/{name}", "v1")
        assert source.identity == {"hub": f"Anthropic/hh-rlhf/{name}", "revision": "0123abcd"}
        assert f"{name}/*.jsonl.gz" in asked[-1]
        assert all(pattern.startswith(name) for pattern in asked[-1])
        assert len(list(rows(source))) == count
    with pytest.raises(
        ConfigError, match=r"no folder harmless with data in the data set Anthropic/hh-rlhf \(task.data\)"
    ):
        locate("Anthropic/hh-rlhf/harmless", None)


def test_a_local_file_that_is_missing_is_not_looked_for_on_the_hub(monkeypatch: Any) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ConfigError, match=r"no data at 'data/mine/train\.jsonl\.gz'"):
        locate("data/mine/train.jsonl.gz", None)


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        pytest.param(
            {"chosen": dialogue("a question", "an answer"), "rejected": dialogue("another question", "an answer")},
            "answers whose conversations differ before the last message",
            id="another question",
        ),
        pytest.param(
            {"chosen": dialogue("q", "one", "q 2", "answer"), "rejected": dialogue("q", "two", "q 2", "answer")},
            "answers whose conversations differ before the last message",
            id="another answer before the last",
        ),
        pytest.param(
            {"chosen": dialogue("q", "answer"), "rejected": dialogue("q", "answer", "q 2", "answer 2")},
            "answers whose conversations differ before the last message",
            id="one dialogue is longer",
        ),
        pytest.param(
            pair(0, chosen="As in this talk:\n\nHuman: hello\n\nAssistant: hello"),
            "answers whose conversations differ before the last message",
            id="an answer that quotes a dialogue",
        ),
        pytest.param(
            pair(0, chosen="As in this question:\n\nHuman: hello"),
            "a conversation whose last message is not the assistant's",
            id="an answer that quotes a question",
        ),
        pytest.param(
            {"chosen": dialogue("q", "a", "thanks"), "rejected": dialogue("q", "b", "thanks")},
            "a conversation whose last message is not the assistant's",
            id="ends with the human",
        ),
        pytest.param(
            {"chosen": dialogue("q", "a"), "rejected": "b"},
            "a dialogue that does not begin with Human:",
            id="an answer without its dialogue",
        ),
        pytest.param(
            {"chosen": dialogue("q", "a"), "rejected": "\n\nAssistant: b"},
            "a dialogue that does not begin with Human:",
            id="begins with the assistant",
        ),
        pytest.param(
            {"chosen": dialogue("q", "a") + "\n\nAssistant: b", "rejected": dialogue("q", "a") + "\n\nAssistant: c"},
            "an answer that follows another message of the assistant",
            id="the assistant speaks twice",
        ),
    ],
)
def test_a_dialogue_that_cannot_be_kept_is_named_and_counted(row: Row, cause: str) -> None:
    found = [*pairs(60), row]
    with pytest.raises(ConfigError) as caught:
        preferred(found)
    assert caught.value.line().startswith(f"1 of 61 rows cannot be used: 1 with {cause} (train row 61")
    assert "\n" not in caught.value.line()
    data = preferred(found, on_bad_row="skip")
    assert data.bad.facts() == {cause: {"rows": 1, "first": ["train row 61"]}}
    assert everything(data) == everything(preferred(pairs(60)))


def test_the_first_row_may_be_the_bad_one() -> None:
    with pytest.raises(ConfigError, match=r"does not begin with Human: \(train row 1 \('hello'\)\)"):
        preferred([{"chosen": "hello", "rejected": "bye"}, *pairs(60)])


def test_an_empty_answer_and_equal_answers_are_left_out_and_counted() -> None:
    found = pairs(60)
    before = found[3]["rejected"].rpartition(":")[0] + ":"
    found[3]["rejected"] = before  # nothing after the mark
    found[4]["rejected"] = found[4]["chosen"]
    found[5]["rejected"] = found[5]["chosen"] + "  \n"
    data = preferred(found)
    assert data.counts["empty_answers"] == 1
    assert data.counts["identical_pairs"] == 2
    assert sum(len(p.answers) for p in everything(data).values()) == 120 - 1 - 4


def test_blanks_and_line_ends_of_the_form_are_in_no_message() -> None:
    changed = [
        {
            "chosen": row["chosen"].replace("\n\nAssistant:", "  \n\nAssistant:").replace("\n", "\r\n"),
            "rejected": row["rejected"].lstrip() + " \n",
        }
        for row in pairs(60)
    ]
    assert everything(preferred(changed)) == everything(preferred(pairs(60)))


def test_a_packed_file_that_cannot_be_read_is_said_in_a_line(tmp_path: Path, own_cache: Path) -> None:
    broken, encoded = pack(tmp_path / "broken.jsonl.gz", pairs(60)), tmp_path / "encoded.jsonl.gz"
    broken.write_bytes(broken.read_bytes()[:-40])
    encoded.write_bytes(gzip.compress(json.dumps(pair(0, chosen="café"), ensure_ascii=False).encode("latin-1")))
    with pytest.raises(ConfigError, match="not a whole gzip file"):
        loaded(broken)
    with pytest.raises(ConfigError, match="not UTF-8: byte"):
        loaded(encoded)


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL} is not there")
def test_the_published_harmless_test_set(own_cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"5 of 2312 rows cannot be used: 5 with answers whose conversations differ"):
        loaded(REAL)
    data = loaded(REAL, on_bad_row="skip")
    assert data.counts["empty_answers"] == 4
    assert not data.counts["empty_prompts"]
    found = everything(data)
    assert len(found) == 2312 - 5 - data.counts["merged_rows"]
    for prompt in found.values():
        assert (prompt.messages[0].role, prompt.messages[-1].role) == ("user", "user")
        assert all(m.content == m.content.strip() for m in prompt.messages)
