"""The two pinned versions of the data, file by file. Importing this costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shiqbench.plugin import Wheel

if TYPE_CHECKING:
    from collections.abc import Mapping


BFCL_V3 = Wheel(
    name="bfcl-eval",
    version="2025.7.17",
    sha256="1982d6804db2389d9f241d5ded49286ca47d9654fc518ea70857f5051217f88b",
    megabytes=1.7,
)


BFCL_V4 = Wheel(
    name="bfcl-eval",
    version="2026.3.23",
    sha256="3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a",
    megabytes=1.9,
)


Category = Literal["base", "miss_func", "miss_param", "long_context"]
CATEGORIES: tuple[Category, ...] = ("base", "miss_func", "miss_param", "long_context")


@dataclass(frozen=True, eq=False)
class DataVersion:
    """One version of the multi-turn data.

    Attributes:
        name: ``v3`` or ``v4``; the leaderboard's files begin with ``BFCL_v3`` or ``BFCL_v4``.
        wheel: The pinned distribution that contains the data.
        sha256: Category -> sha256 of its entries and of its ground truth.
        merged_answers: (category, scenario) -> the turn of the ground truth that is merged with the next turn.
        result_folder: Folder of multi-turn results in a model's folder of the leaderboard.
        scores_parts: Whether the leaderboard's tools score a file that contains only a part of a category's scenarios.
    """

    name: str
    wheel: Wheel
    sha256: Mapping[str, tuple[str, str]]
    merged_answers: Mapping[tuple[str, int], int]
    result_folder: str
    scores_parts: bool

    @property
    def prefix(self) -> str:
        """Prefix of the leaderboard's file names."""
        return f"BFCL_{self.name}"

    def files(self, category: str) -> tuple[str, str]:
        """Names of entries and ground truth, below ``bfcl_eval/data``."""
        name = f"{self.prefix}_multi_turn_{category}.json"
        return name, f"possible_answer/{name}"


# multi_turn_base_154 of v3 has 5 user turns and 6 turns of ground truth, so its official result is always "force
# terminated". The second and third turn of the ground truth together answer the second user turn.
V3 = DataVersion(
    "v3",
    BFCL_V3,
    {
        "base": (
            "fe5c442849bdb2c2cdedc91f377411ff7fc6cd11af299766f4554d71d3d40f98",
            "6ea6bf48a2fc6067b57a289d314e7dc0582b12e22be53c8f7681599fba84a028",
        ),
        "miss_func": (
            "4a3a862f3e897d121ad94aa2c3f29ea752b7f7ac4eac6a23c8d502d1143e3492",
            "e47b7f29224e43b8991ef6f5e6e01a936a4dccad17d1484610e6a33f27998b34",
        ),
        "miss_param": (
            "25509d5c441017c51de784e7670647dbec11a22fe0640990b0dafabf32e8c8d1",
            "585d97fd579965a14b63d09882a680bcfbd1826ccf3e3a5de6fa68363c98a704",
        ),
        "long_context": (
            "17898c71fc5ceca4538e812602bc0338efafe665594380094bd4288f10394f51",
            "387fae6ec3146c1fd4cce8b901a69b1ec7a0844aa211f425f79049d35dd0b433",
        ),
    },
    {("base", 154): 1},
    result_folder="",
    scores_parts=False,
)
V4 = DataVersion(
    "v4",
    BFCL_V4,
    {
        "base": (
            "1a21a995d06fd6f20ba55de7bced30ef953ec35e998f502ec2ecf4d66ef1c43a",
            "1fee67823b317571649177dd89d63969feaae4e810cc7448ee55ba797fb7c8fc",
        ),
        "miss_func": (
            "87d28ce10e37d864b72de85d5732eef2a867b241d6c1c99b4ae682c9e3ea921c",
            "69e679b806d1c871b05393a4b95583bb973248e5b8d96c2d7f4ca05e29fc32e6",
        ),
        "miss_param": (
            "f0c66dda3795f5f53e3e1c0cc8ba0246b6761c8f58bdba8317203bf451ab8838",
            "59c442901779e2c31c33abcd566d032e03736e5ad8069de2fe05489873046ecf",
        ),
        "long_context": (
            "78c3268c5cc8e97c0f4ec6c811b3b9a2bba14323b1830b7a874b06d822749324",
            "e82aa0e839c39d23c64a05834f7ae024d7c9738ec21738ecee78dc876e3d0d18",
        ),
    },
    {},
    result_folder="multi_turn",
    scores_parts=True,
)
VERSIONS: dict[str, DataVersion] = {"v3": V3, "v4": V4}
