"""Train one cell: episodes -> rendered -> units -> reference statistics -> weights -> DONE."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from shiqbench.base.cache import cache_dir
from shiqbench.base.clock import Clock
from shiqbench.base.digest import digest, known_sha256
from shiqbench.base.errors import ConfigError
from shiqbench.base.files import write_json
from shiqbench.base.machine import bf16_is_slow
from shiqbench.base.manifest import manifest, peak_gpu_memory_gb, peak_memory_gb
from shiqbench.base.memory import keeping_freed_memory
from shiqbench.episodes.episode import REFERENCE_RETURNS
from shiqbench.plugin.start_model import StartModel
from shiqbench.plugin.task import ExactTask
from shiqbench.running.team import Order
from shiqbench.running.weights import REPLAY, adopt, of_cell, start_weights
from shiqbench.running.workbench import Material
from shiqbench.store.cell import is_done, mark_done, working_on
from shiqbench.training.facts import data_facts
from shiqbench.training.frozen_layers import keep_frozen
from shiqbench.training.given_model import train_model
from shiqbench.training.loop import Trainer, plan_training
from shiqbench.training.mismatched import joined_episodes
from shiqbench.training.own_forward import check_policy
from shiqbench.training.policy import SHARDS, Policy, stack, trainable
from shiqbench.training.reference import ReferenceCache, not_computed
from shiqbench.training.settled import settle
from shiqbench.training.sharding import shard
from shiqbench.training.snapshots import FOLDER as SNAPSHOTS
from shiqbench.training.snapshots import Snapshots
from shiqbench.training.units import make_units, pairs_left_out
from shiqbench.training.weights import gathered, save_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from shiqbench.base.progress import Display
    from shiqbench.episodes.rendering import Rendered
    from shiqbench.planning.plan import CellPlan
    from shiqbench.plugin.algorithm import Algorithm
    from shiqbench.plugin.config import AlgorithmConfig, TrainConfig
    from shiqbench.running.team import Team
    from shiqbench.running.workbench import Workbench
    from shiqbench.training.token_statistics import TokenStatistics


def train_cell(cell: CellPlan, display: Display, bench: Workbench, keep: tuple[int, ...] = ()) -> bool:
    """Train a cell, unless it is trained already; its start must be trained.

    Args:
        cell: Cell to train.
        display: Receives progress.
        bench: Objects that this process keeps.
        keep: Updates after which the weights are kept for a learning curve. A finished cell that did not keep
            them is trained once more, in a separate folder.

    Returns:
        True if everything was done already.
    """
    if there(cell, keep):
        return True
    with working_on(cell.folder):
        if there(cell, keep):  # another process finished it meanwhile
            return True
        with keeping_freed_memory(again=bench.lasting):
            if not is_done(cell.folder):
                _train(cell, display, bench, keep)
            if keep and not of_cell(cell, keep).complete():
                display.say(f"{cell.label} did not keep its intermediate weights; training once more to keep them")
                _train_again(cell, display, bench, keep)
    return False


def there(cell: CellPlan, keep: tuple[int, ...]) -> bool:
    """Whether the cell is trained and has the weights after these updates."""
    return is_done(cell.folder) and (not keep or of_cell(cell, keep).complete())


def _train_again(cell: CellPlan, display: Display, bench: Workbench, keep: tuple[int, ...]) -> None:
    """Train in a separate folder, which is removed after its snapshots are moved to the cell."""
    folder = cell.folder / REPLAY
    folder.mkdir(exist_ok=True)
    _train_language_model(cell, folder, display, bench, keep)
    adopt(folder, cell)


def _train(cell: CellPlan, display: Display, bench: Workbench, keep: tuple[int, ...]) -> None:
    assert cell.seed is not None
    started = time.perf_counter()
    write_json(cell.folder / "config.json", cell.recipe)
    if issubclass(cell.task.load(), ExactTask):
        facts = _train_exactly(cell, display)
    else:
        facts = _train_language_model(cell, cell.folder, display, bench, keep)
    facts |= {
        "model": cell.model.text,
        "model_revision": cell.model.revision,
        "start": cell.start.label if cell.start else None,
        "places": cell.task_config.places(),
        "seconds": time.perf_counter() - started,
        "peak_memory_gb": peak_memory_gb(),
        "peak_gpu_memory_gb": peak_gpu_memory_gb(),
    }
    folder = cell.folder
    write_json(folder / "manifest.json", manifest(**facts))
    mark_done(folder, [f for f in (*folder.iterdir(), *(folder / "checkpoint").rglob("*")) if _kept(f)])


def _train_exactly(cell: CellPlan, display: Display) -> dict[str, Any]:
    """Let the task train its own policy; returns facts for the manifest."""
    assert cell.seed is not None
    task: ExactTask = cell.task.load()(cell.task_config)
    algorithm = cell.algorithm.load()(cell.algo)
    with display.training(cell.label, cell.folder) as reporter:
        return task.train(algorithm, cell.train, cell.seed, cell.folder, reporter.update, train_model)


def _train_language_model(
    cell: CellPlan, folder: Path, display: Display, bench: Workbench, keep: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Train into a folder; returns facts for the manifest."""
    start = StartModel(*start_weights(cell), display.bar, bench.engine.open, cell.model.template)
    algorithm = cell.algorithm.load()(cell.algo)
    clock = Clock()
    with display.stage("episodes"), clock.part("data"):
        material = _material(cell, start, bench)
        episodes = algorithm.select(material.offered)
        rendered = material.render(episodes)
    bench.make_room_for_training()
    with bench.team.together(Order(cell.digest, folder, keep)):
        bench.team.share(rendered)
        snapshots = Snapshots(folder / SNAPSHOTS, keep)
        fitted = fit_policy(cell, start, folder, rendered, display, bench, snapshots)
    snapshots.seal()
    task_facts = material.task.facts()
    fitted.facts["pass_tokens"]["rollouts"] = task_facts.get("sampled_tokens", 0)
    with clock.part("saving"):
        save_weights(fitted.policy, start.folder, material.renderer, folder / "checkpoint", algorithm.sampling_q_weight)
    return {
        "seconds_of": {**clock.seconds, **fitted.policy.clock.seconds},
        "start_weights_sha256": start.weights_sha256,
        "tokenizer_sha256": _sha256_if_file(start.folder / "tokenizer.json"),
        **material.renderer.facts(),
        "data": data_facts(material.offered, episodes, rendered, fitted.facts.pop("units")) | fitted.facts.pop("pairs"),
        "task": task_facts,
        "processes": bench.team.place.count,
        **({"sharded": True} if bench.team.place.sharded else {}),
        **fitted.facts,
    }


class Fitted(NamedTuple):
    """A policy after its training.

    Attributes:
        policy: Trained policy.
        facts: Facts for the manifest; ``units`` is the number of units, ``pairs`` says how many were left out.
    """

    policy: Policy
    facts: dict[str, Any]


def fit_policy(
    cell: CellPlan,
    start: StartModel,
    folder: Path,
    rendered: Sequence[Rendered],
    display: Display,
    bench: Workbench,
    snapshots: Snapshots | None = None,
) -> Fitted:
    """Train on rendered episodes; every process of a launch calls this.

    Args:
        cell: Cell to train.
        start: Weights of the cell's start, which are also the reference.
        folder: Folder with the checkpoint to continue from; the main process writes into it.
        rendered: All episodes, the same in every process.
        display: Receives progress.
        bench: Objects that this process keeps.
        snapshots: Snapshots to take during training.

    Raises:
        ConfigError: The data do not meet the needs of the algorithm or of the settings.
        DivergedError: The loss is no longer finite.
    """
    assert cell.seed is not None
    algorithm = cell.algorithm.load()(cell.algo)
    _check_lengths(rendered, cell.train)
    _check_data(algorithm, rendered)
    used = [r.episode for r in rendered]
    units = make_units(algorithm, used)
    left_out = pairs_left_out(algorithm, used, units)
    if left_out:
        display.say(f"{cell.algorithm.name}: {len(units)} pairs that differ in one turn; {left_out} others left out")
    if cell.train.precision == "bf16" and bf16_is_slow() and not torch.cuda.is_available():
        display.say(
            "warning: bf16 is about 100 times as slow as fp32 on this processor, which has no AVX-512; "
            "use --set train.precision=fp32, and --set start.train.precision=fp32 for a start"
        )
    loading = time.perf_counter()
    model = bench.pretrained(start.weights_sha256, start.folder, cell.train.base_weights)
    config, note = settle(model, cell.train)
    if note:
        display.say(f"{cell.label}: {note}")
    policy = Policy(trainable(model, config, cell.seed), config, algorithm.needs)
    # Before the reference's pass, so that it rounds as training does.
    if bench.team.place.sharded:
        shard(policy, stack(model, SHARDS))
    else:
        policy.to("cuda" if torch.cuda.is_available() else "cpu")
    clock = policy.clock
    clock.seconds["model"] = time.perf_counter() - loading
    plan = plan_training(units, rendered, config, algorithm.group_size, cell.seed)
    joined = joined_episodes(algorithm, plan.batches, rendered)
    _check_lengths(joined, config)
    visited = [*(rendered[i] for i in plan.rows), *joined]
    sequences = [s for r in visited for s in r.sequences]
    with clock.part("check", whole=True):
        own_forward = check_policy(policy, sequences, algorithm.sampling_q_weight)
    with clock.part("frozen layers", whole=True), _frozen_stage(config, display):
        frozen = keep_frozen(policy, sequences)
    with clock.part("reference", whole=True):
        reference, reference_facts = _reference(algorithm, start.weights_sha256, policy, visited, display, bench.team)
    keep = snapshots.keep if snapshots is not None else None
    trainer = Trainer(policy, algorithm, rendered, reference, plan, config, cell.seed, folder, keep=keep)
    resumed_at = trainer.done
    with display.training(cell.label, folder) as reporter, clock.part("other"):
        trainer.run(reporter.update)
    facts = {
        "units": len(units),
        "pairs": {"pairs_left_out": left_out} if left_out else {},
        **policy.sizes(),
        "budget": plan.budget,
        "pass_tokens": {
            "policy": sum(plan.tokens),
            "mismatched": sum(r.tokens for r in joined),
            "reference": sum(r.tokens for r in visited) if algorithm.uses_reference else 0,
        },
        "own_forward": own_forward,
        **({"settled": note} if note else {}),
        "frozen": frozen,
        "reference": reference_facts,
        "resumed_at_update": resumed_at,
        "save_every": config.save_every,
    }
    if bench.team.place.sharded:
        policy = gathered(policy, trainer.state.trained(), start.folder, algorithm.needs)
    return Fitted(policy, facts)


def _material(cell: CellPlan, start: StartModel, bench: Workbench) -> Material:
    """The task's episodes for this start; they do not depend on the algorithm, so cells share them."""

    def make() -> Material:
        task = cell.task.load()(cell.task_config)
        task.use_model(start)
        material = Material(task, task.episodes("train"), start.renderer)
        cell.check_data()
        return material

    made_of = {"plugins": cell.origins, "weights": start.weights_sha256, "template": cell.model.template}
    key = digest({"task": cell.recipe["task"], **made_of})
    return bench.material(key, make)


def _kept(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.name not in ("DONE", "error.json")


def _frozen_stage(config: TrainConfig, display: Display) -> AbstractContextManager[None]:
    """Show that pass over all texts, which can take a minute."""
    return display.stage("frozen layers") if config.top_layers else nullcontext()


def _reference(
    algorithm: Algorithm[AlgorithmConfig],
    weights_sha256: str,
    policy: Policy,
    visited: Sequence[Rendered],
    display: Display,
    team: Team,
) -> tuple[Callable[[Rendered], TokenStatistics], dict[str, Any]]:
    """The reference's statistics of every episode that training visits, including joined ones, and their cost."""
    if not algorithm.uses_reference:
        return not_computed, {"computed": 0, "cached": 0, "seconds": 0.0}
    started = time.perf_counter()
    cache = ReferenceCache(cache_dir() / "reference", weights_sha256, policy)
    mine = visited[team.place.rank :: team.place.count]
    with display.bar("reference", len(mine)) as advance:
        computed, found = team.total(*cache.fill(mine, advance))
    device = next(policy.parameters()).device.type
    facts = {
        "computed": computed,
        "cached": found,
        "cached_difference": cache.difference,
        "device": device,
        "seconds": time.perf_counter() - started,
    }
    return cache.row, facts


def _check_lengths(rendered: Sequence[Rendered], config: TrainConfig) -> None:
    """Refuse an episode that is too long; nothing is truncated."""
    longest = max(rendered, key=lambda r: max(len(s.ids) for s in r.sequences), default=None)
    if longest is None:
        return
    tokens = max(len(s.ids) for s in longest.sequences)
    if tokens > config.max_tokens:
        raise ConfigError(
            f"episode {longest.episode.id} has {tokens} tokens, train.max_tokens is {config.max_tokens}",
            where="training data",
            do=f"raise it (--set train.max_tokens={tokens}) or shorten the prompt",
        )


def _check_data(algorithm: Algorithm[AlgorithmConfig], rendered: Sequence[Rendered]) -> None:
    """Refuse an episode that lacks data the algorithm needs; the task offers them, so most episodes have them."""
    for r in rendered:
        has = {
            "behaviour_logp": r.behaviour_logp is not None,
            REFERENCE_RETURNS: bool(r.episode.meta.get(REFERENCE_RETURNS)),
        }
        for need in sorted(algorithm.needs & set(has)):
            if not has[need]:
                raise ConfigError(
                    f"episode {r.episode.id} has no {need}, which the algorithm needs",
                    where="training data",
                    do="exclude such episodes by a setting of the task, or choose another algorithm",
                )


def _sha256_if_file(path: Path) -> str | None:
    return known_sha256(path) if path.is_file() else None
