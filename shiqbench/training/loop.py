"""The training loop: planned batches, one loss that only this loop reduces, resumable at any moment."""

from __future__ import annotations

import json
import math
import time
from bisect import bisect
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator

from shiqbench.base.errors import ConfigError, DivergedError
from shiqbench.training.layout import make_batch
from shiqbench.training.mismatched import mismatched
from shiqbench.training.policy import fits_one_pass, row_statistics
from shiqbench.training.reduction import Totals
from shiqbench.training.sharding import anchor, whole
from shiqbench.training.states import ShardedState, WholeState
from shiqbench.training.units import unit_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from shiqbench.episodes.rendering import Rendered
    from shiqbench.plugin.algorithm import Algorithm, Loss
    from shiqbench.plugin.batch import Batch, EpisodeUnit
    from shiqbench.plugin.config import AlgorithmConfig, TrainConfig
    from shiqbench.training.policy import Policy
    from shiqbench.training.states import TrainingState
    from shiqbench.training.token_statistics import TokenStatistics


@dataclass(frozen=True)
class TrainingPlan:
    """The whole order of training, decided before training starts.

    Attributes:
        batches: Units of every update.
        tokens: Tokens of every update.
        rows: Indices of all episodes that training visits.
    """

    batches: tuple[tuple[EpisodeUnit, ...], ...]
    tokens: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def budget(self) -> dict[str, int]:
        """Updates, tokens and episodes of the whole training."""
        episodes = sum(len(u.rows) for b in self.batches for u in b)
        return {"updates": len(self.batches), "tokens": sum(self.tokens), "episodes": episodes}


def plan_training(
    units: Sequence[EpisodeUnit], rendered: Sequence[Rendered], config: TrainConfig, unit_size: int, seed: int
) -> TrainingPlan:
    """Decide every batch from only the seed and the budget.

    A token budget counts whole updates: training ends with the first update that reaches it. Passes without
    gradient (``mismatched``) do not count.
    """
    lengths = [r.tokens for r in rendered]
    per_batch = max(1, config.batch_episodes // unit_size)
    keys: list[Any] = [r.sequences[0].ids for r in rendered] if config.share_prefix else lengths
    order: Iterator[list[EpisodeUnit]] = unit_batches(units, keys, per_batch, seed)
    batches: list[tuple[EpisodeUnit, ...]] = []
    tokens: list[int] = []
    for batch in order:
        done = len(batches) >= config.updates if config.updates else sum(tokens) >= (config.tokens or 0)
        if done:
            break
        batches.append(tuple(batch))
        tokens.append(sum(lengths[r] for u in batch for r in u.rows))
    rows = sorted({r for b in batches for u in b for r in u.rows})
    return TrainingPlan(tuple(batches), tuple(tokens), tuple(rows))


def advantages(rendered: Sequence[Rendered], plan: TrainingPlan) -> list[float]:
    """Return of each episode, less the mean return of its group under the weights of the units."""
    weight = {r: u.weight for b in plan.batches for u in b for r in u.rows}
    groups: dict[str, list[int]] = defaultdict(list)
    for i, r in enumerate(rendered):
        groups[r.episode.group].append(i)
    returns = [sum(r.rewards) for r in rendered]
    means = {g: fmean([returns[i] for i in m], [weight.get(i, 1.0) for i in m]) for g, m in groups.items()}
    return [returns[i] - means[r.episode.group] for i, r in enumerate(rendered)]


def learning_rate(config: TrainConfig, share: float, peak: float | None = None) -> float:
    """Learning rate when ``share`` of the budget is spent (0 to 1, the current update included).

    Args:
        config: Training settings with the schedule.
        share: Share of the budget.
        peak: Learning rate that the schedule scales; ``config.lr`` by default.
    """
    peak = config.lr if peak is None else peak
    if config.warmup and share < config.warmup:
        return peak * share / config.warmup
    left = (1 - share) / (1 - config.warmup)
    factor = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}[config.schedule]
    return peak * factor


def progress(plan: TrainingPlan, config: TrainConfig, done: int) -> float:
    """Share of the budget that the first ``done`` updates use, in the budget's unit (updates or tokens)."""
    if config.tokens is None:
        return done / len(plan.batches)
    return sum(plan.tokens[:done]) / config.tokens


def _check_share(plan: TrainingPlan, processes: int) -> None:
    """Refuse a plan if one of its batches has fewer units than there are processes."""
    fewest = min(map(len, plan.batches), default=processes)
    if fewest < processes:
        raise ConfigError(
            f"a batch has {fewest} unit{'s' * (fewest != 1)} for {processes} processes",
            where="train.batch_episodes",
            do="raise it, or launch fewer processes",
        )


class Trainer:
    """Runs a plan on a policy.

    Args:
        policy: Policy to train, with fp32 weights.
        algorithm: Algorithm that computes the loss.
        rendered: All episodes.
        reference: Returns the statistics of one episode under the reference.
        plan: Plan from :func:`plan_training`.
        config: Settings of optimiser and precision.
        seed: Seed of the random numbers that the model itself draws.
        folder: Folder of ``checkpoint/`` and ``train.jsonl``.
        measure: Called after each update with the number of updates done; its result is added to the log's line.
        keep: Called after each update, with the number of updates done and a function that returns the trained state
            in the main process; if one process calls that, all do.
    """

    def __init__(
        self,
        policy: Policy,
        algorithm: Algorithm[AlgorithmConfig],
        rendered: Sequence[Rendered],
        reference: Callable[[Rendered], TokenStatistics],
        plan: TrainingPlan,
        config: TrainConfig,
        seed: int,
        folder: Path,
        measure: Callable[[int], dict[str, float]] | None = None,
        keep: Callable[[int, Callable[[], dict[str, Any]]], None] | None = None,
    ) -> None:
        self.measure, self.keep = measure, keep
        self.algorithm, self.rendered, self.reference = algorithm, rendered, reference
        self.plan, self.config, self.folder = plan, config, folder
        self.advantages = advantages(rendered, plan)
        torch.manual_seed(seed)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")  # the policy casts
        _check_share(plan, self.accelerator.num_processes)
        # Each group has its own schedule and clipping; the schedule scales "peak".
        groups = [{"params": [p for p in policy.model.parameters() if p.requires_grad], "peak": config.lr}]
        if policy.heads is not None:
            groups.append({"params": list(policy.heads.parameters()), "peak": config.head_lr})
        optimizer = torch.optim.AdamW(
            groups,
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.state: TrainingState
        if policy.sharded:
            self.policy, self.optimizer = policy, optimizer
            self.state = ShardedState(folder, policy, optimizer, self.accelerator)
        else:
            self.policy, self.optimizer = self.accelerator.prepare(policy, optimizer)
            self.state = WholeState(folder, policy, self.optimizer, self.accelerator)
        self.clock = policy.clock
        self.done = self.state.resume()

    def run(self, report: Callable[[dict[str, Any], int], None]) -> None:
        """Train from the newest checkpoint to the end of the plan.

        Args:
            report: Called after each update with its line of ``train.jsonl`` and the planned number of updates.

        Raises:
            DivergedError: The loss or its gradient is no longer finite.
        """
        total = len(self.plan.batches)
        main = self.accelerator.is_main_process
        with (self.folder / "train.jsonl").open("a", encoding="utf-8") if main else nullcontext() as log:
            for index in range(self.done, total):
                line = self._update(index)
                if self.measure is not None:
                    line |= self.measure(index + 1)
                if log is not None:
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                self.done = index + 1
                if self.keep is not None:
                    self.keep(self.done, self.state.trained)
                report(line, total)
                if self.done % self.config.save_every == 0 and self.done < total:
                    with self.clock.part("checkpoints"):
                        self.state.save(self.done)

    def _update(self, index: int) -> dict[str, Any]:
        started = time.perf_counter()
        spent = sum(self.plan.tokens[: index + 1])
        share = (index + 1) / len(self.plan.batches)
        if not self.config.updates:
            share = spent / sum(self.plan.tokens)
        share -= 0.5 / len(self.plan.batches)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, share, group["peak"])
        self.optimizer.zero_grad(set_to_none=True)
        mismatched = self._mismatched(index) if "mismatched" in self.algorithm.needs else None
        mine = self.plan.batches[index][self.accelerator.process_index :: self.accelerator.num_processes]
        totals = Totals()
        passes, so_far = list(self._micro_batches(mine)), progress(self.plan, self.config, index)
        idle_passes = self._plain_policy().in_step(len(passes)) - len(passes)
        for units in passes:
            # Processes may differ in their number of passes, so they synchronise only in the last one.
            with nullcontext() if units is passes[-1] else self.accelerator.no_sync(self.policy):
                loss, batch = self._loss(units, mismatched, so_far)
                with self.clock.part("backward"):
                    self.accelerator.backward(loss.numerator_U.sum())
            totals.add(loss, batch, self._movement(units, batch))
        # With sharded weights every pass is a common one: a process with fewer passes adds some that change nothing.
        for _ in range(idle_passes):
            again = [self.rendered[mine[-1].rows[0]]]
            self.accelerator.backward(anchor(row_statistics(self.policy, again, heads=True)))
        summed = self.accelerator.reduce(totals.tensor(), reduction="sum").tolist()
        numerator, denominator, unit_weight, row_weight, return_sum, actions, *rest = summed
        row_sums, metric_sums = rest[: len(totals.row_names)], rest[len(totals.row_names) :]
        # A gradient is that of the sum of numerators, averaged over processes by the wrapper: divide once, here.
        scale = self.accelerator.num_processes / max(denominator, 1e-12)
        parameters = [p for p in self.policy.parameters() if p.grad is not None]
        torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], scale)
        with self.clock.part("optimiser"):
            trained = [[p for p in g["params"] if p.grad is not None] for g in self.optimizer.param_groups]
            norms = [float(whole(self.accelerator.clip_grad_norm_(group, self.config.clip))) for group in trained]
        value = numerator / max(denominator, 1e-12)
        if not all(map(math.isfinite, (value, *norms))):
            raise DivergedError(
                f"loss {value:g} with gradient norm {', '.join(f'{n:g}' for n in norms)} at update {index + 1}",
                where=str(self.folder),
                do="lower train.lr, or raise algo.beta's scale; this update was not saved",
            )
        with self.clock.part("optimiser"):
            self.optimizer.step()
        heads = self._plain_policy().heads
        if heads is not None:
            heads.move_target(self.algorithm.target_rate)
        metrics = dict(zip(totals.names, (m / unit_weight for m in metric_sums), strict=True))
        return {
            "update": index + 1,
            "loss": value,
            "grad_norm": norms[0],
            **({"head_grad_norm": norms[1]} if len(norms) > 1 else {}),
            "lr": self.optimizer.param_groups[0]["lr"],
            "return": return_sum / row_weight,
            **dict(zip(totals.row_names, (s / row_weight for s in row_sums), strict=True)),
            **metrics,
            "tokens": spent,
            "action_tokens": int(actions),
            "seconds": time.perf_counter() - started,
        }

    def _micro_batches(self, units: Sequence[EpisodeUnit]) -> Iterator[Sequence[EpisodeUnit]]:
        """Split units into forward passes: each takes as many whole units as fit, at least one."""
        start = 0
        while start < len(units):

            def too_many(end: int, start: int = start) -> bool:
                held = [s for u in units[start:end] for r in u.rows for s in self.rendered[r].sequences]
                return not fits_one_pass(held, self.config)

            # If some units fit, fewer units fit too, so bisection finds the first end that does not fit.
            ends = range(start + 2, len(units) + 1)
            whole = not too_many(len(units))
            end = len(units) if whole else start + 1 + bisect(ends, False, key=too_many)
            yield units[start:end]
            start = end

    def _loss(self, units: Sequence[EpisodeUnit], mismatched: float | None, progress: float) -> tuple[Loss, Batch]:
        members = [self.rendered[i] for u in units for i in u.rows]
        rows = row_statistics(self.policy, members, heads=True)
        device = rows[0].logit_N.device
        references = [self.reference(r).to(device) for r in members]
        with self.clock.part("loss"):
            batch = make_batch(units, self.rendered, rows, references, mismatched, progress)
            loss = self.algorithm.loss(batch)
            if self._plain_policy().sharded:
                loss = replace(loss, numerator_U=loss.numerator_U + anchor(rows))
            return loss, batch

    def _movement(self, units: Sequence[EpisodeUnit], batch: Batch) -> dict[str, torch.Tensor]:
        """What rows say about how far the policy has moved; nothing if that needs statistics that nobody computes."""
        if not self.algorithm.log_ratio_is_known:
            return {}
        return batch.movement(batch.weight_U.new_tensor([self.advantages[r] for u in units for r in u.rows]))

    @torch.no_grad()
    def _mismatched(self, index: int) -> float:
        """Mean log-ratio of the whole update's mismatched completions, under the weights before the update."""
        processes = self.accelerator.num_processes
        joined = mismatched(self.plan.batches[index], self.rendered)[self.accelerator.process_index :: processes]
        # Without the distributed wrapper: processes may differ in their number of passes.
        rows = row_statistics(self._plain_policy(), [m.rendered for m in joined])
        sums = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        for row, m in zip(rows, joined, strict=True):
            s = self.reference(m.rendered).to(row.logit_N.device)
            sums[0] += m.weight * ((row.logit_N - row.lse_N) - (s.logit_N - s.lse_N)).sum()
            sums[1] += m.weight
        logratio, weight = self.accelerator.reduce(sums, reduction="sum").tolist()
        return float(logratio / weight)

    def _plain_policy(self) -> Policy:
        policy: Policy = self.accelerator.unwrap_model(self.policy)
        return policy
