"""A journal of an engine's answers, wave by wave, so that a killed evaluation continues where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import deque
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import checked_content, checked_line
from shiqbench.episodes.generation import Completion, check_finite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.generation import Generator, Sampling

_Wave = tuple[int, str, list[Completion]]  # start of its line in the file, digest of the request, completions


class JournaledGenerator:
    """An engine that writes every finished wave to a file; after a restart it reads finished waves from the file.

    A wave is one call of :meth:`generate`. An interrupted wave is repeated as a whole, since an engine's answers
    may depend on the other prompts in the batch. Kept waves are used while each call has the same prompts and sampling
    as its kept wave. From the first wave that differs or has a damaged line, the rest is discarded and counted.

    Args:
        generator: Engine with loaded weights.
        path: Journal file. Its folder must exist; the caller removes the file when it is not needed any more.
        identity: Everything except prompts and sampling that the answers depend on: weights, engine, its precision.
            A file with another identity is discarded as a whole.
    """

    def __init__(self, generator: Generator, path: Path, identity: str) -> None:
        self.generator, self.path = generator, path
        self.name, self.version = generator.name, generator.version
        self.waves = self.replayed = self.discarded = 0
        self.shortest: tuple[tuple[int, ...], Completion] | None = None  # prompt and answer with the fewest tokens
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
        """Keep the complete waves; return their size in bytes."""
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
        """Refuse: other weights need another journal."""
        raise RuntimeError(
            f"the journal {self.path} belongs to other weights; load those into the engine, then open another"
        )

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """Complete every prompt: from the file while its waves match, then from the engine."""
        completions = self._wave(prompts, sampling)
        for prompt, answer in zip(prompts, completions, strict=True):
            size = len(prompt) + len(answer.ids)
            if self.shortest is None or size < len(self.shortest[0]) + len(self.shortest[1].ids):
                self.shortest = tuple(prompt), answer
        return completions

    def _wave(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
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
        check_finite([c.logprobs for c in completions], self.name)  # an engine of another package may not look
        with self.path.open("ab") as stream:
            stream.write(checked_line({"asked": asked, "completions": [astuple(c) for c in completions]}))
            stream.flush()
            os.fsync(stream.fileno())
        return completions

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Score with the engine; scores are not kept."""
        found = self.generator.score(sequences)
        check_finite(found, self.name)
        return found

    def describe(self) -> dict[str, Any]:
        """Return the engine's flags and versions."""
        return self.generator.describe()

    def facts(self) -> dict[str, int]:
        """Return the number of waves, of waves read from the file, and of discarded waves, for the manifest."""
        return {"waves": self.waves, "replayed": self.replayed, "discarded": self.discarded}

    def close(self) -> None:
        """Close the engine."""
        self.generator.close()


def _asked(prompts: Sequence[Sequence[int]], sampling: Sampling) -> str:
    """Return the sha256 over the prompts, their borders and the sampling."""
    found = hashlib.sha256(json.dumps(asdict(sampling), sort_keys=True).encode())
    for prompt in prompts:
        found.update(array("q", [len(prompt), *prompt]).tobytes())
    return found.hexdigest()
