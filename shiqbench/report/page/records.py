"""Records of evaluations as compressed text, which a page unpacks when a reader opens an example."""

from __future__ import annotations

import base64
import gzip
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import CorruptCellError
from shiqbench.store.index.reading import checked_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from shiqbench.plugin.record_view import RecordView
    from shiqbench.report.rows import Block, Row

LARGEST = 100  # MB of embedded records
EXACT = 2**53  # a browser's numbers hold larger integers only roughly
LEVEL = 4  # of gzip: 6 takes 2.5 times as long for 1 % less


@dataclass(frozen=True)
class Embedded:
    """The records of an evaluation in a page.

    Attributes:
        text: The records: gzip in base64 of a JSON object with a list per column; empty if they are left out.
        count: Number of records.
        why: The reason why they are left out; empty if they are there.
    """

    text: str = ""
    count: int = 0
    why: str = ""


def in_order(blocks: Sequence[Block]) -> Iterator[tuple[Block, Row, int]]:
    """Block, row and number of the evaluation in its row: the first of every row, then the second of every row."""
    most = max((len(r.evaluations) for b in blocks for r in b.rows), default=0)
    for number in range(most):
        yield from ((b, r, number) for b in blocks for r in b.rows if number < len(r.evaluations))


def embed(results: Path, wanted: Iterable[tuple[str, RecordView]], largest: float = LARGEST) -> dict[str, Embedded]:
    """Read and compress records until they are too large together.

    Args:
        results: Results folder.
        wanted: Folder of each evaluation and how its records are shown, the most important first.
        largest: MB of text; whole evaluations are left out from the first that does not fit.

    Returns:
        Folder -> its records, in the order given.
    """
    found, room = {}, largest * 1e6
    for folder, view in wanted:
        if folder in found:
            continue
        if room < 0:
            found[folder] = Embedded(why=_too_large(largest))
            continue
        try:
            made = _read(results / folder, view)
        except CorruptCellError as error:
            found[folder] = Embedded(why=error.what)
            continue
        room -= len(made.text)
        found[folder] = made if room >= 0 else Embedded(count=made.count, why=_too_large(largest))
    return found


def _too_large(largest: float) -> str:
    return f"the page holds {largest:g} MB of records; --records MB sets another limit"


def _read(evaluation: Path, view: RecordView) -> Embedded:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pydantic_core import to_json

    content = checked_file(evaluation, "records.parquet")
    try:
        table = pq.ParquetFile(io.BytesIO(content)).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise CorruptCellError(f"records.parquet is not readable: {error}", where=str(evaluation)) from error
    columns = {name: _exact(table[name].to_pylist()) for name in table.column_names if name not in view.omit}
    if view.omit and view.conversation in columns:
        columns[view.conversation] = [_without(text, view.omit) for text in columns[view.conversation]]
    text = to_json(columns, inf_nan_mode="strings", bytes_mode="base64", fallback=str)
    packed = gzip.compress(text, LEVEL, mtime=0)  # no time: the same records give the same bytes
    return Embedded(base64.b64encode(packed).decode(), table.num_rows)


def _without(conversation: Any, omit: Sequence[str]) -> Any:
    """The conversation without these keys of its messages; anything else as it is."""
    from pydantic_core import from_json, to_json

    try:
        messages = from_json(conversation)
        kept = [{k: v for k, v in m.items() if k not in omit} if isinstance(m, dict) else m for m in messages]
    except (ValueError, TypeError):
        return conversation
    return to_json(kept).decode()


def _exact(values: list[Any]) -> list[Any]:
    """The values, with integers that a browser would round as text."""
    return [str(v) if isinstance(v, int) and abs(v) > EXACT else v for v in values]
