"""Checks of one model: is it rendered, trained and sampled as it is? They use the code that runs use."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from shiqbench.base import machine
from shiqbench.base.errors import ConfigError, ShiqbenchError
from shiqbench.base.findings import Finding, State
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.generation import ChatGenerator, Sampling
from shiqbench.episodes.rendering import Renderer, TokenSequence
from shiqbench.models.loading import without_weights
from shiqbench.models.vocabulary import check_vocabulary
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.registry import registry
from shiqbench.running.template_check import probes, template_findings
from shiqbench.training.own_forward import check_policy, tolerance
from shiqbench.training.policy import linear_names, row_statistics
from shiqbench.training.settled import load_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from shiqbench.episodes.generation import Generator
    from shiqbench.episodes.rendering import Rendered
    from shiqbench.training.policy import Policy

T = TypeVar("T")
FORWARD = "own forward pass"
PRECISION: Literal["fp32"] = "fp32"  # differences that are no rounding show best
SAMPLED = 8  # tokens per answer
CONTEXT = 4096  # tokens, for the engine
ROOM = 1.3  # memory of a loaded model, in sizes of its weights


def model_findings(
    folder: Path, engine: str = "transformers", template: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Check a model folder.

    Args:
        folder: The model folder.
        engine: Engine whose log-probabilities are compared with those of training.
        template: Further keywords of the chat template.

    Raises:
        ConfigError: There is no such engine, it is not installed, or it asks a server.
    """
    spec = registry().engine(engine)
    if spec.served:
        raise ConfigError(f"{engine} loads no weights", where="--engine", do="give an engine that does")
    build = partial(spec.load(), config=spec.load_config()())
    findings: list[Finding] = []
    model = _attempt(findings, "model", partial(without_weights, folder))
    renderer = _attempt(findings, "rendering", partial(Renderer, folder, template))
    if renderer is not None:
        findings += template_findings(renderer, folder)
    if model is None or renderer is None:
        return findings
    findings.append(_adapters(model))
    vocabulary = _attempt(findings, "vocabulary", partial(_vocabulary, renderer, model, folder))
    if vocabulary is None:
        return findings
    findings.append(vocabulary)
    needed, free = ROOM * 4e-9 * sum(p.numel() for p in model.parameters()), 1e-9 * machine.memory().available
    if needed > free:
        text = f"not compared: the model needs {needed:.1f} GB in {PRECISION}, and {free:.1f} GB are free"
        return [*findings, Finding(FORWARD, State.WARNING, text, "check it on a machine with more memory")]
    context = min(CONTEXT, getattr(model.config.get_text_config(), "max_position_embeddings", CONTEXT))
    start = partial(build, folder, precision=PRECISION, max_context=context)
    sampling = f"engine {engine}"
    sampled = _attempt(findings, sampling, partial(_sampled, renderer, start, context))
    policy = _attempt(findings, FORWARD, partial(_policy, folder, renderer, findings))
    if sampled is not None and policy is not None:
        difference = _attempt(findings, sampling, partial(_from_engine, policy, sampled))
        findings += [_compared(sampling, difference)] if difference is not None else []
    return findings


def _attempt(findings: list[Finding], name: str, check: Callable[[], T]) -> T | None:
    """Return what a check returns; if it raises an error, add that to the findings and return None."""
    try:
        return check()
    except ShiqbenchError as error:
        findings.append(Finding(name, State.PROBLEM, error.what, error.do))
    except Exception as error:  # the code of a model may raise any error
        findings.append(Finding(name, State.PROBLEM, f"{type(error).__name__}: {error}", "use another model"))
    return None


def _vocabulary(renderer: Renderer, model: Any, folder: Path) -> Finding:
    tokens, rows = len(renderer.tokenizer), model.get_input_embeddings().weight.shape[0]
    check_vocabulary(renderer.tokenizer, rows, folder)
    return Finding("vocabulary", State.OK, f"{tokens} tokens, {rows} rows in the embedding")


def _adapters(model: Any) -> Finding:
    try:
        return Finding("LoRA", State.OK, ", ".join(linear_names(model)))
    except ConfigError as error:
        return Finding("LoRA", State.WARNING, error.what, error.do)


def _sampled(renderer: Renderer, start: Callable[[], Generator], context: int) -> Rendered:
    """Two answers that an engine sampled in one conversation, as training gets them."""
    engine = start()
    try:
        chat = ChatGenerator(engine, renderer, context)
        messages = [Message("user", "Hi there!")]
        for seed in range(2):
            (reply,) = chat.reply([messages], Sampling(SAMPLED, temperature=1.0, seed=seed))
            if reply.message is None:
                raise ConfigError("the context is too short for a conversation", do="use a model with a longer one")
            messages += [reply.message, Message("user", "More, please.")]
    finally:
        engine.close()
    return renderer.render(Episode("sampled", "sampled", "probe", tuple(messages[:-1])))


def _from_engine(policy: Policy, sampled: Rendered) -> float:
    """Largest difference between the log-probabilities of training and those of the engine that sampled."""
    with torch.no_grad():
        (found,) = row_statistics(policy, [sampled])
    logp_N = torch.tensor(sampled.behaviour_logp, device=found.logit_N.device)
    return float((found.logit_N - found.lse_N - logp_N).abs().max())


def _policy(folder: Path, renderer: Renderer, findings: list[Finding]) -> Policy:
    """The model as training loads it, compared with its own forward pass; with shared prefixes if it can."""
    prompts = []
    for episode in probes(renderer).values():
        with suppress(ConfigError):  # a refused prompt is a finding of its own
            prompts.append(TokenSequence(tuple(renderer.prompt(episode.messages[:-1], episode.tools)), ()))

    policy, note = load_policy(folder, TrainConfig(precision=PRECISION))
    difference = check_policy(policy, prompts)[PRECISION]["difference"]
    findings += [_compared(FORWARD, difference), Finding("shared prefixes", State.OK, note or "computed once")]
    return policy


def _compared(name: str, difference: float) -> Finding:
    within = difference <= tolerance(PRECISION)  # false for NaN
    text = f"{difference:.1g} nats at most from training, per token (tolerance {tolerance(PRECISION):g})"
    do = "" if within else "do not use this model: what is evaluated would not be what is trained"
    return Finding(name, State.OK if within else State.PROBLEM, text, do)
