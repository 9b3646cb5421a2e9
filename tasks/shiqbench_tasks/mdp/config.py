"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from shiqbench.plugin import ConfigError, Section, TaskConfig

Kind = Literal["bandit", "chain", "tree", "grid", "random"]
MOST_TRAJECTORIES = 10_000
MOST_STATES = 50_000  # per instance; a tree with 3 actions can be 10 steps deep
SAMPLE = 512  # sampled episodes per instance if no number is given
GRID_SAMPLE = 2048  # a grid has 250 states: 512 episodes show the best move of few of them
GRID = 5  # cells per side
FIRST_OF_VALIDATION = 1_000_000  # seed of the first instance of validation
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
    """Size of an MDP: actions per state, maximum steps, places per step (None: in a tree they grow with the step)."""

    actions: int
    horizon: int
    places: int | None


class MdpConfig(TaskConfig):
    """Settings of the MDPs, their reference policies and beta, and of the data that algorithms learn from."""

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
        "instances",
        "policy",
    )
    validation: ClassVar[dict[str, Any]] = {"task.instances": "validation"}

    mdp: Kind = "tree"
    actions: int | None = Field(
        default=None, ge=2, description="number of arms, tokens or moves; bandit 10, chain 2, tree 3, grid 4, random 3"
    )
    horizon: int | None = Field(
        default=None, ge=1, description="maximum number of steps; bandit 1, chain 8, tree 5, grid 10, random 5"
    )
    states: int | None = Field(default=None, ge=2, description="places per step; chain 5, grid 25, random 5")
    reward: Literal["sparse", "dense"] = Field(default="sparse", description="only at the end, or at every step")
    offset: float = Field(default=0.0, allow_inf_nan=False, description="added to the final reward")
    arm_rewards: tuple[float, ...] = Field(
        default=(), description="a bandit's rewards, the same in every instance; partial data show the first arms"
    )
    noise: float = Field(
        default=0.0, ge=0, le=1, description="0: deterministic; 1: each action draws its successor at random"
    )
    gamma: float = Field(default=1.0, gt=0, le=1, description="discount per step")
    beta: float = Field(
        default=0.5, gt=0, allow_inf_nan=False, description="cost per nat of divergence from the reference"
    )
    reference: Literal["uniform", "random", "peaked", "transformer"] = Field(
        default="uniform",
        description="uniform, normal logits, one action at logit 3, or the untrained transformer (only for policy "
        "transformer)",
    )
    logit_offset: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="standard deviation of a constant added to a state's logits"
    )
    seeds: int = Field(
        default=20,
        ge=1,
        description="number of instances; tables: default 20, at least 2, trained together; transformers: default 1, "
        "trained one after another",
    )
    instances: Literal["test", "validation"] = Field(
        default="test", description="validation: as many others, on which settings are chosen"
    )
    policy: Literal["table", "transformer"] = Field(
        default="table", description="a table of logits, or a tiny transformer that writes a tree's actions as tokens"
    )
    behaviour: Literal["reference", "uniform", "expert", "mixture"] = Field(
        default="reference", description="policy that makes the data; mixture: the mean of the three at every state"
    )
    coverage: float = Field(default=1.0, gt=0, le=1, description="share of each state's actions that data show")
    data: Literal["auto", "exact", "sample"] = Field(
        default="auto",
        description="every trajectory with its probability, or a fixed sample; auto: exact up to 10,000 trajectories",
    )
    episodes: int | None = Field(
        default=None, gt=0, description=f"episodes of a sample, per instance; default {SAMPLE}, grid {GRID_SAMPLE}"
    )
    completions: int = Field(
        default=64, gt=0, description="samples of the reference per instance, for algorithms that need their returns"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Fill in missing sizes, so that a default and the same size given explicitly are one setting."""
        if not isinstance(values, dict) or values.get("mdp", "tree") not in DEFAULTS:
            return values
        defaults = DEFAULTS[values.get("mdp", "tree")]
        if values.get("arm_rewards"):
            defaults = {**defaults, "actions": len(values["arm_rewards"])}
        speaks = {"reference": "transformer", "seeds": 1} if values.get("policy") == "transformer" else {}
        return {**speaks, **values, **{k: v for k, v in defaults.items() if values.get(k) is None}}

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a field that was added later and has its default, so that digests of earlier cells stay."""
        values: dict[str, Any] = handler(self)
        return {k: v for k, v in values.items() if (k, v) != ("instances", "test")}

    @model_validator(mode="after")
    def _honoured(self) -> MdpConfig:
        """Refuse settings that this kind of MDP or data cannot honour."""
        for name in FIXED[self.mdp]:
            if getattr(self, name) != DEFAULTS[self.mdp][name]:
                raise _unmet(f"task.{name}", f"it is fixed for a {self.mdp}")
        if self.mdp == "bandit" and self.noise:
            raise _unmet("task.noise", "a bandit has no transitions")
        if self.arm_rewards and (self.mdp != "bandit" or len(self.arm_rewards) != self.actions):
            raise _unmet("task.arm_rewards", "it needs one number for each arm of a bandit")
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
        if not self.exact and self.episodes is None:  # a default and the same number given explicitly are one setting
            object.__setattr__(self, "episodes", GRID_SAMPLE if self.mdp == "grid" else SAMPLE)
        return self

    def _spoken(self) -> None:
        """Refuse settings that the policy, a transformer or a table, cannot honour."""
        speaks = self.policy == "transformer"
        if speaks and (self.mdp != "tree" or self.noise):
            raise _unmet("task.policy = transformer", "it supports only trees without noise")
        if speaks and self.logit_offset:
            raise _unmet("task.logit_offset", "the transformer computes the logits")
        if speaks != (self.reference == "transformer"):
            raise _unmet(f"task.reference = {self.reference}", f"the policy is a {self.policy}")
        if not speaks and self.seeds < 2:
            raise _unmet(f"task.seeds = {self.seeds}", "the interval over tables needs at least two instances")

    def seed_of(self, instance: int) -> int:
        """The seed of an instance; those of validation are far from all others."""
        return instance + (FIRST_OF_VALIDATION if self.instances == "validation" else 0)

    @property
    def sizes(self) -> Sizes:
        """Sizes with their defaults filled in."""
        assert self.actions is not None
        assert self.horizon is not None
        return Sizes(self.actions, self.horizon, 1 if self.mdp == "bandit" else self.states)

    @property
    def state_count(self) -> int:
        """Number of states of an instance: the sum of places over all steps."""
        actions, horizon, places = self.sizes
        return sum(actions**t for t in range(horizon)) if places is None else places * horizon

    @property
    def shown(self) -> int:
        """Number of actions per state that data show."""
        return math.ceil(self.coverage * self.sizes.actions - 1e-9)

    @property
    def trajectories(self) -> int | None:
        """Number of distinct trajectories of an instance that data can show; None for the grid, which has too many."""
        if self.mdp == "grid":
            return None
        branches = self.sizes.actions if self.noise else 1
        return int((self.shown * branches) ** (self.sizes.horizon - 1) * self.shown)

    @property
    def exact(self) -> bool:
        """Whether the data consist of every trajectory with its probability."""
        count = self.trajectories
        return self.data != "sample" and count is not None and count <= MOST_TRAJECTORIES


class MdpTrainConfig(Section):
    """Training settings. Every instance has its own loss, gradient norm and optimiser state."""

    updates: int | None = Field(default=None, gt=0, description="null: tables 300, transformers 600")
    batch_episodes: int | None = Field(
        default=None, gt=0, description="rows drawn per instance and update; null: all, or 256 for pairs or groups"
    )
    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="transformers accept only adam")
    lr: float | None = Field(default=None, gt=0, description="null: tables 0.3, transformers 0.01")
    head_lr: float | None = Field(
        default=None, gt=0, description="learning rate of values and Q, if any; null: tables 0.3, transformers 0.01"
    )
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    clip: float = Field(
        default=1.0,
        gt=0,
        description="largest gradient norm of an instance; a transformer's heads are clipped separately",
    )
    log_every: int = Field(
        default=10, gt=0, description="updates between exact evaluations; tables log only these updates"
    )
    save_every: int = Field(default=100, gt=0, description="updates between resumable checkpoints")

    def summary(self) -> str:
        """Describe budget, batch and optimiser."""
        batch = f"{self.batch_episodes} episodes" if self.batch_episodes else "the default batch"
        updates = self.updates or " or ".join(f"{d['updates']} ({k})" for k, d in TRAIN_DEFAULTS.items())
        return f"{updates} updates of {batch} with {self.optimizer}"

    def filled(self, policy: Literal["table", "transformer"]) -> FilledTrainConfig:
        """Return these settings with the defaults of a kind of policy filled in."""
        values = {k: v for k, v in self.model_dump().items() if v is not None}
        return FilledTrainConfig.model_validate({**TRAIN_DEFAULTS[policy], **values})


class FilledTrainConfig(MdpTrainConfig):
    """Training settings with every default filled in."""

    updates: int
    lr: float
    head_lr: float


class MdpEvalConfig(Section):
    """Evaluation settings: none, because the evaluation is exact."""


def _unmet(setting: str, why: str, do: str = "leave it out") -> ConfigError:
    return ConfigError(f"{setting} cannot be honoured: {why}", where="--set", do=do)
