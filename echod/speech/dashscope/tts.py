"""DashScope's voices over a WebSocket: the SDK makes and reads the frames, asyncio moves them.

The SDK's session blocks whoever calls it, for as long as it waits for a frame. So its socket is a `Wire` of two queues,
and it reads only what has been put there. Its `start` alone, which sends and waits in one, runs in a thread that ends
with the call at the latest. The real socket is asyncio's, and can be let go of at any moment.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from queue import SimpleQueue
from ssl import SSLContext
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from echod.speech.backend import USAGE, Call, Failure
from echod.speech.dashscope.errors import explained

FRAGMENT = 10_000  # characters in a frame; the server takes 20 000, of which a Chinese one counts as two
PIECE = 65_536  # bytes of sound at a time
CLOSE_TIMEOUT = 1.0  # seconds for the server to say goodbye, after the last sound


class Wire:
    """A WebSocket as the SDK's session sees it: what it sends is queued, what it receives has been put there."""

    def __init__(self, tls: SSLContext | None) -> None:
        self.socket: ClientConnection | None = None
        self._tls: dict[str, Any] = {"ssl": tls} if tls else {}
        self._loop = asyncio.get_running_loop()
        self._written = asyncio.Event()
        self._outgoing: deque[str] = deque()
        self._incoming: SimpleQueue[str | bytes | None] = SimpleQueue()

    # For the session, which calls these from its thread too

    def connect(self, url: str, headers: dict[str, str]) -> Wire:
        self._url, self._headers = url, headers
        return self

    def settimeout(self, seconds: float) -> None:
        """Nothing: whoever calls the backend watches the clock."""

    def send(self, frame: str) -> None:
        self._outgoing.append(frame)
        self._loop.call_soon_threadsafe(self._written.set)

    def recv(self) -> str | bytes | None:
        return self._incoming.get()

    def close(self) -> None:
        """Nothing: the session closes when it has met an error, and that ends the call."""

    # For asyncio

    async def open(self) -> None:
        """Connect, once the session has said where to and has its first frame ready; and send that."""
        await self._written.wait()
        self.socket = await connect(
            self._url,
            additional_headers=self._headers,
            user_agent_header=None,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT,
            **self._tls,
        )
        await self.flush()

    async def flush(self) -> None:
        """Send what the session has written."""
        assert self.socket is not None
        while self._outgoing:
            await self.socket.send(self._outgoing.popleft())

    async def receive(self) -> str | bytes:
        """Wait for a frame, and have it ready for the session."""
        assert self.socket is not None
        frame = await self.socket.recv()
        self._incoming.put(frame)
        return frame

    def writable(self) -> bool:
        """Whether a frame can be sent without waiting for the server."""
        return self.socket is not None and self.socket.transport.get_write_buffer_size() == 0

    async def finish(self) -> None:
        assert self.socket is not None
        await self.socket.close()

    async def let_go(self) -> None:
        """End everything at once: the socket, and the wait of a session for a frame."""
        self._incoming.put(None)
        if self.socket is not None:
            self.socket.transport.abort()
            await self.socket.wait_closed()


class Synthesis:
    """One text on its way to one voice, by way of an SDK session that has not been started yet."""

    def __init__(self, session: Any, wire: Wire, call: Call) -> None:
        self._session = session
        self._wire = wire
        self._call = call
        self._task: Any = None  # the session's, once it has started
        self._text_error: Exception | None = None
        self._all_sent = False
        self._said = [""]  # the text so far
        self._sounded = False
        self._half_sample = b""

    async def sound(self, text: AsyncIterator[str]) -> AsyncGenerator[bytes, None]:
        """pcm16 in pieces of whole samples. Raises Failure, and what `text` raises."""
        async with aclosing(_fragments(text)) as fragments:
            # The server gives up on tasks that stay without text, so none is started before there is some.
            first = await anext(fragments, None)
            if first is None:
                return
            try:
                with explained(self._call, self._said):
                    async with self._started(), self._fed(first, fragments):
                        while not self._task.finished:
                            for piece in self._pieces(await self._receive()):
                                yield piece
                        self._check()
                        await self._wire.finish()
            except Failure:
                if self._text_error is not None:
                    raise self._text_error from None
                raise

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[None]:
        """The session, connected and started. Left before its end, it is cancelled, and everything is let go of."""
        with ThreadPoolExecutor(1, "dashscope") as thread:
            starting = asyncio.get_running_loop().run_in_executor(thread, self._session.start)
            try:
                await self._wire.open()
                if isinstance(await self._wire.receive(), bytes):
                    raise Failure("protocol", "the server sent sound before it had started the task")
                await starting
                self._task = self._session.session
                self._events = self._session.events()
                yield
            except (GeneratorExit, asyncio.CancelledError):
                await self._cancel()
                raise
            finally:
                starting.cancel()
                await self._wire.let_go()

    @asynccontextmanager
    async def _fed(self, first: str, rest: AsyncIterator[str]) -> AsyncIterator[None]:
        """Text is sent while sound is received."""
        feeding = asyncio.create_task(self._feed(first, rest))
        try:
            yield
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])

    async def _feed(self, fragment: str | None, rest: AsyncIterator[str]) -> None:
        # What the session or the socket have against a frame, whoever receives is told as well.
        with suppress(ConnectionClosed, RuntimeError):
            while fragment is not None:
                self._said[0] += fragment
                self._session.send_text(fragment)
                await self._wire.flush()
                try:
                    fragment = await anext(rest, None)
                except Exception as error:
                    self._text_error = error
                    await self._wire.let_go()
                    return
            self._all_sent = True
            self._session.stop()
            await self._wire.flush()

    async def _receive(self) -> bytes:
        """The sound in the next frame, if it is one of sound."""
        await self._wire.receive()
        frame = next(self._events)  # does not wait: the session reads what has just been put there
        self._call.request_id = self._task.request_id
        if isinstance(frame, bytes):
            return frame
        counted = self._session.usage or {}
        self._call.usage = {name: counted[name] for name in USAGE if name in counted}
        return b""

    def _pieces(self, sound: bytes) -> Iterator[bytes]:
        """Whole samples, at most PIECE bytes at a time; half of one waits for its other half."""
        sound = self._half_sample + sound
        whole = len(sound) & ~1
        self._half_sample = sound[whole:]
        for start in range(0, whole, PIECE):
            self._sounded = True
            yield sound[start : min(start + PIECE, whole)]

    def _check(self) -> None:
        if not self._all_sent:
            raise Failure("protocol", "the server finished before it had the whole text")
        if not self._sounded and any(map(str.isalnum, self._said[0])):
            raise Failure("protocol", "the server finished without a sound")

    async def _cancel(self) -> None:
        """Tell the server to stop, if it listens: nothing that is let go of may wait."""
        if self._task is not None and not self._task.finished and self._wire.writable():
            with suppress(ConnectionClosed, RuntimeError):
                self._session.cancel()
                await self._wire.flush()


async def _fragments(text: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    """The text in pieces that the server takes, none of them empty."""
    async for piece in text:
        for start in range(0, len(piece), FRAGMENT):
            yield piece[start : start + FRAGMENT]
