"""Plays an environment that an OpenEnv server has, one session (WebSocket) per episode.

Only ``websockets`` is needed here, so that the versions of server and client are independent.
"""

import contextlib
import hashlib
import importlib
import json
import sys
import urllib.error
import urllib.request
from typing import Any

ABOUT = ("done", "reward", "metadata")  # fields of every observation that are not shown
SECONDS = 30.0


class Refused(Exception):  # noqa: N818 - its name is not shown
    """Something that cannot be played, in one line."""


class Player:
    """The episodes of one server.

    Args:
        url: Its address.
        arguments: Further arguments of ``reset``.
        action: Field of the action that takes the model's message, or ``json``; None finds it.
        observation: Field of the observation that the model is shown, or ``json``; None finds it.
        seeds: Number of examples.
    """

    def __init__(
        self, url: str, arguments: dict[str, Any], action: str | None, observation: str | None, seeds: int
    ) -> None:
        try:
            self.client: Any = importlib.import_module("websockets.sync.client")
        except ImportError as error:
            raise Refused(
                f"{sys.executable} cannot import websockets ({error}); pip install 'websockets>=15' there, or set "
                "task.python to an interpreter that has it"
            ) from error
        self.url, self.arguments, self.seeds = url.rstrip("/"), arguments, seeds
        self.about = self._get("/metadata")
        self.schema = self._get("/schema")
        self.action = action or _only_text(self.schema["action"], "action")
        self.observation = observation or _only_text(self.schema["observation"], "observation", "json")
        for name, kind in ((self.action, "action"), (self.observation, "observation")):
            _check_field(name, self.schema[kind], kind)
        self.free: list[Any] = []  # sessions that are open and play nothing
        self.played: dict[int, Any] = {}

    def _get(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=SECONDS) as answer:  # noqa: S310 - checked before
                return dict(json.load(answer))
        except (OSError, ValueError) as error:
            raise Refused(f"{self.url}{path} gives no answer ({error}); is an OpenEnv server there?") from error

    def describe(self) -> dict[str, Any]:
        """Name, version and schema of the server's environment; the examples are seeds."""
        schema = hashlib.sha256(json.dumps(self.schema, sort_keys=True).encode()).hexdigest()
        version = f"{self.about.get('version') or 'unknown'}, schema {schema[:12]}"
        return {
            "name": self.about.get("name") or "unknown",
            "version": version,
            "examples": [f"seed-{seed}" for seed in range(self.seeds)],
            "at_once": 1,  # the default of a server; it does not say how many sessions it has
        }

    def reset(self, episode: int, example: str) -> dict[str, Any]:
        """Begin an episode."""
        session = self.free.pop() if self.free else self._open()
        values = {**self.arguments, "seed": int(example.removeprefix("seed-"))}
        found = self._ask(session, {"type": "reset", "data": values})
        if found.get("done"):
            raise Refused("the episode is over before its first message")
        self.played[episode] = session
        return {"messages": [self._shown(found)]}

    def step(self, episode: int, text: str) -> dict[str, Any]:
        """Take the model's message as an action."""
        session = self.played.pop(episode)
        try:
            action = json.loads(text) if self.action == "json" else {self.action: text}
            if not isinstance(action, dict):
                raise ValueError
        except ValueError:  # the model's fault: it may try again
            self.played[episode] = session
            return {"messages": [{"role": "user", "content": "Answer with one JSON object."}]}
        found = self._ask(session, {"type": "step", "data": action}, refusable=self.action == "json")
        if found.get("refused"):
            self.played[episode] = session
            return {"messages": [{"role": "user", "content": f"Invalid action: {found['refused']}"}]}
        done = bool(found.get("done"))
        reward = found.get("reward")
        if done:
            self.free.append(session)
        else:
            self.played[episode] = session
        return {
            "messages": [self._shown(found)],
            "reward": float(reward) if reward is not None else None,
            "done": done,
        }

    def cut(self, episode: int, why: str) -> dict[str, Any]:
        """The session is free for another episode; OpenEnv has no reward for an episode that a limit ended."""
        self.free.append(self.played.pop(episode))
        return {}

    def close(self) -> None:
        """End the sessions."""
        for session in (*self.free, *self.played.values()):
            _end(session)

    def _open(self) -> Any:
        address = "ws" + self.url.removeprefix("http") + "/ws"
        return self.client.connect(address, open_timeout=SECONDS, max_size=None)

    def _ask(self, session: Any, message: dict[str, Any], refusable: bool = False) -> dict[str, Any]:
        """Send a message and return the data of the answer; a session that failed is closed."""
        # A server without a free session says so and closes the connection, perhaps before this is sent.
        with contextlib.suppress(Exception):
            session.send(json.dumps(message))
        try:
            answer = json.loads(session.recv())
            data = dict(answer.get("data") or {})
        except Exception as error:
            _end(session)
            raise Refused(f"the session broke off: {type(error).__name__}: {error}") from error
        if answer.get("type") != "error":
            return data
        if refusable and data.get("code") == "VALIDATION_ERROR":
            return {"refused": data.get("message")}
        _end(session)
        code = data.get("code")
        more = "; the server has no free session: lower task.at_once" if code == "CAPACITY_REACHED" else ""
        raise Refused(f"the server says {code}: {data.get('message')}{more}")

    def _shown(self, found: dict[str, Any]) -> dict[str, str]:
        """The observation as a message of the user."""
        values = {k: v for k, v in dict(found.get("observation") or {}).items() if k not in ABOUT}
        if self.observation == "json":
            return {"role": "user", "content": json.dumps(values, ensure_ascii=False)}
        value = values.get(self.observation)
        if value is None:
            raise Refused(f"the observation has no {self.observation}; it has {', '.join(values)}")
        return {"role": "user", "content": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in dict(schema.get("properties") or {}).items() if k not in ABOUT}


def _only_text(schema: dict[str, Any], kind: str, otherwise: str | None = None) -> str:
    """The only text among the fields; of an action, among those that must be given if there are any."""
    fields = _fields(schema)
    texts = [name for name, field in fields.items() if field.get("type") == "string"]
    required = [name for name in schema.get("required") or () if name in fields]
    if kind == "action" and required:
        texts = [name for name in texts if name in required] if len(required) == 1 else []
    if len(texts) == 1:
        return texts[0]
    if otherwise is not None:
        return otherwise
    raise Refused(
        f"the {kind} has the fields {', '.join(fields) or 'none'}; say which takes the message with task.{kind}=FIELD, "
        f"or task.{kind}=json"
    )


def _check_field(name: str, schema: dict[str, Any], kind: str) -> None:
    fields = _fields(schema)
    if name != "json" and name not in fields and schema.get("additionalProperties") is not True:
        raise Refused(f"the {kind} has no field {name}; it has {', '.join(fields) or 'none'}, or use task.{kind}=json")


def _end(session: Any) -> None:
    """Close a session, and wait until the server has freed its place."""
    with contextlib.suppress(Exception):  # it is closed, or broken; both are an end
        session.send(json.dumps({"type": "close"}))
        while True:
            session.recv(timeout=5.0)
    session.close()
