"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from shiqbench.plugin import ConfigError, Section, TaskConfig

Kind = Literal["bandit", "chain", "tree", "grid", "random"]
MOST_TRAJECTORIES = 10_000
MOST_STATES = 50_000  # of an instance; a tree of 3 tokens may be 10 deep
SAMPLE = 512  # episodes per instance where a sample is taken and none is asked for
GRID = 5  # cells per side
DEFAULTS: dict[str, dict[str, int | None]] = {
    "bandit": {"actions": 10, "horizon": 1, "states": None},
    "chain": {"actions": 2, "horizon": 8, "states": 5},
    "tree": {"actions": 3, "horizon": 5, "states": None},
    "grid": {"actions": 4, "horizon": 10, "states": GRID * GRID},
    "random": {"actions": 3, "horizon": 5, "states": 5},
}
TRAIN_DEFAULTS: dict[str, dict[str, float]] = {
    "table": {"updates": 300, "lr": 0.3, "head_lr": 0.3},
    "transformer": {"updates": 600, "lr": 0.01, "head_lr": 0.01},
}
FIXED = {"bandit": ("horizon", "states"), "chain": (), "tree": ("states",), "grid": ("actions", "states"), "random": ()}


class Sizes(NamedTuple):
    """Size of an MDP: actions of every state, steps at most, places at every step (None: a tree has more each)."""

    actions: int
    horizon: int
    places: int | None


class MdpConfig(TaskConfig):
    """The MDPs, their reference policies and beta; then the data that algorithms learn from."""

    setting_fields: ClassVar[tuple[str, ...]] = (
        "mdp",
        "actions",
        "horizon",
        "states",
        "reward",
        "offset",
        "arm_rewards",
        "noise",
        "gamma",
        "beta",
        "reference",
        "logit_offset",
        "seeds",
        "policy",
    )

    mdp: Kind = "tree"
    actions: int | None = Field(
        default=None, ge=2, description="arms, vocabulary or moves; bandit 10, chain 2, tree 3, grid 4, random 3"
    )
    horizon: int | None = Field(
        default=None, ge=1, description="steps at most; bandit 1, chain 8, tree 5, grid 10, random 5"
    )
    states: int | None = Field(default=None, ge=2, description="places at every step; chain 5, grid 25, random 5")
    reward: Literal["sparse", "dense"] = Field(default="sparse", description="at the end alone, or at every step")
    offset: float = Field(default=0.0, allow_inf_nan=False, description="added to the final reward")
    arm_rewards: tuple[float, ...] = Field(
        default=(), description="of a bandit, the same in every instance; partial data show the first arms"
    )
    noise: float = Field(
        default=0.0, ge=0, le=1, description="0: deterministic; 1: each action draws its successor at random"
    )
    gamma: float = Field(default=1.0, gt=0, le=1, description="discount per step")
    beta: float = Field(default=0.5, gt=0, allow_inf_nan=False, description="price of a nat away from the reference")
    reference: Literal["uniform", "random", "peaked", "transformer"] = Field(
        default="uniform",
        description="uniform, normal logits, one action at logit 3, or the untrained transformer, a transformer's only",
    )
    logit_offset: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="deviation of a constant added to a state's logits"
    )
    seeds: int = Field(
        default=20,
        ge=1,
        description="instances; tables, 20 or at least 2, train at once, transformers, 1 or more, one after the other",
    )
    policy: Literal["table", "transformer"] = Field(
        default="table", description="a table of logits, or a tiny transformer that speaks a tree, action by action"
    )
    behaviour: Literal["reference", "uniform", "expert", "mixture"] = Field(
        default="reference", description="who made the data; a mixture is even, at every state"
    )
    coverage: float = Field(default=1.0, gt=0, le=1, description="share of each state's actions that data ever show")
    data: Literal["auto", "exact", "sample"] = Field(
        default="auto", description="every trajectory with its probability, or a fixed sample; auto: exact up to 10,000"
    )
    episodes: int | None = Field(default=None, gt=0, description=f"of a sample, per instance; {SAMPLE} if left out")
    completions: int = Field(
        default=64, gt=0, description="sampled from the reference per instance, for algorithms that need their returns"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Sizes that are left out, so that a default and the same size typed are one setting."""
        if not isinstance(values, dict) or values.get("mdp", "tree") not in DEFAULTS:
            return values
        defaults = DEFAULTS[values.get("mdp", "tree")]
        if values.get("arm_rewards"):
            defaults = {**defaults, "actions": len(values["arm_rewards"])}
        speaks = {"reference": "transformer", "seeds": 1} if values.get("policy") == "transformer" else {}
        return {**speaks, **values, **{k: v for k, v in defaults.items() if values.get(k) is None}}

    @model_validator(mode="after")
    def _honoured(self) -> MdpConfig:
        """Refuse what this kind of MDP or data cannot honour."""
        for name in FIXED[self.mdp]:
            if getattr(self, name) != DEFAULTS[self.mdp][name]:
                raise _unmet(f"task.{name}", f"that of a {self.mdp} is fixed")
        if self.mdp == "bandit" and self.noise:
            raise _unmet("task.noise", "a bandit has no transitions")
        if self.arm_rewards and (self.mdp != "bandit" or len(self.arm_rewards) != self.actions):
            raise _unmet("task.arm_rewards", "they are one number for each arm of a bandit")
        self._spoken()
        if self.state_count > MOST_STATES:
            raise ConfigError(
                f"{self.state_count:,} states in each instance; a table takes at most {MOST_STATES:,}",
                where=f"task.horizon = {self.horizon}",
                do="lower it, or task.actions, or task.states",
            )
        if self.data == "exact" and not self.exact:
            count = f"{self.trajectories:,}" if self.trajectories else "too many"
            raise ConfigError(
                f"{count} trajectories; an exact expectation takes at most {MOST_TRAJECTORIES:,}",
                where="task.data = exact",
                do="set task.data=sample, or a smaller task.horizon",
            )
        if self.exact and self.episodes is not None:
            raise _unmet("task.episodes", "the expectation is exact", do="set task.data=sample")
        return self

    def _spoken(self) -> None:
        """Refuse what a transformer, or a table, cannot honour."""
        speaks = self.policy == "transformer"
        if speaks and (self.mdp != "tree" or self.noise):
            raise _unmet("task.policy = transformer", "it speaks trees without noise alone")
        if speaks and self.logit_offset:
            raise _unmet("task.logit_offset", "the logits are the transformer's own")
        if speaks != (self.reference == "transformer"):
            raise _unmet(f"task.reference = {self.reference}", f"the policy is a {self.policy}")
        if not speaks and self.seeds < 2:
            raise _unmet(f"task.seeds = {self.seeds}", "tables give an interval over at least two instances")

    @property
    def sizes(self) -> Sizes:
        """Sizes with their defaults filled in."""
        assert self.actions is not None
        assert self.horizon is not None
        return Sizes(self.actions, self.horizon, 1 if self.mdp == "bandit" else self.states)

    @property
    def state_count(self) -> int:
        """States of an instance: places by steps taken."""
        actions, horizon, places = self.sizes
        return sum(actions**t for t in range(horizon)) if places is None else places * horizon

    @property
    def shown(self) -> int:
        """Actions of a state that data show."""
        return math.ceil(self.coverage * self.sizes.actions - 1e-9)

    @property
    def trajectories(self) -> int | None:
        """Distinct trajectories of an instance as data may show them; None for the grid, which has too many."""
        if self.mdp == "grid":
            return None
        branches = self.sizes.actions if self.noise else 1
        return int((self.shown * branches) ** (self.sizes.horizon - 1) * self.shown)

    @property
    def exact(self) -> bool:
        """Whether the data are every trajectory with its probability."""
        count = self.trajectories
        return self.data != "sample" and count is not None and count <= MOST_TRAJECTORIES


class MdpTrainConfig(Section):
    """Training. Every instance has its own loss, gradient norm and optimiser state."""

    updates: int | None = Field(default=None, gt=0, description="null: tables 300, transformers 600")
    batch_episodes: int | None = Field(
        default=None, gt=0, description="rows per instance and update, drawn; null: all, or 256 in pairs or groups"
    )
    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="transformers take adam alone")
    lr: float | None = Field(default=None, gt=0, description="null: tables 0.3, transformers 0.01")
    head_lr: float | None = Field(
        default=None, gt=0, description="of values and Q, where there are any; null: tables 0.3, transformers 0.01"
    )
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    clip: float = Field(
        default=1.0, gt=0, description="gradient norm of each instance; a transformer's heads are clipped by themselves"
    )
    log_every: int = Field(
        default=10, gt=0, description="updates between exact evaluations; tables log these updates alone"
    )
    save_every: int = Field(default=100, gt=0, description="updates between resumable checkpoints")

    def summary(self) -> str:
        """Budget, batch, optimiser."""
        batch = f"{self.batch_episodes} episodes" if self.batch_episodes else "the default batch"
        updates = self.updates or " or ".join(f"{d['updates']} ({k})" for k, d in TRAIN_DEFAULTS.items())
        return f"{updates} updates of {batch} with {self.optimizer}"

    def filled(self, policy: Literal["table", "transformer"]) -> FilledTrainConfig:
        """The same with the defaults of a kind of policy."""
        values = {k: v for k, v in self.model_dump().items() if v is not None}
        return FilledTrainConfig.model_validate({**TRAIN_DEFAULTS[policy], **values})


class FilledTrainConfig(MdpTrainConfig):
    """Training with every number known."""

    updates: int
    lr: float
    head_lr: float


class MdpEvalConfig(Section):
    """Nothing to set: the evaluation is exact."""


def _unmet(setting: str, why: str, do: str = "leave it out") -> ConfigError:
    return ConfigError(f"{setting} cannot be honoured: {why}", where="--set", do=do)
