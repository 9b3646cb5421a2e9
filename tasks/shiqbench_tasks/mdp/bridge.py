"""The bridge: a tiny transformer as the policy of a tree, trained like a language model, scored on all strings.

Tokens are actions. Except for rendering, all code between episodes and weights is the code for language models: masks,
statistics, the reference's cache, units and batches, the training loop. The reference is the untrained transformer.

Legend: S instances, N states, A actions, E trajectories, R drawn rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from shiqbench.plugin import (
    REFERENCE_RETURNS,
    Algorithm,
    AlgorithmConfig,
    ConfigError,
    Episode,
    EpisodeUnit,
    ModelTraining,
    Rendered,
    TokenSequence,
    TrainConfig,
    TrainedModel,
    replacing,
    replacing_folder,
)
from shiqbench_tasks.mdp import data, solve
from shiqbench_tasks.mdp.train import DRAWN_ROWS, WEIGHTS
from shiqbench_tasks.mdp.transformer import node_logits, only, transformer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

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
    train_model: ModelTraining,
) -> dict[str, Any]:
    """Train the transformers of all instances, one after another; see :meth:`shiqbench.plugin.ExactTask.train`.

    Raises:
        ConfigError: The optimiser is not Adam, which language models use.
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
    trained: list[TrainedModel] = []

    def numbered(line: dict[str, Any], total: int) -> None:
        """Count updates and tokens over all instances."""
        done, tokens = len(trained) * total + line["update"], sum(t.tokens for t in trained) + line["tokens"]
        report({**line, "update": done, "tokens": tokens}, total * config.seeds)

    for s, own in enumerate(folders):
        model = transformer(config, s)
        trained.append(
            train_model(
                model,
                _render(data_set, s, config.sizes.actions, completions[s]),
                units[s],
                algorithm,
                _loop(algorithm, training, len(units[s])),
                seed,
                own,
                _Curve(config, mdp, s, training, model),
                numbered,
            )
        )
    with replacing(folder / "train.jsonl") as log:
        log.write_text("".join((own / "train.jsonl").read_text(encoding="utf-8") for own in folders), encoding="utf-8")
    tensors = {f"{s}.{k}": v for s, t in enumerate(trained) for k, v in t.tensors.items()}
    tensors["coverage"] = data.coverage(mdp, solve.solve(mdp), data_set)
    with replacing_folder(folder / "checkpoint") as checkpoint:
        save_file(tensors, checkpoint / WEIGHTS)
    return {
        "data": data.facts(data_set, config),
        "parameters": sum(p.numel() for p in transformer(config, 0).parameters()),
        "budget": {
            "updates": training.updates,
            "tokens": sum(t.tokens for t in trained),
            "episodes": sum(t.episodes for t in trained),
        },
        "own_forward": {
            precision: max((t.own_forward[precision] for t in trained), key=lambda found: found["difference"])
            for precision in trained[0].own_forward
        },
        "resumed_at_update": sum(t.resumed_at for t in trained),
        "save_every": training.save_every,
    }


def _loop(algorithm: Algorithm[AlgorithmConfig], training: FilledTrainConfig, units: int) -> TrainConfig:
    """Training settings of language models; a batch is all units with their probabilities, or one update's draws."""
    whole = algorithm.unit == "episode" and training.batch_episodes is None
    return TrainConfig(
        updates=training.updates,
        batch_episodes=units if whole else units // training.updates * algorithm.group_size,
        micro_tokens=MICRO_TOKENS,
        share_prefix=False,  # prompts have one token: sharing saves nothing and costs a pass per branch
        lr=training.lr,
        head_lr=training.head_lr,
        schedule=training.schedule,
        warmup=0.0,
        clip=training.clip,
        precision="fp32",
        save_every=training.save_every,
    )


def _units(
    data_set: data.Trajectories, algorithm: Algorithm[AlgorithmConfig], training: FilledTrainConfig, seed: int
) -> list[list[EpisodeUnit]]:
    """Units of each instance: every trajectory with its probability, or as many drawn units as training uses."""
    size = algorithm.group_size
    if algorithm.unit == "episode" and training.batch_episodes is None:
        return [[EpisodeUnit((e,), w) for e, w in enumerate(row) if w] for row in data_set.weight_SE.tolist()]
    drawn = max(1, (training.batch_episodes or DRAWN_ROWS) // size) * training.updates
    index_SR = data.Draws(data_set, algorithm.unit, size).rows(drawn, data.random_stream(seed, "units"))
    return [[EpisodeUnit(tuple(u)) for u in row.view(-1, size).tolist()] for row in index_SR]


def _render(data_set: data.Trajectories, s: int, actions: int, completions: list[float]) -> list[Rendered]:
    """Render the trajectories of an instance as tokens."""
    found = []
    lengths = data_set.valid_SEH[s].sum(-1).tolist()
    parts = (data_set.action_SEH[s].tolist(), data_set.reward_SEH[s].tolist(), data_set.logp_SEH[s].tolist())
    for e, (n, *row) in enumerate(zip(lengths, *parts, strict=True)):
        chosen, rewards, logp = (tuple(x[:n]) for x in row)
        episode = Episode(f"{s}/{e}", str(s), "offline", (), meta={REFERENCE_RETURNS: completions})
        sequence = TokenSequence((actions, *chosen), tuple(range(1, n + 1)))
        found.append(Rendered(episode, (sequence,), rewards, logp))
    return found


class _Curve:
    """Computes the exact facts about an instance's policy for its log."""

    def __init__(self, config: MdpConfig, mdp: Mdp, s: int, training: FilledTrainConfig, model: Any) -> None:
        self.config, self.s, self.training, self.model = config, s, training, model
        self.mdp = only(mdp, s)
        self.solution = solve.solve(self.mdp)

    def __call__(self, done: int, sampled_head: Tensor) -> dict[str, float]:
        """Return the facts after ``done`` updates."""
        facts: dict[str, float] = {"instance": self.s}
        if done == 1 or done % self.training.log_every == 0 or done == self.training.updates:
            head = self.model.get_output_embeddings()
            own, head.weight.data = head.weight.data, sampled_head
            logp_SNA = node_logits(self.model, self.config).log_softmax(-1)[None]
            head.weight.data = own
            regret = float(solve.relative_regret(self.mdp, self.solution, logp_SNA))
            if not math.isnan(regret):  # not an instance where nothing can be gained
                facts["relative_regret"] = regret
            facts["unseen_mass"] = float(solve.mass_outside(self.mdp, logp_SNA, self.mdp.shown_SNK))
        return facts
