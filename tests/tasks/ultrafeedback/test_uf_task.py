"""The task from data to metrics, with a tiny model and plain transformers."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from judge_server import serving
from shiqbench_algorithms.copg import Copg, CopgConfig
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_tasks.answers import playing
from shiqbench_tasks.answers.metrics import correlation, distinct
from shiqbench_tasks.answers.scoring import Scorer
from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
from shiqbench_tasks.ultrafeedback.metrics import summarise
from shiqbench_tasks.ultrafeedback.task import UltraFeedbackTask, _win
from support import HERE
from uf_rows import paired, write

from shiqbench.api import run
from shiqbench.base.errors import ConfigError, PluginError, RunError
from shiqbench.commands.common import parse_assignments
from shiqbench.episodes.episode import Message
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request, RunPlan
from shiqbench.plugin.registry import registry
from shiqbench.plugin.reward import Answered, Pair
from shiqbench.running.runner import RunResult, prepare
from shiqbench.testing.tiny_model import CHATML, make_tokenizer
from shiqbench.training.units import make_units

WORDS = HERE / "toy" / "rewards.py"
SETTINGS: dict[str, Any] = {
    "task.reward_model": "words",
    "eval.engine": "transformers",
    "eval.max_tokens": 12,
    "eval.max_context": 400,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uf")
    write(folder / "train.jsonl", paired(100))
    write(folder / "eval.jsonl", paired(10, start=1000))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all tests here, and not the user's."""
    monkeypatch.setenv("SHIQBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "uf-cache"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def carry_out(algo: str, data: Path, model: Path, results: Path, **changes: Any) -> RunResult:
    training = {} if algo == "base" else {"train.top_layers": 1}
    settings = {**SETTINGS, **training, "task.data": str(data), **{k.replace("__", "."): v for k, v in changes.items()}}
    settings = {k: v for k, v in settings.items() if v is not None}
    return run(algo, "ultrafeedback", model=str(model), preset="smoke", set=settings, plugins=(WORDS,), results=results)


def records(result: RunResult) -> Any:
    return pd.read_parquet(Path(result.evaluation["path"]) / "records.parquet")


@pytest.mark.slow
def test_dpo_from_a_folder_to_metrics(data: Path, tiny_model: Path, results: Path) -> None:
    found = carry_out("dpo", data, tiny_model, results)
    values = found.metrics
    assert found.primary["name"] == "reward"
    assert found.primary["low"] is None  # of 8 prompts
    rows = records(found)
    assert len(rows) == values["prompts"] == 8
    assert list(rows["reward"]) == [len(a.split()) for a in rows["answer"]]
    assert list(rows["chosen_reward"]) == [6.0] * 8  # "good answer 1001 with more words"
    assert values["kl_k3"] > 0
    assert values["kl_k3_per_token"] == pytest.approx(values["kl_k3"] / 12)
    assert values["reward_per_nat"] == pytest.approx(values["reward_gain"] / values["kl_k3"])
    assert values["reward_accuracy"] == values["length_accuracy"] == 1.0
    manifest = json.loads((found.path / "manifest.json").read_text())
    assert manifest["task"]["data"]["rows"] == 110
    returns = manifest["task"]["episodes"]["returns"]
    assert returns["of"] == "rating"
    assert (returns["centre"], returns["scale"]) == pytest.approx((6.0, 2.4), abs=0.5)
    losses = [json.loads(line)["loss"] for line in (found.path / "train.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    evaluation = json.loads((Path(found.evaluation["path"]) / "manifest.json").read_text())
    assert evaluation["task"]["reward_model"]["name"] == "words"
    assert evaluation["task"]["reward_model"]["plugin"].startswith("sha256:")


def labelled(data: Path, model: Path, **changes: Any) -> UltraFeedbackConfig:
    reward = {"model": str(model), "layer": 1, "pairs": 60}
    return UltraFeedbackConfig(data=str(data), labels="reward_model", reward=reward, **changes)


def test_what_answers_earn_are_the_scores_of_the_reward_model(data: Path, tiny_model: Path) -> None:
    config = labelled(data, tiny_model)
    episodes = UltraFeedbackTask(config).episodes("train")
    plain = UltraFeedbackTask(UltraFeedbackConfig(data=str(data)))
    as_rated = plain.episodes("train")
    assert [(e.id, e.group) for e in episodes] == [(e.id, e.group) for e in as_rated]
    scorer = Scorer("bradley_terry", config.reward, 10, registry())
    scorer.fit(plain._pairs[0])
    scores = scorer.score([Answered(e.messages[:-1], e.messages[-1].content) for e in episodes])
    assert [e.meta["earned"] for e in episodes] == [e.messages[-1].reward for e in episodes] == scores
    assert len(set(scores)) > len({e.meta["earned"] for e in as_rated})
    better = {e.id: score for e, score in zip(episodes, scores, strict=True)}
    for unit in make_units(Dpo(DpoConfig()), episodes):
        preferred, other = (episodes[row].id for row in unit.rows)
        assert better[preferred] > better[other]


@pytest.mark.parametrize(("held_out", "few"), [(99, True), (100, False)])
def test_few_pairs_to_measure_a_reward_model_on_are_said_before(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], held_out: int, few: bool
) -> None:
    pairs = [Pair((Message("user", str(i)),), "better", "worse") for i in range(100)]
    Scorer("bradley_terry", {"model": str(tiny_model)}, held_out, registry()).check(pairs, pairs, "give more data")
    assert ("is measured on 99 pairs only" in capsys.readouterr().err) == few


def test_labels_are_part_of_a_cell_and_not_of_what_is_asked(data: Path, tiny_model: Path) -> None:
    config, plain = labelled(data, tiny_model), UltraFeedbackConfig(data=str(data))
    assert "labels" not in plain.deciding()
    assert UltraFeedbackTask.offline_identity(plain) == {}
    assert config.setting() == plain.setting()
    other = config.model_copy(update={"reward": {**config.reward, "pairs": 61}})
    assert UltraFeedbackTask.offline_identity(config) != UltraFeedbackTask.offline_identity(other)
    with pytest.raises(ValueError, match="scale range is of ratings; the labels of a reward model have none"):
        labelled(data, tiny_model, scale="range")


def test_a_reward_model_of_a_plugin_file_cannot_label(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"words is of no installed package.*\(task.labels=reward_model\); make a"):
        carry_out("dpo", data, tiny_model, tmp_path, task__labels="reward_model")


@pytest.mark.slow
def test_a_run_on_labels(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    reward = {"model": str(tiny_model), "layer": 1, "pairs": 50}
    changes = {"task.labels": "reward_model", "task.reward_model": "bradley_terry", "task.reward": reward}
    found = carry_out("shiq", data, tiny_model, tmp_path, **changes)
    manifest = json.loads((found.path / "manifest.json").read_text())
    assert manifest["task"]["episodes"]["returns"]["of"] == "bradley_terry"
    assert json.loads((found.path / "config.json").read_text())["task"]["config"]["labels"] == "reward_model"


@pytest.mark.slow
def test_the_base_is_no_distance_from_itself_and_beats_itself_half_the_time(
    data: Path, tiny_model: Path, results: Path
) -> None:
    values = carry_out("base", data, tiny_model, results).metrics
    assert values["kl_k1"] == values["kl_k3"] == 0
    assert values["win_base"] == 0.5
    assert values["reward_gain"] == 0
    assert "reward_per_nat" not in values


@pytest.mark.slow
def test_weights_that_did_not_move_are_exactly_the_base_though_loaded_anew(
    data: Path, tiny_model: Path, results: Path
) -> None:
    still = carry_out("sft", data, tiny_model, results, train__lr=1e-30, train__lora_rank=0)
    values = still.metrics
    assert values["kl_k1"] == values["kl_k3"] == 0
    assert values["win_base"] == 0.5
    base = carry_out("base", data, tiny_model, results)
    assert list(records(still)["answer"]) == list(records(base)["answer"])
    assert set(records(still)["reference"]) == {"base"}
    assert set(records(base)["reference"]) == {"self"}


@pytest.mark.slow
def test_the_distance_is_from_the_start_where_there_is_one(data: Path, tiny_model: Path, results: Path) -> None:
    found = carry_out("dpo", data, tiny_model, results, **{"start.algorithm": "sft", "start.train": {"updates": 2}})
    assert set(records(found)["reference"]) == {"start"}
    assert "reward_per_nat" not in found.metrics  # gained over the base, away from the start
    starts = list(results.glob("ultrafeedback/sft/*/eval/*/records.parquet"))
    assert {r for s in starts for r in pd.read_parquet(s)["reference"]} == {"base"}


@pytest.mark.slow
def test_greedy_answers_leave_the_distance_to_samples_of_their_own(data: Path, tiny_model: Path, results: Path) -> None:
    found = carry_out("base", data, tiny_model, results, eval__temperature=0.0)
    texts = records(found)
    assert len(texts) == 8
    sampled = [bytes(i - 3 for i in json.loads(ids) if i > 2) for ids in texts["sample_ids"]]
    assert len(set(sampled)) > 1
    assert all(r["sample_tokens"] == len(json.loads(r["sample_ids"])) for r in texts.to_dict("records"))
    whole = carry_out("base", data, tiny_model, results)
    assert list(records(whole)["sample_ids"]) == list(texts["sample_ids"])  # the same seeds
    assert list(records(whole)["answer"]) != list(texts["answer"])


@pytest.mark.slow
def test_bradley_terry_judges_by_what_it_learned_from_other_prompts(
    data: Path, tiny_model: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"task.reward_model": None, "task.reward": {"model": str(tiny_model), "layer": 1}}
    found = carry_out("base", data, tiny_model, results, **settings)
    said = capsys.readouterr().err
    assert "training bradley_terry on" in said
    assert f"orders {found.metrics['reward_accuracy_pairs']:.0f} of" in said
    assert found.metrics["reward_accuracy"] == 1.0
    assert found.metrics["reward_accuracy_low"] < 1.0
    # The smoke preset measures on 20 pairs: those of validation, then training pairs that it did not learn from.
    every = carry_out("base", data, tiny_model, results, task__held_out_pairs=1000, **settings)
    few = {**settings, "task.reward": {**settings["task.reward"], "pairs": 50}}
    more = carry_out("base", data, tiny_model, results, task__held_out_pairs=1000, **few)
    trained_on = json.loads((Path(every.evaluation["path"]) / "manifest.json").read_text())
    offered = trained_on["task"]["reward_model"]["facts"]["pairs_offered"]
    assert more.metrics["reward_accuracy_pairs"] == every.metrics["reward_accuracy_pairs"] + offered - 50
    with pytest.raises(ConfigError, match="bradley_terry is trained on this split"):
        carry_out("base", data, tiny_model, results, eval__split="train", **settings)


def plan(data: Path | str, model: Path, *words: str, algo: str = "dpo") -> RunPlan:
    values = {"task.data": str(data), "eval.engine": "transformers", "task.reward_model": "words"}
    settings = {**values, **parse_assignments(words)}
    request = Request(algo, "ultrafeedback", str(model), preset="smoke", settings=settings, plugins=(WORDS,))
    return make_plan(request)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["task.reward_model=bradley_tery"], "unknown reward 'bradley_tery', did you mean 'bradley_terry'"),
        (["task.reward.woth=2"], "unknown setting 'task.reward.woth', did you mean 'task.reward.worth'"),
        (["task.reward.worth=much"], 'task.reward.worth = "much": input should be a valid number'),
        (["task.reward_model=classifier"], "no model .*task.reward.model"),
        (["task.reward_model=classifier", "task.reward.model=/nowhere"], "no model '/nowhere'"),
        (["task.rating_low=20"], "rating_low must be below rating_high"),
        (["task.scale=range", "task.returns=preference"], "scale range is of ratings"),
        (["task.data=/nowhere"], "no data at '/nowhere'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_planned(
    data: Path, tiny_model: Path, words: list[str], what: str
) -> None:
    with pytest.raises((ConfigError, PluginError), match=what):
        plan(data, tiny_model, *words).cell.digest  # noqa: B018


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["task.data={ties}"], "no pair of differing ratings in validation, for the reward model"),
        (["task.data={ties}", "task.reward_model=bradley_terry"], "no pair of differing ratings in train, for the"),
        (["task.rating_high=7"], r"a rating outside \[1, 7\] \(.*\(8\)"),
        (["task.columns.chosen=good"], "no column 'good' for chosen"),
        (["task.reward_model=classifier", "task.reward.model={model}"], "LlamaForCausalLM, not a sequence classifier"),
    ],
)
def test_what_the_data_or_the_reward_model_lack_is_said_before_anything_is_written(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tied = paired(80, metadata={"score_chosen": 5.0, "score_rejected": 5.0})
    ties = write(tmp_path / "ties.jsonl", tied)
    with pytest.raises(ConfigError, match=what):
        prepare(plan(data, tiny_model, *(w.format(model=tiny_model, ties=ties) for w in words)))
    assert not (tmp_path / "results").exists()


def test_a_context_too_small_and_a_prompt_that_the_template_refuses_are_found_before_training(
    data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("train.top_layers=2", "eval.examples=10")
    with pytest.raises(ConfigError, match="none of 10 prompts leaves room for 12 tokens in 20"):
        prepare(plan(data, tiny_model, *words, "eval.max_context=20", "eval.max_tokens=12"))
    folder = tmp_path / "refuses"
    shutil.copytree(tiny_model, folder)
    refusing = "{% if '1009' in messages[0]['content'] %}{{ raise_exception('not that one') }}{% endif %}" + CHATML
    make_tokenizer(folder, refusing)  # a single prompt, of the test split, which is not in the first wave
    monkeypatch.setattr(playing, "WAVE", 2)
    with pytest.raises(ConfigError, match="not that one"):
        prepare(plan(data, folder, *words))
    assert not (tmp_path / "results").exists()


def test_the_evaluation_is_named_by_data_and_reward_model_and_training_is_not_by_the_latter(
    data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    one, two = plan(data, tiny_model), plan(data, tiny_model, "task.reward.worth=2")
    assert one.setting != two.setting
    assert one.eval_folder(one.cell).name != two.eval_folder(two.cell).name
    assert one.setting["reward"]["plugin"].startswith("sha256:")
    assert one.setting["data"] == one.cell.recipe["task"]["data"]
    assert one.cell.digest == two.cell.digest
    moved = plan(write(tmp_path / "train.jsonl", paired(100)).parent, tiny_model)
    assert moved.cell.digest != one.cell.digest


def test_ties_are_for_algorithms_that_use_rewards_and_not_for_those_that_use_pairs(tmp_path: Path) -> None:
    found = paired(70)
    for row in found[::2]:
        row["metadata"] = {"score_chosen": 5.0, "score_rejected": 5.0}
    task = UltraFeedbackTask(UltraFeedbackConfig(data=str(write(tmp_path / "x.jsonl", found))))
    episodes = task.episodes("train")
    tied = task.facts()["episodes"]["tied_pairs"]
    groups = len(episodes) // 2
    assert 0 < tied < groups
    assert len(make_units(Dpo(DpoConfig()), episodes)) == groups - tied
    assert len(make_units(Copg(CopgConfig()), episodes)) == groups


def test_long_answers_are_left_out_of_what_is_trained_on_alone_and_counted(data: Path) -> None:
    task = UltraFeedbackTask(UltraFeedbackConfig(data=str(data), longest_answer=13))
    whole = UltraFeedbackTask(UltraFeedbackConfig(data=str(data))).episodes("train")
    short = task.episodes("train")
    assert {e.behaviour for e in short} == {"rejected"}
    assert task.facts()["episodes"]["long_answers"] == len(whole) - len(short) == len(whole) // 2
    assert len(task._pairs[0]) == len(whole) // 2


def test_a_reward_that_is_no_number_fails_and_an_answer_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer("words", {}, 300, registry((WORDS,)))
    asked: list[list[str]] = []

    def score(answered: Sequence[Answered]) -> list[float]:
        asked.append([a.answer for a in answered])
        return [math.nan if a.answer == "odd" else 1.0 for a in answered]

    monkeypatch.setattr(scorer.model, "score", score)
    assert scorer.score([Answered((), "a"), Answered((), "a"), Answered((), "b")]) == [1.0, 1.0, 1.0]
    with pytest.raises(RunError, match="words gives nan to an answer"):
        scorer.score([Answered((), "a"), Answered((), "odd")])
    assert asked == [["a", "b"], ["odd"]]


def test_few_prompts_are_those_of_the_smallest_hashes(data: Path) -> None:
    def groups(**settings: Any) -> list[str]:
        task = UltraFeedbackTask(UltraFeedbackConfig(data=str(data), **settings))
        return list(dict.fromkeys(e.group for e in task.episodes("train")))

    assert groups(prompts=7) == groups()[:7] == sorted(groups())[:7]


def example(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "repeat": 0,
        "answer": f"words of {number}",
        "stop": "finished",
        "tokens": 10 + number,
        "sample_tokens": 10 + number,
        "k1": 1.0,
        "k3": 2.0,
        "reference": "base",
        "reward": float(number),
        "chosen_reward": 3.0,
        "base_reward": 0.0,
        "win_chosen": 1.0,
        "win_base": 0.5,
        "held_out_right": 60,
        "held_out_longer": 55,
        "held_out_pairs": 100,
        **changes,
    }


def test_repeats_of_a_prompt_are_one_observation() -> None:
    once = summarise([example(i) for i in range(10)])
    twice = summarise([example(i, repeat=r) for i in range(10) for r in range(2)])
    for name in ("reward", "reward_low", "reward_high", "kl_k3_per_token_low", "win_base_low", "prompts"):
        assert once[name] == pytest.approx(twice[name])
    assert once["reward"] == 4.5
    assert once["length_correlation"] == pytest.approx(1.0)


def test_prompts_that_did_not_fit_are_counted_and_enter_nothing() -> None:
    absent = {"reward": None, "answer": None, "stop": "context_limit", "k1": None, "held_out_right": None}
    values = summarise([example(99, **absent), *(example(i) for i in range(10))])
    assert values["stop_context_limit"] == 1
    assert values["prompts"] == 10
    assert values["reward"] == 4.5


@pytest.mark.parametrize(("right", "meaningless"), [(59, True), (61, False), (40, True), (30, True)])
def test_a_reward_model_that_may_be_guessing_is_said_to_be_meaningless(right: int, meaningless: bool) -> None:
    values = summarise([example(i, held_out_right=right) for i in range(4)])
    assert values["reward_meaningless"] == meaningless
    task = UltraFeedbackTask(UltraFeedbackConfig(data="x"))
    line = task.notes(values)[0]
    assert f"accuracy {right / 100:.3f} [" in line
    assert ("MEANINGLESS" in line) == meaningless


@pytest.mark.parametrize(
    ("right", "longer", "pairs", "flagged"), [(9, 9, 9, True), (90, 55, 100, False), (64, 60, 100, True)]
)
def test_a_reward_model_that_may_only_like_length_is_flagged(
    right: int, longer: int, pairs: int, flagged: bool
) -> None:
    values = summarise(
        [example(i, held_out_right=right, held_out_longer=longer, held_out_pairs=pairs) for i in range(4)]
    )
    line = UltraFeedbackTask(UltraFeedbackConfig(data="x")).notes(values)[0]
    assert ("LONGER" in line) == flagged
    assert "MEANINGLESS" not in line


def test_answers_that_are_cut_and_a_far_policy_are_said() -> None:
    said = UltraFeedbackTask(UltraFeedbackConfig(data="x")).notes
    values = summarise([example(i, stop="token_limit" if i < 3 else "finished") for i in range(10)])
    assert "3 of 10 answers are cut at eval.max_tokens" in said(values)
    assert not any("KL k3" in n for n in said({**values, "kl_k3_per_token": 0.9}))
    assert any(n.startswith("KL k3 is 1.2 nats a token: above 1") for n in said({**values, "kl_k3_per_token": 1.2}))


def test_the_reward_per_nat_has_the_interval_of_a_ratio() -> None:
    values = summarise([example(i, reward=1.0 + 0.1 * i, k3=2.0 + (i % 3), reference="base") for i in range(12)])
    assert values["reward_per_nat_low"] < values["reward_per_nat"] < values["reward_per_nat_high"]


def test_the_same_text_is_a_tie_whatever_rounding_says() -> None:
    assert _win("a", 1.0, "a", 1.1) == _win("a", 1.0, "b", 1.0) == 0.5
    assert (_win("a", 1.1, "b", 1.0), _win("a", 1.0, "b", 1.1)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("texts", "n", "wanted"), [(["a b a", "b"], 1, 0.5), (["a b a b"], 2, 2 / 3), (["a"], 2, 0.0), ([], 1, 0.0)]
)
def test_distinct_is_types_over_tokens(texts: Sequence[str], n: int, wanted: float) -> None:
    assert distinct(texts, n) == pytest.approx(wanted)


def test_what_does_not_vary_correlates_with_nothing() -> None:
    assert correlation([1, 1, 1], [1, 2, 3]) == 0
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@pytest.mark.slow
def test_a_judge_that_gives_no_verdict_has_no_win_rate(data: Path, tiny_model: Path, results: Path) -> None:
    with serving(lambda text, number: "Both are fine answers.") as server:
        chosen = {"task.judge.url": server.url, "task.judge.model": "m", "task.judge.retries": 0}
        found = carry_out("base", data, tiny_model, results, **chosen)
    values = found.metrics
    assert values["judge_chosen_failed"] == 8
    assert not [name for name in values if name.startswith("judge_win_chosen")]
    assert values["judge_win_base"] == 0.5  # its own answers, about which nobody is asked
    request = Request("base", "ultrafeedback", str(tiny_model), settings={"task.data": str(data)}, plugins=(WORDS,))
    (note,) = (n for n in make_plan(request).task.notes(values) if n.startswith("judge"))
    assert note == "judge: 8 comparisons with chosen have no opinion and are in no win rate"


@pytest.mark.slow
def test_a_judge_compares_with_the_chosen_answer_and_with_the_base_and_is_asked_nothing_twice(
    data: Path, tiny_model: Path, results: Path
) -> None:
    """It takes whatever comes first, save that it always prefers the data's answer."""

    def reply(text: str, number: int) -> str:
        first, second = text.split("# Answer B\n")
        if "good answer" in first + second:
            return "[[A]]" if "good answer" in first else "[[B]]"
        return "[[A]]"

    with serving(reply) as server:
        chosen = {"task.judge.url": server.url, "task.judge.model": "m", "task.judge.retries": 0}
        plain = carry_out("dpo", data, tiny_model, results)
        found = carry_out("dpo", data, tiny_model, results, **chosen)
        asked = sum(server.asked.values())
        assert max(server.asked.values()) == 1
        again = carry_out("dpo", data, tiny_model, results, **{**chosen, "task.held_out_pairs": 5})
        assert sum(server.asked.values()) == asked  # another evaluation of the same answers
    assert found.cell == plain.cell
    assert found.evaluation["digest"] != plain.evaluation["digest"] != again.evaluation["digest"]
    values = found.metrics
    assert values["judge_win_chosen"] == 0.0
    assert values["judge_win_chosen_high"] < 0.5
    differing = (records(found)["judged_base_by_order"]).sum()
    assert values["judge_win_base"] == 0.5
    assert values["judge_base_by_order"] == pytest.approx(differing / 8)
    assert values["judge_chosen_failed"] == values["judge_base_failed"] == 0
    assert not any(name.startswith("judge_") for name in plain.metrics)
    judge = json.loads((Path(found.evaluation["path"]) / "manifest.json").read_text())["task"]["judge"]
    assert judge["asked"] > 0
    assert judge["prompt_tokens"] == 100 * judge["asked"]


def test_a_judge_that_is_not_there_stops_the_run_before_anything_is_written(
    data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    nobody = {"task.judge.url": "http://127.0.0.1:9/v1", "task.judge.model": "m"}
    with pytest.raises(ConfigError, match="judge's endpoint does not answer"):
        carry_out("dpo", data, tiny_model, tmp_path / "results", **nobody)
    assert not (tmp_path / "results").exists()
