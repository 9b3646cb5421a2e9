"""Checks the contract of an engine in one call, against the forward pass of a tiny model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import DivergedError
from shiqbench.episodes.episode import Message
from shiqbench.episodes.generation import Sampling
from shiqbench.plugin.config import EngineConfig
from shiqbench.plugin.registry import registry
from shiqbench.running.engine_check import TOLERANCES
from shiqbench.testing.component import check_config, check_light
from shiqbench.testing.contract import ContractReport
from shiqbench.testing.contract import EngineContract as Line
from shiqbench.testing.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from shiqbench.episodes.generation import Completion, Generator
    from shiqbench.plugin.specs import EngineSpec

    Forward = Callable[[Sequence[int]], Tensor]

LOADED = (
    Line.COMPLETIONS,
    Line.STOPS,
    Line.GREEDY,
    Line.LOGPROBS,
    Line.SCORES,
    Line.SEEDS,
    Line.LOAD,
    Line.FINITE,
    Line.CLOSE,
)
SERVED = (Line.IDENTITY, Line.REPLIES)
TOLERANCE = TOLERANCES["fp32"]  # nats
HIDDEN = 128  # the smallest hidden size of the tiny model that vllm takes
CONTEXT = 256
TOKENS = 12  # per completion
PROMPTS = [[1, *range(40 + 3 * i, 60 + 5 * i), 2] for i in range(5)]  # of several lengths
QUESTIONS = ("Say yes.", "Name a colour.", "Count to three.")


def check_engine(
    name: str,
    config: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    model: str | None = None,
) -> ContractReport:
    """Check everything that an engine promises; see docs/plugins.md for the list.

    Args:
        name: Registered name.
        config: Its settings, as in ``--set engine.KEY=VALUE``.
        plugins: Local plugin files, as ``--plugin`` takes them.
        model: For an engine that asks a server: the model's name there.

    Returns:
        The contract lines that hold, and those that do not apply, with the reason.

    Raises:
        AssertionError: A contract line does not hold; the message names the engine, the line, and the numbers.
        PluginError: No engine of that name is registered.
    """
    report, files = ContractReport("engine", name), tuple(Path(p) for p in plugins)
    spec = registry(files).engine(name)
    check_light(report, Line.LIGHT, files)
    settings = check_config(report, Line.CONFIG, spec.load_config(), dict(config or {}), EngineConfig)
    report.attempt(Line.STATEMENTS, "installed", spec.installed)
    report.require(
        bool(spec.version and spec.summary and "\n" not in spec.summary),
        Line.STATEMENTS,
        "no version, or no summary of one line",
    )
    skipped, why = (LOADED, "a server has the model") if spec.served else (SERVED, "it loads the model's weights")
    for line in skipped:
        report.skip(line, why)
    if spec.served:
        _check_served(report, spec, settings, model)
        return report
    with tempfile.TemporaryDirectory() as folder:
        first = make_tiny_model(_new(folder, "first"), HIDDEN)
        other, broken = _changed(first, _new(folder, "other")), _changed(first, _new(folder, "broken"), finite=False)

        def make() -> Generator:
            made: Generator = spec.load()(first, config=settings, precision="fp32", max_context=CONTEXT)
            return made

        engine = report.attempt(Line.STATEMENTS, "making it", make)
        try:
            _check_statements(report, spec, engine)
            seen = _check_completions(report, engine, _forward(first))
            _check_load(report, engine, other, broken, seen)
        finally:
            engine.close()
        report.attempt(Line.CLOSE, "closing it twice", engine.close)
        again = report.attempt(Line.CLOSE, "making it again", make)
        found = _ids(report.attempt(Line.CLOSE, "generating", lambda: again.generate(PROMPTS[:1], Sampling(TOKENS))))
        again.close()
        report.require(found == seen[:1], Line.CLOSE, f"{found} from a new engine, {seen[:1]} before")
    return report


def _new(folder: str, name: str) -> Path:
    (path := Path(folder) / name).mkdir()
    return path


def _changed(source: Path, target: Path, *, finite: bool = True) -> Path:
    """The same architecture with other weights; or with one value that is not a number."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target, dirs_exist_ok=True)
    weights = load_file(source / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        if finite:
            weights[name] = value * (1 + 0.5 * torch.randn(value.shape, generator=generator))
        elif value.ndim == 2:
            value[-1, -1] = float("nan")
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def _forward(folder: Path) -> Forward:
    """Log-probabilities of every next token: row t is after token t."""
    import torch

    from shiqbench.models.loading import causal_model

    model = causal_model(folder, torch.float32)

    def logp_TV(ids: Sequence[int]) -> Tensor:
        with torch.inference_mode():
            found: Tensor = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].log_softmax(-1)
        return found

    return logp_TV


def _ids(completions: Sequence[Completion]) -> list[tuple[int, ...]]:
    return [c.ids for c in completions]


def _check_statements(report: ContractReport, spec: EngineSpec, engine: Generator) -> None:
    report.require(engine.name == spec.name, Line.STATEMENTS, f"it calls itself {engine.name!r}")
    report.require(bool(engine.version), Line.STATEMENTS, "it has no version")
    report.attempt(Line.STATEMENTS, "writing describe() as JSON", lambda: json.dumps(engine.describe()))


def _check_completions(report: ContractReport, engine: Generator, forward: Forward) -> list[tuple[int, ...]]:
    """Check what it generates and scores; return its greedy ids."""

    def generate(sampling: Sampling, line: Line) -> list[Completion]:
        return report.attempt(line, f"generate with {sampling}", lambda: engine.generate(PROMPTS, sampling))

    greedy = generate(Sampling(TOKENS), Line.COMPLETIONS)
    lengths = [len(c.ids) for c in greedy]
    report.require(lengths == [TOKENS] * len(PROMPTS), Line.COMPLETIONS, f"without a stop id, {lengths} ids")
    report.require(engine.generate([], Sampling(TOKENS)) == [], Line.COMPLETIONS, "something for no prompts")
    below = [_below_the_best(forward, p, c.ids) for p, c in zip(PROMPTS, greedy, strict=True)]
    report.require(max(below) <= TOLERANCE, Line.GREEDY, f"an id is {max(below):.3g} nats below the most probable one")
    nucleus = generate(Sampling(TOKENS, temperature=1.0, top_p=1e-6), Line.GREEDY)
    below = [_below_the_best(forward, p, c.ids) for p, c in zip(PROMPTS, nucleus, strict=True)]
    report.require(max(below) <= TOLERANCE, Line.GREEDY, f"with top_p 1e-6, an id is {max(below):.3g} nats below")
    _check_stops(report, engine, greedy)
    for temperature in (0.0, 0.5, 1.0):
        found = generate(Sampling(TOKENS, temperature, seed=1), Line.LOGPROBS)
        away = max(_difference(forward, p, c.ids, c.logprobs) for p, c in zip(PROMPTS, found, strict=True))
        report.require(away <= TOLERANCE, Line.LOGPROBS, f"{away:.3g} nats away at temperature {temperature:g}")
    one, same, another = (_ids(generate(Sampling(TOKENS, 1.0, seed=s), Line.SEEDS)) for s in (3, 3, 4))
    report.require(one == same, Line.SEEDS, "a seed gives other completions when it is used again")
    report.require(one != another, Line.SEEDS, "seeds 3 and 4 give the same completions")
    whole = [[*p, *ids] for p, ids in zip(PROMPTS, _ids(greedy), strict=True)]
    scores = report.attempt(Line.SCORES, "score", lambda: engine.score(whole))
    report.require(
        [s[0] for s in scores] == [0.0] * len(whole), Line.SCORES, f"first tokens have {[s[0] for s in scores]}"
    )
    away = max(_difference(forward, ids[:1], ids[1:], s[1:]) for ids, s in zip(whole, scores, strict=True))
    report.require(away <= TOLERANCE, Line.SCORES, f"{away:.3g} nats away")
    return _ids(greedy)


def _check_stops(report: ContractReport, engine: Generator, greedy: Sequence[Completion]) -> None:
    wrong = [c.stopped for c in greedy]
    report.require(not any(wrong), Line.STOPS, f"stopped is {wrong} without a stop id")
    stop = greedy[0].ids[TOKENS // 2]
    (found,) = engine.generate(PROMPTS[:1], Sampling(TOKENS, stop_token_ids=(stop,)))
    wanted = greedy[0].ids[: greedy[0].ids.index(stop) + 1]
    fits = found.ids == wanted and found.stopped and len(found.logprobs) == len(found.ids)
    report.require(fits, Line.STOPS, f"{found}, {wanted} expected with stop id {stop}")


def _check_load(
    report: ContractReport, engine: Generator, other: Path, broken: Path, seen: Sequence[tuple[int, ...]]
) -> None:
    forward = _forward(other)
    report.attempt(Line.LOAD, "load", lambda: engine.load(other))
    found = report.attempt(Line.LOAD, "generate", lambda: engine.generate(PROMPTS, Sampling(TOKENS)))
    away = max(_difference(forward, p, c.ids, c.logprobs) for p, c in zip(PROMPTS, found, strict=True))
    report.require(away <= TOLERANCE, Line.LOAD, f"{away:.3g} nats away after load")
    report.require(_ids(found) != list(seen), Line.LOAD, "the same completions as with the weights before")
    report.attempt(Line.FINITE, "load", lambda: engine.load(broken))
    for what, call in (
        ("generate", lambda: engine.generate(PROMPTS[:1], Sampling(2))),
        ("score", lambda: engine.score(PROMPTS[:1])),
    ):
        try:
            text = f"{what} returns {call()}"
        except DivergedError:
            text = ""
        except Exception as error:
            text = f"{what} raises {type(error).__name__}: {error}"
        report.require(not text, Line.FINITE, f"{text} for weights with a value that is not a number")


def _below_the_best(forward: Forward, prompt: Sequence[int], ids: Sequence[int]) -> float:
    """Nats by which an id is less probable than the best one at its place, at most."""
    logp_TV = forward([*prompt, *ids])[len(prompt) - 1 : -1]
    chosen_T = logp_TV[range(len(ids)), list(ids)]
    return float((logp_TV.amax(-1) - chosen_T).max())


def _difference(forward: Forward, prompt: Sequence[int], ids: Sequence[int], given: Sequence[float]) -> float:
    """Nats by which a log-probability differs from the model's own, at most; infinite if one is missing."""
    if len(given) != len(ids):
        return float("inf")
    chosen_T = forward([*prompt, *ids])[range(len(prompt) - 1, len(prompt) + len(ids) - 1), list(ids)]
    return float((chosen_T - chosen_T.new_tensor(list(given))).abs().max())


def _check_served(report: ContractReport, spec: EngineSpec, settings: Any, model: str | None) -> None:
    engine, same = (
        report.attempt(Line.STATEMENTS, "making it", lambda: spec.load()(settings, model)) for _ in range(2)
    )
    try:
        _check_statements(report, spec, engine)
        about = report.attempt(
            Line.IDENTITY, "identity", lambda: [json.dumps(dict(e.identity)) for e in (engine, same)]
        )
        report.require(about[0] == about[1], Line.IDENTITY, f"{about[0]}, then {about[1]}")
        versions = engine.version, same.version
        report.require(versions[0] == versions[1], Line.IDENTITY, f"versions {versions[0]}, then {versions[1]}")
        chats = [[Message("user", text)] for text in QUESTIONS]
        seeds = list(range(len(chats)))
        found = report.attempt(
            Line.REPLIES, "chat", lambda: list(engine.chat(chats, Sampling(TOKENS, temperature=1.0), seeds))
        )
        report.require(sorted(i for i, _ in found) == seeds, Line.REPLIES, f"indices {[i for i, _ in found]}")
        for _, reply in found:
            fits = reply.message is not None and reply.message.token_ids is None and reply.message.action
            report.require(fits, Line.REPLIES, f"{reply}")
            counted = reply.prompt_tokens > 0 and 0 <= reply.tokens <= TOKENS
            report.require(counted, Line.REPLIES, f"{reply.prompt_tokens} and {reply.tokens} tokens, limit {TOKENS}")
        report.require(engine.usd(10, 10) >= 0, Line.REPLIES, f"a price of {engine.usd(10, 10)}")
        report.require(list(engine.chat([], Sampling(TOKENS), [])) == [], Line.REPLIES, "replies to no conversations")
    finally:
        engine.close()
        same.close()
