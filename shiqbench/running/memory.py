"""Whether a run fits the memory, by an estimate from the model's configuration, and what would fit if it does not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from shiqbench.base import machine
from shiqbench.base.errors import ConfigError
from shiqbench.engines.memory import SPACE, engine_memory
from shiqbench.models.embedded import EMBEDDED_MODEL, embedded_model, is_embedded_cached
from shiqbench.models.loading import without_weights
from shiqbench.planning.plan import ModelPlan
from shiqbench.plugin.config import TrainConfig
from shiqbench.running.runner import steps
from shiqbench.running.team import place
from shiqbench.training.base_weights import check_base_weights
from shiqbench.training.heads import NEEDS
from shiqbench.training.memory import TrainingMemory, training_memory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from shiqbench.planning.plan import CellPlan, RunPlan
    from shiqbench.plugin.algorithm import Need

SMALL_SHARE = 4  # a run is estimated at its start if what is easily counted takes more than 1 / SMALL_SHARE
BYTES_ALL = 16  # of a weight that is trained: itself, its gradient and two moments, in fp32
BYTES_BASE = {"fp32": 4, "bf16": 2, "int8": 1}
FEWEST_TOKENS = 1024  # of a pass, in proposals
DECIDING = ("micro_tokens", "share_prefix", "precision", "lora_rank", "base_weights", "top_layers", "checkpointing")
LORA: dict[str, Any] = {"lora_rank": 16, "base_weights": "bf16", "precision": "bf16", "checkpointing": True}


class Room(NamedTuple):
    """Memory that a run has.

    Attributes:
        name: Whose memory it is.
        total: Bytes.
        gpu: Whether it is that of a GPU.
    """

    name: str
    total: int
    gpu: bool


@dataclass(frozen=True)
class Stage:
    """The memory of one stage of a run.

    Attributes:
        text: The stage, such as ``train dpo/0123456789ab``.
        parts: Bytes by part.
        limit: Bytes that the stage may take.
        owner: Whose memory it is.
        fits_with: Proposals that would fit, for the error.
    """

    text: str
    parts: dict[str, int]
    limit: int
    owner: str
    fits_with: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in self.parts.items())
        if "gradients" in self.parts and "activations" not in self.parts:
            parts += "; activations are not estimated, because they depend on the data in this model"
        total, limit = gigabytes(self.total), gigabytes(self.limit)
        return f"memory to {self.text}: about {total} of {limit} GB ({self.owner}): {parts}"

    def as_json(self) -> dict[str, Any]:
        """JSON-able form; bytes."""
        return {"stage": self.text, "parts": self.parts, "total": self.total, "limit": self.limit}


def room() -> Room:
    """The memory of this process: that of its GPU, or its share of the machine's."""
    if torch.cuda.is_available():
        return Room("this GPU", torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory, gpu=True)
    return Room("this machine", machine.memory().total // place().count, gpu=False)


def memory_stages(plan: RunPlan, has: Room) -> list[Stage]:
    """The memory of every training that is left to do, and of the evaluation if one is left.

    Empty for a task with its own policy, and for the embedded model before it is fetched.

    Raises:
        MissingDependencyError: A setting needs a package that is not installed.
    """
    folder = _folder(plan)
    if folder is None:
        return []
    assert isinstance(plan, ModelPlan)
    todo = [step for step in steps(plan) if not step.done()]
    found = [_training(plan, step.cell, folder, has) for step in todo if step.evaluation is None]
    if any(step.evaluation is not None for step in todo):
        found.append(_evaluation(plan, folder, has))
    return found


def check_stages(stages: list[Stage]) -> None:
    """Refuse what does not fit.

    Raises:
        ConfigError: A stage needs more memory than there is; it says what would fit.
    """
    for stage in stages:
        if stage.total > stage.limit:
            raise ConfigError(
                f"{stage.text} needs about {gigabytes(stage.total)} GB and may take {gigabytes(stage.limit)} GB",
                where=f"memory of {stage.owner}",
                do=" or ".join(stage.fits_with),
            )


def check_memory(plan: RunPlan) -> None:
    """Refuse a run that does not fit, before it writes anything; small models are not looked at closely.

    Raises:
        ConfigError: As in :func:`check_stages`.
    """
    has, folder = room(), _folder(plan)
    if folder is None:
        return
    weights = sum(p.numel() for p in without_weights(folder).parameters())
    counted = [weights * _bytes_of_weight(c.train) // _shards() for c in plan.trained] or [weights * BYTES_BASE["fp32"]]
    if max(counted) * SMALL_SHARE > has.total:
        check_stages(memory_stages(plan, has))


def _folder(plan: RunPlan) -> Path | None:
    """Folder with the model's configuration; None if there is none yet."""
    if not isinstance(plan, ModelPlan):
        return None
    if plan.cell.model.place is not None:
        return plan.cell.model.place
    fetched = plan.cell.model.text == EMBEDDED_MODEL and is_embedded_cached()  # a served model has no folder either
    return embedded_model() if fetched else None


def _bytes_of_weight(config: TrainConfig) -> int:
    return BYTES_BASE[config.base_weights] if config.lora_rank else BYTES_ALL


def _training(plan: ModelPlan, cell: CellPlan, folder: Path, has: Room) -> Stage:
    config: TrainConfig = cell.train
    check_base_weights(config)
    needs = cell.algorithm.load()(cell.algo).needs
    parts = _parts(folder, config, needs, has)
    fits_with: list[str] = []
    if sum(parts.values()) > has.total:
        fits_with = _proposals("train" if cell is plan.cell else "start.train", folder, config, needs, has)
    return Stage(f"train {cell.label}", parts, has.total, has.name, tuple(fits_with))


def _parts(folder: Path, config: TrainConfig, needs: Collection[Need], has: Room) -> dict[str, int]:
    deciding = TrainConfig(**{name: getattr(config, name) for name in DECIDING})
    found = _estimate(folder, deciding, NEEDS & frozenset(needs), has.gpu, _shards())
    parts = {
        "weights": found.weights,
        "gradients": found.gradients,
        "optimiser": found.optimizer,
        "activations": found.activations,
        "head": found.head,
        "backward pass": found.backward,
        "reference": found.reference,
    }
    if not has.gpu:
        parts["kept free"] = found.allocator
    if place().sharded:
        parts["gathered"] = found.gathered
    elif place().count > 1:
        parts["copies of gradients"] = found.gradients  # DDP's buckets
    if not found.traced:
        del parts["activations"], parts["head"], parts["backward pass"]
        parts.pop("kept free", None)
    return parts


@cache  # a start and its cell often differ in nothing that decides
def _estimate(folder: Path, config: TrainConfig, needs: frozenset[Need], gpu: bool, shards: int) -> TrainingMemory:
    return training_memory(without_weights(folder), config, needs, gpu=gpu, shards=shards)


def _shards() -> int:
    """Number of processes that divide the weights."""
    return place().count if place().sharded else 1


def _proposals(section: str, folder: Path, config: TrainConfig, needs: Collection[Need], has: Room) -> list[str]:
    """What would fit: with the weights that train now, and with LoRA; if nothing does, the memory that would."""
    weights = sum(p.numel() for p in without_weights(folder).parameters())
    adapters = {**LORA, "lora_rank": config.lora_rank or LORA["lora_rank"]}
    found: list[str] = []
    least = 0
    families: tuple[dict[str, Any], ...] = ({"checkpointing": True}, adapters, {**adapters, "base_weights": "int8"})
    if place().sharded:
        families = families[:1]
    for family in families:
        if family.get("base_weights") == "int8" and found:
            break  # fewer bits are the last resort
        for tokens in _fewer(config.micro_tokens):
            changed = TrainConfig.model_validate({**config.model_dump(), **family, "micro_tokens": tokens})
            if weights * _bytes_of_weight(changed) // _shards() > has.total:
                break  # fewer tokens do not help
            total = sum(_parts(folder, changed, needs, has).values())
            least = min(total, least or total)
            if total <= has.total:
                new = {k: v for k, v in changed.model_dump().items() if v != getattr(config, k)}
                settings = " ".join(f"--set {section}.{k}={str(v).lower()}" for k, v in new.items())
                found.append(f"{settings} (about {gigabytes(total)} GB)")
                break
    if place().sharded:
        found.append("launch more processes")
    return list(dict.fromkeys(found)) or [
        f"use a smaller model, or at least {gigabytes(least or weights * BYTES_BASE['int8'])} GB of memory"
    ]


def _fewer(tokens: int) -> Iterator[int]:
    """The tokens of a pass, halved down to :data:`FEWEST_TOKENS`."""
    while True:
        yield tokens
        tokens //= 2
        if tokens < FEWEST_TOKENS:
            return


def _evaluation(plan: ModelPlan, folder: Path, has: Room) -> Stage:
    model = without_weights(folder)

    def stage(**changes: Any) -> Stage:
        config = plan.evaluation.model_copy(update=changes)
        found = engine_memory(model, config, plan.engine_config, gpu=has.gpu)
        owner = has.name if found.share == 1 else f"{found.share:.0%} of {has.name}"
        parts = {"weights": found.weights, "keys and values": found.cache}
        if found.context > found.cache:
            raise ConfigError(
                f"a context of {config.max_context} tokens takes {gigabytes(found.context)} GB, and {config.engine} "
                f"reserves {gigabytes(found.cache)} GB for keys and values",
                where="eval.max_context",
                do=f"lower it, or set the variable {SPACE} to {math.ceil(found.context / 2**30)}",
            )
        return Stage(f"evaluate with {config.engine}", parts, int(found.share * has.total), owner)

    asked = stage()
    if asked.total <= asked.limit:
        return asked
    found = []
    smaller, other = {"precision": "bf16"}, {"engine": "transformers"}
    for changes in (smaller, other, {**smaller, **other}):
        new = {k: v for k, v in changes.items() if getattr(plan.evaluation, k) != v}
        if new and (tried := stage(**new)).total <= tried.limit:
            found.append(
                " ".join(f"--set eval.{k}={v}" for k, v in new.items()) + f" (about {gigabytes(tried.total)} GB)"
            )
    return replace(asked, fits_with=tuple(found) or ("use a smaller model, or lower eval.max_context",))


def gigabytes(size: float) -> str:
    """Of bytes, for messages."""
    return f"{size / 1e9:.1f}"
