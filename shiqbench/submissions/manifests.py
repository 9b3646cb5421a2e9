"""The types of what reports read of the recipes and manifests of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from shiqbench.submissions.archive import CONFIG, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Facts(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Behaviour(_Facts):
    used: int


class _Data(_Facts):
    behaviours: dict[str, _Behaviour] | None = None


class _Hardware(_Facts):
    cpu: str = ""
    cores: int = 0
    gpus: list[str] = []


class _OfCell(_Facts):
    """A cell's manifest."""

    model: str
    start: str | None = None
    seconds: float | None = None
    budget: dict[str, int] | None = None
    pass_tokens: dict[str, int] = {}
    mismatched_tokens: int = 0
    parameters: int | None = None
    trained_parameters: int | None = None
    hardware: _Hardware | None = None
    data: _Data | None = None
    shiqbench: str = ""


class _Seconds(_Facts):
    total: float


class _OfEvaluation(_Facts):
    """An evaluation's manifest."""

    seconds: _Seconds
    reduced: bool


class _Part(_Facts):
    name: str
    version: str
    config: dict[str, Any]


class _Task(_Part):
    data: dict[str, Any]


class _Recipe(_Facts):
    """A cell's recipe."""

    algorithm: _Part
    task: _Task
    model: dict[str, Any]
    train: dict[str, Any] | None
    seed: int | None
    plugins: dict[str, Any]


class _Setting(_Facts):
    """An evaluation's recipe."""

    train: str
    update: int | None = None
    task: str
    version: str
    setting: dict[str, Any]
    eval: dict[str, Any]
    engine: str


KINDS: dict[tuple[str, bool], type[_Facts]] = {
    (CONFIG, False): _Recipe,
    (CONFIG, True): _Setting,
    (MANIFEST, False): _OfCell,
    (MANIFEST, True): _OfEvaluation,
}


def wrong_facts(file: str, content: Mapping[str, Any]) -> str:
    """The first value that has another type than reports expect; empty if there is none, and for any other file.

    Args:
        file: Name of the file in the submission.
        content: Its JSON.
    """
    kind = KINDS.get((file.rpartition("/")[2], "/eval/" in file))
    try:
        if kind is not None:
            kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ""
