"""LoRA on base weights in bf16 or int8."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TOY
from tiny_training import Lines, trainer

from shiqbench.base.errors import ConfigError, MissingDependencyError
from shiqbench.episodes.rendering import Renderer
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.registry import registry
from shiqbench.training.base_weights import check_base_weights
from shiqbench.training.own_forward import check_policy
from shiqbench.training.policy import Policy, load_model, plain, pretrained
from shiqbench.training.reference import ReferenceCache
from shiqbench.training.weights import save_weights

LORA: dict[str, Any] = {"lora_rank": 2, "precision": "bf16"}


def dpo() -> Any:
    spec = registry().algorithm("dpo")
    return spec.load()(spec.load_config()())


def test_layers_are_bf16_and_the_rest_fp32(tiny_model: Path) -> None:
    policy = Policy(load_model(tiny_model, config := TrainConfig(**LORA, base_weights="bf16")), config)
    types = {name: p.dtype for name, p in policy.named_parameters()}
    assert {d for n, d in types.items() if "lora_" in n} == {torch.float32}
    assert {d for n, d in types.items() if "base_layer" in n} == {torch.bfloat16}
    assert plain(policy.model).get_output_embeddings().weight.dtype == torch.float32
    assert {n for n, p in policy.named_parameters() if p.requires_grad} == {n for n in types if "lora_" in n}


def test_training_begins_at_the_reference_and_leaves_it(tiny_model: Path, tmp_path: Path) -> None:
    seen = Lines()
    trainer(tiny_model, tmp_path / "cell", dpo(), base_weights="bf16", **LORA).run(seen)
    assert seen.lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert seen.lines[-1]["loss"] < math.log(2) - 1e-3


def test_saved_weights_are_the_base_with_its_adapters(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(tiny_model, tmp_path / "cell", dpo(), base_weights="bf16", **LORA)
    t.run(Lines())
    changed = {n: p.detach().clone() for n, p in t.policy.named_parameters() if "lora_" in n}
    save_weights(t.policy, tiny_model, Renderer(tiny_model), tmp_path / "saved")
    name = "model.layers.0.self_attn.q_proj"
    (a,), (b,) = ([p for n, p in changed.items() if f"{name}.lora_{x}" in n] for x in "AB")
    before, after = (pretrained(f).get_parameter(f"{name}.weight") for f in (tiny_model, tmp_path / "saved"))
    assert b.abs().max() > 0
    expected = (before.bfloat16() + 16 * (b @ a)).bfloat16().float()  # alpha / rank
    torch.testing.assert_close(after, expected, rtol=1e-2, atol=1e-3)


def test_the_policy_is_compared_in_the_precision_that_it_has(tiny_model: Path) -> None:
    policy = Policy(load_model(tiny_model, config := TrainConfig(**LORA, base_weights="bf16")), config)
    renderer = Renderer(tiny_model)
    episodes = registry((TOY,)).task("toy").load()(registry((TOY,)).task("toy").load_config()()).episodes("train")
    assert set(check_policy(policy, [s for e in episodes[:4] for s in renderer.render(e).sequences])) == {"bf16"}


def test_statistics_of_another_base_are_others(tiny_model: Path, tmp_path: Path) -> None:
    paths = set()
    for kind in ("fp32", "bf16"):
        config = TrainConfig(**LORA, base_weights=kind)
        cache = ReferenceCache(tmp_path, "tiny", Policy(load_model(tiny_model, config), config))
        cache.close()
        paths.add(cache.path)
    assert len(paths) == 2


def test_only_another_type_enters_the_digest(tiny_model: Path, tmp_path: Path) -> None:
    def recipe(**settings: Any) -> dict[str, Any]:
        typed = {f"train.{k}": v for k, v in {**LORA, **settings}.items()}
        request = Request("sft", "toy", str(tiny_model), settings=typed, plugins=(TOY,), results=tmp_path)
        train: dict[str, Any] = make_plan(request).cell.recipe["train"]
        return train

    assert "base_weights" not in recipe()
    assert recipe() == recipe(base_weights="fp32")
    assert recipe(base_weights="bf16") == {**recipe(), "base_weights": "bf16"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"lora_rank": 0, "precision": "bf16"}, "all weights train"), ({"lora_rank": 2, "precision": "fp32"}, "fp32")],
)
def test_what_cannot_be_honoured_is_refused(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    typed = {"train.base_weights": "bf16", **{f"train.{k}": v for k, v in settings.items()}}
    with pytest.raises(ConfigError, match=f"base_weights bf16 cannot be honoured.*{says}"):
        make_plan(Request("sft", "toy", str(tiny_model), settings=typed, plugins=(TOY,), results=tmp_path))


def test_int8_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_base_weights(TrainConfig(**LORA, base_weights="bf16"))
    with pytest.raises(MissingDependencyError, match="bitsandbytes is not installed") as error:
        check_base_weights(TrainConfig(**LORA, base_weights="int8"))
    assert "train.base_weights=bf16" in str(error.value)


@pytest.mark.slow
def test_int8_trains_and_is_saved_on_whole_weights(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from shiqbench.testing.tiny_model import make_tiny_model

    model = make_tiny_model(tmp_path / "model", hidden_size=128)
    t = trainer(model, tmp_path / "cell", dpo(), base_weights="int8", **LORA)
    types = {p.dtype for n, p in t.policy.named_parameters() if "base_layer" in n}
    assert types == {torch.int8}
    seen = Lines()
    t.run(seen)
    assert seen.lines[0]["loss"] == pytest.approx(math.log(2), abs=0.01)  # outliers are those of a whole pass
    assert seen.lines[-1]["loss"] < math.log(2) - 1e-3
    save_weights(t.policy, model, Renderer(model), tmp_path / "saved")
    before, after = pretrained(model), pretrained(tmp_path / "saved")
    same = [n for n, p in before.named_parameters() if torch.equal(p.bfloat16(), after.get_parameter(n).bfloat16())]
    assert any("norm" in n for n in same)
    assert not any("proj" in n for n in same)
