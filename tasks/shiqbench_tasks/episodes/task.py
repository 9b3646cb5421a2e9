"""The task.

Dataset: episodes of the user's own, in one of several known forms, split by prompt.
Metric: mean score of the model's answers at held-out places of recorded conversations, by a Python function, a judge,
or a reward model whose held-out accuracy is shown next to it.
Reward: that of the file on each action; centred or scaled only where asked.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.plugin import (
    Answered,
    ChatGenerator,
    ConfigError,
    Episode,
    EvalConfig,
    EvaluationContext,
    FrontAxes,
    Metrics,
    Pair,
    Primary,
    Record,
    RecordView,
    Registry,
    Scores,
    Split,
    StopReason,
    Task,
    TaskConfig,
    say,
)
from shiqbench_tasks.answers import divergence, judge, judging, notes, playing, shown
from shiqbench_tasks.answers.scoring import HeldOut, Scorer
from shiqbench_tasks.episodes import function, told
from shiqbench_tasks.episodes.config import DEFAULT_REWARD_MODEL, EpisodesConfig
from shiqbench_tasks.episodes.metrics import summarise
from shiqbench_tasks.episodes.questions import pairs, turns
from shiqbench_tasks.episodes.reading import read
from shiqbench_tasks.rows.returns import transformation, with_returns
from shiqbench_tasks.rows.sources import locate, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shiqbench.plugin import StartModel
    from shiqbench_tasks.episodes.questions import Turn
    from shiqbench_tasks.episodes.reading import Data, Recorded
    from shiqbench_tasks.rows.sources import Source

STANDING = tuple(f"held_out_{f.name}" for f in fields(HeldOut))
FUNCTION = "score the answers by a function: --set task.score=FILE.py:function"


class EpisodesTask(Task):
    """Continuing recorded conversations."""

    scores: ClassVar[Mapping[str, Scores]] = {
        # Many functions say right or wrong.
        "score": Scores("group", "score", share=None, without={"stop": StopReason.CONTEXT_LIMIT.value, "scored": "no"})
    }
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("kl_k3", "KL nats", ".3g"),
        ("tokens_per_answer", "tokens", ".0f"),
        ("unique_bigrams", "unique bigrams", ".2f"),
    )
    reward_columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("reward_accuracy", "reward model's accuracy", ".3f"),
        ("reward_accuracy_low", "accuracy, low", ".3f"),
        ("reward_accuracy_high", "accuracy, high", ".3f"),
    )
    front: ClassVar[FrontAxes | None] = FrontAxes(
        "group", "k3", "score", "KL from the reference, nats an answer (k3)", "mean score"
    )
    record_view: ClassVar[RecordView] = RecordView(
        conversation="prompt", answer="answer", verdict=("score",), omit=("sample_ids",)
    )
    config: EpisodesConfig

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self._scorer: Scorer | None = None
        self._facts: dict[str, Any] = {}
        self._judge_facts: dict[str, float] | None = None

    def table_columns(self) -> tuple[tuple[str, str, str], ...]:
        """What the reward model is worth, too, if one scores."""
        return (*self.columns, *self.reward_columns) if self.config.scored_by == "reward model" else self.columns

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """The sha256 of local data, the name and commit of a hub's."""
        return _locate(config).identity

    def use_registry(self, found: Registry) -> None:
        """Find the reward model, if one scores."""
        config = self.config
        if config.scored_by == "reward model":
            name = config.reward_model or DEFAULT_REWARD_MODEL
            self._scorer = Scorer(name, config.reward, config.held_out_pairs, found)

    def scoring_identity(self) -> dict[str, Any]:
        """The data, and who scores the answers."""
        config, found = self.config, {"data": self.data_identity(self.config)}
        if config.score is not None:
            return {**found, "score": function.identity(config.score)}
        if config.judge is not None:
            return {**found, "judge": judge.identity(config.judge)}
        assert self._scorer is not None
        return {**found, "reward": self._scorer.identity}

    def fetch(self) -> None:
        """Read the data and look at who scores, so that what is wrong is said before anything is written."""
        too_long = len(self._data.episodes["train"]) - len(self._trained)
        for line in told.lines(self._data, too_long, self.config.data):
            say(line, None)
        if self.config.score is not None:
            self._function  # noqa: B018 - loads it
        elif self.config.judge is not None:
            self._asked("test")
            judging.check(self.config.judge)
        elif self._scorer is not None:
            self._asked("test")
            self._scorer.check(*self._pairs, f"give episodes of one prompt with different rewards, or {FUNCTION}")

    def use_model(self, model: StartModel) -> None:
        """Refuse a chat template that leaves out a part of the data."""
        everything = turns(self._data.all, "all")
        thoughts = ((t, r.message) for t in everything for r in t.recorded if r.message.extra.get("reasoning_content"))
        shown.check(everything, thoughts, model.renderer, "leave them out of the data")
        for each in self._data.all:
            if any(m.action and "tool_calls" in m.extra for m in each.episode.messages):
                model.renderer.render(each.episode)  # refuses calls that the template does not show
                break

    @cached_property
    def _data(self) -> Data:
        return read(rows(_locate(self.config)), self.config, self.config.data)

    @cached_property
    def _function(self) -> function.ScoringFunction:
        assert self.config.score is not None
        return function.ScoringFunction(self.config.score)

    @cached_property
    def _trained(self) -> list[Recorded]:
        """Training episodes that are short enough."""
        longest, found = self.config.longest_episode, self._data.episodes["train"]
        return [e for e in found if longest is None or sum(len(m.content) for m in e.episode.messages) <= longest]

    @cached_property
    def _pairs(self) -> tuple[list[Pair], list[Pair]]:
        """For the reward model: to learn from, and to be measured on."""
        train, validation = (turns(self._data.episodes[split], "all") for split in ("train", "validation"))
        return pairs(train), pairs(validation)

    @cached_property
    def _known(self) -> dict[str, Turn]:
        return {t.id: t for t in turns(self._data.all, self.config.turns)}

    def _asked(self, split: Split) -> list[Turn]:
        """The turns of a split that can be scored.

        Raises:
            ConfigError: There is none.
        """
        everything = turns(self._data.episodes[split], self.config.turns)
        found = [t for t in everything if self.config.score is not None or t.is_text]
        if not found:
            calls = f"; {len(everything)} are answered by tool calls, which only a function can score"
            raise ConfigError(
                f"no turn of {split} to score" + (calls if everything else ""),
                where="task.data",
                do=FUNCTION if everything else "give more data, or a split in every row",
            )
        return found

    def episodes(self, split: Split) -> list[Episode]:
        """The recorded episodes, with returns."""
        recorded = self._trained if split == "train" else self._data.episodes[split]
        if not self._trained:
            raise ConfigError("every episode is too long", where="task.longest_episode", do="raise it")
        earned = [e.episode.total_reward for e in self._trained]
        how = transformation(earned, self.config.centre, self.config.scale)
        self._facts = {"episodes": len(recorded), "returns": asdict(how)}
        return with_returns([e.episode for e in recorded], how, self.config.centre)

    def facts(self) -> dict[str, Any]:
        """Counts of what was read and left out, how returns came about, and who scores."""
        return {
            "data": self._data.facts(),
            "episodes": self._facts,
            "scored_by": self.config.scored_by,
            "reward_model": self._scorer.facts() if self._scorer else None,
            "judge": self._judge_facts,
        }

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Answer every turn of the split, once per repeat."""
        if config.split == "train" and self._scorer is not None and self._scorer.model.trains:
            raise ConfigError(
                "the reward model is trained on this split", where="eval.split=train", do="take another one"
            )
        records = playing.answer_repeats(self._asked(config.split)[: config.examples], chat, config, progress)
        for r in records:
            r["group"] = self._known[r["id"]].group
        return records

    def complete_records(self, records: list[Record], context: EvaluationContext) -> list[Record]:
        """Distance to the reference, and scores."""
        answered = [r for r in records if r["stop"] != StopReason.CONTEXT_LIMIT]
        divergence.add(answered, self._known, context)
        asked = [self._known[r["id"]] for r in answered]
        for r, score in zip(answered, self._scores(answered, asked, context), strict=True):
            r |= {"score": score, "scored": "no" if score is None else "yes"}
        return records

    def _scores(
        self, answered: Sequence[Record], asked: Sequence[Turn], context: EvaluationContext
    ) -> list[float] | list[float | None]:
        if self.config.score is not None:
            return [self._function(t, r["answer"]) for r, t in zip(answered, asked, strict=True)]
        if self.config.judge is not None:
            others = {"chosen": [t.best.message.content for t in asked]}
            self._judge_facts = judging.add_opinions(self.config.judge, answered, asked, others)
            return [r["judged_chosen"] for r in answered]
        assert self._scorer is not None
        self._scorer.fit(self._pairs[0])
        untrained = context.base()
        if untrained is None:
            held_out = {f"held_out_{n}": v for n, v in asdict(self._scorer.measure(*self._pairs)).items()}
        else:  # measured once, for the untrained model under the same setting
            held_out = next({n: r[n] for n in STANDING} for r in untrained if r.get(STANDING[0]) is not None)
        for r in answered:
            r |= held_out
        return self._scorer.score([Answered(t.asked, r["answer"]) for r, t in zip(answered, asked, strict=True)])

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """The mean score, and what it takes to read it."""
        values = summarise(records)
        return Metrics(Primary.of(values, "score"), values)

    def notes(self, metrics: Mapping[str, float]) -> list[str]:
        """What the reward model is worth, if one scores; answers that were cut."""
        worth = []
        if "reward_accuracy" in metrics:  # a report does not know where a function lies
            worth = [notes.of_reward_model(self.config.reward_model or DEFAULT_REWARD_MODEL, metrics)]
        return [*worth, *notes.of_answers(metrics)]


def _locate(config: TaskConfig) -> Source:
    assert isinstance(config, EpisodesConfig)
    if not config.data:
        raise ConfigError("no data are given", where="task.data", do="--set task.data=FILE, see docs/episodes.md")
    return locate(config.data, config.revision)
