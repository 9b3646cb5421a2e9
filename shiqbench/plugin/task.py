"""What a task is. Two kinds: :class:`Task` asks a language model, :class:`ExactTask` brings its own policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from shiqbench.episodes.episode import Episode
    from shiqbench.episodes.generation import ChatGenerator
    from shiqbench.episodes.rendering import Renderer, TokenSequence
    from shiqbench.plugin.algorithm import Algorithm, Need
    from shiqbench.plugin.config import AlgorithmConfig, EvalConfig, TaskConfig
    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.start_model import StartModel
    from shiqbench.plugin.training import ModelTraining

Split = Literal["train", "validation", "test"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Primary:
    """The one number that stands for an evaluation.

    Attributes:
        name: Metric name.
        value: Point estimate.
        low: Lower end of its 95 % interval.
        high: Upper end.
        higher_is_better: Direction.
    """

    name: str
    value: float
    low: float
    high: float
    higher_is_better: bool = True


@dataclass(frozen=True)
class Metrics:
    """Result of :meth:`TaskBase.metrics`.

    Attributes:
        primary: The headline metric.
        metrics: Every metric by name, the primary included.
    """

    primary: Primary
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FrontAxes:
    """Which columns of a task's records make a front: what is gained for the distance that was moved.

    Attributes:
        unit: Names the example; its repeats are averaged.
        distance: From what training started from, never negative in the mean.
        value: Higher is better.
        distance_name: For the figure, with its unit.
        value_name: For the figure.
    """

    unit: str
    distance: str
    value: str
    distance_name: str
    value_name: str


@dataclass(frozen=True)
class Scores:
    """Which columns of a task's records make a primary metric, so that two cells can be compared example by example.

    The metric is the sum of ``value`` over the sum of ``of``.

    Attributes:
        unit: Names the example that everybody is given; its repeats go together.
        value: Its score.
        of: What the score is a part of; None counts one per record.
        share: Between 0 and 1, a share of trials.
        without: Records that enter no score, by column and value.
    """

    unit: str
    value: str
    of: str | None = None
    share: bool = False
    without: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationContext:
    """What stands beside the evaluated weights, for :meth:`Task.complete_records`.

    Attributes:
        renderer: The evaluated model's tokenizer and chat template.
        reference: Which weights training started from: ``self`` for an untrained model, ``base``, or ``start``.
        logprobs: Log-probability of every action token of some sequences (nats, temperature 1), under the evaluated
            weights and under the reference's, both by the evaluation's engine. Loads the reference when called.
        base: Reads the untrained model's finished records under the same setting; None while that itself is evaluated.
    """

    renderer: Renderer
    reference: Literal["self", "base", "start"]
    logprobs: Callable[[Sequence[TokenSequence]], tuple[list[list[float]], list[list[float]]]]
    base: Callable[[], Sequence[Record] | None]


class TaskBase(ABC):
    """What both kinds of task share: their data's identity, what they offer, metrics, how these are shown.

    Everything that a task needs comes through its configuration and the asset cache.

    Args:
        config: The validated configuration.
    """

    trainable: ClassVar[bool] = True
    """False for a task that only evaluates."""
    offers: frozenset[Need] = frozenset()
    """What its data, or its own policy, provides of what algorithms may need; set in ``__init__`` if that depends."""
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """Extra columns of the comparison table: (metric name, heading, format spec)."""
    front: ClassVar[FrontAxes | None] = None
    """Which columns of its records ``shiqbench front`` draws; None where none measures a distance."""
    scores: ClassVar[Mapping[str, Scores]] = {}
    """By the name of a primary metric, where it comes from; without an entry cells are compared by seed only."""
    training_curve: ClassVar[tuple[str, str] | None] = None
    """Key of ``train.jsonl`` that reports draw over training, and its name in words."""
    formats: ClassVar[tuple[str, ...]] = ()
    """What ``shiqbench export`` can write its records as; :meth:`export` writes them."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config

    @classmethod
    @abstractmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """Version and sha256 of the data, known before anything is fetched."""

    @abstractmethod
    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Aggregate records."""

    @classmethod
    def offline_identity(cls, config: TaskConfig) -> dict[str, str]:
        """What else its episodes depend on, such as a local folder's sha256; enters the digest of what trains on them.

        Raises:
            ConfigError: The folder is not there.
        """
        return {}

    def provides(self) -> frozenset[Need]:
        """Everything that an algorithm may need and gets when it trains on this task."""
        return self.offers

    def table_columns(self) -> tuple[tuple[str, str, str], ...]:
        """The extra columns under this configuration."""
        return self.columns

    def fetch(self) -> None:  # noqa: B027 - most tasks have nothing to fetch
        """Get the pinned assets into the cache; called before anything is written."""

    def use_registry(self, found: Registry) -> None:  # noqa: B027 - most tasks need no other plugin
        """Take what it needs of what is registered, such as a reward model; called where a run is planned.

        Raises:
            ConfigError: That is not there, or its settings are wrong.
        """

    def scoring_identity(self) -> dict[str, Any]:
        """What scores depend on besides the setting and the answers, such as a reward model; enters the digest."""
        return {}

    def prompt_identity(self) -> str:
        """Sha256 over what the model is told; enters the evaluation's digest."""
        return ""

    def check(self, algorithm: Algorithm[AlgorithmConfig]) -> None:  # noqa: B027 - most tasks take any algorithm
        """Refuse an algorithm that this configuration cannot serve; called before anything is written.

        Raises:
            ConfigError: It says what to change.
        """

    def notes(self, metrics: Mapping[str, float]) -> list[str]:
        """What must be said wherever these metrics are shown, a line each."""
        return []

    def export(
        self, records: Sequence[Record], form: str, folder: Path, target: Path, name: str | None
    ) -> tuple[list[str], list[str]]:
        """Write the records of an evaluation in one of :attr:`formats`; never called where there are none.

        Args:
            records: Of a finished evaluation.
            form: The format.
            folder: An empty folder.
            target: Where it will be once it is complete.
            name: What the model is called there; None takes the format's default.

        Returns:
            What a reader of the files must know, and what to type next, a line each.

        Raises:
            ConfigError: The name does not suit the format.
        """
        raise NotImplementedError(f"{type(self).__name__} names formats and has no export()")


class Task(TaskBase):
    """A task for language models: episodes to learn from, and an evaluation that asks the model."""

    @abstractmethod
    def evaluate(
        self,
        chat: ChatGenerator,
        config: EvalConfig,
        progress: Callable[[int, int], None],
    ) -> list[Record]:
        """Play the split named by ``config`` and return one record per example.

        Args:
            chat: The model.
            config: Split, sampling and limits.
            progress: Called with (finished, total) examples.
        """

    def episodes(self, split: Split) -> list[Episode]:
        """Offline episodes of a split, the same for every seed; a task that only evaluates has none."""
        return []

    def provides(self) -> frozenset[Need]:
        """What its data offer, and what every language model under training provides."""
        return self.offers | {"values", "token_q", "mismatched", "best"}

    def use_model(self, model: StartModel) -> None:
        """Take note of the model: before anything is written, and again before its episodes are made.

        Raises:
            ConfigError: The task's setting cannot be honoured with this model.
        """

    def complete_records(self, records: list[Record], context: EvaluationContext) -> list[Record]:
        """Complete the records with what needs more than the evaluated model.

        Args:
            records: From :meth:`evaluate`.
            context: The reference's log-probabilities, the untrained model's records.
        """
        return records

    def facts(self) -> dict[str, Any]:
        """What manifests should tell of the task, once its episodes were made or it was evaluated."""
        return {}


class ExactTask(TaskBase):
    """A task that brings its own policy, trains it and scores it. Its spec says ``own_policy``.

    There is no model, no start and no engine then.
    """

    @abstractmethod
    def train(
        self,
        algorithm: Algorithm[AlgorithmConfig],
        config: Any,
        seed: int,
        folder: Path,
        report: Callable[[dict[str, Any], int], None],
        train_model: ModelTraining,
    ) -> dict[str, Any]:
        """Train the policy. Resumes from ``folder/checkpoint`` where a kill left a state there.

        Args:
            algorithm: Gives the loss.
            config: The training section, of the class that the spec names.
            seed: Of data order.
            folder: The cell. ``train.jsonl`` gets a line per logged update, ``checkpoint/model.safetensors``
                the result.
            report: Called with each line and the planned number of updates.
            train_model: The training of language models, for a policy that is one.

        Returns:
            Facts for the manifest, ``budget`` among them.
        """

    @abstractmethod
    def evaluate_weights(self, weights: Path | None) -> list[Record]:
        """Score the policy.

        Args:
            weights: Folder with ``model.safetensors``; None scores the untrained policy.
        """
