"""The transformers engine on families whose layers keep other things than keys and values, or forget old ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from families import build

from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.generation import Sampling


@pytest.mark.parametrize("family", ["lfm2", "gpt-oss", "gemma-3", "llama-2"])
def test_log_probabilities_of_rows_that_end_at_different_times(family: str, tmp_path: Path) -> None:
    engine = TransformersEngine(build(family, tmp_path), precision="fp32", max_context=1024)
    prompts = [[5, 6, 7], [30 + i % 50 for i in range(600)], [9] * 20]  # longer than the windows, and shorter
    stops = tuple(range(60, 120))
    found = engine.generate(prompts, Sampling(12, temperature=1.0, seed=1, stop_token_ids=stops))
    assert len({len(c.ids) for c in found}) > 1
    scores = engine.score([[*p, *c.ids] for p, c in zip(prompts, found, strict=True)])
    for prompt, completion, score in zip(prompts, found, scores, strict=True):
        assert completion.logprobs == pytest.approx(score[len(prompt) :], abs=1e-4)
