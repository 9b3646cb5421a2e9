"""What dpo, dmpo and ipo share: which pairs they learn from."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from shiqbench.plugin import Algorithm, AlgorithmConfig


class PairConfig(AlgorithmConfig):
    """All pairs of a group whose returns differ, or those of them that differ in one message of the model."""

    pairs: Literal["all", "one_turn"] = Field(
        default="all",
        description="all pairs of a group whose returns differ, or those that share all before a message of the model "
        "and differ in this message only",
    )

    @model_serializer(mode="wrap")
    def _without_the_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the default out: this setting came later, and digests of older cells stay as they are."""
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if (name, value) != ("pairs", "all")}


C = TypeVar("C", bound=PairConfig, covariant=True)


class PairAlgorithm(Algorithm[C]):
    """An algorithm that compares the two episodes of a pair."""

    unit = "pair"

    @property
    def pairs(self) -> Literal["all", "one_turn"]:
        """As configured."""
        return self.config.pairs
