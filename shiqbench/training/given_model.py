"""Train a model that a task supplies; implements :class:`shiqbench.plugin.training.ModelTraining`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save, save_file

from shiqbench.base.files import read_json, replacing, write_json
from shiqbench.plugin.training import SAMPLED_HEAD, TrainedModel
from shiqbench.training.heads import sampled_head
from shiqbench.training.loop import Trainer, TrainingPlan, plan_training
from shiqbench.training.mismatched import joined_episodes
from shiqbench.training.own_forward import check_policy
from shiqbench.training.policy import Policy, plain
from shiqbench.training.reference import ReferenceCache, not_computed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from shiqbench.episodes.rendering import Rendered
    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.batch import EpisodeUnit
    from shiqbench.plugin.config import AlgorithmConfig, TrainConfig
    from shiqbench.training.token_statistics import TokenStatistics

WEIGHTS = "model.safetensors"
OWN_FORWARD = "own_forward.json"


def train_model(
    model: Module,
    rendered: Sequence[Rendered],
    units: Sequence[EpisodeUnit],
    algorithm: Algorithm[AlgorithmConfig],
    config: TrainConfig,
    seed: int,
    folder: Path,
    measure: Callable[[int, Tensor], dict[str, float]],
    report: Callable[[dict[str, Any], int], None],
) -> TrainedModel:
    """Implements :class:`shiqbench.plugin.training.ModelTraining`; weights in the folder mark a finished training."""
    plan = plan_training(units, rendered, config, algorithm.group_size, seed)
    done = len(plan.batches)
    if not (folder / WEIGHTS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        policy = Policy(model, config, algorithm.needs)
        sequences = [s for i in plan.rows for s in rendered[i].sequences]
        write_json(folder / OWN_FORWARD, check_policy(policy, sequences, algorithm.sampling_q_weight))

        def sampled() -> Tensor:
            return sampled_head(plain(policy.model), policy.heads, algorithm.sampling_q_weight)

        trainer = Trainer(
            policy,
            algorithm,
            rendered,
            _reference(policy, algorithm, rendered, plan, folder),
            plan,
            config,
            seed,
            folder,
            measure=lambda update: measure(update, sampled()),
        )
        done = trainer.done
        trainer.run(report)
        tensors = {**policy.model.state_dict(), SAMPLED_HEAD: sampled()}
        with replacing(folder / WEIGHTS) as temporary:
            save_file({k: v.contiguous().cpu().clone() for k, v in tensors.items()}, temporary)
    compared = read_json(folder / OWN_FORWARD)
    return TrainedModel(load_file(folder / WEIGHTS), **plan.budget, resumed_at=done, own_forward=compared)


def _reference(
    policy: Policy,
    algorithm: Algorithm[AlgorithmConfig],
    rendered: Sequence[Rendered],
    plan: TrainingPlan,
    folder: Path,
) -> Callable[[Rendered], TokenStatistics]:
    """Statistics under the untrained policy, kept in memory because every update may need all of them."""
    if not algorithm.uses_reference:
        return not_computed
    visited = [*(rendered[i] for i in plan.rows), *joined_episodes(algorithm, plan.batches, rendered)]
    weights = hashlib.sha256(save(policy.model.state_dict())).hexdigest()
    cache = ReferenceCache(folder / "reference", weights, policy)
    cache.fill(visited, lambda done, total: None)
    rows = {r.sequences: cache.row(r) for r in visited}
    cache.close()
    return lambda rendered: rows[rendered.sequences]
