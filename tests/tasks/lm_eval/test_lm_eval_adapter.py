"""The engine as lm-eval's model, where that differs from answering what one is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shiqbench_tasks.lm_eval.config import LmEvalEvalConfig

from shiqbench.base.errors import ConfigError
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.episode import Message
from shiqbench.episodes.generation import ChatGenerator, Completion
from shiqbench.episodes.rendering import Renderer
from shiqbench.testing.tiny_model import CHATML, make_tokenizer

pytestmark = pytest.mark.slow  # importing lm-eval takes seconds


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from shiqbench_tasks.lm_eval.adapter import EngineLM

    engine = TransformersEngine(tiny_model, precision="fp32", max_context=64)
    chat = ChatGenerator(engine, Renderer(tiny_model), 64)
    return EngineLM(chat, LmEvalEvalConfig(max_tokens=4), 0, frozenset({"asked"}), lambda request: None)


def request(kind: str, *arguments: Any, task: str = "asked") -> Any:
    from lm_eval.api.instance import Instance

    return Instance(kind, {}, arguments, 0, (task, 0, 1))


def test_a_special_token_in_a_question_stays_text_and_is_counted(model: Any) -> None:
    chat = [{"role": "user", "content": "a<|im_end|>b"}]
    text = model.apply_chat_template(chat)
    assert model.tok_encode(text).count(2) == 2  # what lm-eval would make of it
    (answer,) = model.generate_until([request("generate_until", text, {"until": []})])
    assert isinstance(answer, str)
    assert model.counts["prompts_apart"] == 1
    assert model._context(text) == model.renderer.prompt([Message("user", "a<|im_end|>b")])
    assert model._context(text).count(2) == 1
    context, continuation = model._encode_pair(text, " yes")
    assert (context, len(continuation)) == (model._context(text), 4)


def test_whether_a_continuation_is_greedy(model: Any) -> None:
    from shiqbench.episodes.generation import Sampling

    context = "Hello"
    (greedy,) = model.generator.generate([model.tok_encode(context)], Sampling(2))
    right = model.tokenizer.decode(list(greedy.ids))
    asked = [request("loglikelihood", context, text) for text in (right, "zz")]
    assert [is_greedy for _, is_greedy in model.loglikelihood(asked)] == [True, False]
    unasked = [request("loglikelihood", context, right, task="other")]
    assert [is_greedy for _, is_greedy in model.loglikelihood(unasked)] == [False]


def test_a_long_text_is_scored_in_windows_and_counted(model: Any) -> None:
    short, long = "a" * 40, "ab" * 100
    (found,) = model.loglikelihood_rolling([request("loglikelihood_rolling", short)])
    assert found == pytest.approx(sum(model.generator.score([[model.prefix_token_id, *model.tok_encode(short)]])[0]))
    assert model.counts["texts_in_windows"] == 0
    (whole,) = model.loglikelihood_rolling([request("loglikelihood_rolling", long)])
    assert whole < found
    assert model.counts["texts_in_windows"] == 1


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_what_does_not_fit_is_refused_to_the_token(model: Any, kind: str) -> None:
    def ask(tokens: int) -> Any:
        if kind == "loglikelihood":
            return model.loglikelihood([request(kind, "a" * (tokens - 2), "bb")])
        return model.generate_until([request(kind, "a" * (tokens - 4), {"until": [], "max_gen_toks": 9})])

    ask(63 if kind == "loglikelihood" else 64)
    with pytest.raises(ConfigError, match="1 of 1 requests of asked do not fit the context of 64"):
        ask(64 if kind == "loglikelihood" else 65)


def test_an_answer_ends_at_every_id_that_the_model_declares(model: Any) -> None:
    from shiqbench.episodes.generation import Sampling

    (sampled,) = model.generator.generate([model.tok_encode("Hello")], Sampling(4))
    first = sampled.ids[0]
    assert first not in model.renderer.stop_ids
    model.renderer.stop_ids = (*model.renderer.stop_ids, first)
    asked = request("generate_until", "Hello", {"until": []})
    assert model.generate_until([asked]) == [""]
    assert [(a.tokens, a.cut) for a in model.answers["asked", 0]] == [(1, False)]


def made(folder: Path, template: str, engine: Any) -> Any:
    from shiqbench_tasks.lm_eval.adapter import EngineLM

    make_tokenizer(folder, template)
    chat = ChatGenerator(engine, Renderer(folder), 2048)
    return EngineLM(chat, LmEvalEvalConfig(max_tokens=256), 0, frozenset(), lambda request: None)


def test_a_prompt_is_trimmed_as_its_template_does_and_is_not_apart(tmp_path: Path) -> None:
    model = made(tmp_path, CHATML.replace("m['content']", "m['content'] | trim"), None)
    text = model.apply_chat_template([{"role": "user", "content": " Which one?\n"}])
    assert "user\nWhich one?<|im_end|>" in text
    assert model._context(text) == model.tok_encode(text) == model.renderer.prompt([Message("user", " Which one?\n")])
    assert model.counts["prompts_apart"] == 0


THOUGHT = "<think>\nNo commas, so short.\n\nReady.\n</think>\n\n"


class Says:
    """An engine that always gives the same answer."""

    name = version = "says"

    ids: tuple[int, ...] = ()

    def generate(self, prompts: Any, sampling: Any) -> list[Completion]:
        return [Completion(self.ids, (0.0,) * len(self.ids), stopped=True) for _ in prompts]


@pytest.mark.parametrize("until", [[], ["\n\n"], ["Ready"]])
@pytest.mark.parametrize(
    ("said", "answer", "thoughts"),
    [
        (THOUGHT + "Paris is it.", "Paris is it.", 1),
        ("Paris is it.", "Paris is it.", 0),
        (THOUGHT.partition("\n</think>")[0], "", 1),
    ],
)
def test_a_thought_is_not_scored(tmp_path: Path, until: list[str], said: str, answer: str, thoughts: int) -> None:
    engine = Says()
    model = made(tmp_path, CHATML + "{# </think> #}", engine)
    engine.ids = (*model.tokenizer(said)["input_ids"], model.renderer.end_of_turn)
    text = model.apply_chat_template([{"role": "user", "content": "Capital of France? No commas."}])
    assert model.generate_until([request("generate_until", text, {"until": until})]) == [answer]
    assert model.counts["answers_with_thoughts"] == thoughts
