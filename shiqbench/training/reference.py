"""The reference's statistics, computed once per (weights, ids, precision, kernel) and kept on disk.

One SQLite file per combination of weights, precision, kernel and library versions; one row per token sequence, keyed by
the sha256 of its ids and action positions. Cells with the same sequence share its row, for any algorithm and data mix.
Writes are transactions: a killed process loses at most the last one. Rows have checksums and are counted, and opening
the file verifies all of them: a row that is computed again together with other sequences could differ in its last bit.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from shiqbench.base.causes import as_disk_error
from shiqbench.base.digest import digest, short
from shiqbench.base.errors import CorruptCellError
from shiqbench.training.own_forward import tolerance
from shiqbench.training.policy import concatenate, forward_passes, kernel
from shiqbench.training.token_statistics import TokenStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from shiqbench.episodes.rendering import Rendered, TokenSequence
    from shiqbench.training.policy import Policy


TABLES = (
    "CREATE TABLE IF NOT EXISTS statistics (key BLOB PRIMARY KEY, logit BLOB, lse BLOB, sha256 BLOB) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY, rows INTEGER)",
    "INSERT OR IGNORE INTO total VALUES (0, 0)",
)


class ReferenceCache:
    """Reads and fills the cache for one frozen model.

    Args:
        folder: Folder of the cache files.
        weights_sha256: Identity of the reference's whole folder.
        policy: The reference, or the policy before its first update: both have the same weights, precision and
            shapes of forward passes, so both round in the same way.

    Raises:
        CorruptCellError: The file is not what was written.
        DiskError: The disk is full, can only be read, or fails.
    """

    def __init__(self, folder: Path, weights_sha256: str, policy: Policy) -> None:
        self.policy, config = policy, policy.config
        self.difference: float | None = None  # between a row that was found and the same row computed again
        key = {
            "weights": weights_sha256,
            "precision": config.precision,
            "kernel": kernel(policy.model),
            "micro_tokens": config.micro_tokens if config.precision == "bf16" else None,
            "share_prefix": config.share_prefix,
            "dtype": str(next(policy.parameters()).dtype),
            "torch": torch.__version__,
            "device": next(policy.parameters()).device.type,
            "rows": "checked",
            "logits": "the model's own",
            "frozen": config.top_layers if config.precision == "bf16" and policy.frozen is not None else None,
            **({} if config.base_weights == "fp32" else {"base_weights": config.base_weights}),
        }
        self._dtype = np.float64 if next(policy.parameters()).dtype == torch.float64 else np.float32
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{short(digest(key))}.sqlite"
        with self._errors():
            self._database = sqlite3.connect(self.path, timeout=60)
            with self._database:
                for statement in TABLES:
                    self._database.execute(statement)
            self._verify()

    def fill(self, rendered: Sequence[Rendered], progress: Callable[[int, int], None]) -> tuple[int, int]:
        """Compute the statistics that are missing, and the shortest found sequence once more, to compare it.

        Args:
            rendered: Episodes that training will visit.
            progress: Called with (done, total), the numbers of sequences computed and to compute.

        Returns:
            (sequences computed, sequences found in the cache).

        Raises:
            CorruptCellError: A found row is not what the model computes.
        """
        return self.fill_sequences([s for r in rendered for s in r.sequences], progress)

    def fill_sequences(
        self, sequences: Sequence[TokenSequence], progress: Callable[[int, int], None]
    ) -> tuple[int, int]:
        """Like :meth:`fill`, for sequences that are no episodes."""
        wanted = {_key(s): s for s in sequences}
        missing = [s for k, s in wanted.items() if self._get(k) is None]
        found_before = set(wanted.values()) - set(missing)
        # If the weights are sharded, a process that has nothing to compute makes idle passes with the others.
        if self.policy.in_step(len(found_before)):
            self._compare(sorted(found_before, key=lambda s: (len(s.ids), s.ids))[:1])
        done = 0
        passes = forward_passes(missing, self.policy.config)
        idle = self.policy.in_step(len(passes)) - len(passes)
        for members in passes:
            group = [missing[i] for i in members]
            with torch.no_grad():
                found = self.policy(group)
            rows = [(_key(s), self._blob(f.logit_N), self._blob(f.lse_N)) for s, f in zip(group, found, strict=True)]
            with self._errors(), self._database:
                added = self._database.executemany(
                    "INSERT OR IGNORE INTO statistics VALUES (?, ?, ?, ?)", [(*row, _checksum(*row)) for row in rows]
                ).rowcount
                self._database.execute("UPDATE total SET rows = rows + ?", (added,))
            done += len(group)
            progress(done, len(missing))
        with torch.no_grad():
            for _ in range(idle):
                self.policy([])
        return len(missing), len(wanted) - len(missing)

    def row(self, rendered: Rendered) -> TokenStatistics:
        """Statistics of one episode's action tokens.

        Raises:
            KeyError: The episode was never passed to :meth:`fill`.
        """
        return concatenate([self.of(s) for s in rendered.sequences])

    def of(self, sequence: TokenSequence) -> TokenStatistics:
        """Statistics of one sequence's action tokens.

        Raises:
            KeyError: The sequence was never computed.
        """
        found = self._get(_key(sequence))
        if found is None:
            raise KeyError(f"no reference statistics for a sequence of {len(sequence.ids)} tokens")
        return TokenStatistics(torch.from_numpy(found[0]), torch.from_numpy(found[1]))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _get(self, key: bytes) -> tuple[np.ndarray, np.ndarray] | None:
        with self._errors():
            row = self._database.execute("SELECT logit, lse FROM statistics WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        return np.frombuffer(row[0], self._dtype).copy(), np.frombuffer(row[1], self._dtype).copy()

    def _compare(self, shortest: Sequence[TokenSequence]) -> None:
        """Compare at most one row of the cache with the same statistics, computed now."""
        with torch.no_grad():
            computed = self.policy(shortest)
        if not computed:
            return
        (now,), found = computed, self._get(_key(shortest[0]))
        assert found is not None
        both = zip(found, (now.logit_N, now.lse_N), strict=True)
        self.difference = float(np.max([np.abs(old - new.cpu().numpy()).max() for old, new in both]))
        if not self.difference <= tolerance(self.policy.config.precision):  # true for NaN
            raise self._damaged(
                f"a row differs by {self.difference:.3g} from what the model computes now, "
                f"the tolerance is {tolerance(self.policy.config.precision):g}"
            )

    def _verify(self) -> None:
        """Compare every row with its checksum, and the number of rows with the recorded total, in one query."""
        left = 0
        for count, (total, *values, sha256) in enumerate(
            self._database.execute("SELECT rows, key, logit, lse, sha256 FROM total LEFT JOIN statistics"), start=1
        ):
            if values[0] is None:  # result of the join if there is no row
                left = total
                break
            if not all(isinstance(x, bytes) for x in values) or _checksum(*values) != sha256:
                raise self._damaged("a row is not what was written")
            left = total - count
        if left:
            raise self._damaged(f"the number of rows is wrong by {abs(left)}")

    def _damaged(self, how: str) -> CorruptCellError:
        what = f"the cache of reference statistics is damaged: {how}"
        return CorruptCellError(what, where=str(self.path), do="delete that file to compute them again")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Report each database error in one line.

        Raises:
            DiskError: The disk is full, can only be read, or fails.
            CorruptCellError: The file is not what was written.
        """
        try:
            yield
        except sqlite3.DatabaseError as error:
            if (said := as_disk_error(error, self.path)) is not error:
                raise said from error
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            raise self._damaged(str(error)) from error

    def _blob(self, values: torch.Tensor) -> bytes:
        return values.detach().cpu().numpy().astype(self._dtype).tobytes()


def not_computed(rendered: Rendered) -> TokenStatistics:
    """Statistics for an algorithm that declares not to use the reference: NaN, so that any use shows."""
    nan = torch.full((rendered.actions,), float("nan"))
    return TokenStatistics(nan, nan)


def _checksum(key: bytes, logit: bytes, lse: bytes) -> bytes:
    return hashlib.sha256(b"".join((key, len(logit).to_bytes(8, "little"), logit, lse))).digest()


def _key(sequence: TokenSequence) -> bytes:
    ids = np.asarray(sequence.ids, np.int64).tobytes() + np.asarray(sequence.actions, np.int64).tobytes()
    return hashlib.sha256(len(sequence.ids).to_bytes(8, "little") + ids).digest()
