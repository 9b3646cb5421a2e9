"""The episode loop and the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shiqbench_tasks.bfcl_v3 import prompt
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits

from shiqbench.episodes.episode import Message, StopReason

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry


def _say(dialogue: Dialogue, text: str, tokens: int = 0) -> None:
    dialogue.answer(Message("assistant", text, action=True), tokens=tokens, prompt_tokens=10)


def test_a_turn_goes_on_until_a_message_without_calls(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    dialogue = Dialogue(entries[1], bfcl_root)
    assert [m.role for m in dialogue.messages] == ["system", "user"]
    _say(dialogue, "[ls(a=True), pwd()]")
    assert dialogue.messages[-1] == Message(
        "tool", '{"current_directory_content": ["workspace"]}\n{"current_working_directory": "/alex"}'
    )
    _say(dialogue, "[ls(")
    assert dialogue.messages[-1].content.startswith("Error: not a list of calls")
    _say(dialogue, "Done.")
    assert dialogue.messages[-1] == Message("user", entries[1].users[1])
    assert (dialogue.assistant_messages, dialogue.malformed_messages, dialogue.prompt_tokens) == (3, 1, 30)
    assert [m.action for m in dialogue.messages] == [m.role == "assistant" for m in dialogue.messages]


def test_step_limit_counts_as_the_official_loop_does(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    dialogue = Dialogue(entries[1], bfcl_root, Limits(max_steps=20))
    for _ in range(20):
        _say(dialogue, "[pwd()]")
    assert dialogue.stop is None
    _say(dialogue, "[]")  # each turn has its own count
    for _ in range(20):
        _say(dialogue, "[pwd(")
    assert dialogue.stop is None
    _say(dialogue, "[pwd()]")
    assert dialogue.stop is StopReason.STEP_LIMIT
    with pytest.raises(ValueError, match="has ended"):
        _say(dialogue, "[]")


def test_token_limit(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    dialogue = Dialogue(entries[1], bfcl_root, Limits(max_tokens=100))
    _say(dialogue, "[pwd()]", tokens=99)
    assert dialogue.stop is None
    _say(dialogue, "[]", tokens=1)
    assert dialogue.stop is StopReason.TOKEN_LIMIT
    assert not dialogue.verdict().valid


def test_an_episode_that_finishes_at_the_token_limit_has_finished(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    dialogue = Dialogue(entries[1], bfcl_root, Limits(max_tokens=4))
    for _ in entries[1].users:
        _say(dialogue, "[]", tokens=1)
    assert dialogue.stop is StopReason.FINISHED


def test_context_limit_ends_the_episode(bfcl_root: Path, entries: tuple[Entry, ...]) -> None:
    dialogue = Dialogue(entries[1], bfcl_root)
    with pytest.raises(ValueError, match="still being played"):
        dialogue.verdict()
    dialogue.no_room(9000, 8000)
    assert dialogue.stop is StopReason.CONTEXT_LIMIT
    assert dialogue.context_excess == 1000
    assert dialogue.verdict().turns == (False,) * 4


def test_a_withheld_tool_is_announced_and_could_be_guessed(bfcl_root: Path, miss_func: tuple[Entry, ...]) -> None:
    entry = miss_func[1]
    assert entry.withheld == {2: ("mv",)}
    dialogue = Dialogue(entry, bfcl_root)
    assert "\nmv(" not in dialogue.messages[0].content
    assert "\ncp(" in dialogue.messages[0].content
    _say(dialogue, "[mv(source='a', destination='b')]")  # as officially, whoever guesses it can call it
    assert dialogue.messages[-1].content.startswith('{"error": "mv: ')
    _say(dialogue, "[]")
    _say(dialogue, "[]")
    announced = dialogue.messages[-1]
    assert announced.role == "user"
    assert announced.content.startswith("mv(source: str, destination: str) - Move a file")
    assert announced.content.endswith(f"\n{prompt.ANNOUNCEMENT}")


def test_tool_lines(entries: tuple[Entry, ...]) -> None:
    lines = {line.partition("(")[0]: line for e in entries for line in map(prompt.tool_line, e.tools)}
    assert lines["ls"] == "ls(a: bool = False) - List the contents of the current directory."
    assert lines["echo"].startswith("echo(content: str, file_name: str = None) - Write content to a file")
    assert all(len(line.partition(") - ")[2].split()) <= prompt.DESCRIPTION_WORDS for line in lines.values())
    assert not any("This tool belongs" in line for line in lines.values())


def test_the_system_message_names_every_tool(entries: tuple[Entry, ...]) -> None:
    for entry in entries:
        text = prompt.system_message(entry).content
        assert text.count("\n") == len(entry.tools)
        assert all(f"\n{t['name']}(" in text for t in entry.tools)


def test_prompt_identity_follows_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompt.reduced_identity("data")
    assert before == prompt.reduced_identity("data")
    assert before != prompt.reduced_identity("other data")
    announcing = prompt.reduced_identity("data", announces=True)
    assert announcing != before
    with monkeypatch.context() as patch:
        patch.setattr(prompt, "ANNOUNCEMENT", "More tools.")
        assert prompt.reduced_identity("data", announces=True) != announcing
        assert prompt.reduced_identity("data") == before
    for name, value in (("INSTRUCTION", "Other words."), ("DESCRIPTION_WORDS", 11), ("TURN_END", "x")):
        with monkeypatch.context() as patch:
            patch.setattr(prompt, name, value)
            assert prompt.reduced_identity("data") != before
