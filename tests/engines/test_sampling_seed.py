"""What an engine samples is a function of the seed and the place in the call; without temperature, of neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.generation import Sampling

PROMPTS = [[5, 9, 12], [7, 30, 2, 8], [5, 9, 12]]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TransformersEngine:
    return TransformersEngine(tiny_model, precision="fp32", max_context=64)


def sampled(
    engine: TransformersEngine, seed: int, temperature: float = 1.0, top_p: float = 1.0
) -> list[tuple[int, ...]]:
    return [c.ids for c in engine.generate(PROMPTS, Sampling(12, temperature, top_p, seed))]


def test_the_same_seed_gives_the_same_text_and_another_seed_another(engine: TransformersEngine) -> None:
    first = sampled(engine, 1)
    assert sampled(engine, 1) == first
    other = sampled(engine, 2)
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert first[0] != first[2]  # the same prompt in another place


def test_a_nucleus_of_one_token_and_temperature_0_are_greedy(engine: TransformersEngine) -> None:
    greedy = sampled(engine, 1, temperature=0.0)
    assert sampled(engine, 2, temperature=0.0) == greedy
    assert sampled(engine, 1, top_p=1e-6) == greedy != sampled(engine, 1)
