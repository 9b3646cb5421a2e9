"""A toy task and a toy algorithm, loaded with --plugin: multi-turn, executable, and tiny."""

from __future__ import annotations

from typing import Any, ClassVar

from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.generation import Sampling
from shiqbench.plugin.config import EvalConfig, TaskConfig
from shiqbench.plugin.specs import TaskSpec, hookimpl
from shiqbench.plugin.task import Metrics, Primary, Task

WORDS = ("red", "blue", "green", "gray", "pink", "teal", "gold", "lime")


class ToyConfig(TaskConfig):
    setting_fields: ClassVar[tuple[str, ...]] = ("words",)
    words: int = 8
    good: bool = True


class ToyTask(Task):
    """Say the word back, then say ok: two turns, each worth one half."""

    columns = (("turns", "turns", ".2f"),)

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        return {"words": ",".join(WORDS)}

    def episodes(self, split: str) -> list[Episode]:
        assert isinstance(self.config, ToyConfig)
        found = []
        for word in WORDS[: self.config.words]:
            answers = {"bad": ("no", "ok", 0.0, 0.5), "worst": ("no", "no", 0.0, 0.0)}
            if self.config.good:
                answers["good"] = (word, "ok", 0.5, 0.5)
            for name, (first, second, r1, r2) in answers.items():
                messages = (
                    Message("system", "Repeat the word."),
                    Message("user", f"say {word}"),
                    Message("assistant", first, action=True, reward=r1),
                    Message("user", "done?"),
                    Message("assistant", second, action=True, reward=r2),
                )
                found.append(Episode(f"{word}-{name}", word, name, messages))
        return found

    def evaluate(self, chat: Any, config: EvalConfig, progress: Any) -> list[dict[str, Any]]:
        assert isinstance(self.config, ToyConfig)
        prompts = [
            [Message("system", "Repeat the word."), Message("user", f"say {w}")] for w in WORDS[: self.config.words]
        ]
        replies = chat.reply(prompts, Sampling(config.max_tokens, config.temperature, seed=config.seed))
        progress(len(replies), len(replies))
        return [
            {"id": w, "right": r.message.content == w, "text": r.message.content}
            for w, r in zip(WORDS, replies, strict=False)
        ]

    def metrics(self, records: Any) -> Metrics:
        share = sum(r["right"] for r in records) / len(records)
        return Metrics(Primary("right", share, 0.0, 1.0), {"right": share, "turns": 1.0})


@hookimpl
def shiqbench_register_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="toy",
            version="1",
            summary="say the word back",
            target=f"{__name__}:ToyTask",
            config=f"{__name__}:ToyConfig",
            argument="words",
            presets={
                "cpu": {
                    "train.updates": 6,
                    "train.batch_episodes": 4,
                    "train.lr": 3e-3,
                    "train.precision": "fp32",
                    "train.save_every": 2,
                    "eval.engine": "transformers",
                    "eval.precision": "fp32",
                    "eval.max_tokens": 8,
                    "eval.max_context": 512,
                },
                "started": {
                    "train.updates": 4,
                    "train.precision": "fp32",
                    "eval.engine": "transformers",
                    "eval.precision": "fp32",
                    "eval.max_tokens": 8,
                    "eval.max_context": 512,
                    "start.algorithm": "sft",
                    "start.train": {"updates": 4, "precision": "fp32", "lr": 3e-3},
                },
            },
        )
    ]
