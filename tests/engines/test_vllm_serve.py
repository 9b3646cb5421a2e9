"""A real server of vllm with the embedded model: the same answers as the weights give here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.engines.config import ServedConfig
from shiqbench.engines.served import ServedEngine
from shiqbench.engines.transformers import TransformersEngine
from shiqbench.engines.vllm import ENVIRONMENT
from shiqbench.episodes.episode import Message
from shiqbench.episodes.generation import ChatGenerator, Sampling
from shiqbench.episodes.rendering import Renderer
from shiqbench.episodes.served import ServedChat
from shiqbench.models.embedded import embedded_model
from shiqbench.testing import check_engine

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(3600)]
CONTEXT = 4096
STARTS_WITHIN = 1800.0  # seconds, on a busy machine
QUESTIONS = ("What is the capital of France?", "Name three colours.", "What is two plus two?", "What do bees make?")


@pytest.fixture(scope="module")
def model() -> Path:
    return embedded_model()


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server, started as `vllm serve` starts it (that command itself fails in the CPU build), and stopped."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        model,
        "--served-model-name",
        "smol",
    ]
    words += ["--host", "127.0.0.1", "--port", port, "--dtype", "float32", "--max-model-len", CONTEXT]
    words += ["--max-num-seqs", 8, "--enforce-eager", "--generation-config", "vllm"]
    log = tmp_path_factory.mktemp("server") / "log"
    environment = {**os.environ, **ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    with log.open("wb") as stream:
        server = subprocess.Popen(list(map(str, words)), env=environment, stdout=stream, stderr=stream)
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


def asked() -> list[list[Message]]:
    return [[Message("user", question)] for question in QUESTIONS]


def test_it_answers_as_the_weights_do_here(url: str, model: Path, tmp_path: Path) -> None:
    engine = ServedEngine(ServedConfig(url=url), "smol")
    served = ServedChat(engine, CONTEXT, tmp_path / "kept", "x").reply(asked(), Sampling(24))
    engine.close()
    renderer = Renderer(model)
    here = TransformersEngine(model, precision="fp32", max_context=CONTEXT)
    local = ChatGenerator(here, renderer, CONTEXT).reply(asked(), Sampling(24))
    for mine, theirs in zip(served, local, strict=True):
        assert mine.message is not None
        assert theirs.message is not None
        assert mine.message.content == theirs.message.content
        assert (mine.prompt_tokens, mine.tokens, mine.cut) == (theirs.prompt_tokens, theirs.tokens, theirs.cut)


def test_it_tells_its_version_and_what_it_serves(url: str, model: Path) -> None:
    engine = ServedEngine(ServedConfig(url=url), "smol")
    engine.close()
    assert engine.version.startswith("vllm 0.")
    assert engine.version.endswith(", served")
    assert engine.identity == {"served": "smol", "url": url, "root": str(model)}
    with pytest.raises(ConfigError, match=r"does not serve 'smoll', did you mean 'smol'.*give --model; it serves smol"):
        ServedEngine(ServedConfig(url=url), "smoll")


def test_seeds_and_settings_reach_it(url: str) -> None:
    check_engine("served", {"url": url}, model="smol")
    engine = ServedEngine(ServedConfig(url=url, extra={"chat_template_kwargs": {"x": 1}}), "smol")

    def said(seed: int) -> list[str]:
        found = dict(engine.chat(asked(), Sampling(16, temperature=1.0), [seed] * len(QUESTIONS)))
        return [m.content for i in range(len(QUESTIONS)) if (m := found[i].message)]

    assert said(1) == said(1)
    assert said(1) != said(2)
    engine.close()


def test_a_prompt_that_is_too_long_is_no_failure(url: str, tmp_path: Path) -> None:
    engine = ServedEngine(ServedConfig(url=url), "smol")
    chat = ServedChat(engine, CONTEXT, tmp_path / "kept", "x")
    short, long = chat.reply([asked()[0], [Message("user", "word " * 5000)]], Sampling(8))
    assert short.message is not None
    assert long.message is None
    with pytest.raises(ConfigError, match=r"none of 1 prompts and 5000 tokens of answer fits the server's context"):
        ServedChat(engine, CONTEXT, tmp_path / "other", "x").reply(asked()[:1], Sampling(5000))
    engine.close()


def test_a_whole_evaluation(url: str, tmp_path: Path) -> None:
    result = shiqbench.run(
        "base",
        "bfcl_v3",
        model="smol",
        preset="smoke",
        engine="served",
        set={"engine.url": url, "eval.examples": 2, "eval.max_steps": 2, "eval.max_tokens": 16},
        results=tmp_path,
    )
    manifest = json.loads((Path(result.evaluation["path"]) / "manifest.json").read_text())
    assert manifest["journal"]["replies"] > 0
    assert manifest["engine"]["counts"]["status_200"] > 0
    assert 0 <= result.primary["value"] <= 1
