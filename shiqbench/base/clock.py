"""Where the time of a training goes."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Clock:
    """Seconds of each part of a computation.

    The time of a part inside another part counts only for the inner one, so the parts add up. A part that is counted
    whole includes those inside it.

    Args:
        wait: Called before each reading, for work that goes on in the background, as on a GPU.
    """

    def __init__(self, wait: Callable[[], object] | None = None) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._wait = wait
        self._inside = [0.0]  # seconds of finished parts inside each open part
        self._whole = False

    @contextmanager
    def part(self, name: str, *, whole: bool = False) -> Iterator[None]:
        """Count the time of a block for a part."""
        if self._whole:
            yield
            return
        self._whole = whole
        started = self._now()
        self._inside.append(0.0)
        try:
            yield
        finally:
            self._whole = False
            took = self._now() - started
            self.seconds[name] += took - self._inside.pop()
            self._inside[-1] += took

    def _now(self) -> float:
        if self._wait is not None:
            self._wait()
        return time.perf_counter()
