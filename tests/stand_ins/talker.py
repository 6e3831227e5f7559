"""A daemon that holds conversations as a test tells it to, over /v1/realtime, and knows what it can do."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from tests.stand_ins.stub import capabilities

Act = Callable[["Peer"], None]


class Peer:
    """One connection, from the daemon's side. It closes when the act is over."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    def send(self, type: str, **fields: Any) -> None:
        self.connection.send(json.dumps({"type": type, **fields}))

    def until(self, type: str) -> dict[str, Any]:
        while (event := json.loads(self.connection.recv()))["type"] != type:
            pass
        return dict(event)

    def refuse(self, code: str, message: str = "no", **fields: Any) -> None:
        self.send("error", error={"code": code, "message": message, "param": None, **fields})

    def welcome(self, conversation: str = "sess_1") -> dict[str, Any]:
        """Let the client in; what it wants of the session."""
        self.send("session.created", session={"id": conversation})
        wanted = self.until("session.update")["session"]
        self.send("session.updated", session=wanted)
        return dict(wanted)

    def hear(self) -> str:
        """What the person says, once they wait for an answer."""
        item = self.until("conversation.item.create")["item"]
        self.send("conversation.item.done", item=item)
        self.until("response.create")
        return str(item["content"][0]["text"])

    def say(self, *words: str) -> None:
        for delta in words:
            self.send("response.output_audio_transcript.delta", delta=delta)

    def done(self, status: str = "completed", **details: Any) -> None:
        response = {"status": status, "status_details": details, "echod": {"total_ms": 1}}
        self.send("response.done", response=response)

    def answer(self, *words: str) -> str:
        """Hear and answer; what was heard."""
        heard = self.hear()
        self.say(*words)
        self.done()
        return heard


class Talker:
    """`acts` are what connections do, one each, the last one again and again; `queries` are what they asked for."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.queries: list[dict[str, str]] = []
        self.capabilities = capabilities()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.queries.append(dict(parse_qsl(urlsplit(connection.request.path).query)))
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        with contextlib.suppress(ConnectionClosed):
            act(Peer(connection))

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Only conversations are here, and what it can do: whatever else is asked for is not found."""
        if request.path == "/v1/capabilities":
            return connection.respond(200, json.dumps(self.capabilities))
        return None if request.path.startswith("/v1/realtime") else connection.respond(404, "")

    @contextlib.contextmanager
    def serving(self) -> Iterator[Server]:
        """On the same port again, if it served before."""
        with serve(self.handle, "127.0.0.1", self.port, process_request=self.admit) as server:
            self.port = server.socket.getsockname()[1]
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server
            server.shutdown()
        thread.join()
