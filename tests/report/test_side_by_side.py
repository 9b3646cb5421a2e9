"""Two texts next to each other: the first difference, messages in pairs, marked words, and signs for control."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiqbench.report.side_by_side import LONGEST, Message, first_difference, in_pairs, marked, visible, words

TALK = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "tool"]), st.text(max_size=12)), max_size=5)


def said(*texts: str) -> list[Message]:
    return [Message(role, text) for role, text in zip(["user", "assistant", "user", "assistant"], texts, strict=False)]


def test_the_first_word_that_differs_is_named_with_what_comes_before() -> None:
    found = first_difference(said("Fill it.", "I fill 10 litres now."), said("Fill it.", "I fill 20 litres now."))
    assert found == (2, "assistant", 3, "I fill ", "10 litres now.", "20 litres now.")


def test_a_message_that_one_side_lacks_is_the_difference() -> None:
    assert first_difference(said("a", "b"), said("a")) == (2, "assistant", 1, "", "b", None)
    assert first_difference([], said("a")) == (1, "user", 1, "", None, "a")


def test_another_role_is_a_difference() -> None:
    assert first_difference([Message("tool", "x")], [Message("user", "x")]) == (1, "tool or user", 1, "", "x", "x")


def test_a_text_that_ends_earlier_shows_an_empty_rest() -> None:
    assert first_difference(said("a b"), said("a b c")) == (1, "user", 3, "a b", "", " c")


def test_line_ends_and_long_texts_are_shown_in_one_short_line() -> None:
    found = first_difference(said("a\nb"), said("a " + "c" * 1000))
    assert found is not None
    assert found.left == "⏎b"
    assert found.right is not None
    assert len(found.right) == LONGEST
    assert found.right.endswith("…")


@given(TALK, TALK)
def test_there_is_a_difference_if_and_only_if_they_are_not_equal(left: list[Message], right: list[Message]) -> None:
    assert (first_difference(left, right) is None) == (left == right)


@given(TALK, TALK)
def test_pairs_hold_every_message_once_in_order(left: list[Message], right: list[Message]) -> None:
    pairs = list(in_pairs(left, right))
    assert [(i, m) for i, m, _, _ in pairs if m is not None] == list(enumerate(left, 1))
    assert [(j, m) for _, _, j, m in pairs if m is not None] == list(enumerate(right, 1))
    assert all(m.role == n.role for _, m, _, n in pairs if m is not None and n is not None)


def test_equal_messages_are_next_to_each_other() -> None:
    tool = Message("tool", "{}")
    left = [Message("user", "a"), Message("assistant", "call"), tool, Message("user", "b")]
    right = [Message("user", "a"), Message("assistant", "sorry"), Message("user", "b")]
    assert [(i, j) for i, _, j, _ in in_pairs(left, right)] == [(1, 1), (2, 2), (3, None), (4, 3)]


@given(st.text(max_size=40), st.text(max_size=40))
def test_marked_parts_are_the_texts_and_what_is_not_marked_is_in_both(left: str, right: str) -> None:
    one, other = marked(left, right)
    assert "".join(text for text, _ in one) == left
    assert "".join(text for text, _ in other) == right
    assert "".join(t for t, differs in one if not differs) == "".join(t for t, differs in other if not differs)


def test_only_the_words_that_differ_are_marked() -> None:
    one, other = marked("fill(amount=10)", "fill(amount=20)")
    assert [text for text, differs in one if differs] == ["10"]
    assert [text for text, differs in other if differs] == ["20"]


@given(st.text(max_size=40))
def test_words_are_the_whole_text(text: str) -> None:
    assert "".join(words(text)) == text


@pytest.mark.parametrize("text", ["\x1b[2J", "\x07", "\x9b31m", "\u202eabc", "\r", "\x7f"])
def test_nothing_that_controls_a_terminal_is_left(text: str) -> None:
    shown = visible(f"a{text}b\n\tc")
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in shown)
    assert "\u202e" not in shown
    assert shown.endswith("b\n\tc")
    assert visible("a\n\tb", one_line=True) == "a⏎⇥b"
