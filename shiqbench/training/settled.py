"""Settings under which a model can be trained, where a setting depends on how its family computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from shiqbench.base.errors import ConfigError
from shiqbench.training.logits import body_of
from shiqbench.training.policy import Policy, pretrained, trainable
from shiqbench.training.prefix_sharing import enable, merge, trie_inputs

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from shiqbench.plugin.algorithm import Need
    from shiqbench.plugin.config import TrainConfig

PROBE = ((0, 1), (0, 0))  # two texts with a common prefix


class Settled(NamedTuple):
    """Settings of a training, settled for one model.

    Attributes:
        config: The settings with which the model is trained.
        note: What was changed and why, for the user and the manifest; empty if nothing was.
    """

    config: TrainConfig
    note: str


def settle(model: torch.nn.Module, config: TrainConfig) -> Settled:
    """Compute each text in full if the model cannot share prefixes: slower, with equal results up to rounding.

    Args:
        model: Model from :func:`shiqbench.training.policy.pretrained`, with or without weights; it is not changed.
        config: Settings of the request.
    """
    why = _cannot_share(model) if config.share_prefix else ""
    if not why:
        return Settled(config, "")
    return Settled(config.model_copy(update={"share_prefix": False}), f"{why}; each text is computed in full")


def load_policy(folder: Path, config: TrainConfig, needs: Collection[Need] = (), seed: int = 0) -> tuple[Policy, str]:
    """Load a folder's model as a training does, with the settings that it can have; returns it and the note."""
    model = pretrained(folder, config.base_weights)
    settled, note = settle(model, config)
    return Policy(trainable(model, settled, seed), settled, needs), note


def _cannot_share(model: Any) -> str:
    """Why a model cannot share prefixes; empty if it can."""
    own = model.config._attn_implementation
    try:
        enable(model)
        with torch.no_grad():
            body_of(model)(**trie_inputs(merge(PROBE), model.device), use_cache=False)
    except ConfigError as error:
        return error.what
    except Exception:  # any other failure is no matter of prefixes, and has its own message where the model is used
        return ""
    finally:
        if model.config._attn_implementation != own:
            model.set_attn_implementation(own)
    return ""
