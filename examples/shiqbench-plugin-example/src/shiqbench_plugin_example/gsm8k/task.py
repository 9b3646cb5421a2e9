"""The task.

Dataset: GSM8K's test problems with four recorded solutions each, split by problem.
Metric: share of problems whose final number is right, with a Wilson interval.
Reward: 1 for a solution recorded as correct, else 0.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from shiqbench.plugin import (
    ChatGenerator,
    Episode,
    EvalConfig,
    Message,
    Metrics,
    Primary,
    Record,
    Reply,
    Sampling,
    Split,
    Task,
    TaskConfig,
    clustered_wilson,
    file_sha256,
    with_interval,
)

from shiqbench_plugin_example.gsm8k.data import FILE, data_file, disagreements, final_number, in_split, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench_plugin_example.gsm8k.config import Gsm8kConfig
    from shiqbench_plugin_example.gsm8k.data import Problem


class Gsm8kTask(Task):
    """One turn per problem."""

    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("answered", "answered", ".2f"),
        ("tokens_per_problem", "tokens", ".0f"),
    )
    config: Gsm8kConfig

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """The file's sha256, so that another copy of it is the same data."""
        return {"file": FILE, "sha256": file_sha256(data_file(config.model_dump()["data"]))}

    def fetch(self) -> None:
        """Nothing is fetched; a missing file is said before anything is written."""
        data_file(self.config.data)

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """All of them."""
        return read(data_file(self.config.data))

    def prompt_identity(self) -> str:
        """Sha256 of the instruction."""
        return hashlib.sha256(self.config.instruction.encode()).hexdigest()

    def prompt(self, problem: Problem) -> Message:
        """What the model is asked."""
        return Message("user", f"{self.config.instruction}\n\n{problem.question}")

    def episodes(self, split: Split) -> list[Episode]:
        """The recorded solutions; those of one problem form a group."""
        problems = in_split(self.problems, split)
        if split == "train":
            problems = problems[: self.config.problems]
        return [
            Episode(
                id=f"{p.id}-{who}",
                group=p.id,
                behaviour=who,
                messages=(
                    self.prompt(p),
                    Message("assistant", p.solutions[who].text, action=True, reward=float(p.solutions[who].is_correct)),
                ),
                meta={"agrees": p.solutions[who].agrees},
            )
            for p in problems
            for who in self.config.behaviours
        ]

    def data_facts(self) -> dict[str, int]:
        """Counts: problems, solutions, and verdicts that the final number contradicts."""
        solutions = sum(len(p.solutions) for p in self.problems)
        return {
            "problems": len(self.problems),
            "solutions": solutions,
            "disagreements": disagreements(self.problems),
        }

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Ask every problem of the split once per repeat, all in one wave."""
        problems = in_split(self.problems, config.split)[: config.examples]
        records: list[Record] = []
        for repeat in range(config.repeats):
            sampling = Sampling(config.max_tokens, config.temperature, config.top_p, config.seed + repeat)
            replies = chat.reply([[self.prompt(p)] for p in problems], sampling)
            records += [_record(p, repeat, reply) for p, reply in zip(problems, replies, strict=True)]
            progress(len(records), len(problems) * config.repeats)
        return records

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Accuracy; the repeats of a problem are alike, and the interval allows for that."""
        right: dict[str, list[bool]] = {}
        for record in records:
            right.setdefault(record["id"], []).append(record["right"])
        total, sums, repeats = len(records), [sum(x) for x in right.values()], [len(x) for x in right.values()]
        values = {
            **with_interval("accuracy", sum(sums) / total, clustered_wilson, sums, repeats),
            "answered": sum(r["answer"] is not None for r in records) / total,
            "cut": sum(r["cut"] for r in records) / total,
            "tokens_per_problem": sum(r["tokens"] for r in records) / total,
            "problems": float(len(right)),
        }
        return Metrics(Primary.of(values, "accuracy"), values)


def _record(problem: Problem, repeat: int, reply: Reply) -> Record:
    """One row: the verdict, the number it rests on, and the text."""
    text = None if reply.message is None else reply.message.content
    answer = None if text is None else final_number(text)
    return {
        "id": problem.id,
        "repeat": repeat,
        "right": answer == problem.answer,
        "answer": None if answer is None else str(answer),
        "wanted": str(problem.answer),
        "cut": reply.cut,
        "tokens": reply.tokens,
        "prompt_tokens": reply.prompt_tokens,
        "text": text,
    }
