"""The one engine of a process: weights of another shape get an engine of their own, and none is lost in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiqbench.engines.holder import engine_holder
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.registry import registry
from shiqbench.testing.tiny_model import make_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.vllm]


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tied"), hidden_size=128)


@pytest.fixture(scope="module")
def with_q(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tied model with a Q head folded into its vocabulary head, as ilql exports it: untied."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from shiqbench.training.heads import fold_q, heads_for

    folder = tmp_path_factory.mktemp("with_q")
    model = AutoModelForCausalLM.from_pretrained(tied, dtype=torch.float32)
    heads = heads_for({"token_q"}, model)
    assert heads is not None
    assert heads.q is not None
    torch.nn.init.normal_(heads.q.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    fold_q(model, heads, 1.0)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tied).save_pretrained(folder)
    return folder


def test_what_vllm_samples_from_after_a_tied_model_is_the_exported_q_head(tied: Path, with_q: Path) -> None:
    config, ids = EvalConfig(precision="fp32", max_context=512), list(range(100, 140))

    def wanted(weights: Path) -> list[float]:
        return TransformersEngine(weights, precision="fp32", max_context=512).score([ids])[0]

    plain, reweighted = wanted(tied), wanted(with_q)
    assert max(abs(a - b) for a, b in zip(plain, reweighted, strict=True)) > 0.1
    with engine_holder() as holder:
        for weights, scores in ((tied, plain), (with_q, reweighted), (tied, plain)):
            (found,) = holder.ready(registry().engine("vllm"), weights, config).score([ids])
            assert found == pytest.approx(scores, abs=2e-3)
