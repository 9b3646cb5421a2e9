"""An OpenAI-compatible server for tests: a real HTTP server that may be slow, wrong, full, or die in the middle."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Say:
    """What the server does with one request.

    Attributes:
        text: The answer.
        status: HTTP status; with another than 200, ``text`` is the error's message.
        headers: Further headers.
        message: Further fields of the answer's message.
        finish: Why the answer ended.
        body: The whole body instead, as it is.
        after: Seconds before it answers.
        dies: It sends half of the body and closes the connection.
        usage: (prompt tokens, generated tokens); None sends no counts.
    """

    text: str = "ok"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    message: dict[str, Any] = field(default_factory=dict)
    finish: str = "stop"
    body: bytes | None = None
    after: float = 0.0
    dies: bool = False
    usage: tuple[int, int] | None = (10, 2)


Reply = Callable[[dict[str, Any], int], Say]


class Server(ThreadingHTTPServer):
    """Answers chats with ``reply(body, number)``, where number counts the requests from 1."""

    daemon_threads = True

    def __init__(self, reply: Reply, *, key: str = "", version: str | None = "9.9", models: tuple[str, ...] = ("m",)):
        self.reply, self.key, self.version, self.models = reply, key, version, models
        self.root: str | None = None
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.keys: set[str | None] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        if self._wrong_key():
            return
        if self.path == "/v1/models":
            entries = [{"id": m, "object": "model", "owned_by": "maker"} for m in self.server.models]
            if self.server.root is not None:
                entries = [{**e, "root": self.server.root} for e in entries]
            self._send(200, {"object": "list", "data": entries})
        elif self.path == "/version" and self.server.version is not None:
            self._send(200, {"version": self.server.version})
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._wrong_key():
            return
        server = self.server
        with server.lock:
            server.bodies.append(body)
            server.times.append(time.monotonic())
            number = len(server.bodies)
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        say = server.reply(body, number)
        time.sleep(say.after)
        with server.lock:
            server.at_once -= 1
        if say.status != 200:
            self._send(say.status, {"error": {"message": say.text, "code": None}}, say.headers)
            return
        message = {"role": "assistant", "content": say.text, **say.message}
        found: dict[str, Any] = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "m-2026",
            "choices": [{"index": 0, "finish_reason": say.finish, "message": message}],
        }
        if say.usage is not None:
            prompt, generated = say.usage
            found["usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": generated,
                "total_tokens": prompt + generated,
            }
        self._send(200, say.body if say.body is not None else found, say.headers, dies=say.dies)

    def _wrong_key(self) -> bool:
        given = self.headers.get("Authorization")
        self.server.keys.add(given)
        if self.server.key and given != f"Bearer {self.server.key}":
            self._send(401, {"error": {"message": f"wrong key: {given}"}})
            return True
        return False

    def _send(
        self, status: int, body: bytes | dict[str, Any], headers: dict[str, str] | None = None, *, dies: bool = False
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with suppress(OSError):  # the client gave up first
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if dies else data)


@contextmanager
def serving(reply: Reply = lambda body, number: Say(), **settings: Any) -> Iterator[Server]:
    server = Server(reply, **settings)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
