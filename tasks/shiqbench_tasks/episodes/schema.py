"""The published form of a row: one episode. ``docs/schemas/episode.schema.json`` is made from it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class FunctionRow(BaseModel):
    """What a tool call calls."""

    model_config = ConfigDict(extra="allow")

    name: str
    arguments: dict[str, Any] | str | None = Field(default=None, description="an object, or its JSON text")


class ToolCallRow(BaseModel):
    """A tool call, as OpenAI writes it."""

    model_config = ConfigDict(extra="allow")

    id: str | None = None
    type: str | None = None
    function: FunctionRow


class TextPart(BaseModel):
    """A part of a content."""

    type: Literal["text"]
    text: str


class MessageRow(BaseModel):
    """A message. Other keys are not read; a run names those that have a value."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = Field(default=None, description="null or absent where there are tool calls")
    tool_calls: list[ToolCallRow] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    reasoning_content: str | None = Field(default=None, description="the thought before the answer")
    action: bool | None = Field(
        default=None, description="whether the model is trained on this message; by default every assistant message"
    )
    reward: float | None = Field(default=None, description="reward of this action")


class EpisodeRow(BaseModel):
    """A line of the file. The scoring function also gets all other columns."""

    model_config = ConfigDict(extra="allow", title="shiqbench episode")

    messages: list[MessageRow] = Field(min_length=1, description="in order of time")
    tools: list[dict[str, Any]] | str | None = Field(default=None, description="tool documents, or their JSON text")
    reward: float | None = Field(
        default=None, description="reward of the whole conversation, where its messages have none"
    )
    group: str | int | None = Field(
        default=None, description="the same for episodes of one prompt; by default those that begin alike"
    )
    split: Literal["train", "validation", "test"] | None = Field(
        default=None, description="in all rows or in none; by default a tenth of the prompts each is held out"
    )
    id: str | int | None = Field(default=None, description="unique; by default the group with a number")
    behaviour: str | None = Field(default=None, description="who played the episode; by default recorded")
