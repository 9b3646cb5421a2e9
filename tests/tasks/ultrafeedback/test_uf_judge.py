"""The judge against a real HTTP server: right, slow, malformed, failing, dead; nothing is lost or asked twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from judge_server import prefers_good, serving
from shiqbench_tasks.answers.judge import Judge, JudgeConfig, Pair, identity

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PAIRS = [Pair(f"request {i}", f"good {i}", f"bad {i}") for i in range(6)]


def judge(url: str, folder: Path, **changes: Any) -> Judge:
    return Judge(JudgeConfig(url=url, model="m", **{"retries": 3, **changes}), folder / "judge.jsonl")


def test_a_right_judge_is_asked_in_both_orders_and_its_cost_is_counted(tmp_path: Path) -> None:
    with serving(lambda text, number: prefers_good(text)) as server:
        asked = judge(server.url, tmp_path, usd_per_million_prompt=2.0, usd_per_million_completion=10.0)
        opinions = asked.compare(PAIRS)
    assert [o.preference for o in opinions] == [1.0] * 6
    assert not any(o.by_order for o in opinions)
    assert len(server.asked) == 12
    facts = asked.facts
    assert (facts["asked"], facts["prompt_tokens"], facts["completion_tokens"]) == (12, 1200, 120)
    assert facts["usd"] == pytest.approx((1200 * 2 + 120 * 10) / 1e6)


def test_a_judge_that_always_takes_the_first_is_a_tie_by_order(tmp_path: Path) -> None:
    with serving(lambda text, number: "The first one. [[A]]") as server:
        opinions = judge(server.url, tmp_path).compare(PAIRS)
    assert [(o.preference, o.orders, o.by_order) for o in opinions] == [(0.5, (1.0, 0.0), True)] * 6


def test_the_last_verdict_counts_and_a_tie_is_one_half(tmp_path: Path) -> None:
    with serving(lambda text, number: "[[A]] would be hasty. [[C]]") as server:
        opinions = judge(server.url, tmp_path).compare(PAIRS[:1])
    assert (opinions[0].preference, opinions[0].orders, opinions[0].by_order) == (0.5, (0.5, 0.5), False)


def test_what_was_answered_is_never_asked_again_even_after_a_kill(tmp_path: Path) -> None:
    with serving(lambda text, number: prefers_good(text)) as server:
        before = judge(server.url, tmp_path).compare(PAIRS[:4])
        kept = tmp_path / "judge.jsonl"
        kept.write_bytes(kept.read_bytes()[:-30])  # a line that was being written
        again = judge(server.url, tmp_path)
        assert again.compare(PAIRS[:4]) == before
        assert (again.facts["kept_before"], again.facts["asked"]) == (7, 1)
        once_more = judge(server.url, tmp_path)
        once_more.compare([*PAIRS[:4], *PAIRS[:4]])
        assert once_more.facts["asked"] == 0
    assert sorted(server.asked.values()) == [1] * 7 + [2]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_refusals_that_pass_are_waited_out(status: int, tmp_path: Path) -> None:
    with serving(lambda text, number: status if number <= 2 else prefers_good(text)) as server:
        asked = judge(server.url, tmp_path)
        assert [o.preference for o in asked.compare(PAIRS[:2])] == [1.0, 1.0]
    assert asked.facts["failed"] == 0
    assert set(server.asked.values()) == {3}


def test_what_keeps_failing_costs_itself_alone_and_is_asked_again_later(tmp_path: Path) -> None:
    broken = True

    def reply(text: str, number: int) -> str | int:
        return 500 if broken and "request 1" in text else prefers_good(text)

    with serving(reply) as server:
        asked = judge(server.url, tmp_path, retries=1)
        opinions = asked.compare(PAIRS[:3])
        assert [o.preference for o in opinions] == [1.0, None, 1.0]
        assert asked.facts["failed"] == 2
        assert all("InternalServerError" in p for p in opinions[1].problems)
        broken = False
        later = judge(server.url, tmp_path)
        assert [o.preference for o in later.compare(PAIRS[:3])] == [1.0] * 3
        assert later.facts["asked"] == 2


def test_a_reply_without_a_verdict_is_counted_and_not_guessed(tmp_path: Path) -> None:
    with serving(lambda text, number: "I prefer the first answer") as server:
        asked = judge(server.url, tmp_path)
        (opinion,) = asked.compare(PAIRS[:1])
    assert opinion.preference is None
    assert asked.facts["unreadable"] == 2
    assert "no verdict in" in opinion.problems[0]


def test_malformed_replies_are_failures(tmp_path: Path) -> None:
    with serving(lambda text, number: b"<html>gateway</html>") as server:
        asked = judge(server.url, tmp_path, retries=0)
        (opinion,) = asked.compare(PAIRS[:1])
    assert opinion.preference is None
    assert asked.facts["failed"] == 2


def test_a_slow_reply_is_given_up_after_the_time_out(tmp_path: Path) -> None:
    def reply(text: str, number: int) -> str:
        if "request 0" in text:
            time.sleep(3)
        return prefers_good(text)

    with serving(reply) as server:
        asked = judge(server.url, tmp_path, retries=0, timeout=0.5)
        opinions = asked.compare(PAIRS[:2])
    assert [o.preference for o in opinions] == [None, 1.0]
    assert all("Timeout" in p for p in opinions[0].problems)


def test_an_endpoint_is_checked_before_anything_is_asked(tmp_path: Path) -> None:
    with serving(lambda text, number: "[[A]]") as server:
        judge(server.url, tmp_path).check()
        other = Judge(JudgeConfig(url=server.url, model="other"), tmp_path / "o.jsonl")
        with pytest.raises(ConfigError, match="does not serve 'other', but m"):
            other.check()
        dead = server.url
    with pytest.raises(ConfigError, match="does not answer"):
        judge(dead, tmp_path).check()


def test_a_dead_endpoint_loses_no_kept_reply(tmp_path: Path) -> None:
    with serving(lambda text, number: prefers_good(text)) as server:
        judge(server.url, tmp_path).compare(PAIRS[:2])
    asked = judge(server.url, tmp_path, retries=0)
    assert [o.preference for o in asked.compare(PAIRS[:3])] == [1.0, 1.0, None]
    assert (asked.facts["kept_before"], asked.facts["failed"]) == (4, 2)


def test_patience_is_no_part_of_the_identity() -> None:
    config = JudgeConfig(url="http://x/v1", model="m")
    assert identity(config) == identity(config.model_copy(update={"timeout": 1.0, "retries": 0, "workers": 1}))
    assert identity(config) != identity(config.model_copy(update={"model": "n"}))
    assert identity(config) != identity(config.model_copy(update={"temperature": 1.0}))
