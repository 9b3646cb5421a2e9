"""Settings of the built-in engines; this module imports nothing heavy."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from shiqbench.base.errors import ConfigError
from shiqbench.plugin.config import EngineConfig

SENT = {  # fields of a request that the engine sends itself, or that would change what a reply is
    *("model", "messages", "temperature", "top_p", "seed", "max_tokens", "max_completion_tokens"),
    *("n", "stream", "tools"),
}


class VllmConfig(EngineConfig):
    """How vLLM uses the machine."""

    free_fields: ClassVar[tuple[str, ...]] = ("gpu_memory",)

    tensor_parallel: int = Field(
        default=1, gt=0, description="processes, one per GPU, that share each weight; other sums, so other roundings"
    )
    max_num_seqs: int = Field(
        default=64, gt=0, description="sequences that are computed together; other batches, so other roundings"
    )
    waves: bool = Field(
        default=False, description="whether episodes wait for each other's messages; other batches, so other roundings"
    )
    gpu_memory: float | None = Field(
        default=None, gt=0, le=1, description="share of each GPU's memory; null: 0.6 on a GPU; a CPU has none"
    )


class ServedConfig(EngineConfig):
    """Where the server is, how patiently it is asked, and what it costs."""

    free_fields: ClassVar[tuple[str, ...]] = (
        "url",  # part of the model's identity
        "key_variable",
        "workers",
        "timeout",
        "retries",
        "requests_per_minute",
        "token_limit",
        "usd_per_million_prompt",
        "usd_per_million_completion",
        "max_usd",
    )

    url: str = Field(
        default="", description="base URL of an OpenAI-compatible server, such as http://localhost:8000/v1"
    )
    key_variable: str = Field(
        default="", description="environment variable with the API key; if empty, no key is sent; no file contains it"
    )
    workers: int = Field(default=8, gt=0, description="requests at once")
    timeout: float = Field(default=600.0, gt=0, description="seconds for one request")
    retries: int = Field(
        default=6,
        ge=0,
        description="after a time-out, 408, 409, 429 or 5xx; with growing pauses, or as Retry-After says",
    )
    requests_per_minute: float | None = Field(default=None, gt=0, description="largest rate of new requests")
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="the server's name for eval.max_tokens"
    )
    tool_role: Literal["tool", "user"] = Field(
        default="tool", description="role of tool results without a call's id; many APIs accept only user"
    )
    thought: tuple[str, str] = Field(
        default=("<think>", "</think>"), description="marks of a thought that the server leaves in the answer"
    )
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description='further fields of every request, such as {"chat_template_kwargs": {"enable_thinking": false}}',
    )
    usd_per_million_prompt: float = Field(default=0.0, ge=0, description="price of prompt tokens")
    usd_per_million_completion: float = Field(default=0.0, ge=0, description="price of generated tokens")
    max_usd: float | None = Field(
        default=None, gt=0, description="an evaluation that has cost this much stops; its replies are kept"
    )

    @model_validator(mode="after")
    def _extra_is_extra(self) -> ServedConfig:
        if both := sorted(SENT & set(self.extra)):
            raise ConfigError(
                f"engine.extra cannot contain {both[0]}, which the engine decides",
                where="--set",
                do="set eval.temperature, eval.top_p, eval.seed, eval.max_tokens, engine.token_limit or --model",
            )
        return self

    @model_validator(mode="after")
    def _a_limit_needs_a_price(self) -> ServedConfig:
        if self.max_usd is not None and not self.usd_per_million_prompt + self.usd_per_million_completion:
            raise ConfigError(
                "engine.max_usd cannot be honoured: there is no price",
                where="--set",
                do="set engine.usd_per_million_prompt and engine.usd_per_million_completion",
            )
        return self
