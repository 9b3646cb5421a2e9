"""Rollouts: episodes that a model plays on training scenarios, sampled once and kept in the cache.

The cache contains the model's answers: ids, their log-probabilities, text. Episodes are made by playing the answers
again through the loop, also right after sampling. So rewards and the tools' answers are always computed here, in only
one way.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import (
    ChatGenerator,
    ConfigError,
    EngineSpec,
    JournaledGenerator,
    Message,
    Need,
    RunError,
    Sampling,
    StartModel,
    StopReason,
    cache_dir,
    corrupt,
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
from shiqbench_tasks.bfcl_v3.rewards import ROLLOUT, Played

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.config import BfclConfig
    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.loop import Dialogue

SCHEMA = 1  # of the cached files; if the number changes, rollouts are sampled again
ROWS, FACTS, JOURNAL = "rollouts.jsonl", "facts.json", ".journal.jsonl"

Row = dict[str, Any]


def offers(config: BfclConfig) -> frozenset[Need]:
    """Needs of algorithms that rollouts meet; only at temperature 1 do they follow the model's own policy."""
    found: set[Need] = set()
    if config.has_rollouts and config.rollout_temperature == 1:
        if config.behaviours == (ROLLOUT,):
            found.add("behaviour_logp")
        if config.rollout_model is None:  # the model that training starts from is the reference
            found.add("reference_returns")
    return frozenset(found)


def identity(config: BfclConfig) -> dict[str, str]:
    """Identities that rollouts depend on, in addition to the configuration and the model that training starts from.

    Raises:
        ConfigError: There is no such engine or model.
    """
    if not config.has_rollouts:
        return {}
    found = {"rollout_engine": _version(config), "rollout_engine_plugin": _engine(config).version}
    if config.rollout_model is not None:
        found["rollout_model"] = digest(find_model(config.rollout_model, "task.rollout_model").identity)
    return found


def _engine(config: BfclConfig) -> EngineSpec:
    spec = find_plugins().engine(config.rollout_engine)
    if spec.served:
        raise ConfigError(
            f"{spec.name} gives no token ids, which training on rollouts needs",
            where="task.rollout_engine",
            do="use an engine that loads the model's weights",
        )
    return spec


def _version(config: BfclConfig) -> str:
    return _engine(config).installed()


def sampled_model(config: BfclConfig, start: StartModel) -> StartModel:
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


def played_rollouts(
    entries: Sequence[Entry],
    new: Callable[[Entry], Dialogue],
    model: StartModel,
    config: BfclConfig,
    made_of: dict[str, str],
) -> tuple[list[Played], dict[str, Any]]:
    """The rollouts of some scenarios: from the cache, or sampled into it.

    Args:
        entries: The scenarios.
        new: Makes a fresh episode, with the limits of sampling.
        model: The model to sample.
        config: Number of samples, sampling settings and engine.
        made_of: Identity of the data and of the prompt.

    Returns:
        The episodes that did not crash, and facts for the manifest.

    Raises:
        CorruptCellError: The cache is damaged, or episodes play differently now; the message names what to delete.
    """
    key = {
        "schema": SCHEMA,
        "model": model.weights_sha256,
        "template": model.renderer.template_identity,
        "parser": config.parser,
        "made_of": made_of,
        "entries": [entry.id for entry in entries],
        "samples": config.rollout_samples,
        "sampling": config.sampling().model_dump(mode="json"),
        "engine": _version(config),
        "engine_plugin": _engine(config).version,
    }
    folder = cache_dir() / "rollouts" / short(digest(key))
    with lock(folder):
        kept = is_done(folder)
        if kept:
            say(f"rollouts: read from {folder}", None)
        else:
            _sample(folder, key, entries, new, model, config)
        sha256 = verified(folder, ROWS)
        with (folder / ROWS).open(encoding="utf-8") as lines:
            rows: list[Row] = [json.loads(line) for line in lines]
    by_id = {entry.id: entry for entry in entries}
    played = []
    for row in rows:
        if row["stop"] == StopReason.ERROR:
            continue
        dialogue = _played_again(row, new(by_id[row["entry"]]), folder)
        played.append(Played(f"{row['entry']}/{row['sample']}-{ROLLOUT}", ROLLOUT, dialogue, dialogue.verdict()))
    # Text sampled on another machine may differ under the same identity: its sha256 shows the difference.
    facts = {"from_cache": kept, "sha256": sha256, **read_json(folder / FACTS)}
    if facts["crashed"]:
        say(f"rollouts: {facts['crashed']} of {len(rows)} crashed and are left out: {facts['errors'][0]}", None)
    return played, facts


def _sample(
    folder: Path,
    key: dict[str, Any],
    entries: Sequence[Entry],
    new: Callable[[Entry], Dialogue],
    model: StartModel,
    config: BfclConfig,
) -> None:
    """Play every scenario as often as requested, all at once, and cache the model's answers."""
    how = config.sampling()
    wanted = [entry for entry in entries for _ in range(config.rollout_samples)]
    goes_on = ", continued" if (folder / JOURNAL).is_file() else ""
    say(f"rollouts: sampling {len(wanted)} with {key['engine']}{goes_on}", None)
    started = time.perf_counter()
    with model.engine(how) as engine, model.bar("rollouts", len(wanted)) as advance:
        ready = time.perf_counter()
        journal = JournaledGenerator(engine, folder / JOURNAL, digest(key))
        chat = ChatGenerator(journal, model.renderer, how.max_context)
        dialogues = play_all(
            lambda i: new(wanted[i]),
            [mixed_seed(how.seed, i) for i in range(len(wanted))],
            chat,
            Sampling(how.max_tokens, how.temperature, how.top_p),
            lambda ended: advance(ended, len(wanted)),
        )
        described = engine.describe()
    rows = [_row(dialogue, i % config.rollout_samples) for i, dialogue in enumerate(dialogues)]
    errors = [row["error"] for row in rows if row["stop"] == StopReason.ERROR]
    if len(errors) == len(rows):
        raise RunError(f"every rollout crashed: {errors[0]}", where=str(folder), do="fix that and run again")
    facts = {
        "sampled": len(rows),
        "crashed": len(errors),
        "errors": errors,
        "stops": Counter(row["stop"] for row in rows),
        "tokens": sum(dialogue.tokens for dialogue in dialogues),
        "seconds": {"engine": ready - started, "sampling": time.perf_counter() - ready},
        "engine": described,
        "journal": journal.facts(),
        "identity": key,
    }
    write_text(folder / ROWS, "".join(f"{json.dumps(row)}\n" for row in rows))
    write_json(folder / FACTS, facts)
    mark_done(folder, [folder / ROWS, folder / FACTS])
    (folder / JOURNAL).unlink()


def _row(dialogue: Dialogue, sample: int) -> Row:
    said = [(m.content, m.token_ids, m.behaviour_logp) for m in dialogue.messages if m.action]
    return {
        "entry": dialogue.entry.id,
        "sample": sample,
        "stop": dialogue.stop,
        "error": dialogue.error,
        "transcript": _transcript(dialogue),
        "said": said,
    }


def _transcript(dialogue: Dialogue) -> str:
    """Sha256 over the whole conversation, which is the text that the model received when it answered."""
    return digest([[m.role, m.content] for m in dialogue.messages])


def _played_again(row: Row, dialogue: Dialogue, folder: Path) -> Dialogue:
    """Play a fresh episode with the answers that were sampled.

    Raises:
        CorruptCellError: The episode differs from the sampled one, for example with another version of the tools.
    """
    for text, ids, logp in row["said"]:
        if dialogue.stop is None:
            message = Message("assistant", text, action=True, token_ids=tuple(ids), behaviour_logp=tuple(logp))
            dialogue.answer(message, tokens=len(ids))
    if row["stop"] == StopReason.CONTEXT_LIMIT and dialogue.stop is None:
        dialogue.no_room(0, 0)
    if (dialogue.stop, _transcript(dialogue)) != (row["stop"], row["transcript"]):
        raise corrupt(folder, f"rollout {row['sample']} of {row['entry']} does not play as it did when it was sampled")
    return dialogue
