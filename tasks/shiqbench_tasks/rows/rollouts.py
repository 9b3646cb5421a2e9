"""Rollouts: episodes that a model plays on training examples, sampled once and kept in the cache.

A task says how an episode is played and which line of the cached file it becomes; it makes its episodes from those
lines, also right after sampling.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from shiqbench.plugin import (
    REFERENCE_RETURNS,
    ChatGenerator,
    ConfigError,
    EngineSpec,
    JournaledGenerator,
    LiveEpisode,
    RunError,
    Sampling,
    StartModel,
    StopReason,
    cache_dir,
    digest,
    find_model,
    find_plugins,
    is_done,
    lock,
    mark_done,
    mixed_seed,
    play_all,
    read_json,
    say,
    short,
    verified,
    write_json,
    write_text,
)
from shiqbench_tasks.rows.rollout_settings import ROLLOUT, sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from shiqbench.plugin import Episode, Need
    from shiqbench_tasks.rows.rollout_settings import RolloutSettings

SCHEMA = 1  # of the cached files; if the number changes, rollouts are sampled again
ROWS, FACTS, JOURNAL = "rollouts.jsonl", "facts.json", ".journal.jsonl"

Row = dict[str, Any]


class Rolled(LiveEpisode, Protocol):
    """An episode that is sampled here."""

    @property
    def error(self) -> str:
        """Text of the exception if it crashed."""

    @property
    def tokens(self) -> int:
        """Number of sampled tokens."""


Live = TypeVar("Live", bound=Rolled)


def offers(config: RolloutSettings, *, others: bool = False) -> frozenset[Need]:
    """Needs of algorithms that rollouts meet; only at temperature 1 do they follow the model's own policy.

    Args:
        config: How they are sampled.
        others: Whether there are training episodes of another origin too, whose log-probabilities nobody knows.
    """
    if config.rollout_temperature != 1:
        return frozenset()
    found: set[Need] = set() if others else {"behaviour_logp"}
    if config.rollout_model is None:  # the model that training starts from is the reference
        found.add("reference_returns")
    return frozenset(found)


def with_reference_returns(episodes: Sequence[Episode]) -> list[Episode]:
    """The same episodes, each with the returns of its group's rollouts, centred as its own return is."""
    returns: dict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        if episode.behaviour == ROLLOUT:
            returns[episode.group].append(episode.total_reward)
    return [replace(e, meta={**e.meta, REFERENCE_RETURNS: returns[e.group]}) for e in episodes]


def identity(config: RolloutSettings) -> dict[str, str]:
    """Identities that rollouts depend on, in addition to the configuration and the model that training starts from.

    Raises:
        ConfigError: There is no such engine or model.
    """
    found = {"rollout_engine": _engine(config).installed(), "rollout_engine_plugin": _engine(config).version}
    if config.rollout_model is not None:
        found["rollout_model"] = digest(find_model(config.rollout_model, "task.rollout_model").identity)
    return found


def _engine(config: RolloutSettings) -> EngineSpec:
    spec = find_plugins().engine(config.rollout_engine)
    if spec.served:
        raise ConfigError(
            f"{spec.name} gives no token ids, which training on rollouts needs",
            where="task.rollout_engine",
            do="use an engine that loads the model's weights",
        )
    return spec


def sampled_model(config: RolloutSettings, start: StartModel) -> StartModel:
    """Return the model to sample.

    Raises:
        ConfigError: Its tokens or its chat template differ from those of the model that is trained.
    """
    if config.rollout_model is None:
        return start
    source = find_model(config.rollout_model, "task.rollout_model")
    other = start.other(source.folder(), digest(source.identity))
    ours, theirs = start.renderer, other.renderer
    if ours.template_identity != theirs.template_identity or ours.tokenizer.get_vocab() != theirs.tokenizer.get_vocab():
        raise ConfigError(
            "its vocabulary or chat template differs from the trained model's, so its tokens mean other text",
            where=f"task.rollout_model = {config.rollout_model}",
            do="sample a model of the same family",
        )
    return other


def kept_rows(
    names: Sequence[str],
    new: Callable[[str], Live],
    row: Callable[[Live], Row],
    model: StartModel,
    config: RolloutSettings,
    made_of: Mapping[str, Any],
    at_once: int | None = None,
) -> tuple[list[Row], dict[str, Any], Path]:
    """The rollouts of some examples: from the cache, or sampled into it.

    Args:
        names: The examples.
        new: Makes a fresh episode of an example, with the limits of sampling.
        row: What is kept of an episode that has ended, JSON-able.
        model: The model to sample.
        config: Number of samples, sampling settings and engine.
        made_of: Identity of everything else that they depend on.
        at_once: Most episodes that exist at a time; None makes all at the beginning.

    Returns:
        One row per rollout that did not crash, with ``entry`` (the example) and ``sample`` (its number) added; facts
        for the manifest; and the folder, for errors.

    Raises:
        CorruptCellError: The cache is damaged; the message names what to delete.
        RunError: Every rollout crashed.
    """
    key = {
        "schema": SCHEMA,
        "model": model.weights_sha256,
        "template": model.renderer.template_identity,
        **made_of,
        "entries": list(names),
        "samples": config.rollout_samples,
        "sampling": sampling(config).model_dump(mode="json"),
        "engine": _engine(config).installed(),
        "engine_plugin": _engine(config).version,
    }
    folder = cache_dir() / "rollouts" / short(digest(key))
    with lock(folder):
        kept = is_done(folder)
        if kept:
            say(f"rollouts: read from {folder}", None)
        else:
            _sample(folder, key, [name for name in names for _ in range(config.rollout_samples)], new, row, model,
                    config, at_once)  # fmt: skip
        sha256 = verified(folder, ROWS)
        with (folder / ROWS).open(encoding="utf-8") as lines:
            rows: list[Row] = [json.loads(line) for line in lines]
    # Text sampled on another machine may differ under the same identity: its sha256 shows the difference.
    facts = {"from_cache": kept, "sha256": sha256, **read_json(folder / FACTS)}
    if facts["crashed"]:
        say(f"rollouts: {facts['crashed']} of {len(rows)} crashed and are left out: {facts['errors'][0]}", None)
    return [row for row in rows if row["stop"] != StopReason.ERROR], facts, folder


def _sample(
    folder: Path,
    key: dict[str, Any],
    wanted: Sequence[str],
    new: Callable[[str], Live],
    row: Callable[[Live], Row],
    model: StartModel,
    config: RolloutSettings,
    at_once: int | None,
) -> None:
    """Play every example as often as requested, and cache what is kept of it."""
    how = sampling(config)
    goes_on = ", continued" if (folder / JOURNAL).is_file() else ""
    say(f"rollouts: sampling {len(wanted)} with {key['engine']}{goes_on}", None)
    started = time.perf_counter()
    with model.engine(how) as engine, model.bar("rollouts", len(wanted)) as advance:
        ready = time.perf_counter()
        journal = JournaledGenerator(engine, folder / JOURNAL, digest(key))
        played = play_all(
            lambda i: new(wanted[i]),
            [mixed_seed(how.seed, i) for i in range(len(wanted))],
            ChatGenerator(journal, model.renderer, how.max_context),
            Sampling(how.max_tokens, how.temperature, how.top_p),
            lambda ended: advance(ended, len(wanted)),
            at_once,
        )
        described = engine.describe()
    rows = [
        {"entry": name, "sample": i % config.rollout_samples, "stop": live.stop, "error": live.error, **row(live)}
        for i, (name, live) in enumerate(zip(wanted, played, strict=True))
    ]
    errors = [row["error"] for row in rows if row["stop"] == StopReason.ERROR]
    if len(errors) == len(rows):
        raise RunError(f"every rollout crashed: {errors[0]}", where=str(folder), do="fix that and run again")
    facts = {
        "sampled": len(rows),
        "crashed": len(errors),
        "errors": errors,
        "stops": Counter(row["stop"] for row in rows),
        "tokens": sum(live.tokens for live in played),
        "seconds": {"engine": ready - started, "sampling": time.perf_counter() - ready},
        "engine": described,
        "journal": journal.facts(),
        "identity": key,
    }
    write_text(folder / ROWS, "".join(f"{json.dumps(row)}\n" for row in rows))
    write_json(folder / FACTS, facts)
    mark_done(folder, [folder / ROWS, folder / FACTS])
    (folder / JOURNAL).unlink()
