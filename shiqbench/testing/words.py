"""The task on which the kit trains: repeat a word. It is loaded as a plugin file, like third-party tasks.

Dataset: eight words, three answers each.
Metric: share of repeated words.
Reward: 0.5 for the word and 0.5 for saying ok afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.generation import Sampling
from shiqbench.plugin.config import TaskConfig
from shiqbench.plugin.specs import TaskSpec, hookimpl
from shiqbench.plugin.task import Metrics, Primary, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench.episodes.generation import ChatGenerator
    from shiqbench.plugin.algorithm import Need
    from shiqbench.plugin.config import EvalConfig
    from shiqbench.plugin.task import Record, Split

NAME = "kit_words"
WORDS = ("red", "blue", "green", "gray", "pink", "teal", "gold", "lime")
RETURNS = [0.0, 0.0, 0.5, 1.0]  # invented returns of completions by the reference
ANSWERS = {"good": ("{}", "ok", 0.5, 0.5), "bad": ("no", "ok", 0.0, 0.5), "worst": ("no", "no", 0.0, 0.0)}


class WordsConfig(TaskConfig):
    """The task has no settings."""


class WordsTask(Task):
    """Two turns, each worth 0.5, with all data that a task can offer."""

    offers: frozenset[Need] = frozenset({"reference_returns", "behaviour_logp"})

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        """The words."""
        return {"words": ",".join(WORDS)}

    def episodes(self, split: Split) -> list[Episode]:
        """Every answer to every word."""
        found = []
        for word in WORDS:
            for name, (first, second, r1, r2) in ANSWERS.items():
                messages = (
                    Message("system", "Repeat the word."),
                    Message("user", f"say {word}"),
                    _said(first.format(word), r1),
                    Message("user", "done?"),
                    _said(second, r2),
                )
                found.append(Episode(f"{word}-{name}", word, name, messages, meta={"reference_returns": RETURNS}))
        return found

    def evaluate(self, chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]) -> list[Record]:
        """Ask for every word once."""
        words = WORDS[: config.examples]
        replies = chat.reply([[Message("user", f"say {w}")] for w in words], Sampling(config.max_tokens))
        progress(len(words), len(words))
        said = [None if r.message is None else r.message.content for r in replies]
        return [{"id": w, "right": text == w} for w, text in zip(words, said, strict=True)]

    def metrics(self, records: Sequence[Record]) -> Metrics:
        """Share of right answers."""
        right = sum(r["right"] for r in records) / len(records)
        return Metrics(Primary("right", right), {"right": right})


def _said(text: str, reward: float) -> Message:
    """A model's message with log-probability -2 per token: a token is a byte, or the end of turn."""
    return Message("assistant", text, action=True, reward=reward, behaviour_logp=(-2.0,) * (len(text) + 1))


@hookimpl
def shiqbench_register_tasks() -> list[TaskSpec]:
    """Register the task."""
    smoke = {
        "train.updates": 6,
        "train.batch_episodes": 4,
        "train.lr": 3e-3,
        "train.precision": "fp32",
        "train.save_every": 2,
        "eval.engine": "transformers",
    }
    return [
        TaskSpec(
            name=NAME,
            version="1",
            summary="say the word back",
            target=f"{__name__}:WordsTask",
            config=f"{__name__}:WordsConfig",
            presets={"smoke": smoke},
        )
    ]
