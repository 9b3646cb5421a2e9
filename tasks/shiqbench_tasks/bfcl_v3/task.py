"""The task.

Dataset: BFCL multi-turn, four categories, two pinned versions, split by scenario.
Metric: share of right turns, or of valid episodes.
Reward: 1/turns per right turn, or 1 per valid episode.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.assets import fetch, say
from shiqbench.episode import Message, StopReason
from shiqbench.errors import ConfigError
from shiqbench.generation import Sampling
from shiqbench.intervals import clustered_wilson
from shiqbench.task import Metrics, Primary, Task
from shiqbench_tasks.bfcl_v3 import offline, prompt
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import load_entries, split_entries
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, play
from shiqbench_tasks.bfcl_v3.native import NativePrompt, native_identity
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt, official_identity
from shiqbench_tasks.bfcl_v3.recorded import read_recording, recording_sha256
from shiqbench_tasks.bfcl_v3.rewards import as_episodes
from shiqbench_tasks.bfcl_v3.scoring import ErrorType
from shiqbench_tasks.bfcl_v3.versions import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.config import EvalConfig, TaskConfig
    from shiqbench.episode import Episode
    from shiqbench.generation import ChatGenerator
    from shiqbench.start_model import StartModel
    from shiqbench.task import Record, Split
    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.prompt import PromptSetting

WAVES_PER_REPEAT = 1_000_000  # more than any repeat has; keeps the seeds of repeats apart


class BfclTask(Task):
    """Operating simulated tools over several turns."""

    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("valid", "valid", ".3f"),
        ("parseable", "parse", ".2f"),
        ("do_nothing", "idle", ".2f"),
        ("tokens_per_episode", "tokens", ".0f"),
        ("steps_per_episode", "steps", ".1f"),
    )
    config: BfclConfig

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self.version = VERSIONS[self.config.data_version]
        self._facts: dict[str, Any] = {}
        self._native: PromptSetting | None = None

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """The pinned wheel."""
        assert isinstance(config, BfclConfig)
        wheel = VERSIONS[config.data_version].wheel
        return {"package": wheel.name, "version": wheel.version, "sha256": wheel.sha256}

    @classmethod
    def offline_identity(cls, config: TaskConfig) -> dict[str, str]:
        """The recorded folder."""
        assert isinstance(config, BfclConfig)
        if config.recorded is None:
            return {}
        return {"recorded": recording_sha256(Path(config.recorded).expanduser())}

    def fetch(self) -> None:
        """Get the pinned wheel into the cache."""
        _ = self._root

    @cached_property
    def _root(self) -> Path:
        return fetch(self.version.wheel)

    def meet(self, model: StartModel) -> None:
        """Under ``native`` the chat template decides how tools and calls are written."""
        if self.config.prompt == "native":
            self._native = NativePrompt(model.renderer, self.config.parser)

    @property
    def _setting(self) -> PromptSetting:
        if self.config.prompt == "reduced":
            return prompt.REDUCED
        if self.config.prompt == "official":
            return self._official
        if self._native is None:
            raise RuntimeError("prompt native needs a model; call meet() first")
        return self._native

    @cached_property
    def _official(self) -> PromptSetting:
        return OfficialPrompt(self._root, self.version.name)

    def prompt_identity(self) -> str:
        """Sha256 over what the model is told and how a turn ends, known before anything is fetched."""
        sha256 = self.version.wheel.sha256
        if self.config.prompt == "official":
            return official_identity(sha256)
        if self.config.prompt == "native":
            return native_identity(sha256)
        return prompt.reduced_identity(sha256, announces="miss_func" in self.config.categories)

    def episodes(self, split: Split) -> list[Episode]:
        """Ground truth and perturbed episodes, the same in every process."""
        entries = self._entries(split)
        if split == "train" and self.config.scenarios is not None:
            entries = entries[: self.config.scenarios * len(self.config.categories)]
        config = self.config
        played = offline.played_scripts(entries, self._root, config, self._setting)
        facts: dict[str, Any] = {}
        if config.recorded is not None:
            recording = read_recording(Path(config.recorded).expanduser(), self._root, self.version, entries)
            again = offline.played_recording(recording, self._root, self._setting)
            facts = {"recorded": offline.recording_facts(recording, again)}
            for line in offline.recording_notices(facts["recorded"]):
                say(line, None)
            played += again
        found = as_episodes(played, config.reward, config.centre, config.call_penalty)
        self._facts = {**offline.data_facts(found), **facts}
        return found

    def _entries(self, split: Split) -> list[Entry]:
        return split_entries(self._root, self.config.categories, split, self.version)

    def facts(self) -> dict[str, Any]:
        """The data's sha256 by category, how calls are read, and what the episodes last made consist of."""
        return {
            "data_version": self.version.name,
            "sha256": {category: self.version.sha256[category] for category in self.config.categories},
            "prompt": self.config.prompt,
            "parser": self._setting.parser,
            "data": self._facts,
        }

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Play every example to its end; all live episodes step together."""
        if self.config.prompt == "native":  # the evaluated model may be another than the one met before
            self._native = NativePrompt(chat.renderer, self.config.parser)
        entries = self._entries(config.split)[: config.examples]
        records: list[Record] = []
        for repeat in range(config.repeats):
            report = partial(_report, progress, len(records), len(entries) * config.repeats)
            dialogues = self._play(chat, config, entries, repeat, report)
            records += [_record(dialogue, repeat) for dialogue in dialogues]
        return records

    def _play(
        self,
        chat: ChatGenerator,
        config: EvalConfig,
        entries: Sequence[Entry],
        repeat: int,
        finished: Callable[[int], None],
    ) -> list[Dialogue]:
        setting = self._setting
        limits = Limits(config.max_steps, config.max_episode_tokens, setting.as_official)
        dialogues = [Dialogue(entry, self._root, limits, setting) for entry in entries]
        _check_room(chat, config, dialogues)
        wave = 0
        while live := [d for d in dialogues if d.stop is None]:
            seed = (config.seed + repeat) * WAVES_PER_REPEAT + wave
            sampling = Sampling(config.max_tokens, config.temperature, config.top_p, seed)
            replies = chat.reply([d.messages for d in live], sampling, [d.tools for d in live])
            for dialogue, reply in zip(live, replies, strict=True):
                if reply.message is None:
                    dialogue.no_room(reply.prompt_tokens, config.max_context - config.max_tokens)
                else:
                    dialogue.answer(reply.message, tokens=reply.tokens, prompt_tokens=reply.prompt_tokens)
            wave += 1
            finished(sum(d.stop is not None for d in dialogues))
        return dialogues

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Shares with 95 % intervals that allow for turns and repeats of one scenario being alike."""
        right, counted, valid, episodes = (_per_scenario(records, key) for key in _COUNTS)
        turn_share, turn_low, turn_high = _share(right, counted)
        valid_share, valid_low, valid_high = _share(valid, episodes)
        total = max(1, len(records))
        values = {
            "turn_accuracy": turn_share,
            "turn_accuracy_low": turn_low,
            "turn_accuracy_high": turn_high,
            "valid": valid_share,
            "valid_low": valid_low,
            "valid_high": valid_high,
            "parseable": _ratio(records, "parseable_messages", "assistant_messages"),
            "do_nothing": self._do_nothing(records),
            "episodes": float(len(records)),
            "tokens_per_episode": sum(r["tokens"] for r in records) / total,
            "steps_per_episode": sum(r["assistant_messages"] for r in records) / total,
        }
        stops, errors = Counter(r["stop"] for r in records), Counter(r["error_type"] for r in records)
        values |= {f"stop_{stop}": float(stops[stop]) for stop in StopReason if stop is not StopReason.ERROR}
        values |= {f"error_{kind.value.partition(':')[2]}": float(errors[kind.value]) for kind in ErrorType}
        name = self.config.primary
        primary = Primary(name, values[name], values[f"{name}_low"], values[f"{name}_high"])
        return Metrics(primary, values)

    def _do_nothing(self, records: Sequence[Record]) -> float:
        """Share of right turns of a policy that answers ``[]`` to everything, on the same examples."""
        verdicts = []
        for record in records:
            entry = load_entries(self._root, record["category"], self.version)[record["scenario"]]
            verdicts.append(play(Dialogue(entry, self._root), [()] * len(entry.users)).verdict())
        return sum(v.right_turns for v in verdicts) / max(1, sum(v.counted_turns for v in verdicts))


def _check_room(chat: ChatGenerator, config: EvalConfig, dialogues: Sequence[Dialogue]) -> None:
    """Refuse a setting in which the model could not even begin.

    Raises:
        ConfigError: It says by how much the longest first prompt is too long, and what to do.
    """
    tokens, dialogue = max(
        ((chat.prompt_tokens(d.messages, d.tools), d) for d in dialogues), key=lambda found: found[0], default=(0, None)
    )
    over = tokens + config.max_tokens - config.max_context
    if dialogue is not None and over > 0:
        raise ConfigError(
            f"the first prompt of {dialogue.entry.id} has {tokens} tokens: with eval.max_tokens {config.max_tokens} "
            f"that is {over} more than eval.max_context {config.max_context}",
            where=f"task.prompt = {dialogue.setting.name}",
            do=f"raise it (--set eval.max_context={tokens + config.max_tokens}) or take a shorter prompt setting",
        )


def _report(progress: Callable[[int, int], None], before: int, total: int, finished: int) -> None:
    progress(before + finished, total)


_COUNTS = ("right_turns", "counted_turns", "valid", "episodes")


def _record(dialogue: Dialogue, repeat: int) -> Record:
    """One row: the score, what it cost, and the whole transcript. No times."""
    if dialogue.stop is None:
        raise ValueError(f"episode {dialogue.entry.id} is still being played")
    verdict = dialogue.verdict()
    return {
        "id": dialogue.entry.id,
        "scenario": dialogue.entry.scenario,
        "category": dialogue.entry.category,
        "repeat": repeat,
        "valid": verdict.valid,
        "error_type": verdict.error_type.value if verdict.error_type else None,
        "first_wrong_turn": verdict.first_wrong_turn,
        "right_turns": verdict.right_turns,
        "counted_turns": verdict.counted_turns,
        "turns": json.dumps(verdict.turns),
        "stop": dialogue.stop.value,
        "assistant_messages": dialogue.assistant_messages,
        "parseable_messages": dialogue.assistant_messages - dialogue.malformed_messages,
        "calls": sum(len(step) for turn in dialogue.turns for step in turn.steps),
        "prompt_tokens": dialogue.prompt_tokens,
        "tokens": dialogue.tokens,
        "context_excess": dialogue.context_excess,
        "transcript": json.dumps([_message_json(m) for m in dialogue.messages]),
    }


def _message_json(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.token_ids is not None:
        found["token_ids"] = list(message.token_ids)
    return found


def _per_scenario(records: Sequence[Record], key: str) -> list[float]:
    """Sums over the records of each scenario, in one order for every key."""
    sums: dict[int, float] = {}
    for record in records:
        value = 1 if key == "episodes" else record[key]
        sums[record["scenario"]] = sums.get(record["scenario"], 0.0) + float(value)
    return list(sums.values())


def _share(successes: Sequence[float], trials: Sequence[float]) -> tuple[float, float, float]:
    low, high = clustered_wilson(successes, trials)
    return sum(successes) / max(1.0, sum(trials)), low, high


def _ratio(records: Sequence[Record], part: str, whole: str) -> float:
    return float(sum(r[part] for r in records) / max(1, sum(r[whole] for r in records)))
