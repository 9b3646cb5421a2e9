"""Value and Q heads: zero at first, apart from the model in gradient, rate and clip, and part of what is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from support import TOY
from tiny_training import NEEDY, Lines, needy, trainer, weights

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.episodes.rendering import Renderer, TokenSequence
from shiqbench.plugin.config import TrainConfig
from shiqbench.training.heads import Heads, fold_q
from shiqbench.training.policy import Policy, load_model
from shiqbench.training.token_statistics import TokenStatistics
from shiqbench.training.weights import save_weights

N, D, V = 13, 6, 31
SEQUENCES = [TokenSequence(tuple(range(5, 25)), (4, 5, 6, 12)), TokenSequence(tuple(range(5, 17)), (3, 11))]


def with_random_heads(folder: Path, **settings: Any) -> Policy:
    config = TrainConfig.model_validate({"precision": "fp32", **settings})
    policy = Policy(load_model(folder, config), config, {"values", "token_q"})
    assert policy.heads is not None
    torch.manual_seed(1)
    with torch.no_grad():
        for x in policy.heads.state_dict().values():
            x.normal_()
    return policy


def test_heads_match_a_naive_twin_in_fp64() -> None:
    torch.manual_seed(0)
    heads = Heads({"values", "token_q"}, D, V).double()
    for x in heads.state_dict().values():
        x.normal_()
    hidden, token = torch.randn(N, D, dtype=torch.float64), torch.randint(V, (N,))
    found = heads.extend(TokenStatistics(hidden[:, 0], hidden[:, 1]), hidden, token)
    assert heads.value is not None
    assert heads.q is not None
    assert heads.target_VD is not None
    q_NV = hidden @ heads.q.weight.T
    twin = {
        "logit_N": hidden[:, 0],
        "value_N": hidden @ heads.value.weight[0] + heads.value.bias,
        "q_N": q_NV[range(N), token],
        "q_lse_N": q_NV.logsumexp(-1),
        "target_q_N": (hidden @ heads.target_VD.T)[range(N), token],
    }
    for name, wanted in twin.items():
        torch.testing.assert_close(getattr(found, name), wanted, atol=1e-12, rtol=0)
    assert found.target_q_N is not None
    assert not found.target_q_N.requires_grad


def test_heads_are_zero_at_first_and_their_gradient_stops_at_the_hidden_state(tiny_model: Path) -> None:
    config = TrainConfig(precision="bf16")
    policy = Policy(load_model(tiny_model, config), config, {"values", "token_q"})
    found = policy(SEQUENCES, heads=True)
    for s, sequence in zip(found, SEQUENCES, strict=True):
        assert s.value_N.dtype == s.q_N.dtype == torch.float32
        assert len(s.value_N) == len(sequence.actions)
        assert not s.value_N.any()
        assert not s.q_N.any()
        assert not s.target_q_N.any()
        torch.testing.assert_close(s.q_lse_N, torch.full_like(s.q_lse_N, 259.0).log())
    sum((s.value_N - 1).square().sum() + s.q_lse_N.sum() - s.q_N.sum() for s in found).backward()
    assert {n for n, p in policy.named_parameters() if p.grad is not None} == {
        "heads.value.weight",
        "heads.value.bias",
        "heads.q.weight",
    }


def test_only_what_is_needed_is_made_and_computed(tiny_model: Path, tmp_path: Path) -> None:
    assert trainer(tiny_model, tmp_path / "a", Shiq(ShiqConfig())).policy.heads is None
    config = TrainConfig(precision="fp32")
    policy = Policy(load_model(tiny_model, config), config, {"values", "mismatched"})
    assert set(policy.heads.state_dict()) == {"value.weight", "value.bias"}  # type: ignore[union-attr]
    (with_heads,), (without,) = policy(SEQUENCES[:1], heads=True), policy(SEQUENCES[:1])
    assert with_heads.q_N is None
    assert without.value_N is None
    assert torch.equal(with_heads.logit_N, without.logit_N)


def test_heads_have_their_own_rate_on_the_same_schedule(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(
        tiny_model, tmp_path / "a", needy("critic"), lr=1e-4, head_lr=1e-2, warmup=0.5, schedule="linear", updates=4
    )
    before = weights(t)
    t._update(0)  # an eighth of the budget is a quarter of the warm-up; Adam's first step is the rate itself
    moved = {k: float((v - before[k]).abs().max()) for k, v in weights(t).items()}
    assert moved["heads.q.weight"] == pytest.approx(0.25e-2, rel=1e-3)
    assert moved["heads.value.weight"] == pytest.approx(0.25e-2, rel=1e-3)
    assert max(v for k, v in moved.items() if k.startswith("model.")) == pytest.approx(0.25e-4, rel=1e-2)


def test_a_head_however_wrong_does_not_scale_the_gradient_of_the_model(tiny_model: Path, tmp_path: Path) -> None:
    calm = trainer(tiny_model, tmp_path / "a", needy("critic"), updates=2)
    wild = trainer(tiny_model, tmp_path / "b", needy("critic"), updates=2)
    wild.rendered = [type(r)(r.episode, r.sequences, tuple(1e4 * x for x in r.rewards), None) for r in wild.rendered]
    a, b = Lines(), Lines()
    calm.run(a)
    wild.run(b)
    assert b.lines[0]["head_grad_norm"] > 1e3 * a.lines[0]["head_grad_norm"]
    assert [x["grad_norm"] for x in a.lines] == [x["grad_norm"] for x in b.lines]
    for name, x in weights(calm).items():
        assert torch.equal(x, weights(wild)[name]) != name.startswith("heads."), name


def test_after_every_update_the_target_moves_by_its_rate(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(tiny_model, tmp_path / "a", needy("critic", target_rate=0.25))
    wanted = torch.zeros_like(weights(t)["heads.target_VD"])
    for index in range(3):
        t._update(index)
        now = weights(t)
        wanted = wanted + 0.25 * (now["heads.q.weight"] - wanted)
        torch.testing.assert_close(now["heads.target_VD"], wanted)
    assert wanted.abs().max() > 0


def logits(model: torch.nn.Module, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        found = model(ids, output_hidden_states=True)
    return found.logits, found.hidden_states[-1]


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_reloaded_model_has_the_logits_l_plus_w_q(tiny_model: Path, tmp_path: Path, lora_rank: int) -> None:
    from transformers import AutoModelForCausalLM

    policy = with_random_heads(tiny_model, share_prefix=False, lora_rank=lora_rank)
    ids = torch.arange(5, 45)[None]
    plain, hidden = logits(policy.model, ids)
    embeddings = policy.model.get_input_embeddings().weight.clone()  # type: ignore[operator]
    wanted = plain - 1.5 * hidden @ policy.heads.q.weight.T  # type: ignore[union-attr]
    save_weights(policy, tiny_model, Renderer(tiny_model), tmp_path / "out", -1.5)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    found, _ = logits(reloaded, ids)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (found - plain).abs().max() > 0.1
    assert torch.equal(reloaded.get_input_embeddings().weight, embeddings)


def test_without_a_weight_the_saved_head_stays_tied(tiny_model: Path, tmp_path: Path) -> None:
    policy = with_random_heads(tiny_model)
    save_weights(policy, tiny_model, Renderer(tiny_model), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is True


def test_sampling_from_a_head_that_is_not_there_is_a_mistake_of_the_algorithm(tiny_model: Path) -> None:
    config = TrainConfig()
    model = load_model(tiny_model, config)
    with pytest.raises(TypeError, match="add token_q"):
        fold_q(model, Policy(model, config, {"values"}).heads, 1.0)


@pytest.mark.parametrize("algo", ["critic", "contrast"])
def test_a_whole_run(tiny_model: Path, tmp_path: Path, own_cache: Path, algo: str) -> None:
    result = shiqbench.run(algo, "toy", model=str(tiny_model), results=tmp_path, plugins=(TOY, NEEDY))
    lines = [json.loads(x) for x in (result.path / "train.jsonl").read_text().splitlines()]
    manifest = json.loads((result.path / "manifest.json").read_text())
    config = json.loads((result.path / "checkpoint" / "config.json").read_text())
    assert config["tie_word_embeddings"] is (algo == "contrast")
    assert ("head_grad_norm" in lines[0]) is (algo == "critic")
    spent, reference = manifest["pass_tokens"], manifest["reference"]
    assert spent["policy"] == manifest["budget"]["tokens"]
    assert (spent["mismatched"] > 0) is (algo == "contrast")
    assert (spent["reference"] > 0) is (reference["computed"] + reference["cached"] > 0)
    assert spent["rollouts"] == 0
    assert manifest["trained_parameters"] == manifest["parameters"] > 0
    if algo == "contrast":
        assert lines[0]["z"] == pytest.approx(0, abs=1e-4)
        assert abs(lines[-1]["z"]) > 1e-2


@pytest.mark.parametrize(
    ("family", "value"), [("granite", {"logits_scaling": 8.0}), ("cohere", {"logit_scale": 0.0625})]
)
def test_a_folded_head_gives_the_logits_of_a_model_with_a_scale_plus_w_q(
    tmp_path: Path, family: str, value: dict[str, float]
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(family, vocab_size=99, num_key_value_heads=2, initializer_range=0.2, **sizes, **value)
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.arange(5, 45)[None]
    before, hidden = logits(model, ids)
    heads = Heads({"token_q"}, 32, 99)
    torch.nn.init.normal_(heads.q.weight)  # type: ignore[union-attr]
    fold_q(model, heads, 1.5)
    after, _ = logits(model, ids)
    torch.testing.assert_close(after, before + 1.5 * hidden @ heads.q.weight.T, atol=1e-4, rtol=1e-4)  # type: ignore[union-attr]


def test_no_head_gives_the_logits_of_a_soft_capped_model_plus_w_q() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gemma2", vocab_size=99, num_key_value_heads=2, final_logit_softcapping=30.0, **sizes)
    )
    with pytest.raises(ConfigError, match=r"Gemma2ForCausalLM.*soft-capped"):
        fold_q(model.eval(), Heads({"token_q"}, 32, 99), 1.0)
