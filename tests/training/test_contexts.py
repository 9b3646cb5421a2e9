"""What is sampled is trained in the context in which it was sampled, under any template and history."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from families import build
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.generation import ChatGenerator, Sampling
from shiqbench.episodes.rendering import Renderer
from shiqbench.plugin.config import TrainConfig
from shiqbench.testing.tiny_model import CHATML, make_tokenizer
from shiqbench.training.policy import Policy, load_model, row_statistics

TURN = "{{ '<|im_start|>' + m.role + '\\n' }}"
END = "{{ '<|im_end|>\\n' }}"
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
ANSWER = "(m.content.split('</think>') | last).lstrip('\\n')"
TEMPLATES = {
    "plain": CHATML,
    "trims": "{% for m in messages %}" + TURN + "{{ m.content | trim }}" + END + "{% endfor %}" + ASKS,
    "strips old thoughts": "{% for m in messages %}"
    + TURN
    + "{% if m.role == 'assistant' and not loop.last %}{{ "
    + ANSWER
    + " }}{% else %}{{ m.content }}{% endif %}"
    + END
    + "{% endfor %}"
    + ASKS,
    "writes empty thoughts": "{% for m in messages %}"
    + TURN
    + "{% if m.role == 'assistant' and loop.last and '</think>' not in m.content %}"
    + "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content }}"
    + END
    + "{% endfor %}"
    + ASKS,
    "opens a thought": "{% for m in messages %}"
    + TURN
    + "{% if m.role == 'assistant' %}{{ "
    + ANSWER
    + " }}{% else %}{{ m.content }}{% endif %}"
    + END
    + "{% endfor %}"
    + ASKS.replace("assistant\\n", "assistant\\n<think>\\n"),
    "no system role": "{% set said = namespace(system='') %}{% for m in messages %}"
    + "{% if m.role == 'system' %}{% set said.system = m.content + '\\n\\n' %}{% else %}"
    + TURN
    + "{% if m.role == 'user' %}{{ said.system }}{% set said.system = '' %}{% endif %}{{ m.content }}"
    + END
    + "{% endif %}{% endfor %}"
    + ASKS,
    "tools as JSON": "{% for m in messages %}"
    + TURN
    + "{% if m.role == 'tool' %}{{ m.content | tojson }}{% else %}{{ m.content }}{% endif %}"
    + END
    + "{% endfor %}"
    + ASKS,
}
PIECES = ("a", " ", "\n", '"', "<|im_end|>", "</think>", "<think>", "é", "🙂", "{", "\\", "yes")
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join).filter(str.strip)
others = st.lists(st.tuples(st.sampled_from(("user", "tool")), texts), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TransformersEngine:
    return TransformersEngine(tiny_model, precision="fp32", max_context=1024)


@pytest.fixture(scope="module")
def policy(tiny_model: Path) -> Policy:
    config = TrainConfig(precision="fp32")
    return Policy(load_model(tiny_model, config), config)


@pytest.fixture(scope="module")
def renderers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Renderer]:
    found = {}
    for name, template in TEMPLATES.items():
        folder = tmp_path_factory.mktemp("model")
        make_tokenizer(folder, template)
        found[name] = Renderer(folder)
    return found


def compare(renderer: Renderer, engine: TransformersEngine, policy: Policy, opening: list[Message], seed: int) -> None:
    """Sample three turns, each after the history of the others, and compare with training."""
    messages = list(opening)
    sampled: list[float] = []
    for turn in range(3):
        (reply,) = ChatGenerator(engine, renderer, 1024).reply([messages], Sampling(6, 1.0, 1.0, seed + turn))
        assert reply.message is not None
        messages += [reply.message, Message("user", "more")]
        sampled += reply.message.behaviour_logp or ()
    (row,) = row_statistics(policy, [renderer.render(Episode("e", "g", "b", tuple(messages)))])
    trained = (row.logit_N - row.lse_N).detach()
    torch.testing.assert_close(trained, torch.tensor(sampled), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=12, deadline=None)
@given(system=st.none() | texts, said=others, seed=st.integers(0, 10**6))
def test_a_sampled_answer_has_the_same_log_probability_in_training(
    renderers: dict[str, Renderer],
    engine: TransformersEngine,
    policy: Policy,
    name: str,
    system: str | None,
    said: list[tuple[str, str]],
    seed: int,
) -> None:
    opening = [Message(role, content) for role, content in said]
    if system is not None:
        opening.insert(0, Message("system", system))
    # Without a system role, a system message needs a user message that holds it.
    assume(name != "no system role" or system is None or any(role == "user" for role, _ in said))
    compare(renderers[name], engine, policy, opening, seed)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama-2", "llama-3.2", "qwen3", "phi-3", "deepseek-r1", "gpt-oss"])
def test_the_same_for_known_families(tmp_path: Path, family: str) -> None:
    folder = build(family, tmp_path)
    config = TrainConfig(precision="fp32", share_prefix=False)
    engine = TransformersEngine(folder, precision="fp32", max_context=1024)
    compare(Renderer(folder), engine, Policy(load_model(folder, config), config), [Message("user", " hi \n")], 0)
