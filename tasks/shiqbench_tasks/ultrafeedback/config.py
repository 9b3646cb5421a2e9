"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from shiqbench.plugin import TaskConfig
from shiqbench_tasks.answers.judge import JudgeConfig  # noqa: TC001 - pydantic reads it

HUB = "HuggingFaceH4/ultrafeedback_binarized"
ROLES = (
    "prompt",
    "chosen",
    "rejected",
    "score_chosen",
    "score_rejected",
    "completions",
    "response",
    "score",
    "model",
    "tools",
)


class UltraFeedbackConfig(TaskConfig):
    """Where the data are, what they earn, and which reward model judges the answers."""

    setting_fields: ClassVar[tuple[str, ...]] = (
        "data",
        "revision",
        "columns",
        "returns",
        "rating_low",
        "rating_high",
        "doubtful_tens",
        "on_bad_row",
        "longest_prompt",
        "reward_model",
        "reward",
        "held_out_pairs",
    )

    # data_identity names the data, and scoring_identity the reward model, whose settings may hold a folder.
    place_fields: ClassVar[tuple[str, ...]] = ("data", "revision", "reward")
    judging_fields: ClassVar[tuple[str, ...]] = ("reward_model", "reward", "held_out_pairs", "judge")

    data: str = Field(
        default=HUB,
        description="a hub name, a folder of a hub's data set as Anthropic/hh-rlhf/harmless-base, or a local folder, "
        ".jsonl, .json, .jsonl.gz, .json.gz or .parquet file",
    )
    revision: str | None = Field(default=None, description="of a hub's data set; null takes the newest")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description=f"role -> column, dots go into structures; roles are {', '.join(ROLES)}; "
        "what is not named is looked for under the names of the known sources; an empty name leaves out tools",
    )
    on_bad_row: Literal["refuse", "skip"] = Field(
        default="refuse", description="stop at rows that cannot be used, or leave them out; both name and count them"
    )
    returns: Literal["rating", "preference"] = Field(
        default="rating", description="what an answer earns: its rating, or 1 if chosen and 0 if rejected"
    )
    labels: Literal["data", "reward_model"] = Field(
        default="data",
        description="who says what a training answer earns: the data (returns), or the reward model after it has "
        "learned from them",
    )
    centre: Literal["none", "dataset", "group"] = Field(
        default="none", description="subtract the mean return of the training answers, or of the prompt's answers"
    )
    scale: Literal["none", "range", "deviation"] = Field(
        default="none", description="divide by rating_high - rating_low, or by the training answers' standard deviation"
    )
    rating_low: float = Field(default=1.0, description="lowest rating there is; a lower one is an error")
    rating_high: float = Field(default=10.0, description="highest rating there is; a higher one is an error")
    doubtful_tens: Literal["correct", "keep"] = Field(
        default="correct",
        description="answers that openbmb/UltraFeedback rates 10 overall though their aspects average 4 or less: "
        "correct reads 1 if they average 2 or less, and leaves out the rest; keep believes the 10",
    )
    longest_prompt: int | None = Field(
        default=None, gt=0, description="leave out prompts of more characters, in every split; counted"
    )
    longest_answer: int | None = Field(
        default=None, gt=0, description="leave out answers of more characters from what is trained on; counted"
    )
    prompts: int | None = Field(default=None, gt=0, description="only N training prompts, chosen by their hash")
    reward_model: str = Field(default="bradley_terry", description="see `shiqbench list rewards`")
    reward: dict[str, Any] = Field(default_factory=dict, description="the reward model's own settings")
    held_out_pairs: int = Field(
        default=300,
        gt=0,
        description="pairs on which the reward model's accuracy is measured, at most: of validation, then of training "
        "where it did not learn from them",
    )
    judge: JudgeConfig | None = Field(
        default=None, description="a language model that compares answers too: task.judge.url, task.judge.model, ..."
    )

    @field_validator("columns")
    @classmethod
    def _known_roles(cls, columns: dict[str, str]) -> dict[str, str]:
        strange = [role for role in columns if role not in ROLES]
        if strange:
            raise ValueError(f"unknown role {strange[0]}; roles are {', '.join(ROLES)}")
        return columns

    @model_validator(mode="after")
    def _range_is_one(self) -> UltraFeedbackConfig:
        if self.rating_low >= self.rating_high:
            raise ValueError("rating_low must be below rating_high")
        if self.scale == "range" and self.returns == "preference":
            raise ValueError("scale range is of ratings; returns preference is in [0, 1] already")
        if self.scale == "range" and self.labels == "reward_model":
            raise ValueError("scale range is of ratings; the labels of a reward model have none: use deviation")
        return self

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a field that was added later and has its default, so that digests of earlier cells stay."""
        values: dict[str, Any] = handler(self)
        return {k: v for k, v in values.items() if (k, v) != ("labels", "data")}

    def reduced(self) -> bool:
        """Whether prompts were left out for their length."""
        return self.longest_prompt is not None
