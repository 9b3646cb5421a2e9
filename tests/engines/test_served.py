"""The engine that asks a server: what it sends, what it makes of the reply, and every way in which a server fails."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import Say, serving

from shiqbench.base.errors import ConfigError, EngineError, RunError
from shiqbench.engines.config import ServedConfig
from shiqbench.engines.served import ServedEngine
from shiqbench.episodes.episode import Message
from shiqbench.episodes.generation import Reply, Sampling
from shiqbench.episodes.served import ServedChat
from shiqbench.plugin.validation import validate

GREEDY = Sampling(8)
AT_ONCE = {"retry-after-ms": "1"}  # for tests that do not wait


def conversations(n: int) -> list[list[Message]]:
    return [[Message("system", "s"), Message("user", f"q{i}")] for i in range(n)]


def asked(url: str, n: int = 1, sampling: Sampling = GREEDY, **settings: Any) -> list[Reply]:
    engine = ServedEngine(ServedConfig(url=url, **settings), "m")
    try:
        found = dict(engine.chat(conversations(n), sampling, [sampling.seed_of(i) for i in range(n)]))
    finally:
        engine.close()
    return [found[i] for i in range(n)]


def last(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def test_it_sends_messages_and_sampling_and_reads_text_and_counts() -> None:
    with serving(lambda body, number: Say(f"a {last(body)}", finish="length", usage=(11, 8))) as server:
        found = asked(server.url, 3, Sampling(8, 0.5, 0.9, seed=3))
    assert [r.message and r.message.content for r in found] == ["a q0", "a q1", "a q2"]
    assert [(r.prompt_tokens, r.tokens, r.cut) for r in found] == [(11, 8, True)] * 3
    assert all(r.message and r.message.action and r.message.token_ids is None for r in found)
    by_question = {last(body): body for body in server.bodies}
    assert by_question["q1"] == {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q1"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 8,
        "seed": Sampling(8, 0.5, 0.9, seed=3).seed_of(1),
    }


def test_settings_change_what_is_sent() -> None:
    with serving() as server:
        engine = ServedEngine(
            ServedConfig(
                url=server.url + "/", token_limit="max_completion_tokens", tool_role="user", extra={"top_k": 4}
            ),
            "m",
        )
        calls = [{"id": "7", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        messages = [
            Message("user", "q"),
            Message("assistant", "", extra={"tool_calls": calls}),
            Message("tool", "r", extra={"tool_call_id": "7"}),
            Message("tool", "plain"),
        ]
        assert len(list(engine.chat([messages], GREEDY, [0]))) == 1
        engine.close()
    (body,) = server.bodies
    assert body["max_completion_tokens"] == 8
    assert body["top_k"] == 4
    assert "max_tokens" not in body
    assert "seed" not in body  # greedy
    assert body["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "r", "tool_call_id": "7"},
        {"role": "user", "content": "plain"},
    ]


@pytest.mark.parametrize(
    ("say", "thought", "text"),
    [
        (Say("<think>hm</think>\n\nyes"), "<think>hm</think>", "yes"),
        (Say("hm</think>yes"), "hm</think>", "yes"),  # the template opened it
        (Say(" <think>hm, and no end"), " <think>hm, and no end", ""),
        (Say("yes", message={"reasoning": "hm"}), "hm", "yes"),
        (Say("yes", message={"reasoning_content": "hm"}), "hm", "yes"),
        (Say("a < b"), "", "a < b"),
    ],
)
def test_a_thought_is_no_part_of_the_answer(say: Say, thought: str, text: str) -> None:
    with serving(lambda body, number: say) as server:
        (reply,) = asked(server.url)
    assert reply.message is not None
    assert (reply.thought, reply.message.content) == (thought, text)


def test_a_further_field_replaces_none_of_the_engine() -> None:
    with pytest.raises(
        ConfigError, match=r"engine.extra cannot contain temperature, which the engine decides \(--set\)"
    ):
        validate(ServedConfig, {"url": "http://x/v1", "extra": {"temperature": 1, "top_k": 2}}, "engine")


def test_it_asks_as_many_at_once_as_it_may_and_yields_replies_as_they_come() -> None:
    together, everything = threading.Barrier(3), threading.Event()

    def reply(body: dict[str, Any], number: int) -> Say:
        if number <= 3:
            together.wait(30)
        if number == 6:
            everything.set()
        if last(body) == "q0":
            everything.wait(30)
        return Say()

    with serving(reply) as server:
        engine = ServedEngine(ServedConfig(url=server.url, workers=3), "m")
        order = [i for i, _ in engine.chat(conversations(6), GREEDY, [0] * 6)]
        engine.close()
    assert order[0] != 0
    assert sorted(order) == list(range(6))
    assert server.most_at_once == 3


def test_it_starts_no_more_requests_than_it_may() -> None:
    with serving() as server:
        asked(server.url, 4, requests_per_minute=600, workers=4)
    assert server.times[-1] - server.times[0] >= 0.28  # 3 pauses of 0.1 s


# -- the server fails, and recovers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        Say("full", 429, AT_ONCE),
        Say("wrong", 500, AT_ONCE),
        Say("overloaded", 503, AT_ONCE),
        Say(dies=True),
        Say(after=1.0),  # longer than the time-out
    ],
    ids=["full", "error", "overloaded", "dies", "slow"],
)
def test_it_asks_again_and_gets_its_answer(bad: Say) -> None:
    with serving(lambda body, number: bad if number == 1 else Say("fine")) as server:
        (reply,) = asked(server.url, timeout=0.5)
        assert reply.message is not None
        assert reply.message.content == "fine"
        assert len(server.bodies) == 2


def test_it_waits_as_long_as_a_full_server_says() -> None:
    with serving(lambda body, number: Say("full", 429, {"Retry-After": "1"}) if number == 1 else Say()) as server:
        asked(server.url)
    assert server.times[1] - server.times[0] >= 0.95


@pytest.mark.parametrize(
    ("say", "line"),
    [
        (Say("full", 429, AT_ONCE), r"the server fails: RateLimitError: .*full.*; lower engine.workers"),
        (Say("broken", 500, AT_ONCE), r"the server fails: InternalServerError: .*broken.*replies are kept"),
        (Say(dies=True), r"the server fails: APIConnectionError: Connection error. \(.*\)"),
        (Say(after=1.5), r"the server fails: APITimeoutError"),
        (Say(body=b"<html>hello</html>"), r"the server('s reply has no answer: .*hello| fails: .*)"),
        (Say(body=b'{"choices": []}'), r"the server's reply has no answer"),
        (Say(body=b'"text"'), r"the server's reply has no answer: text"),
        (Say(usage=None), r"the server's reply has no count of tokens"),
    ],
    ids=["full", "error", "dies", "slow", "html", "no choice", "text", "no counts"],
)
def test_a_server_that_keeps_failing_is_one_line(say: Say, line: str) -> None:
    with serving(lambda body, number: say) as server, pytest.raises(EngineError, match=line) as caught:
        asked(server.url, retries=1, timeout=0.5)
    assert "\n" not in caught.value.line()


def test_after_a_failure_the_replies_on_their_way_are_yielded_and_the_rest_is_not_asked() -> None:
    on_its_way = threading.Event()

    def reply(body: dict[str, Any], number: int) -> Say:
        if last(body) == "q0":
            assert on_its_way.wait(60)
            return Say("broken", 500, AT_ONCE)
        on_its_way.set()
        return Say(after=0.3)

    with serving(reply) as server:
        engine = ServedEngine(ServedConfig(url=server.url, workers=2, retries=0), "m")
        replies = engine.chat(conversations(40), GREEDY, [0] * 40)
        seen: list[int] = []
        with pytest.raises(EngineError):
            seen.extend(i for i, _ in replies)
        engine.close()
    assert 1 in seen
    assert len(server.bodies) < 10


# -- the request is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("", "no URL of a server (--engine served); write --set engine.url=http://HOST:PORT/v1"),
        ("localhost:8000", "'localhost:8000' is no URL of a server (engine.url); write --set engine.url="),
        ("ftp://x/v1", "'ftp://x/v1' is no URL of a server (engine.url)"),
        ("http://me:secret@x/v1", "the URL contains a password or a query, and results name the URL (engine.url); put"),
        (
            "http://x/v1?key=secret",
            "the URL contains a password or a query, and results name the URL (engine.url); put",
        ),
    ],
)
def test_a_wrong_url_is_one_line(url: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServedEngine(ServedConfig(url=url), "m")
    assert caught.value.line().startswith(line)
    assert "secret" not in caught.value.line()


def test_no_server_and_another_server_are_one_line() -> None:
    with serving() as server:
        url = server.url
        with pytest.raises(ConfigError, match=r"refuses: .*404.*; correct engine.url, which often ends with /v1"):
            ServedEngine(ServedConfig(url=url.removesuffix("/v1")), "m")
    with pytest.raises(ConfigError, match=r"the server does not answer: APIConnectionError.*; start it, or correct"):
        ServedEngine(ServedConfig(url=url), "m")


def test_a_model_that_the_server_does_not_have_is_one_line_with_those_that_it_has() -> None:
    with serving(models=("org/small", "org/large")) as server:
        for model, line in (
            ("org/smal", "the server does not serve 'org/smal', did you mean 'org/small'?"),
            (None, "the server is asked for no model"),
        ):
            with pytest.raises(ConfigError) as caught:
                ServedEngine(ServedConfig(url=server.url), model)
            assert caught.value.line() == f"{line} ({server.url}); give --model; it serves org/large, org/small"


def test_a_key_comes_from_the_named_variable_and_is_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-somebody-else")
    with serving(key="sesame-1") as server:
        with pytest.raises(ConfigError, match=r"401.*; set engine.key_variable to the variable that has the key"):
            asked(server.url)
        assert server.keys == {None}  # no key was sent that nobody named
        with pytest.raises(ConfigError, match=r"the environment variable MINE is not set \(engine.key_variable\)"):
            asked(server.url, key_variable="MINE")
        monkeypatch.setenv("MINE", "sesame-2")
        with pytest.raises(ConfigError, match=r"401.*wrong key: Bearer \[key\].*; correct the key in MINE") as caught:
            asked(server.url, key_variable="MINE")
        assert "sesame" not in caught.value.line()
        monkeypatch.setenv("MINE", "sesame-1")
        engine = ServedEngine(ServedConfig(url=server.url, key_variable="MINE"), "m")
        assert len(list(engine.chat(conversations(1), GREEDY, [0]))) == 1
        assert "sesame" not in json.dumps([engine.describe(), dict(engine.identity)])
        engine.close()


def test_a_refused_request_is_not_repeated() -> None:
    with serving(lambda body, number: Say("no such parameter: top_p", 400)) as server:
        with pytest.raises(ConfigError, match=r"the server refuses: BadRequestError.*top_p.*engine.extra"):
            asked(server.url)
        assert len(server.bodies) == 1


# -- identity ------------------------------------------------------------------------------------------------


def test_version_and_identity_are_those_of_the_server() -> None:
    with serving() as server:
        engine = ServedEngine(ServedConfig(url=server.url), "m")
        assert engine.version == "maker 9.9, served"
        assert engine.identity == {"served": "m", "url": server.url}
        server.root, server.version = "/models/m-100", None
        again = ServedEngine(ServedConfig(url=server.url), "m")
        assert again.version == "maker, version not told, served"
        assert again.identity == {"served": "m", "url": server.url, "root": "/models/m-100"}
        for each in (engine, again):
            each.close()


def test_what_decides_no_number_enters_no_digest() -> None:
    url = "http://x/v1"
    free = {"key_variable": "K", "workers": 2, "timeout": 3, "retries": 1, "requests_per_minute": 5}
    paid = {"token_limit": "max_completion_tokens", "usd_per_million_prompt": 1, "max_usd": 2}
    assert ServedConfig.model_validate({"url": url, **free, **paid}).deciding() == {}
    assert ServedConfig(url=url, extra={"a": 1}, tool_role="user").deciding() == {
        "extra": {"a": 1},
        "tool_role": "user",
    }


# -- chats, and the file of replies --------------------------------------------------------------------------


def chat(url: str, kept: Path, identity: str = "x", **settings: Any) -> ServedChat:
    return ServedChat(ServedEngine(ServedConfig(url=url, **settings), "m"), 100, kept, identity)


def test_replies_are_kept_as_they_come_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    def reply(body: dict[str, Any], number: int) -> Say:
        return Say("down", 500, AT_ONCE) if number > 3 else Say(f"<think>t</think>a {last(body)}", usage=(100, 10))

    prices: dict[str, Any] = {"usd_per_million_prompt": 1.0, "usd_per_million_completion": 10.0}
    with serving(reply) as server:
        first = chat(server.url, kept, workers=1, retries=0, **prices)
        with pytest.raises(EngineError):
            first.reply(conversations(5), GREEDY)
        first.engine.close()
        with kept.open("ab") as stream:
            stream.write(b"half a li")  # as a kill leaves it
        server.reply = lambda body, number: Say(f"<think>t</think>a {last(body)}", usage=(100, 10))
        second = chat(server.url, kept, workers=1, **prices)
        found = second.reply(conversations(5), GREEDY)
        second.engine.close()
        assert [last(b) for b in server.bodies] == ["q0", "q1", "q2", "q3", "q3", "q4"]
        assert [r.message and r.message.content for r in found] == [f"a q{i}" for i in range(5)]
        assert {r.thought for r in found} == {"<think>t</think>"}
        assert second.facts() == {
            "replies": 5,
            "kept_before": 3,
            "prompt_tokens": 500,
            "generated_tokens": 50,
            "usd": pytest.approx(500e-6 + 500e-6),
        }
        assert second.counts == {"answers": 5, "thoughts": 5}
        other = chat(server.url, kept, identity="another setting")
        other.reply(conversations(1), GREEDY)
        other.engine.close()
        assert other.facts()["kept_before"] == 0
        assert len(server.bodies) == 7


def test_another_seed_is_another_question(tmp_path: Path) -> None:
    with serving() as server:
        mine = chat(server.url, tmp_path / "kept")
        for seed in (0, 1, 1):
            mine.reply(conversations(2), Sampling(8, 1.0, seed=seed))
        mine.engine.close()
        assert len(server.bodies) == 4


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 64 tokens. However, you requested 80 tokens.",
        "the request exceeds the available context size",
    ],
)
def test_a_prompt_that_the_server_finds_too_long_has_no_message(tmp_path: Path, message: str) -> None:
    with serving(lambda body, number: Say(message, 400) if last(body) == "q1" else Say()) as server:
        mine = chat(server.url, tmp_path / "kept")
        assert [r.message is None for r in mine.reply(conversations(3), GREEDY)] == [False, True, False]
        mine.engine.close()
        server.reply = lambda body, number: Say(message, 400)
        none = chat(server.url, tmp_path / "none")
        with pytest.raises(ConfigError, match=r"none of 3 prompts and 8 tokens of answer fits the server's context"):
            none.reply(conversations(3), GREEDY)
        none.engine.close()


def test_an_evaluation_that_costs_too_much_stops_and_goes_on_when_it_may(tmp_path: Path) -> None:
    prices: dict[str, Any] = {"usd_per_million_completion": 1e6, "workers": 1}  # a dollar a token
    with serving(lambda body, number: Say(usage=(10, 1))) as server:
        mine = chat(server.url, tmp_path / "kept", max_usd=2, **prices)
        with pytest.raises(RunError, match=r"has cost 2.00 USD, and it may cost 2 \(engine.max_usd\)"):
            mine.reply(conversations(5), GREEDY)
        assert len(server.bodies) <= 4  # those on their way
        more = chat(server.url, tmp_path / "kept", max_usd=20, **prices)
        assert len(more.reply(conversations(5), GREEDY)) == 5
        for each in (mine, more):
            each.engine.close()
    with pytest.raises(ConfigError, match=r"engine.max_usd cannot be honoured: there is no price"):
        validate(ServedConfig, {"url": "http://x/v1", "max_usd": 1}, "engine")


def test_what_only_the_server_has_is_refused_by_name(tmp_path: Path) -> None:
    with serving() as server:
        mine = chat(server.url, tmp_path / "kept")
        for use in (
            lambda: mine.generator.score([[1]]),
            lambda: mine.renderer.prompt([]),
            lambda: mine.reply(conversations(1), GREEDY, [[{"type": "function"}]]),
            lambda: mine.reply([[Message("user", "q", tools=({"type": "function"},))]], GREEDY),
        ):
            with pytest.raises(ConfigError, match=r"this needs .*, which a served model does not give \(--engine\)"):
                use()
        assert mine.prompt_tokens(conversations(1)[0]) == 0
        assert mine.within(3) is mine
        mine.engine.close()


def test_no_request_is_sent_ahead_of_a_caller_that_is_slow() -> None:
    with serving() as server:
        engine = ServedEngine(ServedConfig(url=server.url, workers=2), "m")
        taken = 0
        for _ in engine.chat(conversations(12), GREEDY, [0] * 12):
            taken += 1
            time.sleep(0.1)
            assert len(server.bodies) <= taken + 1  # the caller still holds the last one
        engine.close()
    assert taken == 12


def test_an_interrupt_does_not_wait_for_the_queue(tmp_path: Path) -> None:
    with serving(lambda body, number: Say(after=0.2)) as server:
        engine = ServedEngine(ServedConfig(url=server.url, workers=1), "m")
        started = time.monotonic()
        for _ in engine.chat(conversations(50), GREEDY, [0] * 50):
            break  # as an exception in the caller does
        engine.close()
    assert time.monotonic() - started < 5
