"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from shiqbench.plugin import ConfigError, TaskConfig
from shiqbench_tasks.chat_mdp.words import WORDS

MOST_STATES = 10_000  # of all instances together; every word is scored in every state
SIZES = {"tree": (3, 3), "grid": (4, 4)}  # default number of actions, default number of turns
SAMPLE = 64  # sampled episodes per instance if no number is given


class ChatMdpConfig(TaskConfig):
    """Settings of the MDPs and their words, and of the data that algorithms learn from."""

    setting_fields: ClassVar[tuple[str, ...]] = (
        "mdp",
        "actions",
        "horizon",
        "reward",
        "beta",
        "other_reward",
        "words",
        "seeds",
        "instances",
    )
    validation: ClassVar[dict[str, Any]] = {"task.instances": "validation"}

    mdp: Literal["tree", "grid"] = "tree"
    actions: int | None = Field(default=None, ge=2, description="words per turn; tree 3, grid 4")
    horizon: int | None = Field(default=None, ge=1, description="largest number of turns; tree 3, grid 4")
    reward: Literal["sparse", "dense"] = Field(default="sparse", description="only at the end, or in every turn")
    beta: float = Field(default=0.5, gt=0, description="cost per nat of divergence from the reference")
    other_reward: float = Field(
        default=0.0, description="reward of any other text than the words, which ends the episode"
    )
    words: tuple[str, ...] = Field(
        default=(),
        description="the actions; instances of a tree take theirs in turn: red, green, blue, then one, two, three, "
        "...; grid up, down, left, right",
    )
    seeds: int = Field(default=10, ge=2, description="number of instances; an interval needs 10")
    instances: Literal["test", "validation"] = Field(
        default="test", description="validation: as many others, on which settings are chosen"
    )
    teach: Literal["rewards", "words"] = Field(
        default="rewards",
        description="words: uniformly drawn words without rewards, for a supervised start, which is a reference of "
        "itself",
    )
    behaviour: Literal["uniform", "expert", "mixture"] = Field(
        default="uniform",
        description="policy that makes the data; expert: the optimum for a reference that is uniform on the words",
    )
    coverage: float = Field(default=1.0, gt=0, le=1, description="share of each state's words that data show")
    episodes: int | None = Field(
        default=None,
        gt=0,
        description=f"sampled episodes per instance; null: every one of a tree once if the behaviour is uniform, "
        f"otherwise {SAMPLE}",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Fill in missing sizes and words, so that a default and the same value given explicitly are one setting."""
        if not isinstance(values, dict) or values.get("mdp", "tree") not in SIZES:
            return values
        kind = values.get("mdp", "tree")
        actions, horizon = SIZES[kind]
        filled = {**values}
        if filled.get("actions") is None:
            filled["actions"] = len(values["words"]) if values.get("words") and kind == "tree" else actions
        if filled.get("horizon") is None:
            filled["horizon"] = horizon
        if not filled.get("words") and isinstance(actions := filled["actions"], int) and actions > 0:
            sets = min(len(WORDS[kind]) // actions, filled.get("seeds", cls.model_fields["seeds"].default))
            filled["words"] = WORDS[kind][: max(1, sets) * actions]
        return filled

    @model_validator(mode="after")
    def _honoured(self) -> ChatMdpConfig:
        """Refuse settings that this kind of MDP cannot honour."""
        actions, horizon = self.sizes
        if self.mdp == "grid" and actions != SIZES["grid"][0]:
            raise _unmet("task.actions", "a grid has 4 moves", "leave it out")
        if len(self.words) % actions:
            raise _unmet(
                "task.words", f"{len(self.words)} words for {actions} actions", f"give a multiple of {actions}"
            )
        if len(set(self.words)) != len(self.words) or not all(w.strip() for w in self.words):
            raise _unmet("task.words", "each action needs a word of its own", "give other words")
        if self.state_count > MOST_STATES:
            raise ConfigError(
                f"{self.state_count:,} states to write down in {self.seeds} instances; at most {MOST_STATES:,}",
                where=f"task.horizon = {horizon}",
                do="lower it, or task.actions, or task.seeds",
            )
        if self.teach == "words" and (self.behaviour, self.coverage) != ("uniform", 1.0):
            raise _unmet(
                "task.teach = words", "a start sees every word equally often", "leave behaviour and coverage out"
            )
        if not self.exact and self.episodes is None:
            object.__setattr__(self, "episodes", SAMPLE)  # a default and the same number are one setting
        return self

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of actions and of turns."""
        assert self.actions is not None
        assert self.horizon is not None
        return self.actions, self.horizon

    def words_of(self, number: int) -> tuple[str, ...]:
        """Words of an instance, by its number among the instances."""
        actions, _ = self.sizes
        first = number * actions % len(self.words)
        return self.words[first : first + actions]

    @property
    def state_count(self) -> int:
        """Number of states of all instances, at most: a state is the whole conversation up to a question."""
        actions, horizon = self.sizes
        return int(self.seeds * sum(actions**t for t in range(horizon)))

    @property
    def exact(self) -> bool:
        """Whether the data are every episode once, because all are equally probable."""
        return self.episodes is None and self.mdp == "tree" and self.behaviour == "uniform"


def _unmet(setting: str, why: str, do: str) -> ConfigError:
    return ConfigError(f"{setting} cannot be honoured: {why}", where="--set", do=do)
