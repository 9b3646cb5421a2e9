"""The folder of final weights computes what the trained policy computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from support import TOY

import shiqbench
from shiqbench.episodes.episode import Message
from shiqbench.episodes.rendering import Renderer
from shiqbench.plugin.config import TrainConfig
from shiqbench.training.policy import Policy, load_model
from shiqbench.training.weights import save_weights


def test_adapters_are_merged_into_the_saved_weights(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = TrainConfig(precision="fp32", lora_rank=2, share_prefix=False)
    policy = Policy(load_model(tiny_model, config), config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        trained = policy.model(ids).logits
        save_weights(policy, tiny_model, Renderer(tiny_model), tmp_path / "out")
        saved = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)(ids).logits
        start = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)(ids).logits
    torch.testing.assert_close(saved, trained, atol=1e-4, rtol=1e-4)
    assert (trained - start).abs().max() > 0.1


def test_every_template_of_a_model_is_saved_with_its_weights(tiny_model: Path, tmp_path: Path, own_cache: Path) -> None:
    start = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (start / "additional_chat_templates").mkdir()
    plain = (start / "chat_template.jinja").read_text()
    (start / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools | tojson }}\n" + plain)
    trained = shiqbench.run("sft", "toy", model=str(start), plugins=(TOY,), results=tmp_path / "results").path
    ask, tool = [Message("user", "hi")], {"type": "function", "function": {"name": "f", "parameters": {}}}
    before, after = Renderer(start), Renderer(trained / "checkpoint")
    assert after.prompt(ask, [tool]) == before.prompt(ask, [tool]) != before.prompt(ask)
    done = json.loads((trained / "DONE").read_text())["files"]
    assert "checkpoint/additional_chat_templates/tool_use.jinja" in done
