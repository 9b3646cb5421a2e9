"""The task.

Dataset: prompts with rated answers (UltraFeedback and its like), split by prompt.
Metric: mean reward of sampled answers, by a reward model whose held-out accuracy is shown next to it.
Reward: an answer's rating, or 1 if it was chosen, or the reward model's score; centred or scaled only where asked.
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
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
    Message,
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
    digest,
    find_plugins,
    say,
)
from shiqbench_tasks.answers import divergence, judge, judging, notes, playing, shown
from shiqbench_tasks.answers.scoring import HeldOut, Scorer
from shiqbench_tasks.rows.sources import locate, rows
from shiqbench_tasks.ultrafeedback import told
from shiqbench_tasks.ultrafeedback.config import UltraFeedbackConfig
from shiqbench_tasks.ultrafeedback.data import read
from shiqbench_tasks.ultrafeedback.metrics import summarise
from shiqbench_tasks.ultrafeedback.returns import (
    as_episodes,
    chosen,
    pairs,
    tied_pairs,
    transformation,
    without_long_answers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shiqbench.plugin import StartModel
    from shiqbench_tasks.ultrafeedback.data import Data, Prompt

STANDING = tuple(f"held_out_{f.name}" for f in fields(HeldOut))


class UltraFeedbackTask(Task):
    """Answering instructions, judged by a reward model."""

    scores: ClassVar[Mapping[str, Scores]] = {
        "reward": Scores("id", "reward", without={"stop": StopReason.CONTEXT_LIMIT.value})
    }
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("win_base", "wins base", ".2f"),
        ("win_chosen", "wins chosen", ".2f"),
        ("kl_k3", "KL nats", ".3g"),
        ("tokens_per_answer", "tokens", ".0f"),
        ("unique_bigrams", "unique bigrams", ".2f"),
        ("reward_accuracy", "reward model's accuracy", ".3f"),
        ("reward_accuracy_low", "accuracy, low", ".3f"),
        ("reward_accuracy_high", "accuracy, high", ".3f"),
    )
    judge_columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("judge_win_base", "judged: wins base", ".2f"),
        ("judge_win_chosen", "wins chosen", ".2f"),
        ("judge_chosen_failed", "failed", ".0f"),
    )
    front: ClassVar[FrontAxes | None] = FrontAxes(
        "id", "k3", "reward", "KL from the reference, nats an answer (k3)", "mean reward"
    )
    record_view: ClassVar[RecordView] = RecordView(
        conversation="prompt",
        answer="answer",
        verdict=("reward", "base_reward", "chosen_reward", "judged_base", "judged_chosen"),
        omit=("sample_ids",),
    )
    config: UltraFeedbackConfig

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self._scorer: Scorer | None = None
        self._facts: dict[str, Any] = {}
        self._judge_facts: dict[str, float] | None = None

    def table_columns(self) -> tuple[tuple[str, str, str], ...]:
        """The judge's too, if there is one."""
        return self.columns if self.config.judge is None else (*self.columns, *self.judge_columns)

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """The sha256 of local data, the name and commit of a hub's."""
        assert isinstance(config, UltraFeedbackConfig)
        return locate(config.data, config.revision).identity

    @classmethod
    def offline_identity(cls, config: TaskConfig) -> dict[str, str]:
        """The reward model, if what is trained on are its labels."""
        assert isinstance(config, UltraFeedbackConfig)
        return {"labels": digest(_labelling(config).identity)} if config.labels == "reward_model" else {}

    def use_registry(self, found: Registry) -> None:
        """Find the reward model."""
        self._scorer = _scorer(self.config, found)

    @property
    def scorer(self) -> Scorer:
        """The reward model."""
        if self._scorer is None:
            raise RuntimeError("no reward model; call use_registry() first")
        return self._scorer

    def scoring_identity(self) -> dict[str, Any]:
        """The data, the reward model, and the judge if there is one."""
        found = {"data": self.data_identity(self.config), "reward": self.scorer.identity}
        return found if self.config.judge is None else {**found, "judge": judge.identity(self.config.judge)}

    def fetch(self) -> None:
        """Read the data and look at the reward model, so that what is wrong is said before anything is written."""
        everyone = self._prompts("train")
        counts = _counts(everyone, without_long_answers(everyone, self.config.longest_answer), self.config.returns)
        if self.config.labels == "reward_model":
            del counts["tied_pairs"]  # not known before the reward model has learned
        for line in told.lines(self._data, counts, self.config.data):
            say(line, None)
        training, validation = self._pairs
        if self._scorer is not None:
            self._scorer.check(training, validation, "give more data, or raise task.longest_prompt")
        if self.config.judge is not None:
            judging.check(self.config.judge)

    def use_model(self, model: StartModel) -> None:
        """Refuse a chat template that leaves out a part of the data."""
        prompts = self._known.values()
        said = ((p, Message("assistant", a.text, extra=a.extra)) for p in prompts for a in p.answers)
        thoughts = ((p, m) for p, m in said if "reasoning_content" in m.extra)
        shown.check(prompts, thoughts, model.renderer, "leave them out: --set task.columns.tools=")

    @cached_property
    def _data(self) -> Data:
        source = locate(self.config.data, self.config.revision)
        return read(rows(source), self.config, self.config.data)

    @cached_property
    def _known(self) -> dict[str, Prompt]:
        return {p.id: p for found in self._data.prompts.values() for p in found}

    @cached_property
    def _pairs(self) -> tuple[list[Pair], list[Pair]]:
        """For the reward model: to learn from, and to be measured on."""
        data, returns = self._data.prompts, self.config.returns
        return pairs(data["train"], returns), pairs(data["validation"], returns)

    def _prompts(self, split: Split) -> list[Prompt]:
        found = self._data.prompts[split]
        return found[: self.config.prompts] if split == "train" else found

    def episodes(self, split: Split) -> list[Episode]:
        """The recorded answers, with returns."""
        config, everyone = self.config, self._prompts(split)
        training = without_long_answers(self._prompts("train"), config.longest_answer)
        prompts = without_long_answers(everyone, config.longest_answer)
        if config.labels == "reward_model":
            scorer = _labelling(config)
            scorer.fit(self._pairs[0])
            training, prompts = _labelled(training, scorer), _labelled(prompts, scorer)
            config = config.model_copy(update={"returns": "rating"})  # their ratings are the labels now
        how = transformation(training, config)
        found = as_episodes(prompts, config, how)
        self._facts = {
            "episodes": len(found),
            **_counts(everyone, prompts, config.returns),
            "returns": {"of": config.returns if config.labels == "data" else config.reward_model, **asdict(how)},
        }
        return found

    def facts(self) -> dict[str, Any]:
        """Counts of what was read and left out, of the episodes last made, how returns came about, and who judges."""
        return {
            "data": self._data.facts(),
            "episodes": self._facts,
            "reward_model": self._scorer.facts() if self._scorer else None,
            "judge": self._judge_facts,
        }

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Answer every prompt of the split, once per repeat."""
        if config.split == "train" and self.scorer.model.trains:
            raise ConfigError(
                f"{self.config.reward_model} is trained on this split", where="eval.split=train", do="take another one"
            )
        prompts = self._prompts(config.split)[: config.examples]
        return playing.answer_repeats(prompts, chat, config, progress)

    def complete_records(self, records: list[Record], context: EvaluationContext) -> list[Record]:
        """Distance to the reference, rewards, and wins."""
        answered = [r for r in records if r["stop"] != StopReason.CONTEXT_LIMIT]
        divergence.add(answered, self._known, context)
        self._add_rewards(answered, context)
        return records

    def _add_rewards(self, records: Sequence[Record], context: EvaluationContext) -> None:
        prompts = [self._known[r["id"]] for r in records]
        best = [chosen(p, self.config.returns) for p in prompts]
        self.scorer.fit(self._pairs[0])
        untrained = context.base()
        if untrained is None:
            untrained = records
            self._add_standing(records, prompts, best)
        base = {(r["id"], r["repeat"]): r for r in untrained}
        mine = self.scorer.score([Answered(p.asked, r["answer"]) for p, r in zip(prompts, records, strict=True)])
        for r, reward in zip(records, mine, strict=True):
            r["reward"] = reward
        for r, text in zip(records, best, strict=True):
            other = base[r["id"], r["repeat"]]
            # What does not depend on the weights was measured once, for the untrained model under the same setting.
            r |= {name: value for name, value in other.items() if name == "chosen_reward" or name in STANDING}
            r["win_chosen"] = _win(r["answer"], r["reward"], text, r["chosen_reward"])
            r["base_reward"] = other["reward"]
            r["win_base"] = _win(r["answer"], r["reward"], other["answer"], other["reward"])
        if self.config.judge is not None:
            others = {"chosen": best, "base": [base[r["id"], r["repeat"]]["answer"] for r in records]}
            self._judge_facts = judging.add_opinions(self.config.judge, records, prompts, others)

    def _add_standing(self, records: Sequence[Record], prompts: Sequence[Prompt], best: Sequence[str]) -> None:
        """What the reward model is worth, and its rewards of the data's best answers."""
        held_out = {f"held_out_{name}": value for name, value in asdict(self.scorer.measure(*self._pairs)).items()}
        theirs = self.scorer.score([Answered(p.asked, b) for p, b in zip(prompts, best, strict=True)])
        for r, reward in zip(records, theirs, strict=True):
            r |= {"chosen_reward": reward, **held_out}

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """The mean reward, and what it takes to read it."""
        values = summarise(records)
        return Metrics(Primary.of(values, "reward"), values)

    def notes(self, metrics: Mapping[str, float]) -> list[str]:
        """What the reward model is worth."""
        return [notes.of_reward_model(self.config.reward_model, metrics), *notes.of_answers(metrics)]


def _counts(everyone: Sequence[Prompt], prompts: Sequence[Prompt], returns: str) -> dict[str, int]:
    """What is left out of training, or not seen by some algorithms; ``prompts`` are without long answers."""
    long = sum(len(p.answers) for p in everyone) - sum(len(p.answers) for p in prompts)
    return {"long_answers": long, "tied_pairs": tied_pairs(prompts, returns)}


def _scorer(config: UltraFeedbackConfig, found: Registry) -> Scorer:
    return Scorer(config.reward_model, config.reward, config.held_out_pairs, found)


def _labelling(config: UltraFeedbackConfig) -> Scorer:
    """The reward model whose scores are trained on.

    Raises:
        ConfigError: No installed package has it; a training knows no plugin file.
    """
    found = find_plugins()
    if config.reward_model not in found.rewards:
        raise ConfigError(
            f"the reward model {config.reward_model} is of no installed package, and labels need one that is",
            where="task.labels=reward_model",
            do="make a package of the plugin file, or use another reward model",
        )
    return _scorer(config, found)


def _labelled(prompts: Sequence[Prompt], scorer: Scorer) -> list[Prompt]:
    """The prompts, with the reward model's scores as ratings of their answers."""
    scores = iter(scorer.score([Answered(p.asked, a.text) for p in prompts for a in p.answers]))
    return [replace(p, answers=tuple(replace(a, rating=next(scores)) for a in p.answers)) for p in prompts]


def _win(mine: str, my_reward: float, theirs: str, their_reward: float) -> float:
    """1, 0, or one half for equal rewards; the same text is equal whatever rounding says."""
    if mine == theirs or my_reward == their_reward:
        return 0.5
    return float(my_reward > their_reward)
