"""Specs of a sound engine, and of engines that each break one line of the contract; imports no torch."""

from __future__ import annotations

from pydantic import BaseModel, Field

from shiqbench.plugin.config import EngineConfig
from shiqbench.plugin.specs import EngineSpec, hookimpl

BROKEN = (
    "Misnamed",
    "Wordless",
    "Short",
    "Talkative",
    "DropsStops",
    "Unordered",
    "NeverGreedy",
    "WholeDistribution",
    "Tempered",
    "Uncertain",
    "Shifted",
    "OneSeed",
    "NoSeed",
    "Stale",
    "Unmoved",
    "ClosesOnce",
)


class Config(EngineConfig):
    rows: int = Field(default=4, gt=0)


class Loose(BaseModel):
    pass


def _spec(kind: str, name: str, config: type = Config) -> EngineSpec:
    return EngineSpec(
        name=name,
        version="1",
        summary="for tests",
        target=f"engine_faults:{kind}",
        config=f"{__name__}:{config.__name__}",
        distributions=("transformers",),
        install="pip install transformers",
    )


@hookimpl
def shiqbench_register_engines() -> list[EngineSpec]:
    return [_spec("Sound", "sound"), _spec("Sound", "loose", Loose), *(_spec(kind, kind) for kind in BROKEN)]
