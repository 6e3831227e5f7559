"""Memory for what clients are sending: how it is shared, and what takes of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from echod.errors import EchodError
from echod.server.admission import UNFINISHED
from echod.server.budget import FREE, Budget, Messages
from echod.uploads.store import BLOCK
from tests.drivers.asking import until
from tests.drivers.wire import FILE_HEAD, FORM, Wire
from tests.stand_ins.daemon import PASSWORD, Daemon, Person

pytestmark = pytest.mark.timeout(60)

MEMORY = 4 << 20  # bytes; an account may have a quarter
EACH = UNFINISHED + BLOCK  # of an upload
JSON = {"Host": "localhost", "Content-Type": "application/json"}


@pytest.fixture
def limits() -> dict[str, object]:
    return {"receive_memory": MEMORY}


Dial = Callable[[], Awaitable[Wire]]


@pytest.fixture
async def dial(daemon: Daemon) -> AsyncIterator[Dial]:
    """Opens connections, and breaks all of them off at the end."""
    wires: list[Wire] = []

    async def open_one() -> Wire:
        wires.append(await Wire.open(daemon))
        return wires[-1]

    yield open_one
    for wire in wires:
        wire.writer.transport.abort()


def test_shares() -> None:
    """An account may have a quarter, strangers together another, one of them a sixteenth, and nobody more than all."""
    budget = Budget(lambda: 1600)
    accounts = [budget.share(name) for name in ("ada", "bert", "carl", "dora")]
    strangers = [budget.share("", peer) for peer in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5")]
    refused(budget.share("ada"), 401, "this account may have 400 bytes")
    refused(budget.share("", "10.0.0.1"), 101, "this address may have 100 bytes")
    for share in strangers[:4]:
        share.add(100)
    refused(strangers[4], 1, "strangers may have 400 bytes")
    for share in accounts[:3]:
        share.add(400)
    refused(budget.share("ada"), 1, "400 are")
    refused(accounts[3], 1, "all clients may have 1600 bytes")
    strangers[0].resize(0)
    accounts[3].add(100)


def refused(share: Any, size: int, words: str) -> None:
    before = share.size
    with pytest.raises(EchodError, match=words) as refusal:
        share.add(size)
    assert refusal.value.code == "rate_limited"
    assert "receive_memory" in refusal.value.message
    assert share.size == before


def test_nothing_is_remembered_of_those_who_left() -> None:
    """Strangers' addresses are not kept."""
    budget = Budget(lambda: 1600)
    with budget.share("", "10.0.0.1") as share:
        share.add(10)
        assert budget.taken
    assert not budget.taken


def test_the_setting_may_change() -> None:
    """A smaller budget refuses what is new, and takes nothing from those who have it."""
    size = 1600
    budget = Budget(lambda: size)
    share = budget.share("ada")
    share.add(400)
    size = 800
    refused(share, 1, "200 bytes")
    share.resize(100)
    share.add(100)


def test_messages() -> None:
    """A message counts from its first byte until it is acted on, one in fragments as a whole; small ones are free."""
    share = Budget(lambda: 1 << 30).share("ada")
    messages = Messages(share)
    messages.come(FREE + 10)
    assert messages.fit()
    assert share.size == 10
    messages.frame(FREE + 20, last=False)
    messages.come(5)
    messages.frame(5, last=True)
    messages.frame(100, last=True)
    messages.come(7)
    messages.fit()
    assert share.size == 20 + 5 + 100 + 7
    messages.acted_on()
    messages.fit()
    assert share.size == 0


# Requests


class Upload:
    """Half of a file on its way."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @classmethod
    async def begin(cls, dial: Dial, who: Person) -> Upload:
        wire = await dial()
        await wire.head("POST", "/v1/files", FORM | who.bearer | {"Content-Length": len(FILE_HEAD) + 100_000})
        wire.writer.write(FILE_HEAD + b"a" * 50_000)
        await wire.writer.drain()
        return cls(wire)

    async def finish(self) -> bytes:
        end = b"\r\n--b--\r\n"
        self.wire.writer.write(b"a" * (50_000 - len(end)) + end)
        return await self.wire.answer()


def taken(daemon: Daemon) -> dict[str, int]:
    """By name, without what nobody has."""
    return {name or whose: size for (whose, name, _), size in daemon.budget.taken.items()}


async def test_uploads_at_once(daemon: Daemon, dial: Dial) -> None:
    """So many uploads of one account may be under way; another account's go on, and so do those that have begun."""
    ada, bert = await daemon.person("ada", "admin"), await daemon.person("bert")
    most = MEMORY // 4 // EACH
    begun = [await Upload.begin(dial, ada) for _ in range(most)]
    await until(lambda: taken(daemon).get("ada") == most * EACH)
    answer = await (await Upload.begin(dial, ada)).wire.answer()
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"receive_memory" in answer
    assert b"retry-after: " in answer
    assert (await (await Upload.begin(dial, bert)).finish()).startswith(b"HTTP/1.1 200 ")
    for upload in begun:
        assert (await upload.finish()).startswith(b"HTTP/1.1 200 ")
    await until(lambda: not taken(daemon))


async def test_json_on_its_way(daemon: Daemon, dial: Dial) -> None:
    """A body that is read whole takes what it says it has, or may have, as long as it is on its way."""
    ada = await daemon.person("ada", "admin")
    known, chunked = await dial(), await dial()
    await known.head("POST", "/v1/videos", JSON | ada.bearer | {"Content-Length": 100_000})
    known.writer.write(b" ")
    await until(lambda: taken(daemon).get("ada") == UNFINISHED + 100_000)
    await chunked.head("POST", "/v1/videos", JSON | ada.bearer | {"Transfer-Encoding": "chunked"})
    chunked.writer.write(b"1\r\n \r\n")
    await until(lambda: taken(daemon).get("ada") == 2 * UNFINISHED + 100_000 + 256 * 1024)
    for wire in (known, chunked):
        wire.writer.transport.abort()
    await until(lambda: not taken(daemon))


async def test_fields_of_a_form(daemon: Daemon, dial: Dial) -> None:
    """What is kept of a form beside its files counts until the request is answered."""
    ada = await daemon.person("ada", "admin")
    wire = await dial()
    field = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"x" * 50_000
    await wire.head("POST", "/v1/videos", FORM | ada.bearer | {"Content-Length": 10_000_000})
    wire.writer.write(field + b"\r\n--b\r\n")
    await until(lambda: taken(daemon).get("ada") == EACH + 50_000)
    for number in range(30):
        wire.writer.write(field.replace(b"prompt", b"metadata[%d]" % number)[5:] + b"\r\n--b\r\n")
    answer = await wire.answer()
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"receive_memory" in answer
    await until(lambda: not taken(daemon))


async def test_strangers_keep_nobody_out(daemon: Daemon, dial: Dial) -> None:
    """However many logins are never finished, one that is sent at once is answered, and so are those with accounts."""
    ada = await daemon.person("ada", "admin")
    wires = []
    for _ in range(MEMORY // 16 // (UNFINISHED + 1000) + 1):
        wires.append(await dial())
        await wires[-1].head("POST", "/v1/account/login", JSON | {"Content-Length": 1000})
        wires[-1].writer.write(b"{")
    reading = [asyncio.create_task(wire.reader.read(12)) for wire in wires]
    await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
    login = await daemon.http.post("/v1/account/login", json={"name": "ada", "password": PASSWORD})
    assert login.status_code == 200
    assert [task.result() for task in reading if task.done()] == [b"HTTP/1.1 429"]  # the others fit
    assert (await (await Upload.begin(dial, ada)).finish()).startswith(b"HTTP/1.1 200 ")


# How long a body may take


async def drip(wire: Wire, pieces: int, size: int) -> None:
    """Send a file little by little, 20 pieces a second."""
    await wire.head("POST", "/v1/files", FORM | {"Content-Length": len(FILE_HEAD) + pieces * size + 9})
    for piece in (FILE_HEAD, *(b"a" * size for _ in range(pieces)), b"\r\n--b--\r\n"):
        wire.writer.write(piece)
        await asyncio.sleep(0.05)


async def test_a_body_that_drips(daemon: Daemon, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not keep a body on its way for ever."""
    monkeypatch.setattr("echod.server.admission.BODY_PATIENCE", 0.2)
    monkeypatch.setattr("echod.server.admission.LINGER", 0.05)
    wire = await dial()
    dripping = asyncio.create_task(drip(wire, 1000, 1))
    answer = await wire.answer()
    dripping.cancel()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"a second more for each 2048 bytes" in answer
    assert daemon.stored_files() == []


async def test_a_slow_upload(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on as a slow line does may take as long as its size needs."""
    monkeypatch.setattr("echod.server.admission.BODY_PATIENCE", 0.2)
    wire = await dial()
    await drip(wire, 20, 2048)
    assert (await wire.answer()).startswith(b"HTTP/1.1 200 ")


# Sockets


def event(size: int) -> bytes:
    """A frame's head and an append of that many bytes."""
    sound = base64.b64encode(bytes(size * 3 // 4)).decode()
    text = json.dumps({"type": "input_audio_buffer.append", "audio": sound}).encode()
    return b"\x81\xff" + len(text).to_bytes(8, "big") + bytes(4) + text


def talk(daemon: Daemon, who: Person) -> connect:
    url = f"{daemon.base.replace('http', 'ws')}/v1/realtime?model=auto"
    return connect(url, additional_headers=who.bearer, max_queue=None)


async def answered(client: ClientConnection, kind: str) -> None:
    async with asyncio.timeout(10):
        while json.loads(await client.recv())["type"] != kind:
            pass


async def test_large_events_at_once(daemon: Daemon) -> None:
    """So much of one account's events may be on their way; whoever sends more is let go, and the others go on."""
    ada, bert = await daemon.person("ada", "admin"), await daemon.person("bert")
    whole = event(MEMORY // 8)
    async with talk(daemon, ada) as first, talk(daemon, ada) as second, talk(daemon, bert) as third:
        first.transport.write(whole[:-10])
        await until(lambda: taken(daemon).get("ada", 0) > MEMORY // 8 - FREE)
        second.transport.write(event(MEMORY // 4))
        with pytest.raises(ConnectionClosed) as closed:
            await answered(second, "error")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        assert "receive_memory" in closed.value.rcvd.reason
        first.transport.write(whole[-10:])
        for client in (first, third):
            client.transport.write(whole if client is third else b"")
            await client.send(json.dumps({"type": "input_audio_buffer.commit"}))
            await answered(client, "input_audio_buffer.committed")
        await until(lambda: not taken(daemon))


async def test_an_event_that_breaks_off(daemon: Daemon) -> None:
    """What a client was sending as it left takes no memory any more."""
    ada = await daemon.person("ada", "admin")
    async with talk(daemon, ada) as client:
        client.transport.write(event(MEMORY // 8)[:-10])
        await until(lambda: bool(taken(daemon)))
        client.transport.abort()
        await until(lambda: not taken(daemon))
