"""A trainer for the toy task and a tiny model, in fp32 as users run it, or in fp64 for exact comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from support import TOY

from shiqbench.episodes.rendering import Renderer
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.registry import registry
from shiqbench.training.loop import Trainer, TrainingPlan, plan_training
from shiqbench.training.mismatched import mismatched
from shiqbench.training.policy import Policy, load_model, stack
from shiqbench.training.reference import ReferenceCache
from shiqbench.training.sharding import shard
from shiqbench.training.units import make_units

NEEDY = TOY.parent / "needy.py"


class Lines:
    """Collects the lines that the trainer reports."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self.stop_after = stop_after

    def __call__(self, line: dict[str, Any], total: int) -> None:
        self.lines.append(line)
        if self.stop_after == len(self.lines):
            raise KeyboardInterrupt


def needy(name: str, **settings: Any) -> Any:
    """Return one of the small algorithms of tests/toy/needy.py."""
    spec = registry((NEEDY,)).algorithm(name)
    return spec.load()(spec.load_config()(**settings))


def trainer(
    model: Path,
    folder: Path,
    algorithm: Any,
    cache: Path | None = None,
    *,
    double: bool = False,
    plan: TrainingPlan | None = None,
    policy_class: type[Policy] = Policy,
    sharded: bool = False,
    **settings: Any,
) -> Trainer:
    """Return a trainer, built as a cell builds it.

    Args:
        model: Folder of the model.
        folder: Folder of the cell.
        algorithm: Computes the loss.
        cache: Cache folder of the reference; None for one in ``folder``.
        double: Compute in fp64.
        plan: Training plan; None for the plan of the settings.
        policy_class: Class of the policy.
        sharded: Divide the weights among the processes of the launch.
        settings: Training settings.
    """
    defaults = {"precision": "fp32", "updates": 6, "batch_episodes": 4, "lr": 3e-3, "save_every": 2}
    config = TrainConfig.model_validate({**defaults, **settings})
    spec = registry((TOY,)).task("toy")
    episodes = algorithm.select(spec.load()(spec.load_config()()).episodes("train"))
    renderer = Renderer(model)
    rendered = [renderer.render(e) for e in episodes]
    units = make_units(algorithm, episodes)
    plan = plan or plan_training(units, rendered, config, algorithm.group_size, seed=0)
    policy = policy_class(load_model(model, config), config, algorithm.needs)
    if double:
        in_fp64(policy)
    if sharded:
        shard(policy, stack(policy.model))
    reference = ReferenceCache(cache or folder / "cache", "tiny", policy)
    visited = [rendered[i] for i in plan.rows]
    if "mismatched" in algorithm.needs:
        visited += [m.rendered for b in plan.batches for m in mismatched(b, rendered)]
    reference.fill(visited, lambda done, total: None)
    folder.mkdir(exist_ok=True)
    return Trainer(policy, algorithm, rendered, reference.row, plan, config, 0, folder)


def in_fp64(policy: torch.nn.Module) -> None:
    """Compute everything in fp64; the norms of transformers compute in fp32, so they are replaced."""
    norm: Any
    policy.double()
    for parent in list(policy.modules()):
        for name, norm in list(parent.named_children()):
            if type(norm).__name__.endswith("RMSNorm"):
                exact = torch.nn.RMSNorm(norm.weight.shape, eps=norm.variance_epsilon)
                exact.weight = norm.weight
                setattr(parent, name, exact)


def weights(t: Trainer) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in t.accelerator.unwrap_model(t.policy).state_dict().items()}
