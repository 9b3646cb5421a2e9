"""What frozen layers compute is computed once, and changes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from tiny_training import Lines, trainer

from shiqbench.episodes.rendering import TokenSequence
from shiqbench.plugin.config import TrainConfig
from shiqbench.training import frozen_layers
from shiqbench.training.frozen_layers import keep_frozen
from shiqbench.training.loop import Trainer
from shiqbench.training.policy import Policy, load_model, plain, stack

NOTHING = {"layers": 0, "bytes": 0}
TEXTS = [
    TokenSequence((1, 5, 6, 7, 8, 9), (3, 5)),
    TokenSequence((1, 5, 6, 7, 20), (4,)),
    TokenSequence((1, 5, 30, 31), (2, 3)),
    TokenSequence((2, 5, 6), (1, 2)),
]


def policy(model: Path, **settings: Any) -> Policy:
    config = TrainConfig.model_validate({"precision": "fp32", "top_layers": 1, **settings})
    return Policy(load_model(model, config), config)


def lowest_calls(p: Policy) -> Counter[str]:
    calls: Counter[str] = Counter()
    attention: Any = stack(plain(p.model))[0].self_attn
    attention.register_forward_hook(lambda *_: calls.update(["lowest"]))
    return calls


def sequences(t: Trainer) -> list[TokenSequence]:
    return [s for i in t.plan.rows for s in t.rendered[i].sequences]


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"checkpointing": True}, {"micro_tokens": 90}])
def test_training_with_kept_outputs_is_the_same_training(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    found = []
    for keep in (False, True):
        t = trainer(tiny_model, tmp_path / str(keep), Shiq(ShiqConfig()), double=True, top_layers=1, **settings)
        p = t.policy
        calls = lowest_calls(p)
        if keep:
            facts = keep_frozen(p, sequences(t))
            assert facts["layers"] == 1
            assert facts["bytes"] > 0
            calls.clear()
        t.run(lines := Lines())
        found.append([line["loss"] for line in lines.lines])
        assert (calls["lowest"] == 0) == keep
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_a_text_that_was_not_kept_is_computed_as_ever(tiny_model: Path) -> None:
    p = policy(tiny_model)
    other = TokenSequence((1, 5, 6, 99), (3,))
    with torch.no_grad():
        before = p([*TEXTS, other])
        keep_frozen(p, TEXTS)
        calls = lowest_calls(p)
        after = p([*TEXTS, other])
    assert calls["lowest"] == 1
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a.logit_N, b.logit_N)


def test_kept_outputs_do_not_depend_on_the_order_of_texts(tiny_model: Path) -> None:
    found = []
    for texts in (TEXTS, TEXTS[::-1]):
        p = policy(tiny_model, micro_tokens=8)
        keep_frozen(p, texts)
        found.append([f.logit_N.tolist() for f in p(TEXTS)])
    assert found[0] == found[1]


@pytest.mark.parametrize("settings", [{"top_layers": None}, {"top_layers": 2}, {"share_prefix": False}])
def test_nothing_is_kept_where_nothing_can_be(tiny_model: Path, settings: dict[str, Any]) -> None:
    p = policy(tiny_model, **settings)
    assert keep_frozen(p, TEXTS) == NOTHING
    assert p.frozen is None


def test_nothing_is_kept_if_the_embedding_is_trained(tiny_model: Path) -> None:
    p = policy(tiny_model)
    plain(p.model).get_input_embeddings().weight.requires_grad_(True)
    assert keep_frozen(p, TEXTS) == NOTHING


def test_outputs_that_are_too_large_are_not_kept(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = policy(tiny_model)
    size = keep_frozen(p, TEXTS)["bytes"]
    p.frozen = None
    monkeypatch.setattr(frozen_layers, "LARGEST_BYTES", size - 1)
    assert keep_frozen(p, TEXTS) == NOTHING
    monkeypatch.setattr(frozen_layers, "LARGEST_BYTES", size)
    assert keep_frozen(p, TEXTS)["bytes"] == size


def test_a_model_whose_upper_layers_read_more_keeps_nothing(tiny_model: Path) -> None:
    """As in families whose upper layers use keys of a lower layer."""
    p = policy(tiny_model)
    lower: Any
    upper: Any
    lower, upper = stack(plain(p.model))
    seen: list[torch.Tensor] = []
    plain(p.model).get_input_embeddings().register_forward_hook(lambda *_: seen.clear())
    lower.self_attn.register_forward_hook(lambda *_: seen.append(_[2][0].mean()))
    upper.register_forward_hook(lambda *_: _[2] + sum(seen))
    with torch.no_grad():
        before = [f.logit_N for f in p(TEXTS)]
        assert keep_frozen(p, TEXTS) == NOTHING
        after = [f.logit_N for f in p(TEXTS)]
    torch.testing.assert_close(after, before)


def test_layers_that_pass_on_more_than_one_tensor_keep_nothing(tiny_model: Path) -> None:
    p = policy(tiny_model)
    lower = stack(plain(p.model))[0]
    compute = lower.forward
    lower.forward = lambda *args, **keywords: (compute(*args, **keywords), None)
    assert keep_frozen(p, TEXTS) == NOTHING
