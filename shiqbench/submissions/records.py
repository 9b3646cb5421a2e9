"""Records of a submission: read with limits, named, and each with its own digest."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

MOST_ROWS = 2_000_000
LARGEST = 4_000_000_000  # bytes of all columns in memory
DIGITS = 16  # of the digest of a record


def read_table(content: bytes) -> pa.Table:
    """Read a parquet file.

    Raises:
        ConfigError: It is not readable, or it is small and its columns are huge.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        facts = file.metadata
        size = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        if facts.num_rows > MOST_ROWS or size > LARGEST:
            raise ConfigError(
                f"{facts.num_rows:,} records of {size:,} bytes are too many",
                do=f"a submission has at most {MOST_ROWS:,} of {LARGEST:,} bytes",
            )
        return file.read(use_threads=False)
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise ConfigError(f"records cannot be read: {type(error).__name__}: {error}") from error


def record_digests(table: pa.Table) -> tuple[str, ...]:
    """The first digits of the sha256 of each record."""
    from pydantic_core import to_json

    names = sorted(table.column_names)
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    texts = (
        to_json(dict(zip(names, row, strict=True)), inf_nan_mode="strings", bytes_mode="base64", fallback=str)
        for row in rows
    )
    return tuple(hashlib.sha256(text).hexdigest()[:DIGITS] for text in texts)


def record_names(records: Sequence[dict[str, Any]], column: str) -> list[str]:
    """A name of each record for readers: what the column says, with its number if that is not enough."""
    said = [str(r[column]) if column in r else "" for r in records]
    count = Counter(said)
    return [text if text and count[text] == 1 else f"{text} (row {i})".strip() for i, text in enumerate(said)]
