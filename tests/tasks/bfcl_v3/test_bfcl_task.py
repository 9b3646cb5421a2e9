"""The task as the harness sees it, with scripted models."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import combinations, product
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import pytest
from scipy import stats
from shiqbench_tasks import shiqbench_register_tasks
from shiqbench_tasks.bfcl_v3.calls import write
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import split_scenarios
from shiqbench_tasks.bfcl_v3.loop import Dialogue
from shiqbench_tasks.bfcl_v3.metrics import pass_all, pass_at, summarise
from shiqbench_tasks.bfcl_v3.scoring import Scorecard
from shiqbench_tasks.bfcl_v3.task import BfclTask
from shiqbench_tasks.bfcl_v3.versions import BFCL_V3, BFCL_V4

from shiqbench.base.time_limit import time_limit
from shiqbench.episodes import playing
from shiqbench.episodes.episode import Message, StopReason
from shiqbench.episodes.generation import Reply, Sampling, mixed_seed
from shiqbench.episodes.replies import InWaves
from shiqbench.plugin.config import EvalConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench_tasks.bfcl_v3.data import Entry


class ScriptedChat:
    """Answers by a function of the conversation, three tokens a message."""

    served = False
    generator = None
    max_context = 9998

    def __init__(self, answer: Callable[[Sequence[Message]], str | None]) -> None:
        self.answer = answer
        self.seeds: list[int] = []
        self.waves: list[int] = []

    def prompt_tokens(self, conversation: Sequence[Message], tools: Sequence[Any] = ()) -> int:
        return 10

    def reply(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, tools: Sequence[Any] = ()
    ) -> list[Reply]:
        self.seeds += sampling.seeds or ()
        self.waves.append(len(conversations))
        return [self._reply(c) for c in conversations]

    def _reply(self, conversation: Sequence[Message]) -> Reply:
        text = self.answer(conversation)
        if text is None:
            return Reply(None, 9999, 0, cut=False)
        message = Message("assistant", text, action=True, token_ids=(1, 2, 3), behaviour_logp=(0.0,) * 3)
        return Reply(message, 10, 3, cut=False)


@pytest.fixture(scope="module")
def by_first_words(entries: tuple[Entry, ...]) -> dict[str, Entry]:
    return {e.users[0]: e for e in entries}


def _truthful(by_first_words: dict[str, Entry]) -> Callable[[Sequence[Message]], str]:
    def answer(conversation: Sequence[Message]) -> str:
        entry = by_first_words[conversation[1].content]
        turn = sum(m.role == "user" for m in conversation) - 1
        return "[]" if conversation[-1].role == "tool" else write(entry.ground_truth[turn])

    return answer


def _evaluate(
    chat: ScriptedChat, task: BfclTask | None = None, **config: Any
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    task = task or BfclTask(BfclConfig())
    records = task.evaluate(chat, EvalConfig(**config), lambda done, total: None)  # type: ignore[arg-type]
    return records, task.metrics(records).metrics


def test_a_perfect_policy(by_first_words: dict[str, Entry]) -> None:
    task = BfclTask(BfclConfig())
    chat = ScriptedChat(_truthful(by_first_words))
    records, metrics = _evaluate(chat, task)
    assert len(records) == 50
    assert metrics["turn_accuracy"] == metrics["valid"] == metrics["parseable"] == 1
    assert metrics["do_nothing"] == 0
    assert metrics["stop_finished"] == 50
    assert sum(v for k, v in metrics.items() if k.startswith("error_")) == 0
    assert metrics["valid_low"] == pytest.approx(50 / (50 + 1.959964**2), abs=1e-6)
    assert task.metrics(records).primary.name == "turn_accuracy"
    assert chat.waves[0] == 50  # all live episodes step together
    assert sorted(chat.waves, reverse=True) == chat.waves


def test_an_empty_policy() -> None:
    records, metrics = _evaluate(ScriptedChat(lambda c: ""))
    assert metrics["turn_accuracy"] == metrics["valid"] == metrics["do_nothing"] == 0
    assert metrics["error_empty_turn_model_response"] == len(records) == 50
    assert metrics["parseable"] == 1
    assert metrics["turn_accuracy_low"] == 0
    assert 0 < metrics["turn_accuracy_high"] < 0.1


def test_half_a_policy_lies_between(by_first_words: dict[str, Entry]) -> None:
    """Right in even scenarios, silent in the others: the interval counts scenarios, not turns."""
    truthful = _truthful(by_first_words)
    chat = ScriptedChat(lambda c: truthful(c) if by_first_words[c[1].content].scenario % 2 == 0 else "[]")
    records, metrics = _evaluate(chat)
    even = [r for r in records if r["scenario"] % 2 == 0]
    assert metrics["valid"] == len(even) / 50
    assert metrics["turn_accuracy"] == sum(r["counted_turns"] for r in even) / sum(r["counted_turns"] for r in records)
    assert metrics["turn_accuracy_low"] < metrics["turn_accuracy"] < metrics["turn_accuracy_high"]
    assert metrics["turn_accuracy_high"] - metrics["turn_accuracy_low"] > 0.2


def test_primary_is_what_the_configuration_says(by_first_words: dict[str, Entry]) -> None:
    task = BfclTask(BfclConfig(primary="valid"))
    records, metrics = _evaluate(ScriptedChat(_truthful(by_first_words)), task, examples=10)
    primary = task.metrics(records).primary
    assert (primary.name, primary.value, primary.low, primary.high) == (
        "valid", 1.0, metrics["valid_low"], metrics["valid_high"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "config", "stop", "messages"),
    [
        ("[pwd()]", {"max_steps": 3}, StopReason.STEP_LIMIT, 4),
        ("[pwd(", {"max_steps": 3}, StopReason.STEP_LIMIT, 4),
        ("[pwd()]", {"max_episode_tokens": 6}, StopReason.TOKEN_LIMIT, 2),
        (None, {}, StopReason.CONTEXT_LIMIT, 0),
    ],
)
def test_limits_are_named(answer: str | None, config: dict[str, Any], stop: StopReason, messages: int) -> None:
    records, metrics = _evaluate(ScriptedChat(lambda c: answer), examples=4, **config)
    assert [r["stop"] for r in records] == [stop] * 4
    assert [r["assistant_messages"] for r in records] == [messages] * 4
    assert metrics[f"stop_{stop}"] == metrics["error_force_terminated"] == 4
    assert metrics["valid"] == 0
    assert metrics["parseable"] == (answer == "[pwd()]")


def test_records_hold_the_transcript_and_no_time(by_first_words: dict[str, Entry]) -> None:
    records, _ = _evaluate(ScriptedChat(_truthful(by_first_words)), examples=2)
    transcript = json.loads(records[0]["transcript"])
    assert [m["role"] for m in transcript[:4]] == ["system", "user", "assistant", "tool"]
    assert all(m["token_ids"] == [1, 2, 3] for m in transcript if m["role"] == "assistant")
    assert records[0]["tokens"] == 3 * records[0]["assistant_messages"]
    assert not any("second" in key or "time" in key for key in records[0])


def test_records_can_be_stored(by_first_words: dict[str, Entry], tmp_path: Any) -> None:
    import pandas as pd

    from shiqbench.running.evaluation import write_records

    records, _ = _evaluate(ScriptedChat(lambda c: "[pwd('é', x)]"), examples=2, max_steps=1)
    write_records(tmp_path / "records.parquet", records)
    assert pd.read_parquet(tmp_path / "records.parquet")["id"].tolist() == [r["id"] for r in records]


def test_repeats_have_their_own_seeds_and_do_not_narrow_the_interval(
    by_first_words: dict[str, Entry],
) -> None:
    truthful = _truthful(by_first_words)
    once, thrice = (
        ScriptedChat(lambda c: truthful(c) if by_first_words[c[1].content].scenario % 2 == 0 else "[]")
        for _ in range(2)
    )
    _, single = _evaluate(once, examples=10)
    records, repeated = _evaluate(thrice, examples=10, repeats=3)
    assert [r["repeat"] for r in records] == [0] * 10 + [1] * 10 + [2] * 10
    assert len(set(thrice.seeds)) == len(thrice.seeds)
    assert repeated["valid"] == single["valid"]
    # One trial a scenario is Wilson's interval; several are clusters, with t in place of z.
    width, alone = (m["valid_high"] - m["valid_low"] for m in (repeated, single))
    assert alone <= width < 1.2 * alone


class SometimesTruthful(ScriptedChat):
    """Right in scenarios below a bound that grows with the repeat."""

    def __init__(self, by_first_words: dict[str, Entry], bounds: Sequence[int]) -> None:
        truthful = _truthful(by_first_words)
        super().__init__(lambda c: truthful(c) if by_first_words[c[1].content].scenario < self.bound else "[]")
        self.bounds, self.bound = bounds, 0
        messages = product(range(len(bounds)), range(50), range(100))
        self.repeats = {mixed_seed(mixed_seed(repeat, i), 0, number): repeat for repeat, i, number in messages}

    def reply(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, tools: Sequence[Any] = ()
    ) -> list[Reply]:
        found = []
        for conversation, seed in zip(conversations, sampling.seeds or (), strict=True):
            self.bound = self.bounds[self.repeats[seed]]
            found.append(self._reply(conversation))
        return found


def test_repeats_have_a_mean_two_intervals_and_pass_at_k(by_first_words: dict[str, Entry]) -> None:
    bounds = (50, 100, 150)
    records, metrics = _evaluate(SometimesTruthful(by_first_words, bounds), repeats=3)
    scenarios = split_scenarios("test")
    shares = [sum(s < bound for s in scenarios) / 50 for bound in bounds]
    assert metrics["repeats"] == 3
    assert metrics["valid"] == pytest.approx(fmean(shares))
    assert metrics["pass_at_k"] == shares[2]
    assert metrics["pass_all_k"] == shares[0]
    assert metrics["pass_all_k_low"] < shares[0] < metrics["pass_all_k_high"] < metrics["pass_at_k_high"]
    assert (metrics["pass_sets"], metrics["pass_sets_left_out"]) == (50, 0)
    assert metrics["pass_at_1"] == pytest.approx(metrics["valid"])
    assert metrics["valid"] < metrics["pass_at_2"] < metrics["pass_at_k"]
    half = stats.t.ppf(0.975, 2) * stdev(shares) / 3**0.5
    assert metrics["valid_repeats_sd"] == pytest.approx(stdev(shares))
    assert metrics["valid_repeats_low"] == pytest.approx(max(0, fmean(shares) - half))
    assert metrics["valid_repeats_high"] == pytest.approx(min(1, fmean(shares) + half))
    assert {(r["repeat"], r["seed"]) for r in records} == {(0, 0), (1, 1), (2, 2)}


@pytest.mark.parametrize(("n", "right"), [(4, 0), (4, 1), (5, 3), (5, 5)])
def test_fewer_tries_are_estimated_from_every_choice_of_repeats(n: int, right: int) -> None:
    outcomes = [i < right for i in range(n)]
    for k in range(1, n + 1):
        tries = list(combinations(outcomes, k))
        assert pass_at(n, right, k) == pytest.approx(fmean(any(t) for t in tries))
        assert pass_all(n, right, k) == pytest.approx(fmean(all(t) for t in tries))


def test_sets_with_a_crashed_repeat_are_counted(by_first_words: dict[str, Entry]) -> None:
    records, _ = _evaluate(SometimesTruthful(by_first_words, (50, 100)), repeats=2)
    first = records[0]
    for r in records:
        if r["scenario"] == first["scenario"] or r is records[1]:
            r["stop"] = StopReason.ERROR.value  # one set crashed in every repeat, another in one
    metrics = summarise(records)
    assert (metrics["pass_sets"], metrics["pass_sets_left_out"]) == (48, 2)
    task = BfclTask(BfclConfig())
    assert task.notes(metrics) == ["pass@k: 2 of 50 sets left out, because a repeat crashed"]
    assert task.notes({"valid": 1.0}) == []


def test_equal_repeats_leave_nothing_to_repeats(by_first_words: dict[str, Entry]) -> None:
    _, metrics = _evaluate(SometimesTruthful(by_first_words, (100, 100)), repeats=2)
    assert metrics["valid_repeats_sd"] == 0
    assert metrics["valid_repeats_low"] == metrics["valid"] == metrics["valid_repeats_high"]
    assert metrics["valid_low"] < metrics["valid"] < metrics["valid_high"]
    assert metrics["pass_at_k"] == metrics["pass_all_k"] == metrics["valid"]


def test_one_repeat_has_no_metrics_of_repeats() -> None:
    _, metrics = _evaluate(ScriptedChat(lambda c: ""), examples=2)
    assert not any("repeat" in name or "pass_" in name for name in metrics)


def test_several_categories_have_shares_of_their_own(by_first_words: dict[str, Entry]) -> None:
    truthful, seen = _truthful(by_first_words), set[int]()

    def answer(conversation: Sequence[Message]) -> str:
        entry = by_first_words.get(conversation[1].content)
        if entry is None or not entry.scenario % 2:
            return "[]"
        seen.add(entry.scenario)
        lost = sum(m.role == "user" for m in conversation) > len(entry.users)  # miss_param has a turn more
        return "[]" if lost else truthful(conversation)

    task = BfclTask(BfclConfig(categories=("base", "miss_param")))
    records, metrics = _evaluate(ScriptedChat(answer), task, examples=20)
    assert [r["category"] for r in records[:2]] == ["base", "miss_param"]
    assert records[0]["scenario"] == records[1]["scenario"]
    odd = {r["scenario"] for r in records if r["scenario"] % 2}
    assert metrics["valid_base"] == len(odd) / 10
    assert metrics["valid"] == pytest.approx((metrics["valid_base"] + metrics["valid_miss_param"]) / 2)
    assert metrics["turn_accuracy_base"] >= metrics["turn_accuracy_miss_param"]
    assert seen == odd


def _crashing(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The first scenario of the test split crashes in its second message, that often."""
    first, left, answer = f"multi_turn_base_{split_scenarios('test')[0]}", [times], Dialogue.answer

    def crash(self: Dialogue, message: Message, **more: Any) -> None:
        if self.entry.id == first and self.assistant_messages == 1 and left[0]:
            left[0] -= 1
            raise RuntimeError("out of luck")
        answer(self, message, **more)

    monkeypatch.setattr(Dialogue, "answer", crash)


def test_a_crash_of_one_episode_is_counted_and_enters_no_score(
    by_first_words: dict[str, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    _crashing(monkeypatch, times=2)
    records, metrics = _evaluate(ScriptedChat(_truthful(by_first_words)), examples=3)
    assert [r["stop"] for r in records] == [StopReason.ERROR, StopReason.FINISHED, StopReason.FINISHED]
    assert records[0]["error"] == "RuntimeError: out of luck"
    assert (metrics["stop_error"], metrics["episodes"], metrics["valid"]) == (1, 2, 1)


def test_an_episode_that_crashed_is_played_once_more(
    by_first_words: dict[str, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    _crashing(monkeypatch, times=1)
    records, metrics = _evaluate(ScriptedChat(_truthful(by_first_words)), examples=3)
    assert [r["stop"] for r in records] == [StopReason.FINISHED] * 3
    assert (metrics["stop_error"], metrics["valid"]) == (0, 1)


def test_a_tool_that_hangs_ends_its_episode_alone(
    by_first_words: dict[str, Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = f"multi_turn_base_{split_scenarios('test')[1]}"
    monkeypatch.setattr(playing, "SECONDS_PER_MESSAGE", 0.2)
    end_turn = Scorecard.end_turn

    def hang(self: Scorecard, *more: Any) -> None:
        limited = (
            0 < signal.getitimer(signal.ITIMER_REAL)[0] < 5
        )  # the score of doing nothing is not: it shall not hang
        if self._entry.id == hanging and limited:
            try:
                time.sleep(30)
            except Exception:
                raise AssertionError("a tool's own handler must not see it") from None
        end_turn(self, *more)

    monkeypatch.setattr(Scorecard, "end_turn", hang)
    records, _ = _evaluate(ScriptedChat(_truthful(by_first_words)), examples=3)
    assert [r["stop"] for r in records] == [StopReason.FINISHED, StopReason.ERROR, StopReason.FINISHED]
    assert records[1]["error"] == "EpisodeTimeoutError: a message took more than 0.2 seconds"


def test_a_time_limit_leaves_an_outer_timer_running() -> None:
    rang: list[int] = []
    outer = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(number))
    timer = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with time_limit(10):
            pass
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.3
        time.sleep(0.4)
        assert rang == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, outer)


def test_the_longest_episodes_come_first_and_no_wave_is_longer_than_its_slots(
    by_first_words: dict[str, Entry], entries: tuple[Entry, ...]
) -> None:
    orders: list[list[int]] = []

    class Watching(ScriptedChat):
        def reply(
            self, conversations: Sequence[Sequence[Message]], sampling: Sampling, tools: Sequence[Any] = ()
        ) -> list[Reply]:
            found = [by_first_words[c[1].content] for c in conversations]
            orders.append([sum(len(calls) + 1 for calls in e.ground_truth) for e in found])
            return super().reply(conversations, sampling, tools)

    records, metrics = _evaluate(Watching(_truthful(by_first_words)), split="train")
    assert metrics["valid"] > 0.98  # two scenarios begin with the same words
    assert [r["scenario"] for r in records] == list(split_scenarios("train"))
    found = [by_first_words[entries[r["scenario"]].users[0]] for r in records]
    lengths = sorted(sum(len(calls) + 1 for calls in e.ground_truth) for e in found)
    assert sorted(orders[0]) == lengths[-InWaves.slots :]
    assert max(map(len, orders)) == InWaves.slots


def test_progress_counts_up_to_all_examples(by_first_words: dict[str, Entry]) -> None:
    seen: list[tuple[int, int]] = []
    task, chat = BfclTask(BfclConfig()), ScriptedChat(_truthful(by_first_words))
    task.evaluate(chat, EvalConfig(examples=3, repeats=2), lambda done, total: seen.append((done, total)))  # type: ignore[arg-type]
    assert seen == sorted(seen)
    assert seen[-1] == (6, 6)


def test_no_records_give_no_numbers_out_of_nothing() -> None:
    primary = BfclTask(BfclConfig()).metrics([]).primary
    assert (primary.value, primary.low, primary.high) == (0.0, None, None)


def test_columns_are_metrics() -> None:
    metrics = BfclTask(BfclConfig()).metrics([]).metrics
    assert {name for name, _, _ in BfclTask.columns} <= set(metrics)


def test_identity_needs_no_data() -> None:
    assert BfclTask.data_identity(BfclConfig()) == {
        "package": "bfcl-eval", "version": "2025.7.17", "sha256": BFCL_V3.sha256
    }  # fmt: skip
    assert BfclTask.data_identity(BfclConfig(data_version="v4"))["sha256"] == BFCL_V4.sha256


def test_the_identity_of_the_default_setting_changes_only_on_purpose() -> None:
    assert BfclTask(BfclConfig()).prompt_identity() == (
        "93684fd076f52c0530a8988fd9a4bc6e3f3e3ac99c4d3f0aa76a058c196aab66"
    )
    assert BfclConfig().setting() == {
        "data_version": "v3", "categories": ["base"], "prompt": "reduced", "primary": "turn_accuracy"
    }  # fmt: skip


def test_settings_at_their_default_that_came_later_enter_no_digest() -> None:
    before = {
        "data_version": "v3", "categories": ["base"], "prompt": "reduced", "primary": "turn_accuracy", "reward": "turn",
        "centre": "none", "behaviours": ["ground_truth", "perturbed"], "perturbations": 3, "data_seed": 0,
        "scenarios": None,
    }  # fmt: skip
    assert BfclConfig().model_dump(mode="json") == before
    changed = BfclConfig(call_penalty=0.5)
    assert changed.model_dump(mode="json") == {**before, "call_penalty": 0.5}
    assert BfclConfig.model_validate(changed.model_dump(mode="json")) == changed


def test_every_preset_validates() -> None:
    from shiqbench.planning.settings import sections
    from shiqbench.plugin.registry import registry

    (spec,) = (s for s in shiqbench_register_tasks() if s.name == "bfcl_v3")
    assert set(spec.presets) == {"smoke", "cpu", "study", "full"}
    for preset in spec.presets:
        config: Any = sections(registry().algorithm("shiq"), spec, preset, {}).task
        assert isinstance(config, BfclConfig)
        assert config.primary == ("valid" if preset == "full" else "turn_accuracy")


def test_importing_the_task_is_light() -> None:
    code = (
        "import sys, shiqbench_tasks, shiqbench_tasks.bfcl_v3.task\n"
        "heavy = {'torch', 'pandas', 'numpy', 'mpmath', 'bfcl_eval', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
