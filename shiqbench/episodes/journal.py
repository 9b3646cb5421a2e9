"""What an engine has answered, kept wave by wave, so that a killed evaluation continues where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import deque
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import checked_content, checked_line
from shiqbench.episodes.generation import Completion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.generation import Generator, Sampling

_Wave = tuple[int, str, list[Completion]]  # where its line begins, what was asked, what was answered


class JournaledGenerator:
    """An engine that writes every finished wave to a file, and after a restart reads it back instead.

    A wave is one call of :meth:`generate`. A wave that was interrupted starts whole again, since an engine's
    answers may depend on what else is in its batch. Kept waves serve for as long as each asks the same of the
    same; from the first that does not, or whose line is damaged, they are discarded and counted.

    Args:
        generator: The engine, loaded.
        path: The file. Its folder must exist; whoever is done with the file removes it.
        identity: What the answers depend on beside prompts and sampling: weights, engine, its precision. A file
            of another identity is discarded whole.
    """

    def __init__(self, generator: Generator, path: Path, identity: str) -> None:
        self.generator, self.path = generator, path
        self.name, self.version = generator.name, generator.version
        self.waves = self.replayed = self.discarded = 0
        self._kept: deque[_Wave] = deque()
        header = checked_line({"identity": identity})
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        if lines and lines[0] == header:
            end = len(header) + self._read(lines[1:], len(header))
        else:
            self.discarded = len(lines[1:])
            path.write_bytes(header)
            end = len(header)
        os.truncate(path, end)

    def _read(self, lines: Sequence[bytes], at: int) -> int:
        """Keep the waves that are whole; the bytes that they take."""
        size = 0
        for number, line in enumerate(lines):
            entry = checked_content(line)
            if entry is None:
                self.discarded = len(lines) - number
                break
            completions = [Completion(tuple(ids), tuple(logp), stopped) for ids, logp, stopped in entry["completions"]]
            self._kept.append((at + size, entry["asked"], completions))
            size += len(line)
        return size

    def load(self, weights: Path) -> None:
        """Other weights need another journal."""
        raise RuntimeError(f"the journal {self.path} is of other weights; load them into the engine, then open another")

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """Complete every prompt: from the file while it serves, from the engine after that."""
        asked = _asked(prompts, sampling)
        self.waves += 1
        if self._kept:
            at, kept, completions = self._kept.popleft()
            if kept == asked:
                self.replayed += 1
                return completions
            self.discarded += 1 + len(self._kept)
            self._kept.clear()
            os.truncate(self.path, at)
        completions = self.generator.generate(prompts, sampling)
        with self.path.open("ab") as stream:
            stream.write(checked_line({"asked": asked, "completions": [astuple(c) for c in completions]}))
            stream.flush()
            os.fsync(stream.fileno())
        return completions

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """As the engine does; not kept."""
        return self.generator.score(sequences)

    def describe(self) -> dict[str, Any]:
        """The engine's flags and versions."""
        return self.generator.describe()

    def facts(self) -> dict[str, int]:
        """Waves in all, those read back, and those that could not be used: for the manifest."""
        return {"waves": self.waves, "replayed": self.replayed, "discarded": self.discarded}

    def close(self) -> None:
        """Close the engine."""
        self.generator.close()


def _asked(prompts: Sequence[Sequence[int]], sampling: Sampling) -> str:
    """Sha256 over the prompts, their borders and the sampling."""
    found = hashlib.sha256(json.dumps(asdict(sampling), sort_keys=True).encode())
    for prompt in prompts:
        found.update(array("q", [len(prompt), *prompt]).tobytes())
    return found.hexdigest()
