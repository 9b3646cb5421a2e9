"""The base classes of tasks: :class:`Task` asks a language model, :class:`ExactTask` brings its own policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from shiqbench.plugin.record_view import RecordView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from shiqbench.episodes.episode import Episode
    from shiqbench.episodes.generation import ChatGenerator
    from shiqbench.plugin.algorithm import Algorithm, Need
    from shiqbench.plugin.config import AlgorithmConfig, EvalConfig, TaskConfig
    from shiqbench.plugin.evaluation_context import EvaluationContext
    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.start_model import StartModel
    from shiqbench.plugin.training import ModelTraining

Split = Literal["train", "validation", "test"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Primary:
    """The headline number of an evaluation.

    Attributes:
        name: Metric name.
        value: Point estimate.
        low: Lower end of its 95 % interval; None if it has none, as with fewer than ``LEAST_EXAMPLES`` examples.
        high: Upper end of that interval; None like ``low``.
        higher_is_better: Whether a higher value is better.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True

    @classmethod
    def of(cls, metrics: Mapping[str, float], name: str, *, higher_is_better: bool = True) -> Primary:
        """One of the metrics, with the ends of its interval, ``NAME_low`` and ``NAME_high``, if they are there."""
        return cls(name, metrics[name], metrics.get(f"{name}_low"), metrics.get(f"{name}_high"), higher_is_better)


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
    """The columns of a task's records that make a front: value against the distance from the start of training.

    Attributes:
        unit: Column that names the example; repeats of an example are averaged.
        distance: Column with the distance from the start of training; its mean is never negative.
        value: Column with the value; higher is better.
        distance_name: Name of the distance in the figure, with its unit.
        value_name: Name of the value in the figure.
    """

    unit: str
    distance: str
    value: str
    distance_name: str
    value_name: str


@dataclass(frozen=True)
class Scores:
    """The columns of a task's records that make a primary metric; with them, cells are compared example by example.

    The metric is the sum of ``value`` divided by the sum of ``of``.

    Attributes:
        unit: Column that names the example, the same in every cell; repeats of an example are summed.
        value: Column with the score.
        of: Column with the total that the score is a part of; None counts 1 per record.
        share: True if the metric is a share of trials, between 0 and 1. None, or with ``key``: reports see it from the
            scores, whether all are 0 or 1.
        without: Column -> value; records with this value enter no score.
        only: Column -> value; records with another value belong to other metrics.
        key: If ``value`` is a column of JSON objects, the entry that is the score: a number, or a list of numbers, of
            whose count their sum is a part.
        least: Least possible value of a metric that is no share, such as 0 for a regret; None if there is none.
        top: Value of the metric that counts as 1 where scores of several tasks are normalised, such as 0 for a regret;
            a share has 1. None: an aggregate over tasks leaves the metric out.
    """

    unit: str
    value: str
    of: str | None = None
    share: bool | None = False
    without: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    least: float | None = None
    top: float | None = None

    def __post_init__(self) -> None:
        if self.share and self.top is None:
            object.__setattr__(self, "top", 1.0)


class TaskBase(ABC):
    """The base of both kinds of task: identity of the data, offers to algorithms, metrics and how they are shown.

    A task gets everything that it needs from its configuration and the asset cache.

    Args:
        config: The validated configuration.
    """

    trainable: ClassVar[bool] = True
    """False for a task that only evaluates."""
    offers: frozenset[Need] = frozenset()
    """The needs that its data or its own policy meet; set in ``__init__`` if they depend on the configuration."""
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """Extra columns of the comparison table: (metric name, heading, format spec)."""
    front: ClassVar[FrontAxes | None] = None
    """The columns of its records that ``shiqbench front`` draws; None if no column measures a distance."""
    scores: ClassVar[Mapping[str, Scores]] = {}
    """Name of a primary metric -> the columns that make it; without an entry, cells are compared only by seed."""
    training_curve: ClassVar[tuple[str, str] | None] = None
    """Key of ``train.jsonl`` that reports draw over training, and its name for readers."""
    record_view: ClassVar[RecordView] = RecordView()
    """How a page shows its records; by default every column by its name."""
    formats: ClassVar[tuple[str, ...]] = ()
    """Formats in which ``shiqbench export`` can write its records; :meth:`export` writes them."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config

    @classmethod
    @abstractmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """Version and sha256 of the data, known before anything is fetched."""

    @abstractmethod
    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Compute the metrics of records."""

    @classmethod
    def offline_identity(cls, config: TaskConfig) -> dict[str, str]:
        """What else its episodes depend on, such as a folder's sha256; enters the digest of cells that train on them.

        Raises:
            ConfigError: The folder does not exist.
        """
        return {}

    def provides(self) -> frozenset[Need]:
        """All needs of algorithms that this task meets during training."""
        return self.offers

    @classmethod
    def scores_of(cls, metric: str) -> Scores | None:
        """The columns that make a primary metric; override it if the names of metrics depend on the configuration."""
        return cls.scores.get(metric)

    def table_columns(self) -> tuple[tuple[str, str, str], ...]:
        """The extra columns under this configuration."""
        return self.columns

    def fetch(self) -> None:  # noqa: B027 - most tasks have nothing to fetch
        """Get the pinned assets into the cache; called before anything is written."""

    def use_registry(self, found: Registry) -> None:  # noqa: B027 - most tasks need no other plugin
        """Look up other plugins that the task needs, such as a reward model; called while a run is planned.

        Raises:
            ConfigError: Such a plugin is not registered, or its settings are wrong.
        """

    def scoring_identity(self) -> dict[str, Any]:
        """What scores depend on in addition to setting and answers, such as a reward model; enters the digest."""
        return {}

    def prompt_identity(self) -> str:
        """Sha256 over the task's instructions to the model; enters the evaluation's digest."""
        return ""

    def check(self, algorithm: Algorithm[AlgorithmConfig]) -> None:  # noqa: B027 - most tasks take any algorithm
        """Refuse an algorithm that this configuration cannot serve; called before anything is written.

        Raises:
            ConfigError: The configuration does not fit; the error says what to change.
        """

    def rescore(self, records: Sequence[Record]) -> Sequence[Record] | None:
        """Compute scores of records again from what else they hold; ``shiqbench verify`` compares them.

        Args:
            records: Records of a finished evaluation, perhaps made up.

        Returns:
            For each record, the columns that follow from the others; None if the records do not hold enough.
        """
        return None

    def notes(self, metrics: Mapping[str, float]) -> list[str]:
        """Notes that must appear wherever these metrics are shown, one line each."""
        return []

    def export(
        self, records: Sequence[Record], form: str, folder: Path, target: Path, name: str | None
    ) -> tuple[list[str], list[str]]:
        """Write the records of an evaluation in one of :attr:`formats`; never called where there are none.

        Args:
            records: Records of a finished evaluation.
            form: Name of the format.
            folder: Empty folder to write to.
            target: Path of the folder after it is complete.
            name: Name of the model in the files; None takes the format's default.

        Returns:
            (notes for readers of the files, commands to type next), one line each.

        Raises:
            ConfigError: The name does not suit the format.
        """
        raise NotImplementedError(f"{type(self).__name__} names formats but has no export()")


class Task(TaskBase):
    """A task for language models: episodes to learn from, and an evaluation that asks the model."""

    needs_tokens: str = ""
    """What its evaluation needs beyond answers in text, such as "log-probabilities of every word", and a served model
    does not give; empty if answers suffice. Set it in ``__init__`` if it depends on the configuration."""

    @abstractmethod
    def evaluate(
        self,
        chat: ChatGenerator,
        config: EvalConfig,
        progress: Callable[[int, int], None],
    ) -> list[Record]:
        """Play the split named by ``config`` and return one record per example.

        Args:
            chat: The model to evaluate.
            config: Split, sampling and limits.
            progress: Called with (finished, total) examples.
        """

    def episodes(self, split: Split) -> list[Episode]:
        """Offline episodes of a split, the same for every seed; a task that only evaluates has none."""
        return []

    def provides(self) -> frozenset[Need]:
        """The needs that its data meet, and those that every language model in training meets."""
        return self.offers | {"values", "token_q", "mismatched", "best", "turns"}

    def use_model(self, model: StartModel) -> None:
        """Take note of the model. Called before anything is written, and again before the episodes are made.

        Raises:
            ConfigError: The task's setting does not work with this model.
        """

    def complete_records(self, records: list[Record], context: EvaluationContext) -> list[Record]:
        """Add values to the records that need more than the evaluated model.

        Args:
            records: Records from :meth:`evaluate`.
            context: Access to the reference's log-probabilities and to the untrained model's records.
        """
        return records

    def facts(self) -> dict[str, Any]:
        """Facts about the task for manifests, after its episodes were made or it was evaluated."""
        return {}


class ExactTask(TaskBase):
    """A task that brings its own policy, trains it and scores it. Its spec says ``own_policy``.

    Such a task has no model, no start and no engine.
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
        """Train the policy. If a killed training left a state in ``folder/checkpoint``, resume from it.

        Args:
            algorithm: Algorithm that computes the loss.
            config: Training section, of the class that the spec names.
            seed: Seed of the data order.
            folder: Folder of the cell. The task writes a line per logged update to ``train.jsonl``, and the result
                to ``checkpoint/model.safetensors``.
            report: Called with each line and the planned number of updates.
            train_model: Function that trains a language model, for a policy that is one.

        Returns:
            Facts for the manifest, including ``budget``.
        """

    @abstractmethod
    def evaluate_weights(self, weights: Path | None) -> list[Record]:
        """Score the policy.

        Args:
            weights: Folder with ``model.safetensors``; None scores the untrained policy.
        """
