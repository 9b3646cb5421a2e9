"""Tasks that each break one line of the contract, and two that break none. Loaded as a plugin file."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.generation import Sampling
from shiqbench.plugin.config import Section, TaskConfig
from shiqbench.plugin.specs import TaskSpec, hookimpl
from shiqbench.plugin.task import ExactTask, Metrics, Primary, Task

SPLITS = {"train": ("red", "blue", "teal"), "validation": ("pink", "gold"), "test": ("lime", "gray", "green", "rust")}
CHANCE = random.SystemRandom()


class Config(TaskConfig):
    setting_fields: ClassVar[tuple[str, ...]] = ("ask",)
    ask: str = "say"


class Sound(Task):
    """Say a word back."""

    columns = (("right", "right", ".2f"),)

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        return {"words": "1"}

    def prompt(self, word: str) -> Message:
        return Message("user", f"say {word}")

    def episodes(self, split: Any) -> list[Episode]:
        return [
            Episode(f"{w}-{b}", w, b, (self.prompt(w), Message("assistant", text, action=True, reward=r)))
            for w in SPLITS[split]
            for b, text, r in (("good", w, 1.0), ("bad", "no", 0.0))
        ]

    def evaluate(self, chat: Any, config: Any, progress: Any) -> list[dict[str, Any]]:
        words = SPLITS[config.split][: config.examples]
        records: list[dict[str, Any]] = []
        for repeat in range(config.repeats):
            sampling = Sampling(config.max_tokens, config.temperature, config.top_p, config.seed + repeat)
            replies = chat.reply([[self.prompt(w)] for w in words], sampling)
            records += [self.record(w, repeat, reply) for w, reply in zip(words, replies, strict=True)]
            progress(len(records), len(words) * config.repeats)
        return records

    def record(self, word: str, repeat: int, reply: Any) -> dict[str, Any]:
        text = reply.message.content if reply.message else None
        return {"id": word, "repeat": repeat, "text": text, "right": text == word}

    def metrics(self, records: Any) -> Metrics:
        right = sum(r["right"] for r in records) / len(records)
        return Metrics(Primary("right", right, 0.0, 1.0), {"right": right})


class Unfinished(Sound):
    evaluate = Task.evaluate


class CountsIds(Sound):
    def record(self, word: str, repeat: int, reply: Any) -> dict[str, Any]:
        ids = () if reply.message is None else reply.message.token_ids
        return {**super().record(word, repeat, reply), "ids": len(ids)}


class OffersLuck(Sound):
    offers = frozenset({"luck"})  # type: ignore[arg-type]


class OffersReturns(Sound):
    offers = frozenset({"reference_returns"})


class OffersBehaviour(Sound):
    offers = frozenset({"behaviour_logp"})


class UnstableIdentity(Sound):
    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        return {"at": str(CHANCE.random())}


class NumberIdentity(Sound):
    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        return {"version": 1}  # type: ignore[dict-item]


class UnstablePrompt(Sound):
    def prompt_identity(self) -> str:
        return str(CHANCE.random())


class Changed(Sound):
    """The episodes of ``Sound`` with one thing about them changed."""

    def change(self, split: str, index: int, e: Episode) -> Episode:
        return e

    def episodes(self, split: Any) -> list[Episode]:
        return [self.change(split, i, e) for i, e in enumerate(super().episodes(split))]


class Untrainable(Changed):
    def episodes(self, split: Any) -> list[Episode]:
        return []


class SameIds(Changed):
    def change(self, split: str, index: int, e: Episode) -> Episode:
        return replace(e, id=f"{index}")


class NoBehaviour(Changed):
    def change(self, split: str, index: int, e: Episode) -> Episode:
        return replace(e, behaviour="")


class NoAction(Changed):
    def change(self, split: str, index: int, e: Episode) -> Episode:
        return replace(e, messages=e.messages[:1])


class Shuffled(Changed):
    def change(self, split: str, index: int, e: Episode) -> Episode:
        return replace(e, messages=(Message("system", str(CHANCE.random())), *e.messages))


class RewardedUser(Changed):
    def change(self, split: str, index: int, e: Episode) -> Episode:
        return replace(e, messages=(replace(e.messages[0], reward=1.0), e.messages[1]))


class NotANumber(Changed):
    def change(self, split: str, index: int, e: Episode) -> Episode:
        return replace(e, messages=(e.messages[0], replace(e.messages[1], reward=float("nan"))))


class SharedGroup(Changed):
    def change(self, split: str, index: int, e: Episode) -> Episode:
        return replace(e, group="everything")


class NumberContent(Changed):
    def change(self, split: str, index: int, e: Episode) -> Episode:
        return replace(e, messages=(e.messages[0], replace(e.messages[1], content=5)))  # type: ignore[arg-type]


class EvaluationFails(Sound):
    def evaluate(self, chat: Any, config: Any, progress: Any) -> list[dict[str, Any]]:
        raise RuntimeError("no luck today")


class NoRecords(Sound):
    def evaluate(self, chat: Any, config: Any, progress: Any) -> list[dict[str, Any]]:
        super().evaluate(chat, config, progress)
        return []


class SetInRecord(Sound):
    def record(self, word: str, repeat: int, reply: Any) -> dict[str, Any]:
        return {**super().record(word, repeat, reply), "letters": set(word)}


class MixedColumn(Sound):
    """JSON takes it; a parquet column does not."""

    def record(self, word: str, repeat: int, reply: Any) -> dict[str, Any]:
        return {**super().record(word, repeat, reply), "mixed": 1 if word == "lime" else "one"}


class NoId(Sound):
    def record(self, word: str, repeat: int, reply: Any) -> dict[str, Any]:
        return {k: v for k, v in super().record(word, repeat, reply).items() if k != "id"}


class Silent(Sound):
    def evaluate(self, chat: Any, config: Any, progress: Any) -> list[dict[str, Any]]:
        return super().evaluate(chat, config, lambda done, total: None)


class AllExamples(Sound):
    def evaluate(self, chat: Any, config: Any, progress: Any) -> list[dict[str, Any]]:
        return super().evaluate(chat, config.model_copy(update={"examples": None}), progress)


class NoRepeats(Sound):
    def evaluate(self, chat: Any, config: Any, progress: Any) -> list[dict[str, Any]]:
        return super().evaluate(chat, config.model_copy(update={"repeats": 1}), progress)


class TestAlways(Sound):
    def evaluate(self, chat: Any, config: Any, progress: Any) -> list[dict[str, Any]]:
        return super().evaluate(chat, config.model_copy(update={"split": "test"}), progress)


class NeedsRoom(Sound):
    def record(self, word: str, repeat: int, reply: Any) -> dict[str, Any]:
        return {"id": word, "repeat": repeat, "right": reply.message.content == word}


class Dice(Sound):
    def record(self, word: str, repeat: int, reply: Any) -> dict[str, Any]:
        return {**super().record(word, repeat, reply), "dice": CHANCE.random()}


class DicedMetrics(Sound):
    def metrics(self, records: Any) -> Metrics:
        found = super().metrics(records)
        return Metrics(found.primary, {**found.metrics, "dice": CHANCE.random()})


class NotFiniteMetric(Sound):
    def metrics(self, records: Any) -> Metrics:
        found = super().metrics(records)
        return Metrics(found.primary, {**found.metrics, "ratio": float("inf")})


class OutsideInterval(Sound):
    def metrics(self, records: Any) -> Metrics:
        found = super().metrics(records)
        return Metrics(Primary("right", found.primary.value, 1.5, 2.0), found.metrics)


class PrimaryElsewhere(Sound):
    def metrics(self, records: Any) -> Metrics:
        return Metrics(super().metrics(records).primary, {"score": 1.0, "right": -1.0})


class NoColumn(Sound):
    columns = (("valid", "valid", ".2f"),)


class OwnTrain(Section):
    updates: int = 6
    save_every: int = 4


class OwnEval(Section):
    pass


class Own(ExactTask):
    """A policy of one number, which every update moves by the reward of its turn."""

    resumes = True

    @classmethod
    def data_identity(cls, config: TaskConfig) -> dict[str, str]:
        return {}

    def train(
        self, algorithm: Any, config: Any, seed: int, folder: Path, report: Any, train_model: Any
    ) -> dict[str, Any]:
        import torch
        from safetensors.torch import save_file

        state = folder / "checkpoint" / "state.json"
        state.parent.mkdir(exist_ok=True)
        done, value = json.loads(state.read_text()) if state.exists() and self.resumes else (0, 0.0)
        log = folder / "train.jsonl"
        lines = log.read_text().splitlines()[:done] if log.exists() else []
        for update in range(done, config.updates):
            value = self.step(value, update, fresh=update == done)
            lines.append(json.dumps({"update": update + 1, "loss": value, "seconds": CHANCE.random()}))
            log.write_text("\n".join(lines) + "\n")
            report(json.loads(lines[-1]), config.updates)
            if (update + 1) % config.save_every == 0:
                state.write_text(json.dumps([update + 1, value]))
        save_file({"value": torch.tensor([value], dtype=torch.float64)}, folder / "checkpoint" / "model.safetensors")
        return {"budget": {"updates": config.updates}}

    def step(self, value: float, update: int, fresh: bool) -> float:
        return 0.9 * value + update

    def evaluate_weights(self, weights: Path | None) -> list[dict[str, Any]]:
        from safetensors.torch import load_file

        value = 0.0 if weights is None else float(load_file(weights / "model.safetensors")["value"])
        return [{"id": "only", "value": value}]

    def metrics(self, records: Any) -> Metrics:
        value = records[0]["value"]
        return Metrics(Primary("value", value, value, value), {"value": value})


class BeginsAnew(Own):
    resumes = False


class ForgetsMomentum(Own):
    def step(self, value: float, update: int, fresh: bool) -> float:
        return value + update if fresh else super().step(value, update, fresh)


class NoBudget(Own):
    def train(self, *arguments: Any) -> dict[str, Any]:
        super().train(*arguments)
        return {}


class IgnoresWeights(Own):
    def evaluate_weights(self, weights: Path | None) -> list[dict[str, Any]]:
        return super().evaluate_weights(None)


TASKS = [kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Sound)]
OWN = [kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Own)]
GOOD: dict[str, dict[str, Any]] = {"smoke": {}, "cpu": {}, "full": {}}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "no_full": {"smoke": {}, "cpu": {}},
    "wrong_preset": {**GOOD, "cpu": {"train.lrr": 1.0}},
    "unknown_algorithm": {**GOOD, "cpu": {"shik:algo.beta": 1.0}},
    "wrong_algorithm": {**GOOD, "cpu": {"shiq:algo.bta": 1.0}},
}


def spec(name: str, target: str, presets: Any, **others: Any) -> TaskSpec:
    return TaskSpec(
        name=name,
        version="1",
        summary="for a test",
        target=f"{__name__}:{target}",
        config=f"{__name__}:Config",
        presets=presets,
        **others,
    )


@hookimpl
def shiqbench_register_tasks() -> list[TaskSpec]:
    sections = {"train_config": f"{__name__}:OwnTrain", "eval_config": f"{__name__}:OwnEval"}
    return [
        *(spec(kind.__name__, kind.__name__, GOOD) for kind in TASKS),
        *(spec(kind.__name__, kind.__name__, GOOD, own_policy=True, **sections) for kind in OWN),
        *(spec(name, "Sound", presets) for name, presets in PRESETS.items()),
        spec("not_a_task", "Config", GOOD),
        spec("not_exact", "Sound", GOOD, own_policy=True),
    ]
