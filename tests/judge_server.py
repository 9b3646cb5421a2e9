"""An OpenAI-compatible endpoint for tests: a real HTTP server whose answers a function chooses."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def prefers_good(text: str) -> str:
    return "[[A]]" if text.index("good") < text.index("bad") else "[[B]]"


class Server(ThreadingHTTPServer):
    """Answers chats with ``reply(text, number)``: a text, a status or raw bytes; counts the requests of each text."""

    daemon_threads = True

    def __init__(self, reply: Callable[[str, int], str | int | bytes]) -> None:
        self.reply, self.asked = reply, Counter[str]()
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
        self._send(200, json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.asked[text] += 1
            number = self.server.asked[text]
        answer = self.server.reply(text, number)
        if isinstance(answer, int):
            self._send(answer, b'{"error": {"message": "no"}}', {"retry-after-ms": "1"})
        elif isinstance(answer, bytes):
            self._send(200, answer)
        else:
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            self._send(200, json.dumps({"id": "1", "object": "x", "choices": [choice], "usage": usage}).encode())

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        with suppress(OSError):  # the client timed out first
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)


@contextmanager
def serving(reply: Callable[[str, int], str | int | bytes]) -> Iterator[Server]:
    server = Server(reply)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
