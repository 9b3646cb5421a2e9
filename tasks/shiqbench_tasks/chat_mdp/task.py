"""The task.

Dataset: synthetic MDPs as conversations; every episode once, or a fixed sample.
Metric: exact regret over the reference's, lower is better.
Reward: only at the end, or in every turn.

This module does not import torch, so planning many cells is fast. Modules that compute are imported where needed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.plugin import (
    ConfigError,
    Episode,
    FrontAxes,
    Message,
    Metrics,
    Primary,
    RecordView,
    Scores,
    Task,
    digest,
    with_interval,
)
from shiqbench_tasks.chat_mdp import chat
from shiqbench_tasks.chat_mdp.config import ChatMdpConfig
from shiqbench_tasks.chat_mdp.words import PLACES
from shiqbench_tasks.mdp.task import never_negative, same_objective

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shiqbench.plugin import (
        Algorithm,
        AlgorithmConfig,
        ChatGenerator,
        EvalConfig,
        EvaluationContext,
        Record,
        Renderer,
        Split,
        StartModel,
        TaskConfig,
    )
    from shiqbench_tasks.chat_mdp.instances import Instance


class ChatMdpTask(Task):
    """A language model plays MDPs that are solved exactly; its policy is read off its own probabilities."""

    scores: ClassVar[Mapping[str, Scores]] = {"relative_regret": Scores("id", "relative_regret", least=0.0, top=0.0)}
    record_view: ClassVar[RecordView] = RecordView(verdict=("relative_regret", "objective", "best_objective"))
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("objective", "objective", ".3f"),
        ("best_objective", "best", ".3f"),
        ("return", "return", ".3f"),
        ("kl_to_reference", "KL to ref", ".3f"),
        ("valid_mass", "valid mass", ".3f"),
        ("value_error", "value error", ".2g"),
        ("coverage", "coverage", ".2f"),
    )
    front: ClassVar[FrontAxes | None] = FrontAxes(
        "id", "kl_to_reference", "return", "KL from the reference, nats an episode (exact)", "expected return"
    )
    needs_tokens: str = "log-probabilities of every word"
    config: ChatMdpConfig

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self._facts: dict[str, Any] = {}

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """Empty: the task reads no data, seeds generate everything."""
        return {}

    def prompt_identity(self) -> str:
        """The texts of system and user."""
        return digest([chat.SYSTEM, chat.ASKED, list(PLACES)])

    def check(self, algorithm: Algorithm[AlgorithmConfig]) -> None:
        """Refuse an algorithm that optimises another objective.

        Raises:
            ConfigError: The algorithm has another beta, or discounts.
        """
        if self.config.teach == "rewards":
            same_objective(algorithm, self.config.beta, 1.0)

    def use_model(self, model: StartModel) -> None:
        """Refuse a model whose template or tokens cannot hold the conversations."""
        chat.check(self._instances("train"), model.renderer)

    def _instances(self, split: Split) -> list[Instance]:
        from shiqbench_tasks.chat_mdp.instances import instances

        return instances(self.config, split == "validation" or self.config.instances == "validation")

    def episodes(self, split: Split) -> list[Episode]:
        """The conversations of every instance; there are none but those that are trained on."""
        from shiqbench_tasks.chat_mdp.instances import steps, trajectories

        if split != "train":
            return []
        found = []
        for instance in self._instances(split):
            for number, played in enumerate(steps(trajectories(instance, self.config))):
                state, action, _ = played[-1]
                messages = list(chat.asked(instance, state))
                messages.append(Message("assistant", instance.words[action]))
                rewards = iter([reward for _, _, reward in played])
                spoken = tuple(
                    Message("assistant", m.content, action=True, reward=self._reward(next(rewards)))
                    if m.role == "assistant"
                    else m
                    for m in messages
                )
                found.append(Episode(f"{instance.id}-{number}", instance.id, self.config.behaviour, spoken))
        self._facts = {"episodes": len(found), "instances": [i.seed for i in self._instances(split)]}
        return found

    def _reward(self, reward: float) -> float | None:
        return None if self.config.teach == "words" else float(reward)

    def facts(self) -> dict[str, Any]:
        """Seeds of the instances, and number of episodes."""
        return self._facts

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Name the instances; nothing is sampled, so the records are completed from the model's own probabilities.

        Raises:
            ConfigError: A conversation does not fit the context.
        """
        found = self._instances(config.split)[: config.examples]
        self._check_context(found, chat.renderer, config.max_context)
        progress(len(found), len(found))
        return [{"id": i.id, "repeat": r, "seed": i.seed} for r in range(config.repeats) for i in found]

    def _check_context(self, found: Sequence[Instance], renderer: Renderer, limit: int) -> None:
        tokens = max(len(s.ids) for i in found for s in chat.answers(i, len(i.paths) - 1, renderer))
        if tokens > limit:
            raise ConfigError(
                f"a conversation has {tokens} tokens, eval.max_context is {limit}",
                where="eval.max_context",
                do=f"raise it: --set eval.max_context={tokens}",
            )

    def complete_records(self, records: list[Record], context: EvaluationContext) -> list[Record]:
        """Score every word in every state, and solve each instance with the reference's probabilities."""
        from shiqbench_tasks.chat_mdp import scoring
        from shiqbench_tasks.chat_mdp.instances import trajectories

        known = {i.id: i for split in ("test", "validation") for i in self._instances(split)}
        wanted = [known[id_] for id_ in dict.fromkeys(r["id"] for r in records)]
        sequences = [[s for n in range(len(i.paths)) for s in chat.answers(i, n, context.renderer)] for i in wanted]
        trained = context.trained_on if isinstance(context.trained_on, ChatMdpConfig) else None
        itself = context.reference == "self" or (trained is not None and trained.teach == "words")

        def tables(of: str) -> list[scoring.Table]:
            found = iter(context.logits([s for each in sequences for s in each], of))  # type: ignore[arg-type]
            pairs = zip(wanted, sequences, strict=True)
            return [scoring.table([next(found) for _ in each], len(i.words)) for i, each in pairs]

        own = tables("own")
        reference = own if itself else tables("reference")
        values = {}
        for instance, mine, theirs in zip(wanted, own, reference, strict=True):
            shown = None if trained is None else trajectories(instance, trained)
            values[instance.id] = scoring.score(instance, mine, theirs, self.config, shown)
        for r in records:
            r |= {"reference": "self" if itself else context.reference, **values[r["id"]]}
        return records

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Means over instances, and Student's t interval of the regret, cut at 0; repeats of an instance are equal."""
        each = list({r["id"]: r for r in records}.values())
        names = [name for name in each[0] if name not in ("id", "repeat", "seed", "reference")]
        values = {name: math.fsum(r[name] for r in each) / len(each) for name in names}
        regrets = [r["relative_regret"] for r in each]
        values = with_interval("relative_regret", values["relative_regret"], never_negative, regrets) | values
        return Metrics(Primary.of(values, "relative_regret", higher_is_better=False), values)
