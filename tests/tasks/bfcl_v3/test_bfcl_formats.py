"""Native formats: what is a call in each, and that vLLM's parsers find the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shiqbench_tasks.bfcl_v3.calls import Call, Outcome
from shiqbench_tasks.bfcl_v3.formats import FORMATS

from shiqbench.testing.tiny_model import make_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

LS, CD = Call("ls", kwargs={"a": True}), Call("cd", kwargs={"folder": "it's {here}"})
GOOD = {
    "hermes": [
        ('<tool_call>\n{"name": "ls", "arguments": {"a": true}}\n</tool_call>', [LS]),
        ('<tool_call>{"arguments": {"a": true}, "name": "ls"}</tool_call>', [LS]),
        ('I look.\n<tool_call>\n{"name": "ls", "arguments": {"a": true}}\n</tool_call>', [LS]),
        (
            '<tool_call>\n{"name": "ls", "arguments": {"a": true}}\n</tool_call>\n'
            '<tool_call>\n{"name": "cd", "arguments": {"folder": "it\'s {here}"}}\n</tool_call>',
            [LS, CD],
        ),
        ('<tool_call>\n{"name": "ls", "arguments": {"a": true}}', [LS]),  # cut off after the call
        ('<tool_call>\n{"name": "pwd", "arguments": {}}\n</tool_call>', [Call("pwd")]),
    ],
    "llama3_json": [
        ('{"name": "ls", "parameters": {"a": true}}', [LS]),
        ('{"name": "ls", "arguments": {"a": true}}', [LS]),
        ('<|python_tag|>{"name": "ls", "parameters": {"a": true}}', [LS]),
        (
            '{"name": "ls", "parameters": {"a": true}}; {"name": "cd", "parameters": {"folder": "it\'s {here}"}}',
            [LS, CD],
        ),
        ('Sure: {"name": "ls", "parameters": {"a": true}} done', [LS]),
        ('{"name": "f", "parameters": {"a": {"b": [1, 2.5, null]}}}', [Call("f", kwargs={"a": {"b": [1, 2.5, None]}})]),
    ],
    "pythonic": [
        ("[ls(a=True)]", [LS]),
        ('[ls(a=true), cd(folder="it\'s {here}")]', [LS, CD]),
        ("[f(a=-1, b=null, c=[1, {'k': 'v'}])]", [Call("f", kwargs={"a": -1, "b": None, "c": [1, {"k": "v"}]})]),
        ("[pwd()]", [Call("pwd")]),
    ],
}
SILENT = {
    "hermes": ["", "All done.", '{"name": "ls", "arguments": {}}', "[ls()]", "</tool_call>"],
    "llama3_json": ["", "All done.", "[ls()]", "<|python_tag|>", "Use {braces}.", "The set {1, 2} is fine."],
    "pythonic": ["", "All done.", "ls()", "I call [ls()]", '{"name": "ls", "parameters": {}}', "[Note] The file(s)."],
}
BROKEN = {
    "hermes": [
        "<tool_call>",
        "<tool_call>\nls()\n</tool_call>",
        '<tool_call>\n{"name": "ls"}\n</tool_call>',
        '<tool_call>\n{"arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "ls", "arguments": {"a": tru',
        '<tool_call>{"name": "ls", "arguments": {}}</tool_call><tool_call>x</tool_call>',
    ],
    "llama3_json": [
        "{",
        '{"name": "ls"}',
        '{"parameters": {}}',
        '{"name": "ls", "parameters": {}}; {"name": "ls"}',
        '{"name": "ls", "parameters": {"a": tru',
    ],
    "pythonic": ["[ls(", "[ls(a=x)]", "[ls(a=1+1)]", "[1]", "[ls(), 1]", "[ls(a=lambda: 1)]"],
}
# Here we are stricter: vLLM passes these on as calls whose arguments are no object, or renders them as text.
STRICTER = {
    "hermes": ['<tool_call>{"name": "ls", "arguments": "a"}</tool_call>', '<tool_call>{"name": 1, "arguments": {}}'],
    "llama3_json": ['{"name": "ls", "parameters": [1]}'],
    "pythonic": ["[ls(a={1, 2})]", "[ls(a=f'x')]", "[a.ls()]"],
}


def _cases(table: dict[str, list[Any]]) -> list[Any]:
    return [(name, case) for name, cases in table.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), _cases(GOOD))
def test_calls(name: str, case: tuple[str, list[Call]]) -> None:
    parsed = FORMATS[name].read(case[0])
    assert parsed.outcome is Outcome.CALLS
    assert list(parsed.calls) == case[1]


@pytest.mark.parametrize(("name", "text"), _cases(SILENT))
def test_no_calls(name: str, text: str) -> None:
    assert FORMATS[name].read(text).outcome is Outcome.NO_CALLS


@pytest.mark.parametrize(("name", "text"), [*_cases(BROKEN), *_cases(STRICTER)])
def test_broken_calls(name: str, text: str) -> None:
    parsed = FORMATS[name].read(text)
    assert parsed.outcome is Outcome.MALFORMED
    assert parsed.problem


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>" * 3_000,
        "<tool_call>" + "[" * 15_000,
        '<tool_call>{"name": "f", "arguments": ' + '{"a":' * 3_000,
        "{" * 19_000,
        '{"a": ' * 3_000,
        "[" * 19_000,
        '{"name": "f", "parameters": {}}' * 600,
        "x" * 25_000 + "<tool_call>{[f()",
        '<tool_call>{"name": "f", "arguments": {"a": "\\ud800"}}{[f(a=\'\\ud800\')]',
    ],
    ids=lambda text: f"{text[:30]}...{len(text)}",
)
def test_hostile_text_is_read_as_no_call(name: str, text: str) -> None:
    assert FORMATS[name].read(text).outcome is not Outcome.CALLS


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abc'\"{}[]\\é\n<>/|", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
_CALLS = st.lists(
    st.builds(
        lambda name, kwargs: Call(name, kwargs=kwargs),
        st.sampled_from(["ls", "cd", "post_tweet"]),
        st.dictionaries(st.sampled_from(["a", "folder", "content"]), _VALUES, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None)  # the machine may be busy
@given(calls=_CALLS)
def test_written_calls_are_read_back(name: str, calls: list[Call]) -> None:
    if name == "hermes" and "tool_call>" in FORMATS[name].write(calls).replace("<tool_call>\n", "").replace(
        "\n</tool_call>", ""
    ):
        return  # the format cannot carry its own mark
    assert list(FORMATS[name].read(FORMATS[name].write(calls)).calls) == calls


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # advice from vLLM to its own authors
@pytest.mark.vllm
@pytest.mark.slow
def test_vllm_finds_the_same(tmp_path: Path) -> None:
    """Same calls and arguments where we find calls, none where we find none."""
    pytest.importorskip("vllm")
    from transformers import AutoTokenizer
    from vllm.tool_parsers import ToolParserManager

    make_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["<|python_tag|>", "<tool_call>", "</tool_call>"])
    for name, form in FORMATS.items():
        parser = ToolParserManager.get_tool_parser(name)(tokenizer)
        texts = [text for text, _ in GOOD[name]] + SILENT[name] + BROKEN[name]
        texts += [form.write([LS]), form.write([LS, CD]), form.write([Call("f", kwargs={"a": [1.5, {"b": "ü\n"}]})])]
        for text in texts:
            theirs = parser.extract_tool_calls(text, None)
            found = [(c.function.name, json.loads(c.function.arguments)) for c in theirs.tool_calls]
            assert [(c.name, c.kwargs) for c in form.read(text).calls] == found, text
