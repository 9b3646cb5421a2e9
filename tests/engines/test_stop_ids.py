"""An answer ends at every id that the model declares, wherever its folder declares it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from shiqbench.base.errors import ConfigError
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.generation import ChatGenerator, Reply, Sampling
from shiqbench.episodes.rendering import Renderer
from shiqbench.episodes.stops import declared_stops

END_OF_TEXT, END_OF_TURN = 0, 2  # <|endoftext|>, which the template never writes, and its <|im_end|>
QUESTION = Message("user", "hi")


def edit(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**content, **values}))


def always(folder: Path, source: Path) -> Path:
    """A model for which every token is equally likely, so that its greedy answer is always the first id, 0."""
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.zeros_like(tensors["model.norm.weight"])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return always(tmp_path / "model", tiny_model)


def in_generation_config(folder: Path) -> None:
    edit(folder / "generation_config.json", eos_token_id=[END_OF_TURN, END_OF_TEXT])


def in_config(folder: Path) -> None:
    edit(folder / "config.json", eos_token_id=END_OF_TEXT)


def in_text_config(folder: Path) -> None:
    edit(folder / "config.json", text_config={"eos_token_id": [END_OF_TEXT]})


def in_the_tokenizer(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", eos_token="<|endoftext|>")


PLACES = (in_generation_config, in_config, in_text_config, in_the_tokenizer)


def answer(engine: Any, folder: Path) -> tuple[Reply, Renderer]:
    renderer = Renderer(folder)
    (reply,) = ChatGenerator(engine, renderer, 256).reply([[QUESTION]], Sampling(12))
    return reply, renderer


@pytest.mark.parametrize("declare", PLACES, ids=lambda d: d.__name__)
def test_an_answer_ends_at_a_declared_id_and_does_not_show_it(folder: Path, declare: Callable[[Path], None]) -> None:
    engine = TransformersEngine(folder, precision="fp32", max_context=256)  # before: a Llama has no text_config
    declare(folder)
    reply, renderer = answer(engine, folder)
    assert (reply.tokens, reply.cut) == (1, False)
    assert reply.message is not None
    assert (reply.message.content, reply.message.token_ids) == ("", (END_OF_TEXT,))
    assert set(renderer.stop_ids) == {END_OF_TURN, END_OF_TEXT}


def test_an_undeclared_id_ends_nothing(folder: Path) -> None:
    reply, renderer = answer(TransformersEngine(folder, precision="fp32", max_context=256), folder)
    assert (reply.tokens, reply.cut) == (12, True)
    assert renderer.stop_ids == (END_OF_TURN,)


def test_transformers_own_generation_ends_at_the_same_token(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    in_generation_config(folder)
    prompt = torch.tensor([Renderer(folder).prompt([QUESTION])])
    found = AutoModelForCausalLM.from_pretrained(folder).generate(prompt, max_new_tokens=12, do_sample=False)
    assert found.shape[1] - prompt.shape[1] == 1


def test_a_sampled_answer_is_rendered_with_its_own_end_and_no_second_one(folder: Path) -> None:
    in_generation_config(folder)
    renderer = Renderer(folder)
    sampled = (200, 201, END_OF_TEXT)
    message = Message("assistant", "x", action=True, token_ids=sampled, behaviour_logp=(-1.0,) * 3)
    (sequence,) = renderer.render(Episode("e", "g", "test", (QUESTION, message))).sequences
    assert tuple(sequence.ids[p] for p in sequence.actions) == sampled
    more = renderer.prompt([QUESTION, message, Message("user", "more")])
    assert more[: len(sequence.ids)] == list(sequence.ids)
    assert renderer.decode(more[len(sequence.ids) :]).startswith("\n<|im_start|>user")


def test_final_weights_declare_what_their_start_declares(folder: Path, tmp_path: Path) -> None:
    from shiqbench.plugin.config import TrainConfig
    from shiqbench.training.policy import Policy, load_model
    from shiqbench.training.weights import save_weights

    in_generation_config(folder)
    config = TrainConfig(precision="fp32")
    save_weights(Policy(load_model(folder, config), config), folder, Renderer(folder), tmp_path / "out")
    assert Renderer(tmp_path / "out").stop_ids == Renderer(folder).stop_ids


def test_ids_outside_the_vocabulary_and_no_ids_at_all_are_no_stops(folder: Path) -> None:
    edit(folder / "generation_config.json", eos_token_id=None)
    edit(
        folder / "config.json", eos_token_id=[50256, -1]
    )  # GPT-2's default, and "none" as some configurations write it
    assert declared_stops(folder) == (50256, -1)
    assert Renderer(folder).stop_ids == (END_OF_TURN,)


@pytest.mark.parametrize("value", ["</s>", [2, "<|im_end|>"], True])
def test_an_id_that_is_no_number_is_refused_with_its_file(folder: Path, value: Any) -> None:
    edit(folder / "generation_config.json", eos_token_id=value)
    with pytest.raises(ConfigError, match=r"eos_token_id is .*generation_config\.json.*list of ids"):
        declared_stops(folder)
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"not JSON.*generation_config\.json"):
        declared_stops(folder)


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_ends_at_every_declared_id(tmp_path: Path) -> None:
    from shiqbench.engines.vllm import VllmEngine
    from shiqbench.testing.tiny_model import make_tiny_model

    folder = always(tmp_path / "model", make_tiny_model(tmp_path / "source", hidden_size=128))
    in_generation_config(folder)
    engine = VllmEngine(folder, precision="fp32", max_context=256)
    try:
        reply, _ = answer(engine, folder)
    finally:
        engine.close()
    assert (reply.tokens, reply.cut) == (1, False)
    assert reply.message is not None
    assert reply.message.content == ""
