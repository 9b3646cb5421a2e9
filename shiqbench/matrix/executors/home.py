"""The side of a Ray cluster where the results folder is: takes events and finished folders, hands folders out.

Where a node sees the results folder, only events pass through here. Where it does not, what a job needs goes there and
what it has made comes back as tar files, in chunks through Ray's object store.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.store.cell import DONE, is_done, lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shiqbench.matrix.executors.events import Event

CHUNK = 32 * 2**20  # bytes of one message
EVALUATIONS = "eval"  # in a cell's folder, each a folder of its own


def pack(folder: Path, archive: Path) -> None:
    """Write a finished folder into a tar file; the evaluations of a cell are folders of their own and left out."""
    with tarfile.open(archive, "w") as tar:
        for item in sorted(folder.iterdir()):
            if item.name != EVALUATIONS and not item.name.startswith("."):
                tar.add(item, item.name)


def unpack(archive: Path, folder: Path) -> None:
    """Make a folder of what :func:`pack` wrote, unless it is done: every item is renamed into place, DONE last."""
    with lock(folder):
        if is_done(folder):
            return
        temporary = Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder))
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
            for item in sorted(temporary.iterdir(), key=lambda f: f.name == DONE):
                target = folder / item.name
                if target.is_dir():
                    shutil.rmtree(target)
                item.replace(target)
            (folder / "error.json").unlink(missing_ok=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """The name of a file that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="shiqbench-") as folder:
        yield Path(folder) / "archive.tar"


class Home:
    """One per matrix, on the machine that holds the results; its methods are called from the nodes.

    Args:
        results: The results folder.
    """

    def __init__(self, results: str) -> None:
        self.results = Path(results)
        self._events: list[Event] = []
        self._folder = tempfile.TemporaryDirectory(prefix="shiqbench-home-")

    def tell(self, event: Event) -> None:
        """Take an event."""
        self._events.append(event)

    def told(self) -> list[Event]:
        """Hand the events over."""
        events, self._events = self._events, []
        return events

    def begin(self, name: str) -> int:
        """Make a finished folder ready to be read by :meth:`read`.

        Returns:
            Bytes of its tar file; 0 if the folder is not finished.
        """
        folder = self.results / name
        if not is_done(folder):
            return 0
        pack(folder, self._archive(name))
        return self._archive(name).stat().st_size

    def read(self, name: str, offset: int) -> bytes:
        """A chunk of that tar file."""
        with self._archive(name).open("rb") as stream:
            stream.seek(offset)
            return stream.read(CHUNK)

    def write(self, name: str, sender: str, chunk: bytes, offset: int) -> None:
        """Take a chunk of a finished folder, in order."""
        with self._archive(name, sender).open("ab") as stream:
            stream.truncate(offset)  # of a sender that begins again
            stream.write(chunk)

    def finish(self, name: str, sender: str) -> None:
        """Put the folder into its place."""
        archive = self._archive(name, sender)
        try:
            unpack(archive, self.results / name)
        finally:
            archive.unlink()

    def log(self, name: str, text: bytes) -> None:
        """Take the end of a job's log."""
        path = self.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(text)

    def _archive(self, name: str, sender: str = "") -> Path:
        return Path(self._folder.name) / f"{name}{sender}.tar".replace("/", "_")


def fetch(home: Any, name: str, folder: Path) -> None:
    """Get a folder that is finished at home, if it is; called on a node.

    Args:
        home: Calls :class:`Home`'s methods by name: ``home(method, *arguments)``.
        name: The folder, relative to the results folder.
        folder: Where it goes here.
    """
    size = home("begin", name)
    if not size:
        return
    with scratch() as archive:
        with archive.open("wb") as stream:
            while stream.tell() < size:
                stream.write(home("read", name, stream.tell()))
        unpack(archive, folder)


def send(home: Any, name: str, folder: Path, sender: str) -> None:
    """Bring a folder home, if it is finished here; called on a node."""
    if not is_done(folder):
        return
    with scratch() as archive:
        pack(folder, archive)
        with archive.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                home("write", name, sender, chunk, stream.tell() - len(chunk))
    home("finish", name, sender)
