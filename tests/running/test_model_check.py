"""The checks of a model find planted faults of each kind, and name what a model cannot do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from families import build

from shiqbench.base import machine
from shiqbench.base.findings import Finding, State, worst
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.generation import Completion, Sampling
from shiqbench.episodes.rendering import Rendered, Renderer
from shiqbench.plugin.config import EngineConfig
from shiqbench.running import model_check
from shiqbench.running.model_check import model_findings
from shiqbench.training import policy


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("qwen3", tmp_path_factory.mktemp("qwen3"))


def problems(findings: Sequence[Finding]) -> dict[str, str]:
    return {f.name: f.text for f in findings if f.state is State.PROBLEM}


def test_a_model_that_is_treated_right(qwen3: Path) -> None:
    findings = model_findings(qwen3)
    assert worst(findings) is State.OK
    text = {f.name: f.text for f in findings}
    assert text["prompts"].startswith("10 of 10")
    assert text["trained answers"].startswith("10 of 10")
    assert text["end of turn"] == "<|im_end|> (2)"
    assert text["stop ids"] == "<|im_end|> (2), <|endoftext|> (0)"
    assert "removed" in text["thinking"]
    assert "model.template.enable_thinking" in text["thinking"]


def test_keywords_of_the_template_reach_it(qwen3: Path) -> None:
    text = {f.name: f.text for f in model_findings(qwen3, template={"enable_thinking": False})}
    assert text["prompts"].startswith("10 of 10")
    assert text["engine transformers"]


class LosesTheLastToken(Renderer):
    def prompt(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        return super().prompt(messages, tools)[:-1]


class TakesSpelledTokens(Renderer):
    def prompt(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        return list(self.tokenizer(self.decode(super().prompt(messages, tools)), add_special_tokens=False)["input_ids"])


class LosesTheEnd(Renderer):
    def render(self, episode: Episode) -> Rendered:
        rendered = super().render(episode)
        cut = [dataclasses.replace(s, ids=s.ids[:-1], actions=s.actions[:-1]) for s in rendered.sequences]
        return dataclasses.replace(rendered, sequences=tuple(cut))


class ShiftsTheMask(Renderer):
    def render(self, episode: Episode) -> Rendered:
        rendered = super().render(episode)
        shifted = [dataclasses.replace(s, actions=tuple(p - 1 for p in s.actions)) for s in rendered.sequences]
        return dataclasses.replace(rendered, sequences=tuple(shifted))


class TrainsNoEnd(Renderer):
    def render(self, episode: Episode) -> Rendered:
        rendered = super().render(episode)
        without = [dataclasses.replace(s, actions=s.actions[:-1]) for s in rendered.sequences]
        return dataclasses.replace(rendered, sequences=tuple(without))


@pytest.mark.parametrize(
    ("renderer", "name", "text"),
    [
        (LosesTheLastToken, "prompts: several turns", "the template writes"),
        (TakesSpelledTokens, "prompts: a special token in a text", "2 ends of turn in place of 1"),
        (LosesTheEnd, "trained answers: several turns", "ends of turn"),
        (ShiftsTheMask, "trained answers: several turns", "answers begin at tokens"),
        (TrainsNoEnd, "trained answers: several turns", "do not end with a stop id"),
    ],
)
def test_a_wrong_rendering_is_found(
    qwen3: Path, monkeypatch: pytest.MonkeyPatch, renderer: type[Renderer], name: str, text: str
) -> None:
    monkeypatch.setattr(model_check, "Renderer", renderer)
    found = problems(model_findings(qwen3))
    assert name.partition(":")[0] in found
    assert any(key.startswith(name) and text in value for key, value in found.items()), found


class Shifted(TransformersEngine):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        found = super().generate(prompts, sampling)
        return [dataclasses.replace(c, logprobs=tuple(p - 0.01 for p in c.logprobs)) for c in found]


class Broken(TransformersEngine):
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        raise RuntimeError("no room")


@pytest.mark.parametrize(("engine", "text"), [(Shifted, "0.01 nats"), (Broken, "RuntimeError: no room")])
def test_a_wrong_engine_is_found(
    qwen3: Path, monkeypatch: pytest.MonkeyPatch, engine: type[TransformersEngine], text: str
) -> None:
    spec = SimpleNamespace(load=lambda: engine, load_config=lambda: EngineConfig, served=False)
    monkeypatch.setattr(model_check, "registry", lambda: SimpleNamespace(engine=lambda name: spec))
    findings = model_findings(qwen3)
    assert text in problems(findings)["engine transformers"]
    assert "own forward pass" in {f.name for f in findings if f.state is State.OK}


def test_a_dropped_scale_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build("command-r", tmp_path)
    assert not problems(model_findings(folder))
    monkeypatch.setattr(policy, "logits", lambda model, hidden, *_: model.get_output_embeddings()(hidden))
    assert "differ" in problems(model_findings(folder))["own forward pass"]


def test_a_tokenizer_that_is_larger_than_the_embedding(tmp_path: Path) -> None:
    folder = build("smollm2", tmp_path)
    renderer = Renderer(folder)
    renderer.tokenizer.add_tokens([f"word{i}" for i in range(100)])
    renderer.tokenizer.save_pretrained(folder)
    found = problems(model_findings(folder))
    assert list(found) == ["vocabulary"]
    assert "460 tokens and the embedding 384 rows" in found["vocabulary"]


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = build("llama-2", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "own forward pass" in problems(model_findings(folder))


def test_a_model_that_does_not_fit(qwen3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(1000, 1000))
    (finding,) = [f for f in model_findings(qwen3) if f.state is not State.OK]
    assert (finding.name, finding.state) == ("own forward pass", State.WARNING)
    assert "not compared" in finding.text


def test_a_template_without_an_end_of_turn(tmp_path: Path) -> None:
    folder = build("olmo-2", tmp_path)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}")
    findings = model_findings(folder)
    assert "no special token ends an answer" in problems(findings)["rendering"]


def test_a_model_without_linear_layers_and_one_without_shared_prefixes(tmp_path: Path) -> None:
    folder = build("lfm2", tmp_path)
    found = {f.name: f for f in model_findings(folder)}
    assert found["shared prefixes"].text.endswith("layers of kind conv; each text is computed in full")
    config = {"model_type": "gpt2", "vocab_size": 384, "n_embd": 16, "n_layer": 1, "n_head": 2}
    (folder / "config.json").write_text(json.dumps(config))
    found = {f.name: f for f in model_findings(folder)}
    assert found["LoRA"].state is State.WARNING
