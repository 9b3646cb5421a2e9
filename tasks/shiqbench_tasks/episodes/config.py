"""Configuration of the task; importing it costs nothing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from shiqbench.plugin import TaskConfig
from shiqbench_tasks.answers.judge import JudgeConfig  # noqa: TC001 - pydantic reads it

Scoring = Literal["function", "judge", "reward model"]
DEFAULT_REWARD_MODEL = "bradley_terry"


class EpisodesConfig(TaskConfig):
    """Where the episodes are, and who scores the answers of an evaluation."""

    setting_fields: ClassVar[tuple[str, ...]] = (
        "data",
        "revision",
        "form",
        "columns",
        "on_bad_row",
        "turns",
        "score",
        "reward_model",
        "reward",
        "held_out_pairs",
        "judge",
    )
    # data_identity names the data, and scoring_identity the function or reward model, whose settings may hold a folder.
    place_fields: ClassVar[tuple[str, ...]] = ("data", "revision", "score", "reward")
    judging_fields: ClassVar[tuple[str, ...]] = (
        "turns",
        "score",
        "reward_model",
        "reward",
        "held_out_pairs",
        "judge",
    )

    data: str = Field(
        default="",
        description="a local .jsonl, .json, .jsonl.gz, .json.gz or .parquet file or a folder of them, or a hub name",
    )
    revision: str | None = Field(default=None, description="of a hub's data set; null takes the newest")
    form: Literal["auto", "episodes", "openai", "sharegpt", "preference", "kto", "completion"] = Field(
        default="auto", description="how rows are written; auto recognises it by the columns"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="reward -> the column with the reward of a whole conversation, if its name is another one",
    )
    on_bad_row: Literal["refuse", "skip"] = Field(
        default="refuse", description="stop at rows that cannot be used, or leave them out; both name and count them"
    )
    centre: Literal["none", "dataset", "group"] = Field(
        default="none", description="subtract the mean return of the training episodes, or of the episode's group"
    )
    scale: Literal["none", "deviation"] = Field(
        default="none", description="divide rewards by the standard deviation of the training episodes' returns"
    )
    longest_episode: int | None = Field(
        default=None, gt=0, description="leave out episodes of more characters from what is trained on; counted"
    )
    turns: Literal["last", "all"] = Field(
        default="last",
        description="what an evaluation asks of a held-out episode: its last action, or each of its actions, always "
        "with the recorded messages before it",
    )
    score: str | None = Field(
        default=None, description="FILE.py:function scores the answers; it gets the messages and the row"
    )
    reward_model: str | None = Field(
        default=None,
        description="see `shiqbench list rewards`; null takes bradley_terry, unless task.score or task.judge is given",
    )
    reward: dict[str, Any] = Field(default_factory=dict, description="the reward model's own settings")
    held_out_pairs: int = Field(
        default=300, gt=0, description="pairs on which the reward model's accuracy is measured, at most"
    )
    judge: JudgeConfig | None = Field(
        default=None,
        description="a language model compares the answers with the recorded ones: task.judge.url, task.judge.model",
    )

    @field_validator("columns")
    @classmethod
    def _known_roles(cls, columns: dict[str, str]) -> dict[str, str]:
        strange = [role for role in columns if role != "reward"]
        if strange:
            raise ValueError(
                f"unknown role {strange[0]}; the only role is reward, other columns are named in ultrafeedback"
            )
        return columns

    @property
    def scored_by(self) -> Scoring:
        """Who scores the answers."""
        if self.score is not None:
            return "function"
        return "reward model" if self.judge is None else "judge"

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a field that was added later and has its default, so that digests of earlier cells stay."""
        values: dict[str, Any] = handler(self)
        return {k: v for k, v in values.items() if (k, v) != ("columns", {})}

    @model_validator(mode="after")
    def _one_scores(self) -> EpisodesConfig:
        given = [name for name in ("score", "judge", "reward_model") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} both score the answers; set one of them")
        if self.reward and self.scored_by != "reward model":
            raise ValueError(f"reward cannot be honoured: {given[0]} scores the answers")
        return self
