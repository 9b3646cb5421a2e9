"""The task.

Dataset: every trajectory of synthetic MDPs with its probability, or a fixed sample.
Metric: exact regret over the reference's, lower is better.
Reward: only at the end, or at every step.

This module does not import torch, so planning many cells is fast. Modules that compute are imported where needed.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.plugin import (
    Algorithm,
    AlgorithmConfig,
    ConfigError,
    ExactTask,
    Metrics,
    ModelTraining,
    Need,
    Primary,
    Record,
    RecordView,
    Scores,
    TaskConfig,
    student,
    with_interval,
)
from shiqbench_tasks.mdp.config import MdpTrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from shiqbench_tasks.mdp.config import MdpConfig
    from shiqbench_tasks.mdp.mdps import Mdp
    from shiqbench_tasks.mdp.solve import Solution
    from shiqbench_tasks.mdp.train import TableTrainer


class MdpTask(ExactTask):
    """MDPs small enough to solve exactly; the policy is a table of logits, or a tiny transformer."""

    offers: frozenset[Need] = frozenset(
        {"values", "token_q", "mismatched", "turns", "reference_returns", "behaviour_logp", "kl"}
    )
    scores: ClassVar[Mapping[str, Scores]] = {"relative_regret": Scores("id", "relative_regret", least=0.0, top=0.0)}
    training_curve: ClassVar[tuple[str, str] | None] = ("relative_regret", "relative regret")
    record_view: ClassVar[RecordView] = RecordView(verdict=("relative_regret", "objective", "best_objective"))
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("objective", "objective", ".3f"),
        ("return", "return", ".3f"),
        ("kl_to_reference", "KL to ref", ".3f"),
        ("kl_to_optimum", "KL to pi*", ".2g"),
        ("value_error", "value error", ".2g"),
        ("coverage", "coverage", ".2f"),
    )
    config: MdpConfig

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """Empty: the task reads no data, seeds generate everything."""
        return {}

    @cached_property
    def mdp(self) -> Mdp:
        """The instances."""
        if self.config.policy == "transformer":
            from shiqbench_tasks.mdp import transformer

            return transformer.build(self.config)
        from shiqbench_tasks.mdp import mdps

        return mdps.build(self.config)

    @cached_property
    def _solution(self) -> Solution:
        from shiqbench_tasks.mdp import solve

        return solve.solve(self.mdp)

    def solve(self) -> Solution:
        """The exact optimum of every instance: pi*, V*, Q*."""
        return self._solution

    def check(self, algorithm: Algorithm[AlgorithmConfig]) -> None:
        """Refuse an algorithm that optimises another objective, or that a transformer does not support.

        Raises:
            ConfigError: The algorithm has another beta or discount, or needs exact divergences of a transformer.
        """
        if self.config.policy == "transformer" and "kl" in algorithm.needs:
            raise ConfigError(
                "the algorithm needs kl, which language models do not offer",
                where="task.policy = transformer",
                do="choose tables, or a setting of the algorithm that does not need it",
            )
        same_objective(algorithm, self.config.beta, self.config.gamma)

    def train(
        self,
        algorithm: Algorithm[AlgorithmConfig],
        config: Any,
        seed: int,
        folder: Path,
        report: Callable[[dict[str, Any], int], None],
        train_model: ModelTraining,
    ) -> dict[str, Any]:
        """Train the tables of all instances at once, or the transformers one after another."""
        assert isinstance(config, MdpTrainConfig)
        if self.config.policy == "transformer":
            from shiqbench_tasks.mdp import bridge

            training = config.filled("transformer")
            return bridge.train(self.config, self.mdp, algorithm, training, seed, folder, report, train_model)
        from shiqbench_tasks.mdp import data

        trainer = self.trainer(algorithm, config, seed)
        resumed_at = trainer.run(folder, report)
        return {
            "data": data.facts(trainer.data, self.config),
            "budget": {
                "updates": trainer.done,
                "tokens": trainer.tokens,
                "episodes": trainer.rows_per_update * trainer.done,
            },
            "resumed_at_update": resumed_at,
            "save_every": config.save_every,
        }

    def trainer(self, algorithm: Algorithm[AlgorithmConfig], config: MdpTrainConfig, seed: int) -> TableTrainer:
        """Make the trainer that :meth:`train` runs.

        Raises:
            ConfigError: The data contain nothing that the algorithm learns from.
        """
        from shiqbench_tasks.mdp import data
        from shiqbench_tasks.mdp.train import TableTrainer

        offered = data.make_data(self.mdp, self.solve(), self.config, seed)
        completions_SK = None
        if "reference_returns" in algorithm.needs:
            stream = data.random_stream(seed, "completions")
            completions_SK = data.sample(self.mdp, self.mdp.ref_logp_SNA, self.config.completions, stream).return_SE
        return TableTrainer(
            self.mdp, self.solve(), data.selected(offered, algorithm), algorithm, config, seed, completions_SK
        )

    def evaluate_weights(self, weights: Path | None) -> list[Record]:
        """One record per instance, exact."""
        import torch
        from safetensors.torch import load_file

        from shiqbench_tasks.mdp import solve
        from shiqbench_tasks.mdp.train import WEIGHTS

        mdp, solution = self.mdp, self.solve()
        tensors = {} if weights is None else load_file(weights / WEIGHTS)
        covered = {"coverage": tensors.pop("coverage")} if "coverage" in tensors else {}
        if weights is None:  # no data were used
            covered = {"coverage": solution.value_SN.new_zeros(len(solution.value_SN))}
        if tensors and self.config.policy == "transformer":
            from shiqbench_tasks.mdp import transformer

            tensors = transformer.tables(self.config, tensors)
        logit_SNA = tensors.get("logits", mdp.ref_logit_SNA)
        logp_SNA = tensors.get("sampled", logit_SNA).log_softmax(-1)
        columns: dict[str, Tensor] = {
            "relative_regret": solve.relative_regret(mdp, solution, logp_SNA),
            "objective": solve.objective(mdp, logp_SNA),
            "best_objective": solution.value_SN[:, 0],
            "return": solve.expected_return(mdp, logp_SNA),
            "kl_to_reference": solve.divergence(mdp, logp_SNA, mdp.ref_logp_SNA),
            "kl_to_optimum": solve.divergence(mdp, logp_SNA, solution.logp_SNA),
            "value_error": solve.value_error(mdp, solution, logit_SNA),
            **covered,
        }
        values = torch.stack(list(columns.values()), dim=-1).tolist()
        seeds = [self.config.seed_of(s) for s in range(len(values))]
        records = [
            {"id": f"seed-{s}", "seed": s, **dict(zip(columns, row, strict=True))}
            for s, row in zip(seeds, values, strict=True)
        ]
        for record in records:
            if math.isnan(record["relative_regret"]):
                record["relative_regret"] = None
        return records

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Means over instances, and Student's t interval of the regret, cut at 0.

        Raises:
            ConfigError: The reference is the optimum of every instance.
        """
        names = [name for name in records[0] if name not in ("id", "seed", "relative_regret")]
        values = {name: math.fsum(r[name] for r in records) / len(records) for name in names}
        regrets = [r["relative_regret"] for r in records if r["relative_regret"] is not None]
        if not regrets:
            raise ConfigError(
                "nothing can be learned: the reference is the optimum of every instance",
                where="task.mdp",
                do="change the MDP, for example a longer task.horizon",
            )
        regret = math.fsum(regrets) / len(regrets)
        primary = Primary.of(
            with_interval("relative_regret", regret, never_negative, regrets),
            "relative_regret",
            higher_is_better=False,
        )
        counts = {"seeds": float(len(records)), "seeds_without_gain": float(len(records) - len(regrets))}
        return Metrics(primary, {"relative_regret": regret, **values, **counts})

    def rescore(self, records: Sequence[Record]) -> list[Record]:
        """Everything that follows from return and divergences, because the instances are solved exactly.

        Raises:
            ConfigError: The records are not those of the instances.
        """
        from shiqbench_tasks.mdp import solve

        seeds = [self.config.seed_of(s) for s in range(len(records))]
        if len(records) != self.config.seeds or [r.get("seed") for r in records] != seeds:
            raise ConfigError(f"the records must be of the {self.config.seeds} instances, in their order")
        mdp, solution, beta = self.mdp, self.solve(), self.config.beta
        best = solution.value_SN[:, 0].tolist()
        at_reference = solve.divergence(mdp, mdp.ref_logp_SNA, solution.logp_SNA).tolist()
        return [
            {
                "id": f"seed-{seed}",
                "best_objective": most,
                "objective": most - beta * r["kl_to_optimum"],
                "return": most + beta * (r["kl_to_reference"] - r["kl_to_optimum"]),
                "relative_regret": r["kl_to_optimum"] / whole if whole > 0 else None,
            }
            for r, seed, most, whole in zip(records, seeds, best, at_reference, strict=True)
        ]

    def notes(self, metrics: Mapping[str, float]) -> list[str]:
        """What the regret is of, and how many instances have none."""
        found = [
            f"relative_regret is of the objective, return - beta KL to ref (beta {self.config.beta:g}); a higher "
            "return is not better by itself"
        ]
        without = metrics.get("seeds_without_gain", 0)
        if not without:
            return found
        return [
            *found,
            f"in {without:.0f} of {metrics['seeds']:.0f} instances the reference is the optimum: they have no relative "
            "regret and are in no mean of it",
        ]


def same_objective(algorithm: Algorithm[AlgorithmConfig], beta: float, gamma: float) -> None:
    """Refuse an algorithm that claims the optimum of another objective.

    Args:
        algorithm: The algorithm.
        beta: The objective's cost per nat of divergence from the reference.
        gamma: The objective's discount.

    Raises:
        ConfigError: The algorithm has another beta or discount.
    """
    claimed, fields = algorithm.temperature, algorithm.config.model_dump()
    if claimed is None:
        return
    for name, theirs, ours in (("beta", claimed, beta), ("gamma", fields.get("gamma", gamma), gamma)):
        if not math.isclose(theirs, ours, rel_tol=1e-9):
            theirs_named, do = f"algo.{name}", "set both to one value"
            if name not in fields:  # computed from settings of other names
                theirs_named = "the temperature that the algorithm states"
                of = ", ".join(f"algo.{k} = {v}" for k, v in fields.items())
                do = f"set task.{name} to it, or change what it comes from ({of})"
            raise ConfigError(f"{theirs_named} = {theirs:g} but task.{name} = {ours:g}", do=do)


def never_negative(regrets: Sequence[float]) -> tuple[float, float]:
    """Student's t interval, cut at 0: a regret is never negative."""
    low, high = student(regrets)
    return max(0.0, low), high
