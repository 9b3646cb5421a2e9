"""The task with a tiny model: exact scores agree with sampled chats, and training lowers the regret."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from shiqbench_tasks.chat_mdp import chat, scoring
from shiqbench_tasks.chat_mdp.config import ChatMdpConfig
from shiqbench_tasks.chat_mdp.instances import Instance, instances
from shiqbench_tasks.chat_mdp.task import ChatMdpTask
from tokenizers import Tokenizer
from tokenizers.normalizers import NFD, Lowercase, Normalizer, Sequence, StripAccents

from shiqbench.api import run
from shiqbench.base.errors import ConfigError
from shiqbench.engines.holder import open_engine
from shiqbench.episodes.episode import Message
from shiqbench.episodes.generation import ChatGenerator, Sampling
from shiqbench.episodes.rendering import Renderer
from shiqbench.models.embedded import embedded_folder, is_embedded_cached
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.start_model import StartModel
from shiqbench.running.own_logits import own_logits
from shiqbench.running.runner import RunResult
from shiqbench.testing.tiny_model import CHATML, make_tokenizer

SETTINGS: dict[str, Any] = {
    "task.horizon": 2,
    "task.words": ["a", "b", "c"],
    "train.top_layers": None,
    "train.updates": 160,
    "train.batch_episodes": 18,
    "train.lr": 1e-3,
    "start.train.top_layers": None,
    "start.train.batch_episodes": 18,
    "start.train.updates": 80,
    "start.train.lr": 1e-2,
}
CONFIG = ChatMdpConfig(seeds=2, horizon=2, words=("a", "b", "c"))
EPISODES = 2000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIQBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        results = tmp_path_factory.mktemp("results")
        return run("shiq", "chat_mdp", model=str(tiny_model), preset="smoke", set=SETTINGS, results=results)


def rows(result: RunResult, algorithm: str) -> pd.DataFrame:
    (file,) = (result.path.parents[1] / algorithm).glob("*/eval/*/records.parquet")
    return pd.read_parquet(file)


def table(folder: Path, instance: Instance, renderer: Renderer) -> scoring.Table:
    sequences = [s for n in range(len(instance.paths)) for s in chat.answers(instance, n, renderer)]
    return scoring.table(own_logits(folder, sequences, "fp32"), len(CONFIG.words))


@pytest.mark.slow
def test_training_lowers_regret_and_value_error(trained: RunResult) -> None:
    base, start, after = (rows(trained, name) for name in ("base", "sft", "shiq"))
    assert list(base["relative_regret"]) == list(start["relative_regret"]) == [1.0, 1.0]
    assert list(start["kl_to_reference"]) == pytest.approx([0.0, 0.0], abs=1e-9)
    assert base["valid_mass"].max() < 0.01
    assert start["valid_mass"].min() > 0.9
    gained, could = ((x - start["objective"]).sum() for x in (after["objective"], start["best_objective"]))
    assert gained > 0.2 * could, (gained, could, list(after["objective"]), list(start["best_objective"]))
    assert after["objective"].mean() > start["objective"].mean() + 0.1
    assert (after["value_error"] < start["value_error"]).all()
    assert (after["objective"] <= after["best_objective"]).all()
    assert list(base["coverage"]) == [0.0, 0.0]
    assert after["coverage"].min() > 0.9
    regret = (after["best_objective"] - after["objective"]) / (after["best_objective"] - start["objective"])
    assert list(after["relative_regret"]) == pytest.approx(list(regret), abs=1e-6)


@pytest.mark.slow
def test_the_embedded_model_learns(tmp_path: Path) -> None:
    """Two trees of nine leaves, the preset's layers and learning rate."""
    settings = {"task.seeds": 2, "task.horizon": 2, "train.updates": 40, "train.batch_episodes": 18}
    teaching = {"start.train.updates": 40, "start.train.batch_episodes": 18}
    result = run("shiq", "chat_mdp", set=settings | teaching, results=tmp_path / "results")
    start, after = (rows(result, name) for name in ("sft", "shiq"))
    assert start["valid_mass"].min() > 0.8
    assert after["valid_mass"].min() > 0.8
    assert after["relative_regret"].mean() < 0.8
    assert after["value_error"].mean() < start["value_error"].mean()


@pytest.mark.slow
def test_exact_scores_agree_with_sampled_chats(trained: RunResult) -> None:
    """Return, log-ratio and mass of the words in 2,000 real chats, each within 3.5 standard errors."""
    weights = trained.path / "checkpoint"
    start = next((trained.path.parents[1] / "sft").iterdir()) / "checkpoint"
    renderer, exact = Renderer(weights), rows(trained, "shiq").set_index("id")
    settings = EvalConfig(engine="transformers", precision="fp32", max_context=1024)
    with open_engine(weights, settings) as engine:
        speaker = ChatGenerator(engine, renderer, 1024)
        for number, instance in enumerate(instances(CONFIG, validation=False)):
            own, reference = (table(folder, instance, renderer) for folder in (weights, start))
            found = sampled(instance, own, reference, speaker, EPISODES // 2, seed=number)
            wanted = exact.loc[instance.id]
            for name in ("return", "kl_to_reference"):
                mean, error = found[name].mean(), found[name].std() / math.sqrt(len(found[name]))
                assert error > 0
                assert abs(float(mean) - wanted[name]) < 3.5 * float(error), name
            turns, words = found["turns"].sum(), found["words"].sum()
            share = float(words / turns)
            assert abs(share - wanted["valid_mass"]) < 3.5 * math.sqrt(share * (1 - share) / float(turns)) + 1e-3


def sampled(
    instance: Instance, own: scoring.Table, reference: scoring.Table, speaker: ChatGenerator, episodes: int, seed: int
) -> dict[str, torch.Tensor]:
    """Return, log-ratio, turns and words of each sampled chat."""
    canonical = [tuple(s.ids[p] for p in s.actions) for s in chat.answers(instance, 0, speaker.renderer)]
    ratio_NA = own.logp_NA - reference.logp_NA
    following = instance.mdp.successors[0, :, :, 0].tolist()
    sums = {n: torch.zeros(episodes, dtype=torch.float64) for n in ("return", "kl_to_reference", "turns", "words")}
    live = dict.fromkeys(range(episodes), 0)
    for turn in range(len(instance.mdp.layers)):
        asked = [chat.asked(instance, state) for state in live.values()]
        replies = speaker.reply(asked, Sampling(8, temperature=1.0, seed=100 * seed + turn))
        for (e, state), reply in zip(list(live.items()), replies, strict=True):
            assert isinstance(reply.message, Message)
            ids = reply.message.token_ids
            action = canonical.index(ids) if ids in canonical else len(canonical)
            sums["turns"][e] += 1
            sums["kl_to_reference"][e] += ratio_NA[state, action]
            if action == len(canonical):
                del live[e]
                continue
            said = sum(reply.message.behaviour_logp or ())
            assert said == pytest.approx(float(own.logp_NA[state, action]), abs=5e-3)
            sums["words"][e] += 1
            sums["return"][e] += instance.mdp.reward_SNA[0, state, action]
            live[e] = following[state][action]
        live = {e: state for e, state in live.items() if state < len(instance.paths)}
    return sums


def test_the_interval_is_over_instances_whatever_the_repeats() -> None:
    task = ChatMdpTask(ChatMdpConfig())
    made = [
        {"id": f"seed-{i}", "repeat": 0, "seed": i, "reference": "start", "relative_regret": i / 12, "return": 1.0}
        for i in range(12)
    ]
    once, twice = task.metrics(made), task.metrics([*made, *({**r, "repeat": 1} for r in made)])
    assert once == twice
    assert once.primary.low is not None
    assert once.primary.value == pytest.approx(5.5 / 12)
    assert task.metrics(made[:9]).primary.low is None


def model_of(folder: Path, template: str = CHATML, normalizer: Normalizer | None = None) -> StartModel:
    make_tokenizer(folder, template)
    if normalizer is not None:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.normalizer = normalizer
        tokenizer.save(str(folder / "tokenizer.json"))
    return StartModel(folder)


TRIMS = CHATML.replace("+ m['content'] +", "+ (m['content'] | trim) +")


@pytest.mark.parametrize(
    ("words", "template", "normalizer", "same"),
    [
        (("red", "red ", "blue"), TRIMS, None, "'red' and 'red '"),
        (("blue", "\nred", "red"), TRIMS, None, "'\\nred' and 'red'"),
        (("Red", "blue", "red"), CHATML, Lowercase(), "'Red' and 'red'"),
        (("cafe", "tea", "caf\u00e9"), CHATML, Sequence([NFD(), StripAccents()]), "'cafe' and 'caf\u00e9'"),
    ],
    ids=["blank", "line end", "case", "accent"],
)
def test_words_that_are_the_same_tokens_are_refused(
    tmp_path: Path, words: tuple[str, ...], template: str, normalizer: Normalizer | None, same: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ChatMdpTask(ChatMdpConfig(words=words, horizon=2)).use_model(model_of(tmp_path, template, normalizer))
    assert caught.value.line() == (
        f"the words {same} are not distinct in the model's tokens (task.words); give other words"
    )


BEGINNINGS = ("red", "redder", "re")  # each token of one begins another, or is one


def told_apart(model: StartModel, words: tuple[str, ...]) -> list[tuple[int, ...]]:
    """The tokens of the words; the task takes this model."""
    config = ChatMdpConfig(words=words, horizon=2)
    ChatMdpTask(config).use_model(model)
    spoken = chat.answers(instances(config, validation=False)[0], 0, model.renderer)
    return [tuple(s.ids[p] for p in s.actions) for s in spoken]


def test_a_word_may_begin_another_because_the_end_of_the_turn_is_a_token_too(tmp_path: Path) -> None:
    red, redder, _ = told_apart(model_of(tmp_path), BEGINNINGS)
    assert redder[: len(red) - 1] == red[:-1]
    assert red[-1] == redder[-1]


@pytest.mark.skipif(not is_embedded_cached(), reason="the embedded model is not in the cache")
def test_words_of_several_tokens_under_the_real_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = StartModel(embedded_folder())
    found = told_apart(model, ("un", "unhappy", "unhappiness", " un"))
    assert len(set(found)) == 4
    assert max(map(len, found)) > 3
    assert len({ids[-1] for ids in found}) == 1


REFUSES = "{{ raise_exception('%s') }}"
ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    + REFUSES % "roles must alternate"
    + "{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "turns", "why"),
    [
        (
            CHATML.replace(
                "{% for m in messages %}", "{% for m in (messages if messages | length < 4 else messages[-1:]) %}"
            ),
            2,
            "",
        ),
        ("{% if messages | length > 3 %}" + REFUSES % "one question only" + "{% endif %}" + CHATML, 2, "one question"),
        ("{% if messages[0]['role'] == 'system' %}" + REFUSES % "no system" + "{% endif %}" + CHATML, 1, "no system"),
        (ALTERNATES + CHATML, 1, "roles must alternate"),
        (CHATML.replace("+ m['content'] +", "+ (m['content'] | truncate(9, True, '')) +"), 1, ""),
        (
            CHATML.replace(
                "+ m['content'] +",
                "+ (m['content'] if loop.last or m['role'] != 'assistant' else m['content'] | upper) +",
            ),
            2,
            "",
        ),
        (CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"), 1, ""),
    ],
    ids=["forgets", "one question", "no system", "alternates", "cut off", "changes the past", "drops system"],
)
def test_a_template_that_cannot_hold_the_conversation_is_refused(
    tmp_path: Path, template: str, turns: int, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ChatMdpTask(CONFIG).use_model(model_of(tmp_path, template))
    line = caught.value.line()
    assert line.startswith(f"the model's chat template cannot hold a conversation of {turns} turn{'s' * (turns > 1)}: ")
    assert why in line
    assert ("or a shorter horizon" in line) == (turns > 1)  # a shorter one does not help where the first turn fails


def test_episodes_say_where_one_is_and_earn_what_the_mdp_says() -> None:
    task = ChatMdpTask(CONFIG)
    found = task.episodes("train")
    assert len(found) == 2 * 9
    assert task.episodes("test") == []
    messages = found[5].messages
    assert [m.content for m in messages[:2]] == ["Answer with one word: a, b, c.", "You are in Paris."]
    assert (
        messages[3].content == f"You are in {['London', 'Rome', 'Berlin'][['a', 'b', 'c'].index(messages[2].content)]}."
    )
    assert next(m.reward for m in messages if m.action) == 0.0  # sparse
    start = ChatMdpTask(CONFIG.model_copy(update={"teach": "words"})).episodes("train")
    assert {m.reward for e in start for m in e.messages} == {None}
