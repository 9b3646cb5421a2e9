"""Settings of vLLM: each reaches the engine, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shiqbench.base.errors import ConfigError
from shiqbench.engines.config import VllmConfig
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.engines.vllm import VllmEngine
from shiqbench.episodes.generation import Sampling
from shiqbench.testing.tiny_model import make_tiny_model

PROMPTS = [list(range(20, 40 + 3 * i)) for i in range(3)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_share_of_gpu_memory_is_refused_without_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine.gpu_memory cannot be honoured: there is no GPU \(--set\)"):
        VllmEngine(tmp_path, VllmConfig(gpu_memory=0.5), precision="fp32", max_context=64)


@pytest.mark.slow
@pytest.mark.vllm
def test_two_processes_share_the_weights_and_compute_what_one_does(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path, hidden_size=128)
    alone = TransformersEngine(model, precision="fp32", max_context=128)
    engine = VllmEngine(model, VllmConfig(tensor_parallel=2, max_num_seqs=2), precision="fp32", max_context=128)
    try:
        limits = engine._llm.llm_engine.vllm_config
        assert limits.parallel_config.tensor_parallel_size == 2
        assert limits.scheduler_config.max_num_seqs == 2
        assert engine.describe()["flags"]["tensor_parallel_size"] == 2
        for _ in range(2):
            for mine, theirs in zip(engine.score(PROMPTS), alone.score(PROMPTS), strict=True):
                assert mine == pytest.approx(theirs, abs=2e-3)
            found = engine.generate(PROMPTS, Sampling(8))
            assert [c.ids for c in found] == [c.ids for c in alone.generate(PROMPTS, Sampling(8))]
            engine.load(model)
    finally:
        engine.close()
