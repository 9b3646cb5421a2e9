"""The sentence tokeniser that IFEval's verifier needs, pinned: nltk would download whatever is newest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shiqbench.plugin import Wheel, fetch_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

# nltk's own server is no package registry; this wheel carries nltk's punkt_tab unchanged.
PUNKT = Wheel(
    name="llama-index-core",
    version="0.14.25",
    sha256="caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1",
    megabytes=11.9,
)
FOLDER = Path("llama_index/core/_static/nltk_cache")
USER = "ifeval"  # 77 of IFEval's 834 checks count sentences or words with it


def is_needed(suites: Sequence[str], task_path: Path | None) -> bool:
    """Whether a suite, or a local file, names IFEval or its verifier."""
    local = [] if task_path is None else [*task_path.rglob("*.yaml"), *task_path.rglob("*.py")]
    return any(USER in name for name in suites) or any(USER in file.read_text(encoding="utf-8") for file in local)


def provide() -> None:
    """Put the pinned tokeniser first where nltk looks.

    Raises:
        AssetError: It is not cached and cannot be had.
    """
    import nltk

    folder = str(fetch_wheel(PUNKT) / FOLDER)
    if folder not in nltk.data.path:
        nltk.data.path.insert(0, folder)
