"""The task.

Dataset: BFCL multi-turn, four categories, two pinned versions, split by scenario.
Metric: share of right turns, sum of turn rewards, or share of valid episodes.
Reward: 1/turns per right turn, or 1 per valid episode.
"""

from __future__ import annotations

import sys
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.plugin import (
    ChatGenerator,
    Episode,
    EvalConfig,
    Metrics,
    Primary,
    Record,
    RecordView,
    Sampling,
    Scores,
    Split,
    StartModel,
    StopReason,
    Task,
    TaskConfig,
    digest,
    fetch_wheel,
    mixed_seed,
    play_all,
    say,
)
from shiqbench_tasks.bfcl_v3 import offline, prompt, rollouts
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import load_entries, split_entries
from shiqbench_tasks.bfcl_v3.leaderboard import write_runs
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits, play
from shiqbench_tasks.bfcl_v3.metrics import record, summarise
from shiqbench_tasks.bfcl_v3.native import NativePrompt, native_identity
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt, official_identity
from shiqbench_tasks.bfcl_v3.recorded import read_recording, recording_sha256
from shiqbench_tasks.bfcl_v3.rescoring import rescored
from shiqbench_tasks.bfcl_v3.rewards import as_episodes
from shiqbench_tasks.bfcl_v3.versions import VERSIONS
from shiqbench_tasks.rows.rollouts import sampled_model, with_reference_returns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shiqbench_tasks.bfcl_v3.data import Entry
    from shiqbench_tasks.bfcl_v3.prompt import PromptSetting
    from shiqbench_tasks.bfcl_v3.recorded import Recording
    from shiqbench_tasks.bfcl_v3.rewards import Played

PLAYING = 2  # 1 played in waves, with seeds that depended on the other episodes
CRASHED = {"stop": StopReason.ERROR.value}


class BfclTask(Task):
    """Operating simulated tools over several turns."""

    scores: ClassVar[Mapping[str, Scores]] = {
        "turn_accuracy": Scores("scenario", "right_turns", "counted_turns", share=True, without=CRASHED),
        "turn_reward": Scores("scenario", "turn_reward", share=True, without=CRASHED),
        "valid": Scores("scenario", "valid", share=True, without=CRASHED),
    }
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("turn_reward", "turn reward", ".3f"),
        ("valid", "valid", ".3f"),
        ("parseable", "parse", ".2f"),
        ("do_nothing", "idle", ".2f"),
        ("tokens_per_episode", "tokens", ".0f"),
        ("steps_per_episode", "steps", ".1f"),
    )
    record_view: ClassVar[RecordView] = RecordView(
        conversation="transcript",
        turns="turns",
        calls="steps",
        verdict=("valid", "right_turns", "counted_turns", "error_type", "first_wrong_turn", "stop", "error"),
        omit=("token_ids",),
    )
    formats: ClassVar[tuple[str, ...]] = ("bfcl",)
    config: BfclConfig

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self.offers = rollouts.offers(self.config)
        if self.config.prompt == "native":
            self.needs_tokens = "the chat template, which task.prompt = native reads"
        self.version = VERSIONS[self.config.data_version]
        self._facts: dict[str, Any] = {}
        self._native: PromptSetting | None = None
        self._model: StartModel | None = None

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """Identity of the pinned wheel."""
        assert isinstance(config, BfclConfig)
        wheel = VERSIONS[config.data_version].wheel
        return {"package": wheel.name, "version": wheel.version, "sha256": wheel.sha256}

    @classmethod
    def offline_identity(cls, config: TaskConfig) -> dict[str, str]:
        """Identity of the recorded folder, and of the engine and model that sample rollouts."""
        assert isinstance(config, BfclConfig)
        found = rollouts.identity(config)
        if config.recorded is not None:
            found["recorded"] = recording_sha256(Path(config.recorded).expanduser())
        return found

    def fetch(self) -> None:
        """Fetch the pinned wheel into the cache, and read the recording, so that a wrong one fails before training."""
        _ = self._root
        if self.config.recorded is not None:  # the prompt makes no difference to scores, and may need a model
            self._recording(self._training_entries(), prompt.REDUCED)

    @cached_property
    def _root(self) -> Path:
        return fetch_wheel(self.version.wheel)

    def use_model(self, model: StartModel) -> None:
        """Under ``native`` the chat template decides how tools and calls are written; rollouts need a model."""
        if self.config.prompt == "native":
            self._native = NativePrompt(model.renderer, self.config.parser)
        if self.config.has_rollouts:
            self._model = sampled_model(self.config, model)

    @property
    def _setting(self) -> PromptSetting:
        if self.config.prompt == "reduced":
            return prompt.REDUCED
        if self.config.prompt == "official":
            return self._official
        if self._native is None:
            raise RuntimeError("prompt native needs a model; call use_model() first")
        return self._native

    @cached_property
    def _official(self) -> PromptSetting:
        return OfficialPrompt(self._root, self.version.name)

    def prompt_identity(self) -> str:
        """Sha256 over the text that the model receives, and how it is played; known before anything is fetched."""
        return digest([self._text_identity(), PLAYING])

    def _text_identity(self) -> str:
        sha256 = self.version.wheel.sha256
        if self.config.prompt == "official":
            return official_identity(sha256)
        if self.config.prompt == "native":
            return native_identity(sha256)
        return prompt.reduced_identity(sha256, announces="miss_func" in self.config.categories)

    def episodes(self, split: Split) -> list[Episode]:
        """The episodes of every behaviour in the configuration, the same in every process."""
        entries = self._training_entries() if split == "train" else self._entries(split)
        config = self.config
        played = offline.played_scripts(entries, self._root, config, self._setting)
        facts: dict[str, Any] = {}
        if config.recorded is not None:
            recording, again = self._recording(entries, self._setting)
            facts = {"recorded": offline.recording_facts(recording, again)}
            for line in offline.recording_notices(facts["recorded"]):
                say(line, None)
            played += again
        if config.has_rollouts:
            sampled, facts["rollout"] = self._rollouts(entries)
            played += sampled
        found = as_episodes(played, config.reward, config.centre, config.call_penalty)
        if "reference_returns" in self.offers:
            found = with_reference_returns(found)
        self._facts = {**offline.data_facts(found), **facts}
        return found

    def _rollouts(self, entries: Sequence[Entry]) -> tuple[list[Played], dict[str, Any]]:
        if self._model is None:
            raise RuntimeError("rollouts need a model; call use_model() first")
        made_of = {**self.data_identity(self.config), "prompt": self.prompt_identity()}
        new = partial(self._dialogue, self.config.sampling(), self._setting)
        return rollouts.played_rollouts(entries, new, self._model, self.config, made_of)

    def _dialogue(self, config: EvalConfig, setting: PromptSetting, entry: Entry) -> Dialogue:
        """A fresh episode with the limits of an evaluation."""
        limits = Limits(config.max_steps, config.max_episode_tokens, setting.as_official)
        return Dialogue(entry, self._root, limits, setting)

    def _entries(self, split: Split) -> list[Entry]:
        return split_entries(self._root, self.config.categories, split, self.version)

    def _training_entries(self) -> list[Entry]:
        limit = self.config.scenarios
        return self._entries("train")[: limit * len(self.config.categories) if limit is not None else None]

    def _recording(self, entries: Sequence[Entry], setting: PromptSetting) -> tuple[Recording, list[Played]]:
        assert self.config.recorded is not None
        recording = read_recording(Path(self.config.recorded).expanduser(), self._root, self.version, entries)
        played = offline.played_recording(recording, self._root, setting)
        offline.check_scores(recording, played, self.config.recorded_disagreement, self.config.recorded)
        return recording, played

    def facts(self) -> dict[str, Any]:
        """The data's sha256 by category, the parser of calls, and facts about the episodes that were made last."""
        return {
            "data_version": self.version.name,
            "sha256": {category: self.version.sha256[category] for category in self.config.categories},
            "prompt": self.config.prompt,
            "parser": self._setting.parser,
            "data": self._facts,
            "sampled_tokens": self._facts.get("rollout", {}).get("tokens", 0),
        }

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Play every example of every repeat to its end."""
        if self.config.prompt == "native":  # the evaluated model may differ from the one of use_model
            self._native = NativePrompt(chat.renderer, self.config.parser)
        entries, setting = self._entries(config.split)[: config.examples], self._setting
        new = partial(self._dialogue, config, setting)
        # Repeat r samples as an evaluation with the seed `config.seed + r` does.
        seeds = [config.seed + repeat for repeat in range(config.repeats) for _ in entries]
        dialogues = play_all(
            lambda i: new(entries[i % len(entries)]),
            [mixed_seed(seed, i % len(entries)) for i, seed in enumerate(seeds)],
            chat,
            Sampling(config.max_tokens, config.temperature, config.top_p),
            lambda ended: progress(ended, len(seeds)),
        )
        return [record(d, seed - config.seed, seed) for d, seed in zip(dialogues, seeds, strict=True)]

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Shares with 95 % intervals, metrics over repeats, and the score of doing nothing."""
        values = {**summarise(records), "do_nothing": self._do_nothing(records)}
        name = self.config.primary
        return Metrics(Primary.of(values, name), values)

    def rescore(self, records: Sequence[Record]) -> list[Record] | None:
        """Scores of the transcripts, played again; None under ``native``, which needs the model's template."""
        if self.config.prompt == "native":
            return None
        limits = Limits(max_steps=sys.maxsize)
        found = []
        for r in records:
            entry = load_entries(self._root, r["category"], self.version)[r["scenario"]]
            found.append(rescored(r, Dialogue(entry, self._root, limits, self._setting)))
        return found

    def notes(self, metrics: Mapping[str, float]) -> list[str]:
        """Sets of repeats that pass@k leaves out."""
        out = metrics.get("pass_sets_left_out", 0.0)
        total = out + metrics.get("pass_sets", 0.0)
        return [f"pass@k: {out:.0f} of {total:.0f} sets left out, because a repeat crashed"] if out else []

    def export(
        self, records: Sequence[Record], form: str, folder: Path, target: Path, name: str | None
    ) -> tuple[list[str], list[str]]:
        """Write the records in the leaderboard's layout."""
        return write_runs(records, folder, target, self._root, self.version, name)

    def _do_nothing(self, records: Sequence[Record]) -> float:
        """Share of right turns of a policy that answers ``[]`` to everything, on the same examples."""
        verdicts = []
        for category, scenario in {(r["category"], r["scenario"]) for r in records}:
            entry = load_entries(self._root, category, self.version)[scenario]
            verdicts.append(play(Dialogue(entry, self._root), [()] * len(entry.users)).verdict())
        return sum(v.right_turns for v in verdicts) / max(1, sum(v.counted_turns for v in verdicts))
