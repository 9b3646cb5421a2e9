"""Progress on a terminal and in a log: rates, the time left, and steps inside steps."""

from __future__ import annotations

import io
import time
from itertools import groupby
from pathlib import Path

import pytest
from rich.console import Console

from shiqbench.base import durations, progress
from shiqbench.base.progress import Display, Rate, counting, listening, waiting
from shiqbench.matrices.executors.events import Event, EventDisplay, Progress

pytestmark = pytest.mark.usefixtures("own_cache")


def on_terminal(width: int = 120) -> tuple[Display, io.StringIO]:
    display, out = Display(), io.StringIO()
    display.console = Console(file=out, force_terminal=True, width=width, color_system=None)
    return display, out


def test_a_rate_counts_from_the_first_report() -> None:
    rate = Rate()
    assert rate.of(40, 100, 10.0) == ("", "")  # 40 were done before
    assert rate.of(50, 100, 15.0) == ("2.0/s", "about 25 s left")
    assert rate.of(60, 100, 50.0) == ("2.0 s each", "about 80 s left")


def test_a_step_in_a_log_has_its_rate_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with Display().bar("evaluate", 10) as advance:
        for done in (1, 2):
            advance(done, 10)
            time.sleep(0.01)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "evaluate: 1/10"
    assert second.startswith("evaluate: 2/10, ")
    assert second.endswith(" s left")


def test_steps_inside_steps_are_lines_of_one_display() -> None:
    display, out = on_terminal()
    with display.bar("evaluate", 4) as advance:
        advance(1, 4)
        advance(2, 4)
        with waiting("starting engine"):
            (shown,) = progress._open
            assert [task.description for task in shown.tasks] == ["evaluate", "starting engine"]
            shown.refresh()
        assert [task.description for task in shown.tasks] == ["evaluate"]
        shown.refresh()
    assert progress._open == []
    assert "starting engine" in out.getvalue()
    assert "/s" in out.getvalue()


def test_a_display_is_closed_by_an_error() -> None:
    display, _ = on_terminal()
    with pytest.raises(ZeroDivisionError), display.stage("episodes"):
        raise ZeroDivisionError
    assert progress._open == []


def test_a_long_step_of_unknown_length_says_its_time_and_is_remembered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own_cache: Path
) -> None:
    with waiting("starting engine"):
        pass
    assert capsys.readouterr().err == ""
    assert durations.last_time("starting engine") is None
    monkeypatch.setattr(progress, "LONG", 0.0)
    with waiting("starting engine"):
        time.sleep(0.02)
    assert capsys.readouterr().err.startswith("starting engine: 0.")
    assert durations.last_time("starting engine") == pytest.approx(0.02, abs=1)
    display, out = on_terminal()
    with display.bar("evaluate", 0), waiting("starting engine"):
        progress._open[0].refresh()
    assert "starting engine, 0 s the last time" in out.getvalue()


@pytest.mark.parametrize("text", ["{", "[]", '{"x": "long"}', "\xff"])
def test_a_file_of_durations_that_is_damaged_is_not_needed(own_cache: Path, text: str) -> None:
    own_cache.mkdir()
    (own_cache / durations.FILE).write_bytes(text.encode("latin-1"))
    assert durations.last_time("x") is None
    durations.remember("x", 2.5)
    assert durations.last_time("x") == 2.5


def test_counted_items_are_all_passed_on() -> None:
    assert list(counting(iter("abc"), "converting", 3)) == ["a", "b", "c"]
    assert progress._open == []


def test_steps_deep_inside_a_job_reach_its_display() -> None:
    events: list[Event] = []
    with listening(EventDisplay("a job", events.append)):
        assert list(counting([5, 6], "reward model", 2)) == [5, 6]
        with waiting("starting vllm"):
            pass
    assert list(counting([7], "reward model", 1)) == [7]  # without a listener
    told = [(e.stage, e.done, e.total) for e in events if isinstance(e, Progress)]
    assert told[0] == ("reward model", 0, 2)
    assert told[-2:] == [("reward model", 2, 2), ("starting vllm", 0, 0)]


def test_after_a_stage_its_step_goes_on(tmp_path: Path) -> None:
    events: list[Event] = []
    display = EventDisplay("a job", events.append)
    with listening(display), display.step("evaluate base", tmp_path):
        with waiting("starting vllm"):
            pass
        list(counting([5], "answers", 1))
    told = [name for name, _ in groupby(e.stage for e in events if isinstance(e, Progress))]
    assert told == ["starting vllm", "evaluate base", "answers", "evaluate base"]
