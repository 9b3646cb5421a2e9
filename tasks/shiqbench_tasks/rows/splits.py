"""Which split a prompt belongs to: the source's own, or by the hash of its text."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from shiqbench.plugin import Message, Split


def own_split(source_split: str) -> Split | None:
    """What a source's split is for, where its name says so."""
    if source_split.startswith(("test", "eval")):
        return "test"
    return "validation" if source_split.startswith(("val", "dev")) else None


def split_of(prompt_sha256: str, source_split: str, owned: Collection[Split | None]) -> Split:
    """The split of a prompt: the source's own, or else by the prompt's hash.

    Args:
        prompt_sha256: Decides for prompts of a source's training split: a tenth goes to test and a tenth to
            validation, where the source has no such split itself.
        source_split: Where the prompt was found.
        owned: What the source has splits for.
    """
    own = own_split(source_split)
    if own is not None:
        return own
    by_hash: dict[int, Split] = {0: "test", 1: "validation"}
    split = by_hash.get(int(prompt_sha256[:8], 16) % 10, "train")
    return "train" if split in owned else split


def texts_sha256(messages: Iterable[Message]) -> str:
    """Sha256 of a prompt's texts; prompts that differ in nothing else are in one split."""
    return hashlib.sha256(json.dumps([(m.role, m.content) for m in messages]).encode()).hexdigest()


def whole_sha256(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> str:
    """Sha256 of the whole prompt; that of its texts if it has nothing else."""
    others = [(m.extra, m.reward) for m in messages]
    if not tools and all(extra == {} and reward is None for extra, reward in others):
        return texts_sha256(messages)
    return hashlib.sha256(json.dumps([texts_sha256(messages), tools, others]).encode()).hexdigest()
