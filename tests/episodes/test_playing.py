"""Episodes that are played at once: none waits for another's message, and what they say is the same as in waves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from streaming import InCallsOnly, Stepping

from shiqbench.base.errors import ConfigError, EngineError
from shiqbench.episodes.episode import Message, StopReason
from shiqbench.episodes.generation import ChatGenerator, Sampling, mixed_seed
from shiqbench.episodes.journal import JournaledGenerator
from shiqbench.episodes.playing import play_all
from shiqbench.episodes.rendering import Renderer

if TYPE_CHECKING:
    from pathlib import Path

SAMPLING = Sampling(max_tokens=9, temperature=1.0)
SEEDS = [mixed_seed(3, i) for i in range(11)]


class Talk:
    """An episode of a few messages; the user says how many are left."""

    tools = ()

    def __init__(self, number: int, *, crashes: int = 0) -> None:
        self.id, self.group, self.left, self.crashes = f"talk {number}", str(number % 2), 2 + number % 4, crashes
        self.messages = [Message("user", f"talk {number}: {self.left} left")]
        self.stop: StopReason | None = None
        self.error = ""

    def answer(self, message: Message, *, tokens: int, prompt_tokens: int) -> None:
        assert tokens == len(message.token_ids or ())
        assert prompt_tokens > 0
        if self.crashes:
            raise RuntimeError("no luck")
        self.left -= 1
        self.messages += [message, Message("user", f"{self.left} left")]
        if not self.left:
            self.stop = StopReason.FINISHED

    def no_room(self, prompt_tokens: int, room: int) -> None:
        assert prompt_tokens > room
        self.stop = StopReason.CONTEXT_LIMIT

    def crash(self, error: BaseException) -> None:
        self.error, self.stop = str(error), StopReason.ERROR

    def messages_to_expect(self) -> int:
        return self.left


@pytest.fixture(scope="module")
def renderer(tiny_model: Path) -> Renderer:
    return Renderer(tiny_model)


def said(talks: list[Talk]) -> list[list[str]]:
    return [[m.content for m in t.messages] for t in talks]


def play(engine: Any, renderer: Renderer, new: Any = Talk, max_context: int = 500, seen: Any = None) -> list[Talk]:
    chat = ChatGenerator(engine, renderer, max_context)
    return play_all(new, SEEDS, chat, SAMPLING, seen.append if seen is not None else lambda ended: None)


def test_a_stream_says_what_waves_say_in_fewer_steps(renderer: Renderer) -> None:
    streamed, together = Stepping(), InCallsOnly()
    seen: list[int] = []
    found = play(streamed, renderer, seen=seen)
    assert all(t.stop is StopReason.FINISHED for t in found)
    assert said(found) == said(play(together, renderer))
    assert sorted(streamed.asked) == sorted(together.asked)
    tokens = sum(len(m.token_ids or ()) for t in found for m in t.messages)
    assert tokens / streamed.slots <= streamed.steps < together.steps * together.slots / 2
    assert seen == sorted(seen)
    assert seen[-1] == len(SEEDS)


def test_what_an_episode_says_depends_on_no_other_episode(renderer: Renderer) -> None:
    whole = play(Stepping(), renderer)
    chat = ChatGenerator(Stepping(slots=1), renderer, 500)
    (last,) = play_all(lambda _: Talk(10), SEEDS[10:], chat, SAMPLING, lambda ended: None)
    assert said([last]) == said(whole[10:])


def test_one_that_crashes_is_played_once_more_with_other_seeds(renderer: Renderer) -> None:
    made: dict[int, int] = {}

    def new(number: int) -> Talk:
        made[number] = made.get(number, 0) + 1
        return Talk(number, crashes=int((number == 3 and made[number] == 1) or number == 5))

    found, plain = play(Stepping(), renderer, new), play(Stepping(), renderer)
    assert made == {i: 2 if i in (3, 5) else 1 for i in range(len(SEEDS))}
    assert (found[5].stop, found[5].error) == (StopReason.ERROR, "no luck")
    assert found[3].stop is StopReason.FINISHED
    assert said(found[3:4]) != said(plain[3:4])
    assert [said([f]) == said([p]) for f, p in zip(found, plain, strict=True)].count(False) == 2


def test_a_prompt_that_grows_beyond_the_context_ends_its_episode(renderer: Renderer) -> None:
    longest = max(len(renderer.prompt(Talk(i).messages)) for i in range(len(SEEDS)))
    for engine in (Stepping(), InCallsOnly()):
        found = play(engine, renderer, max_context=longest + SAMPLING.max_tokens)
        assert {t.stop for t in found} == {StopReason.CONTEXT_LIMIT}
    with pytest.raises(ConfigError, match=rf"the first prompt of talk \d+ has {longest} tokens: .* 1 more than"):
        play(Stepping(), renderer, max_context=longest + SAMPLING.max_tokens - 1)


@pytest.mark.parametrize("step", [1, 5, 17])
def test_a_failed_engine_goes_on_from_the_journal(renderer: Renderer, tmp_path: Path, step: int) -> None:
    whole = play(Stepping(), renderer)
    broken, path = Stepping(fails_at=step), tmp_path / "journal"
    with pytest.raises(EngineError):
        play(JournaledGenerator(broken, path, "x"), renderer)
    assert not broken.open  # the stream was closed
    engine = Stepping()
    journal = JournaledGenerator(engine, path, "x")
    assert said(play(journal, renderer)) == said(whole)
    facts = journal.facts()
    answers = sum(t.messages[-1].role == "user" and len(t.messages) // 2 for t in whole)
    assert facts["waves"] == answers
    assert facts["replayed"] == answers - len(engine.asked)
    assert facts["discarded"] == 0
    assert journal.shortest is not None


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_few_at_a_time_say_the_same_and_go_on_from_the_journal(
    renderer: Renderer, tmp_path: Path, at_once: int
) -> None:
    made: list[int] = []
    seen: list[int] = []

    def few(engine: Any) -> list[Talk]:
        chat = ChatGenerator(engine, renderer, 500)
        return play_all(lambda i: made.append(i) or Talk(i), SEEDS, chat, SAMPLING, seen.append, at_once)  # type: ignore[func-returns-value]

    whole = play(Stepping(), renderer)
    first = Stepping()
    assert said(few(first)) == said(whole)
    assert made == list(range(len(SEEDS)))
    assert seen == sorted(seen)
    assert seen[-1] == len(SEEDS)
    path = tmp_path / "journal"
    with pytest.raises(EngineError):
        few(JournaledGenerator(Stepping(fails_at=first.steps - 1), path, "x"))
    engine = Stepping()
    journal = JournaledGenerator(engine, path, "x")
    assert said(few(journal)) == said(whole)
    facts = journal.facts()
    assert facts["discarded"] == 0
    assert len(engine.asked) == facts["waves"] - facts["replayed"] < facts["waves"] / 2


def test_what_is_kept_and_not_asked_is_counted(renderer: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    play(JournaledGenerator(Stepping(), path, "x"), renderer)
    kept = path.read_bytes().count(b"\n") - 1
    journal = JournaledGenerator(Stepping(), path, "x")
    play_all(Talk, SEEDS[:4], ChatGenerator(journal, renderer, 500), SAMPLING, lambda ended: None)
    facts = journal.facts()
    assert facts["waves"] == facts["replayed"] > 0
    assert facts["discarded"] == kept - facts["replayed"]
