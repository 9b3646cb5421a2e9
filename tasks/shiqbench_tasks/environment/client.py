"""The environments of one program: described, played, and started again after the program died."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Self

from shiqbench.plugin import ConfigError, RunError, Step, digest
from shiqbench_tasks.environment import protocol
from shiqbench_tasks.environment.program import Program
from shiqbench_tasks.environment.sources import source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shiqbench.plugin import Message, StopReason
    from shiqbench_tasks.environment.config import EnvironmentConfig
    from shiqbench_tasks.environment.protocol import Description
    from shiqbench_tasks.environment.sources import Source

STARTS = 3  # that may fail one after another; then no further one is tried
_described: dict[str, Description] = {}


def describe(config: EnvironmentConfig) -> tuple[Description, dict[str, str]]:
    """What the program plays, and its identity for digests; each program is asked once per process.

    Raises:
        ConfigError: It cannot be started, or does not describe itself.
    """
    found = source(config)
    key = _key(found)
    if key not in _described:
        with Client(config) as client:
            try:
                _described[key] = client.description()
            except RunError as error:
                raise ConfigError(error.what, where=error.where or found.label, do=error.do) from error
    return _described[key], _described[key].identity() | found.files


def _key(found: Source) -> str:
    return digest([list(found.command), found.settings, found.files])


class Client:
    """A program that is started when it is first needed; a context that stops it.

    Args:
        config: Which program, its arguments and time limits.
    """

    def __init__(self, config: EnvironmentConfig) -> None:
        self._config, self._source = config, source(config)
        self._program: Program | None = None
        self._numbers = itertools.count(1)
        self._failed: RunError | None = None  # why it did not start the last time
        self._failures = self.starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._program is not None:
            self._program.stop()

    def description(self) -> Description:
        """What the program says about itself.

        Raises:
            RunError: It does not.
        """
        if self._program is not None:
            self._program.stop()
        self.starts += 1
        self._program = Program(self._source.command, self._source.label)
        request = {"ask": "describe", **self._source.settings}
        return protocol.description(self._program.ask(request, self._config.start_seconds))

    def ask(self, what: str, **values: Any) -> dict[str, Any]:
        """Ask the program, which must be running.

        Raises:
            RunError: See :meth:`Program.ask`.
        """
        assert self._program is not None
        return self._program.ask({"ask": what, **values}, self._config.step_seconds)

    def running(self) -> int:
        """Start the program if it is not running; return how many times it was started.

        Raises:
            RunError: It does not start. After some failures no further start is tried.
            ConfigError: It describes itself in another way than when the run was planned.
        """
        if self._program is not None and self._program.alive:
            return self.starts
        if self._failed is not None and self._failures >= STARTS:
            raise self._failed
        try:
            now = self.description()
        except RunError as error:
            self._failed, self._failures = error, self._failures + 1
            raise
        self._failures = 0
        known = _described.setdefault(_key(self._source), now)
        if now != known:
            del _described[_key(self._source)]
            self._failed, self._failures = _changed(self._source.label), STARTS
            raise self._failed
        return self.starts

    def number(self) -> int:
        """A number for an episode that no other one has."""
        return next(self._numbers)

    def environment(self, example: str) -> RemoteEnvironment:
        """One episode's world."""
        return RemoteEnvironment(self, example)


def _changed(label: str) -> RunError:
    return RunError("the environment is not what it was when the run was planned", where=label, do="run it again")


class RemoteEnvironment:
    """An episode that the program plays.

    If the program died meanwhile, because another episode killed it or was too slow, the new one is told what was
    said so far; it must answer as it did.

    Args:
        client: The program.
        example: Id of the example.
    """

    def __init__(self, client: Client, example: str) -> None:
        self._client, self._example = client, example
        self._said: list[str] = []
        self._heard: list[Sequence[Message]] = []
        self._number, self._start = 0, 0

    def reset(self) -> Sequence[Message]:
        """Begin."""
        self._start, self._number = self._client.running(), self._client.number()
        messages = protocol.opening(self._client.ask("reset", episode=self._number, example=self._example))
        self._heard = [messages]
        return messages

    def step(self, text: str) -> Step:
        """Tell the program what the model says."""
        self._catch_up()
        found = self._step(text)
        self._said.append(text)
        self._heard.append(found.messages)
        return found

    def cut(self, stop: StopReason) -> float | None:
        """Tell the program that a limit ended the episode; it may give a last reward."""
        self._catch_up()
        return protocol.cut(self._client.ask("cut", episode=self._number, why=stop.value))

    def _step(self, text: str) -> Step:
        return protocol.step(self._client.ask("step", episode=self._number, text=text))

    def _catch_up(self) -> None:
        """Bring a program that was started meanwhile to where the episode is."""
        if self._client.running() == self._start:
            return
        before = self._heard
        self.reset()
        for text in self._said:
            self._heard.append(self._step(text).messages)
        if self._heard != before:
            raise RunError(
                "the program was started again, and the same messages led to another place",
                where=self._example,
                do="make the environment depend on the example and the model's messages only",
            )
