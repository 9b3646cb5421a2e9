"""A program that is asked in JSON lines: started, asked with a time limit, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any, NoReturn

from shiqbench.plugin import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST = 64 * 2**20  # bytes of an answer; more comes from a program that does not keep the protocol
PATIENCE = 5.0  # seconds that a program has to end by itself


class Program:
    """A running program. Whatever goes wrong with it is a :class:`RunError` of one line, after which it is dead.

    Only an answer ``{"error": ...}`` leaves it alive: the program itself says that it goes on.

    Args:
        command: Words of its command line.
        label: Its name in errors.
    """

    def __init__(self, command: Sequence[str], label: str) -> None:
        self._label, self._received = label, b""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the command is the user's own
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise self._error(f"the program cannot be started: {error.strerror}", "check the command") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._errors.closed

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            request: What is asked, JSON-able.
            seconds: How long to wait.

        Raises:
            RunError: There is no answer in time, it is no JSON object, the program ended, or it says ``error``.
        """
        try:
            answer = self._answer(request, seconds)
        except BaseException:  # also an interruption: an answer that comes later would be taken for another one's
            self.kill()
            raise
        if "error" in answer:
            raise self._error(f"the environment failed: {answer['error']}", "")
        return answer

    def _answer(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        if self._received or self._waits_to_be_read():
            raise self._garbage(self._received or self._read())
        line = self._exchange(json.dumps(request).encode() + b"\n", seconds, str(request.get("ask")))
        try:
            answer = json.loads(line)
        except ValueError:
            raise self._garbage(line) from None
        if not isinstance(answer, dict):
            raise self._garbage(line)
        return answer

    def _exchange(self, request: bytes, seconds: float, what: str) -> bytes:
        deadline, poller = time.monotonic() + seconds, select.poll()
        poller.register(self._out, select.POLLIN)
        poller.register(self._in, select.POLLOUT)
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._error(f"the program gave no answer to {what} in {seconds:g} seconds", "see its own log")
            for descriptor, _ in poller.poll(left * 1000):
                if descriptor == self._in:
                    request = self._written(request)
                    if not request:
                        poller.unregister(self._in)
                else:
                    found = self._read()
                    if not found:
                        self._ended()
                    self._received += found
            if len(self._received) > LONGEST:
                raise self._error(f"an answer of more than {LONGEST >> 20} MiB to {what}", "write shorter lines")
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _written(self, request: bytes) -> bytes:
        """Write what the pipe takes, and return the rest."""
        try:
            return request[os.write(self._in, request) :]
        except BrokenPipeError:  # it is dead, or will not read again; reading tells how it ended
            return b""

    def _read(self) -> bytes:
        return os.read(self._out, 2**16)

    def _waits_to_be_read(self) -> bool:
        poller = select.poll()
        poller.register(self._out, select.POLLIN)
        return bool(poller.poll(0))

    def _ended(self) -> NoReturn:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        code = self._process.poll()
        if code is None:
            how = "the program closed its output"
        elif code < 0:
            how = f"the program was killed by signal {-code} ({signal.Signals(-code).name})"
        else:
            how = f"the program ended with exit code {code}"
        last = self._last_words()
        raise self._error(how + (f": {last}" if last else ""), "start it by hand to see why")

    def _last_words(self) -> str:
        """The last line that it wrote to standard error."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4096))
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def _garbage(self, line: bytes) -> RunError:
        if not line:
            self._ended()
        text = line.partition(b"\n")[0].decode(errors="replace").strip()
        shown = repr(text if len(text) < 80 else text[:77] + "...")
        return self._error(
            f"the program wrote {shown}, which is no answer to a request",
            "write one JSON object per request to standard output, and everything else to standard error",
        )

    def _error(self, what: str, do: str) -> RunError:
        return RunError(what, where=self._label, do=do)

    def stop(self) -> None:
        """Ask it to end by closing its input; kill it if it does not."""
        if self.alive:
            assert self._process.stdin is not None
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            self.kill()

    def kill(self) -> None:
        """End it and everything that it started."""
        if not self.alive:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
