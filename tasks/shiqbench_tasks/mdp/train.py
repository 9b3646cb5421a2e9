"""The training loop of tables: all instances at once, each with its own loss, gradient norm and optimiser state.

The losses' numerators and denominators are summed within each instance, and the instances' losses are added, so no
instance affects another. Adam works elementwise. Draws depend only on seed and update, so it is enough to save the
tables and the optimiser's state to continue bit for bit.

Legend: S instances, E trajectories, U units, K completions.
"""

from __future__ import annotations

import json
import math
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, DivergedError, load_state, replacing_folder, save_state
from shiqbench_tasks.mdp import solve
from shiqbench_tasks.mdp.data import Draws, coverage, random_stream
from shiqbench_tasks.mdp.tabular import Rows, Tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from shiqbench_tasks.mdp.config import MdpTrainConfig
    from shiqbench_tasks.mdp.data import Trajectories
    from shiqbench_tasks.mdp.mdps import Mdp
    from shiqbench_tasks.mdp.solve import Solution

WEIGHTS = "model.safetensors"
DRAWN_ROWS = 256  # per instance, if units are drawn and no batch size is given
ADAM_BETAS = (0.9, 0.99)


class TableTrainer:
    """Trains the tables of all instances.

    Args:
        mdp: The instances.
        solution: Their optimum, for the learning curve.
        data: Weighted trajectories, as the algorithm selected them.
        algorithm: Algorithm whose loss is minimised.
        config: Budget and optimiser.
        seed: Seed of the draws.
        completions_SK: Returns of completions that the reference sampled, if the algorithm needs them.
    """

    def __init__(
        self,
        mdp: Mdp,
        solution: Solution,
        data: Trajectories,
        algorithm: Algorithm[AlgorithmConfig],
        config: MdpTrainConfig,
        seed: int,
        completions_SK: Tensor | None = None,
    ) -> None:
        self.mdp, self.solution, self.data = mdp, solution, data
        config = config.filled("table")
        self.algorithm, self.config, self.seed, self.completions_SK = algorithm, config, seed, completions_SK
        self.tables = Tables(mdp, algorithm.needs)
        groups = [{"params": [self.tables.logit_SNA], "lr": config.lr}]
        if self.tables.heads:
            groups.append({"params": self.tables.heads, "lr": config.head_lr})
        self.rates = [float(g["lr"]) for g in groups]  # type: ignore[arg-type]
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(groups, betas=ADAM_BETAS) if config.optimizer == "adam" else torch.optim.SGD(groups)
        )
        self.rows = Rows.of(data, mdp)
        self.done = 0
        self.tokens = 0

    @cached_property
    def units(self) -> int | None:
        """Number of units drawn per instance and update; None if the batch is the whole data set."""
        wanted = self.config.batch_episodes
        if wanted is None and self.algorithm.unit == "episode":
            return None
        return max(1, (wanted or DRAWN_ROWS) // self.algorithm.group_size)

    @cached_property
    def coverage_S(self) -> Tensor:
        """Share of the optimum's decisions that the data show."""
        return coverage(self.mdp, self.solution, self.data)

    @cached_property
    def draws(self) -> Draws:
        """The source of drawn units."""
        return Draws(self.data, self.algorithm.unit, self.algorithm.group_size)

    @property
    def rows_per_update(self) -> int:
        """Number of trajectories per update, over all instances."""
        per_seed = self.data.weight_SE.shape[1] if self.units is None else self.units * self.algorithm.group_size
        return per_seed * len(self.mdp.reward_SNA)

    def run(self, folder: Path, report: Callable[[dict[str, Any], int], None]) -> int:
        """Train from the newest state below ``folder`` to the end, and save the tables.

        Returns:
            The update at which training resumed.

        Raises:
            DivergedError: The loss or its gradient is no longer finite.
        """
        config = self.config
        resumed_at = self._resume(folder)
        with (folder / "train.jsonl").open("a", encoding="utf-8") as log:
            started = time.perf_counter()
            while self.done < config.updates:
                line = self.update()
                if self.done == 1 or self.done % config.log_every == 0 or self.done == config.updates:
                    line |= self.evaluation() | {"seconds": time.perf_counter() - started}
                    started = time.perf_counter()
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                    report(line, config.updates)
                if self.done % config.save_every == 0 and self.done < config.updates:
                    self._save(folder)
        with replacing_folder(folder / "checkpoint") as checkpoint:
            save_file(self.final(), checkpoint / WEIGHTS)
        return resumed_at

    def update(self) -> dict[str, Any]:
        """Do one update.

        Returns:
            The line of the log, without the evaluation.
        """
        batch = self.batch()
        loss = self.algorithm.loss(batch)
        numerator_S, denominator_S = self._per_seed(loss.numerator_U), self._per_seed(loss.denominator_U)
        loss_S = numerator_S / denominator_S.clamp(min=1e-12)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss_S.sum())
        norm_S, loss_S = self._clip(), loss_S.detach()
        if not (loss_S.isfinite().all() and norm_S.isfinite().all()):
            broken = int((~(loss_S.isfinite() & norm_S.isfinite())).nonzero()[0])
            raise DivergedError(
                f"loss {float(loss_S[broken]):g} with gradient norm {float(norm_S[broken]):g} in instance {broken} "
                f"at update {self.done + 1}",
                where=f"seed {self.seed}",
                do="lower train.lr",
            )
        factor = self._schedule()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.step()
        self.tables.follow(self.algorithm.target_rate)
        self.done += 1
        self.tokens += int(batch.valid_EA.sum())
        weight_U = batch.weight_U / batch.weight_U.sum()
        weight_E = weight_U[batch.unit_E] / self.algorithm.group_size
        moved = batch.movement(self._advantage(batch)) if self.algorithm.log_ratio_is_known else {}
        return {
            "update": self.done,
            "loss": float(loss_S.detach().mean()),
            "grad_norm": float(norm_S.mean()),
            "lr": self.rates[0] * factor,
            "return": float((weight_E * batch.return_E).sum()),
            **{name: float((weight_E * values_E).sum()) for name, values_E in moved.items()},
            **{name: float((weight_U * values).sum()) for name, values in loss.metrics.items()},
            "tokens": self.tokens,
        }

    def batch(self) -> Batch:
        """Build the batch of the next update: all units with their weights, or drawn units."""
        if self.units is None:
            rows, weight_U = self.rows, self.data.weight_SE.flatten()
        else:
            index_SR = self.draws.rows(self.units, random_stream(self.seed, "units", self.done))
            rows, weight_U = self.rows.take(index_SR), self.data.weight_SE.new_ones(len(index_SR) * self.units)
        return self.tables.batch(
            rows,
            weight_U,
            uses_reference=self.algorithm.uses_reference,
            completions_SK=self.completions_SK,
            progress=self.done / self.config.updates,
        )

    def evaluation(self) -> dict[str, float]:
        """Current point of the learning curve: exact, averaged over instances."""
        logp_SNA = self.tables.sampled_logit(self.algorithm.sampling_q_weight).log_softmax(-1)
        regret_S = solve.relative_regret(self.mdp, self.solution, logp_SNA)
        unseen_S = solve.mass_outside(self.mdp, logp_SNA, self.mdp.shown_SNK)
        return {"relative_regret": float(regret_S.nanmean()), "unseen_mass": float(unseen_S.mean())}

    def final(self) -> dict[str, Tensor]:
        """Every table; ``sampled``, the logits of the policy that is sampled; ``coverage`` of the data."""
        sampled = self.tables.sampled_logit(self.algorithm.sampling_q_weight)
        return {**self.tables.tensors(), "sampled": sampled.clone(), "coverage": self.coverage_S}

    def _advantage(self, batch: Batch) -> Tensor:
        """Return of each row, less the mean return of its instance's data, ``[E]``."""
        mean_S = (self.data.weight_SE * self.data.return_SE).sum(-1)
        return batch.return_E - mean_S.repeat_interleave(len(batch.return_E) // len(mean_S))

    def _per_seed(self, x_U: Tensor) -> Tensor:
        return x_U.view(len(self.mdp.reward_SNA), -1).sum(-1)

    def _clip(self) -> Tensor:
        """Clip the gradient norm of each instance, over all its tables; return the norms before clipping."""
        gradients = [p.grad for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None]
        norm_S = torch.stack([g.flatten(1).square().sum(-1) for g in gradients]).sum(0).sqrt()
        scale_S = (self.config.clip / norm_S.clamp(min=1e-12)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale_S.view(-1, *[1] * (gradient.dim() - 1)))
        return norm_S

    def _schedule(self) -> float:
        """Factor on the learning rate for the next update, computed at the middle of the update."""
        share = (self.done + 0.5) / self.config.updates
        return {"constant": 1.0, "linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share))}[
            self.config.schedule
        ]

    def _save(self, folder: Path) -> None:
        state = {
            "done": self.done,
            "tokens": self.tokens,
            "tables": self.tables.tensors(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(folder, state)

    def _resume(self, folder: Path) -> int:
        """Load the newest state, if any; return the number of updates done."""
        state = load_state(folder)
        if state is not None:
            self.tables.load(state["tables"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.done, self.tokens = int(state["done"]), int(state["tokens"])
        return self.done
