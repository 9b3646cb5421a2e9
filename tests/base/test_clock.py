"""Parts of a computation add up, whatever is inside what."""

from __future__ import annotations

import pytest

from shiqbench.base import clock as clocks
from shiqbench.base.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A time that the test moves."""
    time = [0.0]
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: time[0])
    return time


def test_a_part_inside_another_counts_for_itself_alone(now: list[float]) -> None:
    clock = Clock()
    with clock.part("forward"):
        now[0] += 2
        for _ in range(2):
            with clock.part("head"):
                now[0] += 3
                with clock.part("chunk"):
                    now[0] += 0.5
        now[0] += 1
    with clock.part("head"):
        now[0] += 10
    assert clock.seconds == {"forward": 3, "head": 16, "chunk": 1}
    assert sum(clock.seconds.values()) == now[0]


def test_a_part_that_is_counted_whole_includes_those_inside(now: list[float]) -> None:
    clock = Clock()
    with clock.part("reference", whole=True):
        now[0] += 1
        with clock.part("forward"), clock.part("head"):
            now[0] += 2
    with clock.part("forward"):
        now[0] += 4
    assert clock.seconds == {"reference": 3, "forward": 4}


def test_a_part_that_fails_is_counted(now: list[float]) -> None:
    clock = Clock()

    def fails() -> None:
        with clock.part("outer"), clock.part("inner"):
            now[0] += 4
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fails()
    with clock.part("next"):
        now[0] += 1
    assert clock.seconds == {"outer": 0, "inner": 4, "next": 1}


def test_work_in_the_background_is_waited_for(now: list[float]) -> None:
    def wait() -> None:
        now[0] += 5

    clock = Clock(wait)
    with clock.part("backward"):
        pass
    assert clock.seconds == {"backward": 5}
