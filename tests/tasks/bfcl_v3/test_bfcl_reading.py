"""How messages are read: as the leaderboard's decoder and executor do under the official prompt; prose is prose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from shiqbench_tasks.bfcl_v3.calls import Call, Outcome
from shiqbench_tasks.bfcl_v3.data import load_entries
from shiqbench_tasks.bfcl_v3.formats import FORMATS
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits
from shiqbench_tasks.bfcl_v3.metrics import record
from shiqbench_tasks.bfcl_v3.native import NativePrompt
from shiqbench_tasks.bfcl_v3.official_calls import read_officially
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt
from shiqbench_tasks.bfcl_v3.prompt import REDUCED
from shiqbench_tasks.bfcl_v3.versions import VERSIONS
from templates import HERMES

from shiqbench.base.wheels import fetch
from shiqbench.episodes.episode import Message
from shiqbench.episodes.rendering import Renderer
from shiqbench.testing.tiny_model import make_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("[ls(a=True)]", [Call("ls", kwargs={"a": True})]),
        ("ls(a=True)", [Call("ls", kwargs={"a": True})]),
        ("```[ls(), pwd()]```", [Call("ls"), Call("pwd")]),
        ("[ls(), pwd()", [Call("ls"), Call("pwd")]),
        ("[f(a=word, b=[true, x])]", [Call("f", kwargs={"a": "word", "b": ["true", "x"]})]),
        ("f(1, a=2)", [Call("f", kwargs={"a": 2})]),
        ("[a.f(a=+5, a=not 1)]", [Call("a.f", kwargs={"a": -1})]),
        ("[f(a=2 * 3 + 1, b='x' 'y', c=u'z')]", [Call("f", kwargs={"a": 7, "b": "xy", "c": "z"})]),
        ("[f(a=g(b=1), c=g(1))]", [Call("f", kwargs={"a": Call("g", kwargs={"b": 1}), "c": "g(1)"})]),
        ("[f(a={'g': {'b': {1: 2}}})]", [Call("f", kwargs={"a": Call("g", kwargs={"b": {"1": 2}})})]),
    ],
)
def test_calls_are_those_of_the_official_decoder(text: str, calls: list[Call]) -> None:
    for version in VERSIONS:
        assert list(read_officially(text, version).calls) == calls


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("[\n  ls(),\n  pwd()\n]", {"v4"}),
        ("[ls\n()]", {"v4"}),
        ("[[ls()]]", {"v3"}),
        ("['ls()']", {"v3"}),
        ("([ls()])", {"v3"}),
        ("[ls()]  # all", {"v4"}),
        ("[ls()] Done.", set()),
        ("[f(a={})]", set()),
        ("[f(a=b)", {"v3", "v4"}),
        ("[f(a=b.c)]", set()),
    ],
)
def test_what_ends_a_turn_depends_on_the_version(text: str, versions: set[str]) -> None:
    assert {v for v in VERSIONS if read_officially(text, v).outcome is Outcome.CALLS} == versions


@pytest.mark.parametrize(
    "text",
    [
        "[f(a=__import__('os').getcwd() + '')]",
        "[f(a=(lambda: 1))]",
        "[f(a=1 + open('x'))]",
        "[f(a=9 ** 9 ** 9)]",
        "[f(a='x' * 10 ** 9)]",
        "[f(a=1 << 10 ** 9)]",
        "[f(a=[0] * 10 ** 9 * 10 ** 9)]",
        "[f(a='%999999999d' % 1)]",
    ],
)
def test_what_the_official_decoder_would_run_is_malformed(text: str) -> None:
    for version in VERSIONS:
        assert read_officially(text, version).outcome is Outcome.MALFORMED


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("[GorillaFileSystem.ls(a=True)]", "name 'GorillaFileSystem' is not defined"),
        ("[self.ls(a=True)]", "name 'self' is not defined"),
        ("[functions.ls(a=True)]", "name 'functions' is not defined"),
        ("[run(a=True)]", "Function call run is not allowed."),
        ("[ls(a=1e999)]", "name 'inf' is not defined"),
        ("[ls(a=-1e999)]", "name 'inf' is not defined"),
        ("[ls(**{'a': 1})]", "cannot assign to None (<string>, line 1)"),
        ("[ls(a=cd(folder='nowhere', x=1))]", "GorillaFileSystem.cd() got an unexpected keyword argument 'x'"),
        ("[ls(a={\"x': __import__('os').getcwd(), 'y\": 1})]", "only tools can be called"),
        ("[ls(a='\\ud800')]", "a text holds half a character"),
    ],
)
def test_an_error_goes_back_and_the_turn_goes_on(text: str, answer: str, entries: tuple[Entry, ...]) -> None:
    for version in VERSIONS.values():
        root = fetch(version.wheel)
        dialogue = Dialogue(entries[1], root, setting=OfficialPrompt(root, version.name))
        dialogue.answer(Message("assistant", text, action=True))
        assert dialogue.messages[-1] == Message("tool", f"Error during execution: {answer}")
        assert (len(dialogue.turns), dialogue.malformed_messages) == (1, 0)


def test_a_call_inside_an_argument_is_made_first(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    dialogue = Dialogue(entries[1], bfcl_root, setting=OfficialPrompt(bfcl_root, "v3"))
    dialogue.answer(Message("assistant", "[cat(file_name=mkdir(dir_name='new')), ls()]", action=True))
    assert "new" in dialogue.messages[-1].content
    while dialogue.stop is None:
        dialogue.answer(Message("assistant", "", action=True))
    steps = json.loads(record(dialogue, 0, 0)["steps"])
    assert steps[0][0][0] == ["cat", [], {"file_name": "mkdir(dir_name='new')"}]


PROSE = [
    "Which file(s) do you mean?",
    "Do you want f(x) or the folder?",
    "Should I call ls() or find()?",
    "Please tell me the amount (in USD).",
    "I moved the file(s) to the folder(s); see note(1).",
    "You can list them with ls(). Shall I go on with file(s) a.txt",
    "[Note] I need the name(s) of the file(s).",
]


@pytest.mark.parametrize("question", PROSE)
def test_prose_with_brackets_is_prose_under_every_prompt(
    question: str, bfcl_root: Path, tmp_path: Path, entries: tuple[Entry, ...]
) -> None:
    entry = load_entries(bfcl_root, "miss_param", VERSIONS["v3"])[0]
    make_tokenizer(tmp_path, HERMES)
    native = [NativePrompt(Renderer(tmp_path), parser) for parser in FORMATS]
    for setting in (REDUCED, OfficialPrompt(bfcl_root, "v3"), *native):
        dialogue = Dialogue(entry, bfcl_root, Limits(3, None, setting.as_official), setting)
        for calls in entry.ground_truth:
            if calls:
                dialogue.answer(Message("assistant", setting.write(calls), action=True))
            dialogue.answer(Message("assistant", question, action=True))
        assert dialogue.verdict().valid, setting.name
        assert dialogue.malformed_messages == 0, setting.name
