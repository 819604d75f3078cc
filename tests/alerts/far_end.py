"""The far end of a wire: an HTTP server that can take, refuse, throttle, hang, break off, and lie as the real services do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Answer:
    """How a request is answered: a status and JSON; `hang` never answers, `cut` accepts and then breaks the connection."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    how: str = "answer"


OK = Answer(body={"errcode": 0, "errmsg": "ok"})
HANG, CUT = Answer(how="hang"), Answer(how="cut")


@dataclass(frozen=True)
class Request:
    path: str
    query: dict[str, str]
    raw_query: str
    headers: dict[str, str]
    body: bytes
    at: float  # when it was there, seconds since the epoch

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FarEnd:
    """Answers with `script`, one after the other, and then for ever with `otherwise`; keeps what it was sent."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.otherwise = OK
        self.requests: list[Request] = []
        self.released = threading.Event()
        far_end = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                far_end._answer(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        address = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        self.requests.append(Request(address.path, query, address.query, dict(handler.headers), body, time.time()))
        answer = self.script.pop(0) if self.script else self.otherwise
        if answer.how == "hang":
            self.released.wait(60)
        if answer.how in ("hang", "cut"):
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        text = json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def far_end() -> Iterator[FarEnd]:
    end = FarEnd()
    try:
        yield end
    finally:
        end.close()
