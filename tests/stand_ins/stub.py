"""A daemon that misbehaves on cue."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from echod.errors import EchodError

Act = Callable[["Handler"], None]
RESTARTING = 1012


class Handler(BaseHTTPRequestHandler):
    """Does what the test queued for a request, the last thing again and again."""

    server: Stub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        acts = self.server.acts[f"{self.command} {path}"]
        (acts.pop(0) if len(acts) > 1 else acts[0])(self)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, body: bytes, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def frame(self, opcode: int, payload: bytes) -> None:
        head = (
            struct.pack("!BBH", 0x80 | opcode, 126, len(payload))
            if len(payload) > 125
            else bytes([0x80 | opcode, len(payload)])
        )
        self.wfile.write(head + payload)


class Stub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: dict[str, list[Act]] = {}
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def on(self, request: str, *acts: Act) -> None:
        self.acts[request] = list(acts)

    def requests(self, request: str) -> list[tuple[str, dict[str, str], bytes]]:
        return [
            (path, headers, body)
            for verb, path, headers, body in self.seen
            if f"{verb} {path.partition('?')[0]}" == request
        ]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here on purpose."""


@contextlib.contextmanager
def serving() -> Iterator[Stub]:
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def says(value: Any, status: int = 200) -> Act:
    return lambda handler: handler.answer(json.dumps(value).encode(), status)


NO_VOICE = {
    "code": "voice_not_installed",
    "message": "no voice is installed: run `apt install espeak-ng`",
    "commands": ["apt install espeak-ng"],
}


def capabilities(no_voice: dict[str, Any] | None = None) -> dict[str, Any]:
    """What /v1/capabilities says as far as the command line asks; `no_voice` is why nothing can be spoken."""
    return {"object": "capabilities", "speaks": {"available": no_voice is None, "reason": no_voice}}


def breaks(handler: Handler) -> None:
    """The connection ends without an answer."""
    handler.close_connection = True


def refuses(code: str, message: str = "no") -> Act:
    error = EchodError(code, message, param="size")
    return says(error.body(), error.status)


def tells(*events: dict[str, Any], close: int = RESTARTING) -> Act:
    """Accepts a WebSocket, sends the events, and closes."""

    def act(handler: Handler) -> None:
        key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        handler.send_response(101)
        handler.send_header("Upgrade", "websocket")
        handler.send_header("Connection", "Upgrade")
        handler.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        handler.end_headers()
        for event in events:
            handler.frame(1, json.dumps(event).encode())
        handler.frame(8, struct.pack("!H", close))
        handler.close_connection = True

    return act


def video(status: str, progress: int = 0) -> dict[str, Any]:
    return {"object": "video", "id": "video_1", "status": status, "progress": progress, "model": "preview", "echod": {}}


def event(seq: int, status: str, progress: int = 0) -> dict[str, Any]:
    return {"type": "job.progress", "seq": seq, "ts": 0.0, "video": video(status, progress)}
