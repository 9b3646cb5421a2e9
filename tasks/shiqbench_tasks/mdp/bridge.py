"""The bridge: a tree spoken by a tiny transformer, trained as language models are, scored by enumerating all strings.

Tokens are actions. Rendering aside, everything between episodes and weights is that of language models: masks,
statistics, the reference's cache, units and batches, the training loop. The reference is the untrained transformer.

Legend: S instances, N states, A actions, E trajectories, R drawn rows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save, save_file

from shiqbench.plugin import (
    REFERENCE_RETURNS,
    Algorithm,
    AlgorithmConfig,
    ConfigError,
    Episode,
    Rendered,
    TokenSequence,
    TrainConfig,
    replacing,
    replacing_folder,
)
from shiqbench.training.loop import Trainer, TrainingPlan, plan_training
from shiqbench.training.mismatched import mismatched
from shiqbench.training.policy import Policy
from shiqbench.training.reference import ReferenceCache, not_computed
from shiqbench.training.units import EpisodeUnit
from shiqbench_tasks.mdp import data, solve
from shiqbench_tasks.mdp.train import DRAWN_ROWS, WEIGHTS
from shiqbench_tasks.mdp.transformer import SAMPLED_HEAD, only, table, transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from shiqbench.training.token_statistics import TokenStatistics
    from shiqbench_tasks.mdp.config import FilledTrainConfig, MdpConfig
    from shiqbench_tasks.mdp.mdps import Mdp

MICRO_TOKENS = 8192


def train(
    config: MdpConfig,
    mdp: Mdp,
    algorithm: Algorithm[AlgorithmConfig],
    training: FilledTrainConfig,
    seed: int,
    folder: Path,
    report: Callable[[dict[str, Any], int], None],
) -> dict[str, Any]:
    """Train the transformers of all instances, one after the other; as :meth:`shiqbench.plugin.Task.train`.

    Raises:
        ConfigError: The optimiser is another than the language models'.
    """
    if training.optimizer != "adam":
        raise ConfigError(
            f"train.optimizer = {training.optimizer} cannot be honoured: language models are trained with Adam",
            where="task.policy = transformer",
            do="leave it out",
        )
    data_set = data.selected(data.make_data(mdp, solve.solve(mdp), config, seed), algorithm)
    units = _units(data_set, algorithm, training, seed)
    completions: list[list[float]] = [[]] * config.seeds
    if "reference_returns" in algorithm.needs:
        stream = data.random_stream(seed, "completions")
        completions = data.sample(mdp, mdp.ref_logp_SNA, config.completions, stream).return_SE.tolist()
    folders = [folder / "checkpoint" / f"instance-{s}" for s in range(config.seeds)]
    plans: list[TrainingPlan] = []
    resumed_at = 0
    for s, own in enumerate(folders):
        rendered = _render(data_set, s, config.sizes.actions, completions[s])
        instance = _Instance(config, mdp, s, algorithm, training, seed, rendered, units[s], own)

        def numbered(line: dict[str, Any], total: int, s: int = s, before: int = _tokens(plans)) -> None:
            """Count updates and tokens over all instances."""
            done, tokens = s * total + line["update"], before + line["tokens"]
            report({**line, "update": done, "tokens": tokens}, total * config.seeds)

        resumed_at += instance.run(numbered)
        plans.append(instance.plan)
    with replacing(folder / "train.jsonl") as log:
        log.write_text("".join((own / "train.jsonl").read_text(encoding="utf-8") for own in folders), encoding="utf-8")
    tensors = {f"{s}.{k}": v for s, own in enumerate(folders) for k, v in load_file(own / WEIGHTS).items()}
    with replacing_folder(folder / "checkpoint") as checkpoint:
        save_file(tensors, checkpoint / WEIGHTS)
    return {
        "data": data.facts(data_set, config),
        "parameters": sum(p.numel() for p in transformer(config, 0).parameters()),
        "budget": {
            "updates": training.updates,
            "tokens": _tokens(plans),
            "episodes": sum(len(u.rows) for p in plans for b in p.batches for u in b),
        },
        "resumed_at_update": resumed_at,
        "save_every": training.save_every,
    }


def _tokens(plans: Sequence[TrainingPlan]) -> int:
    return sum(sum(p.tokens) for p in plans)


def _units(
    data_set: data.Trajectories, algorithm: Algorithm[AlgorithmConfig], training: FilledTrainConfig, seed: int
) -> list[list[EpisodeUnit]]:
    """Units of each instance: every trajectory with its probability, or as many draws as training visits."""
    size = algorithm.group_size
    if algorithm.unit == "episode" and training.batch_episodes is None:
        return [[EpisodeUnit((e,), w) for e, w in enumerate(row) if w] for row in data_set.weight_SE.tolist()]
    drawn = max(1, (training.batch_episodes or DRAWN_ROWS) // size) * training.updates
    index_SR = data.Draws(data_set, algorithm.unit, size).rows(drawn, data.random_stream(seed, "units"))
    return [[EpisodeUnit(tuple(u)) for u in row.view(-1, size).tolist()] for row in index_SR]


def _render(data_set: data.Trajectories, s: int, actions: int, completions: list[float]) -> list[Rendered]:
    """The trajectories of an instance in tokens."""
    found = []
    lengths = data_set.valid_SEH[s].sum(-1).tolist()
    parts = (data_set.action_SEH[s].tolist(), data_set.reward_SEH[s].tolist(), data_set.logp_SEH[s].tolist())
    for e, (n, *row) in enumerate(zip(lengths, *parts, strict=True)):
        chosen, rewards, logp = (tuple(x[:n]) for x in row)
        episode = Episode(f"{s}/{e}", str(s), "offline", (), meta={REFERENCE_RETURNS: completions})
        sequence = TokenSequence((actions, *chosen), tuple(range(1, n + 1)))
        found.append(Rendered(episode, (sequence,), rewards, logp))
    return found


class _Instance:
    """One transformer with its plan, trained in a folder of its own below the cell's checkpoint."""

    def __init__(
        self,
        config: MdpConfig,
        mdp: Mdp,
        s: int,
        algorithm: Algorithm[AlgorithmConfig],
        training: FilledTrainConfig,
        seed: int,
        rendered: Sequence[Rendered],
        units: Sequence[EpisodeUnit],
        folder: Path,
    ) -> None:
        self.config, self.s, self.algorithm, self.training = config, s, algorithm, training
        self.seed, self.rendered, self.folder = seed, rendered, folder
        self.mdp = only(mdp, s)
        self.solution = solve.solve(self.mdp)
        whole = algorithm.unit == "episode" and training.batch_episodes is None
        batch = len(units) if whole else len(units) // training.updates * algorithm.group_size
        self.loop = TrainConfig(
            updates=training.updates,
            batch_episodes=batch,
            micro_tokens=MICRO_TOKENS,
            share_prefix=False,  # prompts of one token: sharing saves nothing and costs a pass per branch
            lr=training.lr,
            head_lr=training.head_lr,
            schedule=training.schedule,
            warmup=0.0,
            clip=training.clip,
            precision="fp32",
            save_every=training.save_every,
        )
        self.plan: TrainingPlan = plan_training(units, rendered, self.loop, algorithm.group_size, seed)

    def run(self, report: Callable[[dict[str, Any], int], None]) -> int:
        """Train unless that is done.

        Returns:
            Updates that were there already.
        """
        if (self.folder / WEIGHTS).exists():
            return self.training.updates
        self.folder.mkdir(parents=True, exist_ok=True)
        model = transformer(self.config, self.s)
        self.head, self.policy = model.get_output_embeddings(), Policy(model, self.loop, self.algorithm.needs)
        reference = self._reference()
        trainer = Trainer(
            self.policy,
            self.algorithm,
            self.rendered,
            reference,
            self.plan,
            self.loop,
            self.seed,
            self.folder,
            measure=self._measure,
        )
        done = trainer.done
        self.report = report
        trainer.run(self)
        state = {**self.policy.model.state_dict(), SAMPLED_HEAD: self._sampled_head()}
        with replacing(self.folder / WEIGHTS) as temporary:
            save_file({k: v.contiguous().cpu().clone() for k, v in state.items()}, temporary)
        return done

    def update(self, line: dict[str, Any], total: int) -> None:
        """Told by the trainer."""
        self.report(line, total)

    def _reference(self) -> Callable[[Rendered], TokenStatistics]:
        if not self.algorithm.uses_reference:
            return not_computed
        visited = [self.rendered[i] for i in self.plan.rows]
        if "mismatched" in self.algorithm.needs:
            visited += [m.rendered for b in self.plan.batches for m in mismatched(b, self.rendered)]
        weights = hashlib.sha256(save(self.policy.model.state_dict())).hexdigest()
        cache = ReferenceCache(self.folder / "reference", weights, self.policy)
        cache.fill(visited, lambda done, total: None)
        rows = {r.sequences: cache.row(r) for r in visited}  # every update asks for all of them
        cache.close()
        return lambda rendered: rows[rendered.sequences]

    def _measure(self, done: int) -> dict[str, float]:
        """Where the learning curve stands, exactly."""
        facts: dict[str, float] = {"instance": self.s}
        if done == 1 or done % self.training.log_every == 0 or done == self.training.updates:
            own = self.head.weight.data
            self.head.weight.data = self._sampled_head()
            logp_SNA = table(self.policy.model, self.config).log_softmax(-1)[None]
            self.head.weight.data = own
            facts["relative_regret"] = float(solve.relative_regret(self.mdp, self.solution, logp_SNA))
            facts["unseen_mass"] = float(solve.mass_outside(self.mdp, logp_SNA, self.mdp.shown_SNK))
        return facts

    def _sampled_head(self) -> Tensor:
        """Vocabulary head of what is sampled from."""
        own: Tensor = self.head.weight.detach()
        weight, heads = self.algorithm.sampling_q_weight, self.policy.heads
        return own if heads is None or heads.q is None else own + weight * heads.q.weight.detach()
