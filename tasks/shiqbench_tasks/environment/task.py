"""The task.

Dataset: the examples of an environment that somebody else wrote, in its own splits or held out by hash.
Metric: mean return of an episode.
Reward: what the environment gives for each message of the model; centred only where asked.

The model learns offline, from rollouts of the model that training starts from.
"""

from __future__ import annotations

from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.plugin import (
    ChatGenerator,
    ConfigError,
    EnvironmentEpisode,
    Episode,
    EvalConfig,
    Message,
    Metrics,
    Primary,
    Record,
    RecordView,
    Scores,
    Split,
    StartModel,
    StopReason,
    Task,
    TaskConfig,
    digest,
    play_environments,
)
from shiqbench_tasks.environment.client import Client, describe
from shiqbench_tasks.environment.config import EnvironmentConfig
from shiqbench_tasks.environment.metrics import summarise
from shiqbench_tasks.rows import rollouts
from shiqbench_tasks.rows.returns import transformation, with_returns
from shiqbench_tasks.rows.rollout_settings import ROLLOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shiqbench_tasks.rows.rollouts import Row

PLAYING = 1  # raise it if episodes of the same messages come to other records


class EnvironmentTask(Task):
    """Playing environments of others."""

    scores: ClassVar[Mapping[str, Scores]] = {
        # Many games are won or lost.
        "return": Scores("id", "return", share=None, without={"stop": StopReason.ERROR.value}),
    }
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("finished", "finished", ".2f"),
        ("crashed", "crashed", ".0f"),
        ("steps_per_episode", "steps", ".1f"),
        ("tokens_per_episode", "tokens", ".0f"),
    )
    record_view: ClassVar[RecordView] = RecordView(
        conversation="transcript", verdict=("return", "stop", "error", "steps"), omit=("token_ids",)
    )
    config: EnvironmentConfig

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self.offers = rollouts.offers(self.config)
        self._model: StartModel | None = None
        self._facts: dict[str, Any] = {}

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """Name, version and examples of the environment, as its program says, and the files of the command line."""
        assert isinstance(config, EnvironmentConfig)
        return describe(config)[1]

    @classmethod
    def offline_identity(cls, config: TaskConfig) -> dict[str, str]:
        """Identity of the engine and the model that sample rollouts."""
        assert isinstance(config, EnvironmentConfig)
        return rollouts.identity(config)

    def prompt_identity(self) -> str:
        """How episodes are played; the environment writes the prompts."""
        return digest(["environment", PLAYING])

    def fetch(self) -> None:
        """Ask the program to describe itself, so that one that does not work is found before training."""
        describe(self.config)

    def use_model(self, model: StartModel) -> None:
        """Rollouts need a model."""
        self._model = rollouts.sampled_model(self.config, model)

    def _examples(self, split: Split) -> tuple[str, ...]:
        found, _ = describe(self.config)
        if not found.examples[split]:
            sizes = ", ".join(f"{len(ids)} in {name}" for name, ids in found.examples.items())
            raise ConfigError(
                f"no example in {split}; there are {sizes}",
                where="task.environment",
                do="give more examples, or another split",
            )
        return found.examples[split]

    def _at_once(self) -> int | None:
        return self.config.at_once or describe(self.config)[0].at_once

    def episodes(self, split: Split) -> list[Episode]:
        """Rollouts of the start model on training examples, the same in every process; other splits are not sampled."""
        if split != "train":
            return []
        if self._model is None:
            raise RuntimeError("rollouts need a model; call use_model() first")
        ids = self._examples(split)[: self.config.train_examples]
        made_of = {
            "made_of": {**self.data_identity(self.config), "prompt": self.prompt_identity()},
            "setting": self.config.setting(),
        }
        how = self.config.sampling()
        limits = {"max_steps": how.max_steps, "max_tokens": how.max_episode_tokens}
        with Client(self.config) as client:
            rows, facts, _ = rollouts.kept_rows(
                ids,
                lambda name: EnvironmentEpisode(name, client.environment(name), **limits),
                lambda live: {"messages": [_written(m) for m in live.messages]},
                self._model,
                self.config,
                made_of,
                self._at_once(),
            )
        found = _centred([_episode(row) for row in rows], self.config)
        self._facts = {
            "rollout": facts,
            "returns": {"mean": fmean(e.meta["earned"] for e in found), "centre": self.config.centre},
        }
        return found

    def facts(self) -> dict[str, Any]:
        """What is played, and facts about the rollouts that were read last."""
        found, identity = describe(self.config)
        return {
            "environment": identity,
            "examples": {split: len(ids) for split, ids in found.examples.items()},
            "data": self._facts,
            "sampled_tokens": self._facts.get("rollout", {}).get("tokens", 0),
        }

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Play every example of the split once per repeat."""
        ids = self._examples(config.split)[: config.examples]
        with Client(self.config) as client:
            client.running()
            new = {name: partial(client.environment, name) for name in ids}
            return play_environments(new, chat, config, progress, self._at_once())

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Mean return over episodes, with Student's interval over examples."""
        values = summarise(records)
        return Metrics(Primary.of(values, "return"), values)

    def notes(self, metrics: Mapping[str, float]) -> list[str]:
        """Episodes that have no score."""
        crashed = metrics.get("crashed", 0.0)
        return [f"{crashed:.0f} episodes crashed twice and have no return; see error in the records"] if crashed else []


def _written(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.action:
        found |= {"reward": message.reward, "ids": message.token_ids, "logp": message.behaviour_logp}
    return found


def _read(kept: dict[str, Any]) -> Message:
    if "ids" not in kept:
        return Message(kept["role"], kept["content"])
    return Message(
        kept["role"],
        kept["content"],
        action=True,
        reward=kept["reward"],
        token_ids=tuple(kept["ids"]),
        behaviour_logp=tuple(kept["logp"]),
    )


def _episode(row: Row) -> Episode:
    name = row["entry"]
    messages = tuple(_read(m) for m in row["messages"])
    return Episode(f"{name}/{row['sample']}-{ROLLOUT}", name, ROLLOUT, messages, meta={"stop": row["stop"]})


def _centred(episodes: Sequence[Episode], config: EnvironmentConfig) -> list[Episode]:
    """Subtract the centre, and tell each episode the returns of its example's rollouts on the same scale."""
    how = transformation([e.total_reward for e in episodes], config.centre, "none")
    found = with_returns(episodes, how, config.centre)
    return rollouts.with_reference_returns(found) if "reference_returns" in rollouts.offers(config) else found
