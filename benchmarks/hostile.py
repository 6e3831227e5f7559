"""How long the daemon's loop stands still for one message of one client, of every kind that is slow to take in.

    python benchmarks/hostile.py [words of a kind ...]

The front and all behind it run in this process, without workers; a client in another sends each message over loopback.
What is measured is the longest single step of the loop, in CPU time of its thread: other programs do not count, and
neither does waiting.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
import tempfile
import time
from asyncio import events
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.machine import machine
from echod.errors import EchodError
from tests.making.config import make_config
from tests.stand_ins.daemon import Daemon

KIB, MIB = 2**10, 2**20
ALL = 60 * MIB  # of a form
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
END = b"\r\n--b--\r\n"
APPEND = '{"type": "input_audio_buffer.append", "audio": "'
QUIET = 0.3  # seconds without an answer after which a message has been taken in

Data = tuple[bytes, bytes]  # what a client sends, and what it sends once something was answered


def fill(unit: str, size: int) -> str:
    """About so many bytes of it."""
    return unit * (size // len(unit.encode()))


def objects(size: int) -> dict[str, str]:
    """JSON objects of about this size, each slow in its way."""
    lists = {
        "1e308": "1e308,",
        "1e-308": "1e-308,",
        "numbers of 800 digits": f"1.{'3' * 800}e-300,",
        "whole numbers of 4000 digits": "3" * 4000 + ",",
        "empty lists": "[],",
        "empty objects": "{},",
        "lists in lists": "[" * 500 + "]" * 500 + ",",
        "short texts": r'"\n",',
    }
    texts = {"escapes": r"\n", "surrogate pairs": r"\ud83d\ude00"}
    keys = ",".join(f'"{number:x}":1' for number in range(size // 9))
    return {
        **{name: f'{{"a": [{fill(unit, size)}1]}}' for name, unit in lists.items()},
        **{name: f'{{"a": "{fill(unit, size)}"}}' for name, unit in texts.items()},
        "half a surrogate pair": f'{{"a": "{fill(texts["surrogate pairs"], size)}' + r'\ud83d"}',
        "one number": f'{{"a": {"3" * size}}}',
        "lists without an end": f'{{"a": {"[" * size}',
        "keys": f"{{{keys}}}",
        "one key again and again": "{" + fill('"a":1,', size) + '"a":1}',
        "spaces": f'{{"a": {" " * size}1}}',
    }


def post(path: str, kind: str, body: bytes) -> Data:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body, b""


def frame(data: bytes | str, opcode: int = 1, fin: bool = True) -> bytes:
    """One from a client, masked with zeros."""
    data = data.encode() if isinstance(data, str) else data
    size = len(data)
    short, length = (
        (size, b"")
        if size < 126
        else (126, size.to_bytes(2, "big"))
        if size < 65536
        else (127, size.to_bytes(8, "big"))
    )
    return bytes([opcode | (0x80 if fin else 0), 0x80 | short]) + length + bytes(4) + data


def upgraded(path: str, frames: bytes) -> Data:
    head = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return head.encode(), frames


Kinds = dict[str, Callable[[], Data]]


def kinds() -> Kinds:
    """What is made only when its turn comes: together it would be gigabytes."""
    return {**bodies(), **forms(), **requests(), **sockets()}


def bodies() -> Kinds:
    found: Kinds = {}
    for what, path, size in (("submission", "/v1/videos", 255 * KIB), ("login", "/v1/account/login", 7 * KIB)):
        for name in objects(1):
            make = partial(
                lambda path, size, name: post(path, "application/json", objects(size)[name].encode()), path, size, name
            )
            found[f"{what}: {name}"] = make
    return found


def forms() -> Kinds:
    def fields() -> bytes:
        head = '--b\r\nContent-Disposition: form-data; name="metadata[%d]"\r\n\r\n'
        return b"".join((head % number).encode() + b"\xc3\xa9" * 32_000 + b"\r\n" for number in range(60))

    to_files = {
        "one long header": lambda: FORM + b"X: " + b"x" * ALL,
        "many headers": lambda: FORM + b"X: x\r\n" * (ALL // 6),
        "a header's name": lambda: FORM + b"x" * ALL,
        "many parameters": lambda: FORM.rstrip() + b"; a=b" * (ALL // 5),
        "many parts": lambda: b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n\r\n' * (ALL // 60),
        "before the first part": lambda: b"\r\n" * (ALL // 2),
        "a file of line ends": lambda: FORM + b"\r\n" + b"\r\n" * (ALL // 2) + END,
        "a file of CR": lambda: FORM + b"\r\n" + b"\r" * ALL + END,
        "a file of half boundaries": lambda: FORM + b"\r\n" + b"\r\n-" * (ALL // 3) + END,
        "a file": lambda: FORM + b"\r\n" + b"x" * ALL + END,
        "behind the last part": lambda: FORM + b"\r\nx" + END + b"x" * ALL,
    }
    kind = "multipart/form-data; boundary=b"
    found: Kinds = {
        f"form: {name}": partial(lambda make: post("/v1/files", kind, make()), make) for name, make in to_files.items()
    }
    return found | {"form: long fields": lambda: post("/v1/videos", kind, fields() + END)}


def requests() -> Kinds:
    chunked = (
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n%x\r\n%s\r\n" % (len(FORM) + 2, FORM + b"\r\n")
    )
    query, headers = fill("a&", 60 * KIB), fill("a:b\r\n", 60 * KIB)
    return {
        "head: a long query": lambda: (f"GET /v1/videos?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), b""),
        "head: many headers": lambda: (f"GET /v1/videos HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode(), b""),
        "head: many requests": lambda: (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000, b""),
        "body: small chunks": lambda: (chunked + b"1\r\nx\r\n" * (4 * MIB // 6), b""),
        "body: chunks with extensions": lambda: (chunked + (b"1;" + b"x" * 40 + b"\r\nx\r\n") * (4 * MIB // 46), b""),
    }


def sockets() -> Kinds:
    to_events = partial(upgraded, "/v1/events")
    talk = partial(upgraded, "/v1/realtime?model=auto")
    found: Kinds = {
        "socket: pings": lambda: to_events(frame(b"", 9) * (4 * MIB // 6)),
        "socket: pongs": lambda: to_events(frame(b"", 10) * (4 * MIB // 6)),
        "socket: empty messages": lambda: to_events(frame(b"") * (4 * MIB // 6)),
        "socket: empty fragments": lambda: to_events(frame(b"", 1, False) + frame(b"", 0, False) * (4 * MIB // 6)),
        "socket: fragments": lambda: to_events(frame(b"", 1, False) + frame(b"x", 0, False) * 65_535),
        "talk: small events": lambda: talk(frame(b"{}") * (2 * MIB // 8)),
        "talk: empty fragments": lambda: talk(frame(b"", 1, False) + frame(b"", 0, False) * (4 * MIB // 6)),
        "talk: an item of many parts": lambda: talk(frame(
            '{"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": ['
            + fill('{"type": "text", "text": ""},', 240 * KIB) + "1]}}"
        )),
        "append: sound": lambda: talk(frame(APPEND + "AAAA" * (60 * 16_000) + '"}')),
        "append: escapes": lambda: talk(frame(APPEND + fill(r"\u0041", 3 * MIB) + '"}')),
        "append: one key again and again": lambda: talk(frame("{" + fill('"audio": "",', 3 * MIB) + APPEND[1:] + '"}')),
    }  # fmt: skip
    for name in objects(1):
        found[f"talk: {name}"] = partial(lambda name: talk(frame(objects(255 * KIB)[name])), name)
        found[f"append: {name}"] = partial(
            lambda name: talk(frame(APPEND + '", "x": ' + objects(3 * MIB)[name] + "}")), name
        )
    return found


def client(port: int, orders: Connection) -> None:
    """Sends one message after another, as told."""
    made = kinds()
    while name := orders.recv():
        first, then = made[name]()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            send(connection, first, then)
        orders.send(True)


def send(connection: socket.socket, first: bytes, then: bytes) -> None:
    """Send all, reading what is answered meanwhile; then wait until nothing comes any more."""
    connection.setblocking(False)
    rest, moved = memoryview(first), time.monotonic()
    while time.monotonic() < moved + (30 if rest else QUIET):
        before = moved
        try:
            if rest:
                rest, moved = rest[connection.send(rest[:MIB]) :], time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            return
        try:
            if not connection.recv(MIB):
                return
            moved = time.monotonic()
            rest, then = (memoryview(then), b"") if then else (rest, b"")
        except BlockingIOError:
            pass
        except OSError:
            return
        if moved == before:
            time.sleep(0.005)


class Inspector:
    """Takes nothing: what a child would do costs the loop nothing."""

    async def inspect(self, path: Path, into: Path, want: str) -> None:
        raise EchodError("unsupported_media", "nothing is looked at here")


class Steps:
    """The longest step of the loop, and all steps together, in seconds of its thread."""

    def __init__(self) -> None:
        self.longest = self.together = 0.0
        run = events.Handle._run

        def measured(handle: events.Handle) -> None:
            began = time.thread_time()
            run(handle)
            took = time.thread_time() - began
            self.longest, self.together = max(self.longest, took), self.together + took

        events.Handle._run = measured  # type: ignore[method-assign]

    def reset(self) -> None:
        self.longest = self.together = 0.0


async def measure(wanted: list[str]) -> None:
    steps = Steps()
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as directory:
        async with Daemon(make_config(Path(directory)), Inspector()).run() as daemon:
            port = int(daemon.base.rpartition(":")[2])
            process = multiprocessing.get_context("spawn").Process(target=client, args=(port, theirs), daemon=True)
            process.start()
            for name in kinds():
                if not wanted or any(word in name for word in wanted):
                    ours.send(name)
                    steps.reset()
                    await asyncio.to_thread(ours.recv)
                    while daemon.front.transports:  # noqa: ASYNC110  (it may not have read all yet)
                        await asyncio.sleep(0.01)
                    print(f"{name:45} {1000 * steps.longest:7.1f} ms  of {steps.together:7.2f} s", flush=True)
            ours.send("")
            process.join()


if __name__ == "__main__":
    print(machine())
    asyncio.run(measure(sys.argv[1:]))
