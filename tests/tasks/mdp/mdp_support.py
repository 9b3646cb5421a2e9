"""What the tests of this task share: tasks, trainings, exact regrets, one algorithm that needs everything."""

from __future__ import annotations

from typing import Any

import torch
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from shiqbench_tasks.mdp import solve
from shiqbench_tasks.mdp.config import MdpConfig, MdpTrainConfig
from shiqbench_tasks.mdp.task import MdpTask
from shiqbench_tasks.mdp.train import TableTrainer

from shiqbench.plugin.algorithm import Algorithm, Loss, Need
from shiqbench.plugin.batch import Batch
from shiqbench.plugin.config import AlgorithmConfig

BETA = 0.5
KINDS: list[dict[str, Any]] = [
    {"mdp": "bandit"},
    {"mdp": "chain", "horizon": 4},
    {"mdp": "tree", "horizon": 3},
    {"mdp": "random", "horizon": 3},
    {"mdp": "grid", "horizon": 4},
]


def mdp_task(**settings: Any) -> MdpTask:
    return MdpTask(MdpConfig(**{"seeds": 4, **settings}))


def shiq(**settings: Any) -> Shiq:
    return Shiq(ShiqConfig(**{"beta": BETA, **settings}))


def trained(task: MdpTask, algorithm: Algorithm[Any], seed: int = 0, **settings: Any) -> TableTrainer:
    trainer = task.trainer(algorithm, MdpTrainConfig(**settings), seed)
    while trainer.done < trainer.config.updates:
        trainer.update()
    return trainer


def regrets(trainer: TableTrainer) -> torch.Tensor:
    """Relative regret of each instance."""
    logit = trainer.tables.sampled_logit(trainer.algorithm.sampling_q_weight)
    return solve.relative_regret(trainer.mdp, trainer.solution, logit.log_softmax(-1))


def random_logp(task: MdpTask, seed: int = 0) -> torch.Tensor:
    """Log-probabilities of an arbitrary policy."""
    generator = torch.Generator().manual_seed(seed)
    shape = task.mdp.ref_logit_SNA.shape
    return torch.randn(shape, dtype=torch.float64, generator=generator).log_softmax(-1)


class HungryConfig(AlgorithmConfig):
    size: int = 1


class Hungry(Algorithm[HungryConfig]):
    """Needs everything that a task may offer, and has a gradient in every table."""

    target_rate = 0.25
    sampling_q_weight = 0.5

    @property
    def unit(self) -> Any:  # type: ignore[override]
        return "episode" if self.config.size == 1 else "group"

    @property
    def group_size(self) -> int:
        return self.config.size

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"values", "token_q", "mismatched", "reference_returns", "behaviour_logp", "kl"})

    def loss(self, batch: Batch) -> Loss:
        assert batch.token_q is not None
        value, kl = batch.need("value_EA"), batch.need("kl_EA")
        td = batch.reward_EA - batch.token_q.q_EA + 0.5 * batch.token_q.target_EA + 0.1 * batch.token_q.lse_EA
        policy = (batch.logratio_EA - batch.need("behaviour_logp_EA")).square() + kl
        level = batch.need("reference_return_EK").nanmean(-1) + batch.need("mismatched_E")
        per_row = ((td.square() + policy + (value - level[:, None]).square()) * batch.valid_EA).sum(-1)
        return Loss(batch.weight_U * batch.per_unit(per_row), batch.weight_U)
