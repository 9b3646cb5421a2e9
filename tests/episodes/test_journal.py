"""The journal of an evaluation: what was answered is not asked again, what was interrupted is, and nothing is mixed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from shiqbench.base.errors import DivergedError
from shiqbench.episodes.generation import Completion, Sampling
from shiqbench.episodes.journal import JournaledGenerator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GREEDY = Sampling(max_tokens=4)
WAVES = [[[1, 2], [3]], [[1, 2, 9]], [[4], [5, 6, 7]]]


class Counting:
    """An engine that answers with a token of its own for each call, so that a repeated call is seen."""

    name, version = "counting", "counting 1"

    def __init__(self, first: int = 0) -> None:
        self.calls = first

    def load(self, weights: Path) -> None:
        raise NotImplementedError

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        self.calls += 1
        return [Completion((self.calls, len(p)), (-0.1 * self.calls, -1 / 3), True) for p in prompts]

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[0.0] * len(s) for s in sequences]

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name}

    def close(self) -> None:
        self.calls = -1


def play(path: Path, waves: int = 3, first: int = 0, identity: str = "weights") -> tuple[Any, Counting, dict[str, int]]:
    engine = Counting(first)
    journal = JournaledGenerator(engine, path, identity)
    answers = [journal.generate(prompts, GREEDY) for prompts in WAVES[:waves]]
    return answers, engine, journal.facts()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_after_a_stop_kept_waves_are_read_back_exactly_and_the_rest_is_generated(path: Path) -> None:
    before, _, facts = play(path, waves=2)
    assert facts == {"waves": 2, "replayed": 0, "discarded": 0}
    after, engine, facts = play(path, first=100)
    assert after[:2] == before
    assert engine.calls == 101  # the third wave alone
    assert facts == {"waves": 3, "replayed": 2, "discarded": 0}
    assert play(path, first=200)[0] == after


@pytest.mark.parametrize("cut", [1, 40, 100])
def test_a_wave_cut_off_by_a_kill_starts_whole_again(path: Path, cut: int) -> None:
    before, _, _ = play(path)
    path.write_bytes(path.read_bytes()[:-cut])
    after, engine, facts = play(path, first=100)
    assert after[:2] == before[:2]
    assert engine.calls == 101
    assert facts == {"waves": 3, "replayed": 2, "discarded": 1}


def test_a_damaged_wave_and_all_after_it_are_discarded_and_counted(path: Path) -> None:
    before, _, _ = play(path)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = lines[2].replace(b"[[2,3]", b"[[8,3]")
    assert damaged != lines[2]
    path.write_bytes(b"".join([*lines[:2], damaged, lines[3]]))
    after, _, facts = play(path, first=100)
    assert after[0] == before[0]
    assert [c.ids[0] for wave in after[1:] for c in wave] == [101, 102, 102]
    assert facts == {"waves": 3, "replayed": 1, "discarded": 2}
    assert play(path, first=200)[0] == after


def test_other_prompts_or_sampling_are_never_answered_from_the_file(path: Path) -> None:
    play(path)
    for wave, sampling in (([[1], [2, 3]], GREEDY), (WAVES[0], Sampling(max_tokens=4, seed=1))):
        journal = JournaledGenerator(Counting(50), path, "weights")
        (first, *_) = journal.generate(wave, sampling)
        assert first.ids[0] == 51
        assert journal.facts()["discarded"] >= 1
        assert journal.facts()["replayed"] == 0


def test_a_file_of_other_weights_is_discarded_whole(path: Path) -> None:
    play(path)
    answers, engine, facts = play(path, first=100, identity="other weights")
    assert engine.calls == 103
    assert answers[0][0].ids[0] == 101
    assert facts == {"waves": 3, "replayed": 0, "discarded": 3}


def test_weights_cannot_change_under_a_journal(path: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="other weights"):
        JournaledGenerator(Counting(), path, "weights").load(tmp_path)


def test_the_rest_is_the_engine_s(path: Path) -> None:
    engine = Counting()
    journal = JournaledGenerator(engine, path, "weights")
    assert (journal.name, journal.version, journal.describe()) == ("counting", "counting 1", {"engine": "counting"})
    assert journal.score([[1, 2]]) == [[0.0, 0.0]]
    journal.close()
    assert engine.calls == -1


class NotFinite(Counting):
    """An engine of another package that does not look at its log-probabilities."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        return [Completion((0,), (math.nan,), False) for _ in prompts]

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        return [[0.0, -math.inf] for _ in sequences]


def test_log_probabilities_that_are_not_finite_are_refused_and_never_kept(path: Path) -> None:
    journal = JournaledGenerator(NotFinite(), path, "weights")
    header = path.read_bytes()
    with pytest.raises(DivergedError, match=r"1 of 1 log-probabilities .* nan \(counting\)"):
        journal.generate([[1]], GREEDY)
    assert path.read_bytes() == header
    with pytest.raises(DivergedError, match=r"1 of 2 log-probabilities .* -inf"):
        journal.score([[1, 2]])
