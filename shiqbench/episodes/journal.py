"""A journal of an engine's answers, as they come, so that a killed evaluation continues where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import deque
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any

from shiqbench.base.files import checked_content, checked_line
from shiqbench.episodes.generation import Completion, check_finite, stream_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.generation import CompletionStream, Generator, Sampling

_Wave = tuple[int, str, list[Completion]]  # start of its line in the file, digest of the request, completions


class JournaledGenerator:
    """An engine that writes what it has answered to a file; after a restart it reads that from the file.

    A wave is one call of :meth:`generate`, or one prompt of a :meth:`stream`. An interrupted wave is repeated as a
    whole, since an engine's answers may depend on the other prompts in the batch. In calls, kept waves are used while
    each call has the same prompts and sampling as its kept wave; from the first wave that differs or has a damaged
    line, the rest is discarded and counted. In a stream, prompts are found in any order, and those of the rest are
    computed in other batches than without the interruption.

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
        self._kept_prompts: dict[str, Completion] = {}
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
            self.note(prompt, answer)
        return completions

    def note(self, prompt: Sequence[int], answer: Completion) -> None:
        """Remember the shortest prompt and answer."""
        size = len(prompt) + len(answer.ids)
        if self.shortest is None or size < len(self.shortest[0]) + len(self.shortest[1].ids):
            self.shortest = tuple(prompt), answer

    def stream(self) -> JournaledStream | None:
        """The engine's stream with this file; None if the engine has none."""
        opened = stream_of(self.generator)
        return None if opened is None else JournaledStream(self, opened)

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
        self.keep([(asked, completions)])
        return completions

    def keep(self, waves: Sequence[tuple[str, list[Completion]]]) -> None:
        """Write waves, each with the digest of what was asked."""
        for _, completions in waves:
            check_finite([c.logprobs for c in completions], self.name)  # an engine of another package may not look
        with self.path.open("ab") as file:
            for asked, completions in waves:
                file.write(checked_line({"asked": asked, "completions": [astuple(c) for c in completions]}))
            file.flush()
            os.fsync(file.fileno())

    def kept_prompts(self) -> dict[str, Completion]:
        """Kept waves of one prompt, by the digest of what was asked, for all streams; other waves are discarded."""
        found = {asked: completions[0] for _, asked, completions in self._kept if len(completions) == 1}
        self.discarded += len(self._kept) - len(found)
        self._kept.clear()
        self._kept_prompts.update(found)
        return self._kept_prompts

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Score with the engine; scores are not kept."""
        found = self.generator.score(sequences)
        check_finite(found, self.name)
        return found

    def describe(self) -> dict[str, Any]:
        """Return the engine's flags and versions."""
        return self.generator.describe()

    def facts(self) -> dict[str, int]:
        """Return the number of waves, of waves read from the file, and of discarded waves, for the manifest.

        Kept prompts that no stream has asked count as discarded.
        """
        discarded = self.discarded + len(self._kept_prompts)
        return {"waves": self.waves, "replayed": self.replayed, "discarded": discarded}

    def close(self) -> None:
        """Close the engine."""
        self.generator.close()


class JournaledStream:
    """An engine's stream; prompts that the journal has are not asked again.

    Args:
        journal: The file.
        stream: The engine's stream.
    """

    def __init__(self, journal: JournaledGenerator, stream: CompletionStream) -> None:
        self._journal, self._stream, self.slots = journal, stream, stream.slots
        self._kept = journal.kept_prompts()
        self._open: dict[int, tuple[Sequence[int], str]] = {}
        self._found: list[tuple[int, Completion]] = []

    def add(self, key: int, prompt: Sequence[int], sampling: Sampling) -> None:
        """Add a prompt, to the engine if the file does not have it."""
        asked = _asked([prompt], sampling)
        self._journal.waves += 1
        kept = self._kept.pop(asked, None)
        if kept is None:
            self._open[key] = prompt, asked
            self._stream.add(key, prompt, sampling)
        else:
            self._journal.replayed += 1
            self._journal.note(prompt, kept)
            self._found.append((key, kept))

    def take(self) -> list[tuple[int, Completion]]:
        """Return what the file has; else run the engine until a prompt is complete, and write that."""
        if found := self._found:
            self._found = []
            return found
        answers = self._stream.take()
        self._journal.keep([(self._open[key][1], [answer]) for key, answer in answers])
        for key, answer in answers:
            self._journal.note(self._open.pop(key)[0], answer)
        return answers

    def close(self) -> None:
        """Drop what is not complete."""
        self._stream.close()


def _asked(prompts: Sequence[Sequence[int]], sampling: Sampling) -> str:
    """Return the sha256 over the prompts, their borders and the sampling."""
    found = hashlib.sha256(json.dumps(asdict(sampling), sort_keys=True).encode())
    for prompt in prompts:
        found.update(array("q", [len(prompt), *prompt]).tobytes())
    return found.hexdigest()
