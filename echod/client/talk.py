"""A conversation with a role, as a client holds it: words go out, an answer comes back as it is made.

    with Client() as client, client.talk("ada", mode="video") as talk:
        talk.ask("Why does a wing lift?")
        for event in talk.answer():
            print(event["type"])

Events are those of OpenAI Realtime; docs/conversation.md tells which. A connection that breaks is waited out for the
client's `patience`, and the conversation goes on, unless the daemon has forgotten it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeAlias
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.client import ClientConnection

from echod.client.connection import Connection, error_of
from echod.errors import DaemonUnreachable, EchodError

Event: TypeAlias = dict[str, Any]

CANCEL = "cancel"  # the id of that event: it may come too late, and then its refusal means nothing


class AnswerLost(EchodError):
    """The connection broke in the middle of an answer. The conversation goes on."""

    def __init__(self) -> None:
        super().__init__("unreachable", "the answer was lost with the connection to the daemon; say it again")


class Talk:
    """One conversation, with `role` or with nobody in particular. `id` is its name at the daemon."""

    def __init__(self, daemon: Connection, role: str | None, session: Mapping[str, Any]) -> None:
        self.id = ""
        self._daemon = daemon
        self._model = f"role:{role}" if role else "auto"
        self._session = {"type": "realtime", **session}
        self._socket: ClientConnection | None = None
        self._patiently(lambda: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    @property
    def connected(self) -> bool:
        return self._socket is not None and self._socket.state is State.OPEN

    def ask(self, text: str) -> None:
        """Say something; `answer` is what comes of it."""
        self._patiently(lambda: self._say(text))

    def greet(self) -> None:
        """Have the role speak first; `answer` is what it says."""
        self._patiently(lambda: self._send("response.create"))

    def answer(self) -> Iterator[Event]:
        """What happens from now on, up to the response.done. Raises AnswerLost."""
        try:
            for event in self._events():
                yield event
                if event["type"] == "response.done":
                    return
        except ConnectionClosed:
            self._patiently(lambda: None)
            raise AnswerLost from None

    def cancel(self) -> None:
        """Interrupt the answer; its response.done still comes. May be called from another thread."""
        with contextlib.suppress(ConnectionClosed):
            self._send("response.cancel", event_id=CANCEL)

    def _say(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        self._send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        self._until("conversation.item.done")  # one that is refused must not be answered
        self._send("response.create")

    def _send(self, type: str, **fields: Any) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps({"type": type, **fields}))

    def _until(self, type: str) -> Event:
        return next(event for event in self._events() if event["type"] == type)

    def _events(self) -> Iterator[Event]:
        """Events for ever. Raises the daemon's errors as they were raised there, and ConnectionClosed."""
        assert self._socket is not None
        while True:
            event = json.loads(self._socket.recv())
            if event["type"] != "error":
                yield event
            elif event["error"].get("event_id") != CANCEL:
                raise error_of(event["error"])

    def _patiently(self, action: Callable[[], None]) -> None:
        """Act while connected; a daemon that went away is waited for, and the conversation joined again."""

        def act() -> None:
            try:
                if not self.connected:
                    self._join()
                action()
            except ConnectionClosed as error:
                raise DaemonUnreachable(
                    f"the daemon at {self._daemon.address} closed the connection: {error}"
                ) from None

        self._daemon.patiently(act)

    def _join(self) -> None:
        """Enter the conversation, or a new one where there is none or it is gone."""
        try:
            self._open()
        except EchodError as error:
            if self.id and error.code == "draining":
                raise DaemonUnreachable(error.message) from None
            if not self.id or error.code != "not_found":
                raise
            self._daemon.tell("the daemon has forgotten the conversation, as it does when it restarts; it begins anew")
            self.id = ""
            self._open()

    def _open(self) -> None:
        self._socket = self._daemon.websocket(
            f"/v1/realtime?{urlencode({'model': self._model, 'conversation': self.id})}"
        )
        try:
            self.id = self._until("session.created")["session"]["id"]
            self._send("session.update", session=self._session)
            self._until("session.updated")
        except EchodError:
            self.close()
            raise
