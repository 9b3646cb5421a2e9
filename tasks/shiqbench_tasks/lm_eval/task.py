"""The task.

Dataset: whatever the named suites bring.
Metric: lm-eval's own.
Reward: none, it only evaluates.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from shiqbench.plugin import (
    ChatGenerator,
    EvalConfig,
    Metrics,
    MissingDependencyError,
    Record,
    RecordView,
    Scores,
    Split,
    Task,
    TaskConfig,
    content_sha256,
    digest,
)
from shiqbench_tasks.lm_eval.config import LmEvalConfig
from shiqbench_tasks.lm_eval.suites import as_lm_eval, load_suites, task_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lm_eval.api.instance import Instance

    from shiqbench_tasks.lm_eval.adapter import EngineLM
    from shiqbench_tasks.lm_eval.suites import Suites


class LmEvalTask(Task):
    """lm-eval's suites, asked of a language model."""

    trainable: ClassVar[bool] = False
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("examples", "n", ".0f"),
        ("answers_cut", "cut", ".0f"),
        ("answers_reduced", "cut by us", ".0f"),
    )
    record_view: ClassVar[RecordView] = RecordView(verdict=("metrics", "target", "answer", "output"))
    needs_tokens: str = "token ids and log-probabilities, as lm-eval asks for them"
    config: LmEvalConfig

    @classmethod
    def scores_of(cls, metric: str) -> Scores:
        """The records of the metric's suite and filter; a report checks that their mean is the metric."""
        suite, _, name = metric.rpartition("/")
        name, _, rule = name.partition(",")
        return Scores("doc", "metrics", only={"suite": suite, "filter": rule or "none"}, key=name)

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self._loaded: dict[Split, Suites] = {}
        self._facts: dict[str, Any] = {}

    def table_columns(self) -> tuple[tuple[str, str, str], ...]:
        """The further suites' headlines beside the first."""
        return (*((suite, suite, ".4g") for suite in self.config.suites[1:]), *self.columns)

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """lm-eval's version, which pins its suites, and the sha256 of the user's own folder.

        Raises:
            ConfigError: lm-eval is not installed, or the folder is not there.
        """
        assert isinstance(config, LmEvalConfig)
        try:
            identity = {"lm-eval": importlib.metadata.version("lm-eval")}
        except importlib.metadata.PackageNotFoundError:
            raise MissingDependencyError(
                "lm-eval is not installed", where="task lm_eval", do='pip install "shiqbench[lm-eval]"'
            ) from None
        folder = task_folder(config)
        if folder is None:
            return identity
        return {**identity, "files": content_sha256(folder)}

    def prompt_identity(self) -> str:
        """What decides the prompts beside the settings: lm-eval's version and the user's own files."""
        return digest(self.data_identity(self.config))

    def fetch(self) -> None:
        """Load the suites once, so that a missing data set shows before anything is computed."""
        self.data_identity(self.config)
        self._suites("test")

    def _suites(self, split: Split) -> Suites:
        if split not in self._loaded:
            self._loaded[split] = load_suites(self.config, split)
        return self._loaded[split]

    def facts(self) -> dict[str, Any]:
        """lm-eval's version, each suite's own, and what was counted when they were last asked."""
        return self._facts

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Ask every suite, as often as repeats say, and return one record per example and filter."""
        from lm_eval.evaluator import evaluate

        from shiqbench_tasks.lm_eval.adapter import EngineLM

        suites = self._suites(config.split)
        total = config.repeats * sum(_examples(task, config.examples) for task in suites.tasks.values())
        answered: set[tuple[int, Any, Any]] = set()
        records: list[Record] = []
        counts: Counter[str] = Counter()
        for repeat in range(config.repeats):

            def finished(request: Instance, repeat: int = repeat) -> None:
                answered.add((repeat, request.task_name, request.doc_id))
                progress(len(answered), total)

            model = EngineLM(chat, config, config.seed + repeat, _need_greedy(suites), finished)
            suites.reset()
            with as_lm_eval():
                found = evaluate(
                    lm=model,
                    task_dict={"tasks": suites.tasks, "groups": suites.groups},
                    limit=config.examples,
                    bootstrap_iters=0,
                    apply_chat_template=self.config.apply_chat_template,
                    fewshot_as_multiturn=self.config.apply_chat_template,
                )
            records += _records(found["samples"], model, config.split, repeat)
            counts += model.counts
        self._facts = {
            "lm_eval": importlib.metadata.version("lm-eval"),
            "suites": {
                name: {"version": str(task.VERSION), "num_fewshot": task.get_config("num_fewshot")}
                for name, task in suites.tasks.items()
            },
            "counts": dict(counts),
        }
        return records

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """lm-eval's metrics with intervals; answers that the token limit cut are counted beside them."""
        from shiqbench_tasks.lm_eval.scoring import summarise

        suites = next(iter(self._loaded.values()), None) or self._suites("test")
        return summarise(records, suites)


def _examples(task: Any, limit: int | None) -> int:
    available = len(task.eval_docs)
    return available if limit is None else min(limit, available)


def _need_greedy(suites: Suites) -> frozenset[str]:
    """Suites that may look at whether a continuation is the greedy one; plain multiple choice does not."""
    return frozenset(
        name
        for name, task in suites.tasks.items()
        if task.OUTPUT_TYPE != "multiple_choice"
        or callable(task.get_config("process_results"))
        or "exact_match" in task.aggregation()
    )


def _records(samples: dict[str, list[dict[str, Any]]], model: EngineLM, split: Split, repeat: int) -> list[Record]:
    records = []
    for name, rows in samples.items():
        for row in rows:
            answers = model.answers.get((name, row["doc_id"]), [])
            records.append(
                {
                    "id": f"{name}/{split}/{row['doc_id']}/{row['filter']}/{repeat}",
                    "suite": name,
                    "doc": row["doc_id"],
                    "filter": row["filter"],
                    "repeat": repeat,
                    "prompt_sha256": row["prompt_hash"],
                    "doc_sha256": row["doc_hash"],
                    "target": _text(row["target"]),
                    "output": _text([r[0] if len(r) == 1 else r for r in row["resps"]]),
                    "answer": _text(row["filtered_resps"]),
                    "tokens": sum(a.tokens for a in answers),
                    "cut": any(a.cut for a in answers),
                    "reduced": any(a.reduced for a in answers),
                    "metrics": _text({metric: row[metric] for metric in row["metrics"]}),
                }
            )
    return records


def _text(value: Any) -> str:
    """JSON, numbers of numpy included; a single text as it is."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, default=lambda v: v.tolist())
