"""The parser: what is a call, and that nothing else is ever run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shiqbench_tasks.bfcl_v3.calls import MAX_CALLS, Call, Outcome, parse, write
from shiqbench_tasks.bfcl_v3.loop import Dialogue
from shiqbench_tasks.bfcl_v3.official_calls import read_officially

from shiqbench.episodes.episode import Message

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry

ATTACKS = [
    "__import__('os').system('touch {sentinel}')",
    "[__import__('os').system('touch {sentinel}')]",
    "open('{sentinel}', 'w')",
    "[open('{sentinel}', 'w').close()]",
    "[ls(a=open('{sentinel}', 'w'))]",
    "[ls(a=__import__('pathlib').Path('{sentinel}').touch())]",
    "[f(a=(lambda: 1)())]",
    "[ls() for x in range(3)]",
    "[ls(a=[x for x in (1, 2)])]",
    "{{ls(): 1}}",
    '[f\'{{open("{sentinel}", "w")}}\']',
    "[ls(a=f'{{1}}')]",
    "[(x := ls())]",
    "[ls.__class__()]",
    "[().__class__.__bases__[0].__subclasses__()]",
    "[ls(**{{'a': 1}})]",
    "[ls(*[1])]",
    "[ls(a=1 if True else 2)]",
    "[ls(a=not 1)]",
    "[ls(a=b'x')]",
    "[ls(a=1j)]",
    "[ls(a=...)]",
    "[ls(a={{1, 2}})]",
    "[ls(a={{[1]: 2}})]",
    "[ls(a=1+1)]",
    "[ls(a='x' * 10**10)]",
    "[ls(a=9**9**9**9)]",
    "[ls()()]",
    "[ls()[0]]",
    "[await ls()]",
    "import os; ls()",
    "ls() # note",
    "ls(\\\n)",
]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("[ls(a=True), pwd()]", [Call("ls", kwargs={"a": True}), Call("pwd")]),
        ("ls()", [Call("ls")]),
        ("ls(), pwd()", [Call("ls"), Call("pwd")]),
        ("  [ls()]\n", [Call("ls")]),
        ("(ls(), pwd())", [Call("ls"), Call("pwd")]),
        (
            "f('a', -1.5, b=[1, {'k': None}], c=(2,))",
            [Call("f", ("a", -1.5), {"b": [1, {"k": None}], "c": (2,)})],
        ),
        (
            'f(a=\'it\\\'s\', b="""two\nlines""", c=r\'\\d\')',
            [Call("f", kwargs={"a": "it's", "b": "two\nlines", "c": "\\d"})],
        ),
        ("f(a='rm(x); __import__(1) {[( # $')", [Call("f", kwargs={"a": "rm(x); __import__(1) {[( # $"})]),
        ("f(a=1e-3, b=.5, c=2.)", [Call("f", kwargs={"a": 0.001, "b": 0.5, "c": 2.0})]),
        ("f(a='d\\yz')", [Call("f", kwargs={"a": "d\\yz"})]),
    ],
)
def test_calls(text: str, calls: list[Call]) -> None:
    parsed = parse(text)
    assert parsed.outcome is Outcome.CALLS
    assert list(parsed.calls) == calls


@pytest.mark.parametrize(
    "text", ["", " \n", "[]", " [ ] ", "Done.", "All (three) files moved.", "I am done", "f", "\x00", "()"]
)
def test_no_calls(text: str) -> None:
    assert parse(text).outcome is Outcome.NO_CALLS


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_malformed_and_leave_no_trace(attack: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    text = attack.format(sentinel=sentinel)
    parsed = parse(text)
    if parsed.outcome is Outcome.CALLS:  # a name that no episode offers: the dispatcher refuses it
        assert parsed.calls[0].name == "open"
    else:
        assert parsed.outcome is Outcome.MALFORMED
        assert parsed.problem
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "text",
    [
        "[ls(",
        "[1]",
        "[ls(a=1, a=2)]",
        "[ls(a)]",
        "[ls(a=true)]",
        "[ls(1, a=2, 3)]",
        "Sure: ls()",
        "```python\n[ls()]\n```",
        "[ls(a=1e999)]",
        "[ls(a='\\ud800')]",
        "[ls(a='\ud800')]",
        "[ls(a='\x00')]",
        "[ls(a=--1)]",
        "[ls(a=0123)]",
        "[ls(a=-'x')]",
        "[ls(a=-True)]",
        f"[ls(a={'9' * 65})]",
        f"[{', '.join(['ls()'] * (MAX_CALLS + 1))}]",
    ],
)
def test_malformed(text: str) -> None:
    parsed = parse(text)
    assert parsed.outcome is Outcome.MALFORMED
    assert parsed.problem
    assert parsed.calls == ()


LARGE = [
    "[ls(a='" + "x" * 10_000_000 + "')]",
    "[" * 10_000 + "]" * 10_000,
    "ls(a=" + "(" * 9_000 + "1" + ")" * 9_000 + ")",
    "ls(a=" + "{1:" * 5_000 + "1" + "}" * 5_000,
    "ls(a=" + "-" * 15_000 + "1)",
    "ls(a=" + "- " * 7_000 + "1)",
    "ls(a=" + "not " * 4_500 + "1)",
    "ls(a=" + "9" * 15_000 + ")",
    "ls(a=" + "9" * 15_000 + "x)",
    "ls(a=0x" + "f" * 15_000 + ")",
    "ls(a=1" + "+1" * 9_000 + ")",
    "ls" + "()" * 9_000,
    "ls" + ".a" * 9_000 + "()",
    "[" + "'" * 19_000,
    "[" + "'''a" * 4_000,
    "[" + "\\" * 19_000,
    "a" * 19_990,
    "[" + "ls(a='" * 3_000,
]


@pytest.mark.parametrize("text", LARGE, ids=lambda text: f"{text[:12]}...{len(text)}")
def test_large_input_is_refused_quickly(text: str) -> None:
    started = time.process_time()
    parsed = parse(text)
    assert time.process_time() - started < 1.0
    assert parsed.outcome is not Outcome.CALLS
    assert parsed.outcome is Outcome.MALFORMED or "(" not in text


@pytest.mark.parametrize(
    "text", [*LARGE, "a" * 99_000, "f(" * 49_000, "f() " * 24_000, "[f(a='x'), " * 9_000, "?(" * 49_000]
)
def test_the_official_reader_is_quick(text: str) -> None:
    for version in ("v3", "v4"):
        started = time.process_time()
        read_officially(text, version)
        assert time.process_time() - started < 2.0


_LITERALS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_NAMES = st.from_regex(r"\A[a-z_][a-z0-9_]{0,8}_\Z")


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.builds(Call, _NAMES, st.tuples(), st.dictionaries(_NAMES, _LITERALS, max_size=3)),
        min_size=1,
        max_size=4,
    )
)
def test_written_calls_are_read_back(calls: list[Call]) -> None:
    parsed = parse(write(calls))
    assert parsed.outcome is Outcome.CALLS, parsed.problem
    assert list(parsed.calls) == calls


_MARKS = ["[", "]", "(", ")", "{", "}", ",", "=", ":", "-", "*", "**", ".", "@", "#", ":=", " ", "\n", "\\"]
_QUOTES = ["'", '"', "'''", "f'", "b'", "r'", "\\N{DIGIT ONE}", "\x00", "\ud800", "ｌｓ", "é"]
_WORDS = [
    "ls",
    "cd",
    "folder",
    "echo",
    "content",
    "__import__",
    "os",
    "system",
    "None",
    "True",
    "1",
    "1e9",
    "0x",
]
_KEYWORDS = ["lambda", "for", "in", "if", "await", "9" * 70]
_FRAGMENTS = st.sampled_from(_MARKS + _QUOTES + _WORDS + _KEYWORDS)
_HOSTILE = st.lists(_FRAGMENTS, max_size=30).map("".join) | st.text(max_size=60)


@settings(deadline=None)  # the machine may be busy
@given(_HOSTILE)
@example("[" * 10_000)
@example("[ls(a='" + "x" * 25_000 + "')]")
def test_any_text_has_a_reading(text: str) -> None:
    parsed = parse(text)
    assert (parsed.outcome is Outcome.CALLS) == bool(parsed.calls)
    assert (parsed.outcome is Outcome.MALFORMED) == bool(parsed.problem)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(_HOSTILE | st.sampled_from(ATTACKS), min_size=1, max_size=6))
def test_any_messages_go_through_the_loop(bfcl_root: Path, entries: tuple[Entry, ...], texts: list[str]) -> None:
    dialogue = Dialogue(entries[0], bfcl_root)
    for text in texts:
        if dialogue.stop is None:
            before = len(dialogue.messages)
            dialogue.answer(Message("assistant", text, action=True))
            assert len(dialogue.messages) > before
            if len(dialogue.messages) > before + 1:
                dialogue.messages[-1].content.encode()  # what goes back can be tokenised and stored


def test_attacks_through_the_loop_leave_no_trace(bfcl_root: Path, entries: tuple[Entry, ...], tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    for attack in ATTACKS:
        dialogue = Dialogue(entries[0], bfcl_root)
        dialogue.answer(Message("assistant", attack.format(sentinel=sentinel), action=True))
        assert dialogue.messages[-1].role == "tool"
        assert dialogue.messages[-1].content.startswith("Error")
    assert not sentinel.exists()
