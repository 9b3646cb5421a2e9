"""What an engine computes, compared with the model's own forward pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import RunError
from shiqbench.base.machine import memory

if TYPE_CHECKING:
    from pathlib import Path

    from shiqbench.episodes.journal import JournaledGenerator
    from shiqbench.plugin.config import EvalConfig

# In nats; larger than in training, because an engine has its own kernels.
TOLERANCES = {"fp32": 0.02, "bf16": 3.0}
# In bf16 the log-probability of one unlikely token may be far off by rounding; the mean over an answer says more.
MEAN_TOLERANCES = {"fp32": 0.02, "bf16": 0.2}
LARGEST_SHARE = 4  # a model is compared if its weights take at most 1 / LARGEST_SHARE of the machine's memory


def check_engine(engine: JournaledGenerator, weights: Path, config: EvalConfig) -> dict[str, Any]:
    """Compare the shortest answer of an evaluation with the model's own forward pass, in the same precision.

    Compared are the log-probabilities that the engine gave when it sampled, and those that it gives when it scores.

    Args:
        engine: Engine after the evaluation, still with its weights.
        weights: Folder of the model.
        config: Settings of the evaluation.

    Returns:
        Tokens compared, the largest and the mean difference of a token's log-probability, and their tolerances; or why
        not compared.

    Raises:
        RunError: A difference is beyond its tolerance.
    """
    import torch

    from shiqbench.episodes.rendering import TokenSequence
    from shiqbench.models.loading import causal_model
    from shiqbench.training.own_forward import own_logp

    if engine.shortest is None:
        return {"not_compared": "nothing was generated"}
    if sum(f.stat().st_size for f in weights.iterdir()) * LARGEST_SHARE > memory().total:
        return {"not_compared": f"the model takes more than 1/{LARGEST_SHARE} of the memory"}
    prompt, answer = engine.shortest
    ids = (*prompt, *answer.ids)
    model = causal_model(weights, torch.bfloat16 if config.precision == "bf16" else torch.float32)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    own = own_logp(model, TokenSequence(ids, tuple(range(1, len(ids)))), "fp32").tolist()
    # An engine that scores a text needs room for one more token, so the last one is left out.
    given = [*engine.score([ids[:-1]])[0][1:], *answer.logprobs]
    wanted = [*own[:-1], *own[len(prompt) - 1 :]]
    differences = [abs(a - b) for a, b in zip(given, wanted, strict=True)]
    difference = math.nan if any(map(math.isnan, differences)) else max(differences)
    mean = math.fsum(differences) / len(differences)
    tolerance, mean_tolerance = TOLERANCES[config.precision], MEAN_TOLERANCES[config.precision]
    if not (difference <= tolerance and mean <= mean_tolerance):
        raise RunError(
            f"the engine {engine.name} computes other log-probabilities than {type(model).__name__} of transformers: "
            f"they differ by {difference:.3g} at most and {mean:.3g} on average in {config.precision}, the tolerances "
            f"are {tolerance:g} and {mean_tolerance:g}",
            where=str(weights),
            do="use --engine transformers" if engine.name != "transformers" else "use eval.precision=fp32",
        )
    return {
        "tokens": len(own),
        "difference": difference,
        "tolerance": tolerance,
        "mean_difference": mean,
        "mean_tolerance": mean_tolerance,
    }
