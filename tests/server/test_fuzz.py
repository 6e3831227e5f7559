"""Nonsense by the hundred: every answer is one from the table, the daemon goes on, and nothing is left behind."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from echod.errors import TABLE
from tests.drivers.asking import receive, refusal
from tests.making.nonsense import EVENTS, FRAMES, PATHS, QUERIES, REQUESTS, STARTS, VALUES, WORDS, with_ids
from tests.stand_ins.backend import Willing
from tests.stand_ins.daemon import Daemon, Person
from tests.stand_ins.hands import PORTRAIT, SPEECH

HANG = 20.0  # seconds
QUICK, LONG = 60, 1000  # examples

SEED = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))

Test = Callable[..., Any]


def fuzz(examples: int, **nonsense: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
    """Run the test with many examples; one daemon meets them all, and what one leaves there the next one finds."""
    chosen = settings(
        max_examples=examples,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: chosen(seed(SEED)(given(**nonsense)(test)))


class Target(NamedTuple):
    """A daemon with something in it, somebody who may do everything there, and where that can be done."""

    daemon: Daemon
    anna: Person
    ids: dict[str, str]
    routes: list[tuple[str, str]]
    outcomes: Counter[str]


@pytest.fixture
async def target(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Target]:
    """Afterwards the daemon still answers, keeps no file that belongs to nothing, and has logged no failure."""
    backends: Any = daemon.calls.backends
    backends["scripted"] = Willing()
    anna = await daemon.person("anna", "admin")
    ids = {
        name: await daemon.upload(content, person=anna)
        for name, content in (("a portrait", PORTRAIT), ("a speech", SPEECH))
    }
    ids["a job"] = await daemon.submit(anna)
    await daemon.hands.complete(await daemon.hands.begin())
    paths: dict[str, dict[str, Any]] = daemon.app.openapi()["paths"]
    routes = [
        (method, path) for path, methods in paths.items() for method in methods if method not in ("head", "options")
    ]
    caplog.set_level(logging.ERROR, "echod")
    outcomes: Counter[str] = Counter()
    yield Target(daemon, anna, ids, routes + [("post", "/v1/videos")] * len(routes), outcomes)
    print(f"ECHOD_CHAOS_SEED={SEED} {' '.join(f'{outcome}={times}' for outcome, times in sorted(outcomes.items()))}")
    assert (await anna.http.get("/v1/videos")).status_code == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    async with asyncio.timeout(HANG):
        while await left_behind(daemon):  # what an avatar showed last is just being removed
            pass
    await anna.http.aclose()


async def left_behind(daemon: Daemon) -> set[str]:
    """Directories of jobs and files that are not there any more."""
    kept = {path.name for root in ("jobs", "files") for path in (daemon.config.state_dir / root).iterdir()}
    known = {job.id for job in await daemon.desk.rows.select()}
    return kept - known - {record.id for record in await daemon.files.rows.select()}


def check_refusal(code: str, status: int) -> None:
    assert code != "internal"
    assert TABLE[code].status == status


# HTTP


async def answer(target: Target, number: int, id: str, headers: dict[str, Any], **request: Any) -> httpx.Response:
    method, path = target.routes[number % len(target.routes)]
    if "json" in request:  # httpx would not encode all of it
        request["content"] = json.dumps(with_ids(request.pop("json"), target.ids))
        headers = {"Content-Type": "application/json", **headers}
    before, _, after = path.partition("{")
    path = before + (quote(target.ids.get(id, id), safe="") + after.partition("}")[2] if after else "")
    async with asyncio.timeout(HANG):
        return await target.anna.http.request(method, path, headers=headers, **request)


async def check_answer(target: Target, request: dict[str, Any]) -> None:
    got = await answer(target, **request)
    if got.status_code >= 400:
        status, code, _ = refusal(got)
        check_refusal(code, status)
    target.outcomes[code if got.status_code >= 400 else "ok"] += 1


@fuzz(QUICK, request=REQUESTS)
async def test_requests(target: Target, request: dict[str, Any]) -> None:
    """Whatever is asked, the answer is a success or an error from the table."""
    await check_answer(target, request)


@pytest.mark.long
@fuzz(LONG, request=REQUESTS)
async def test_many_requests(target: Target, request: dict[str, Any]) -> None:
    """The same, for minutes."""
    await check_answer(target, request)


# Messages


def address(target: Target, path: str, query: dict[str, str]) -> str:
    return f"{target.daemon.base.replace('http', 'ws')}{path}?{urlencode(query)}"


FIRST = (
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    },
    {"type": "response.create"},
)


async def check_conversation(target: Target, events: list[Any]) -> None:
    """Each event is acted on or answered with an error; the connection lives on."""
    async with connect(address(target, "/v1/realtime", {}), additional_headers=target.anna.bearer) as ws:
        for event in FIRST:
            await ws.send(json.dumps(event))
        async with asyncio.timeout(HANG):
            while (told := await receive(ws))["type"] != "response.done":
                pass
            ids = {"an answer": told["response"]["output"][0]["id"]}
        for event in [*events, {"type": "the last", "event_id": "the last"}]:
            await ws.send(event if isinstance(event, bytes) else json.dumps(with_ids(event, ids)))
        async with asyncio.timeout(HANG):
            while (told := await receive(ws)).get("error", {}).get("event_id") != "the last":
                target.outcomes[told["type"]] += 1
                if told["type"] == "error":
                    check_refusal(told["error"]["code"], TABLE[told["error"]["code"]].status)
    target.outcomes["conversation"] += 1


CONVERSATIONS = st.lists(EVENTS | VALUES | st.binary(max_size=50), min_size=1, max_size=6)


@example(events=[{"type": "conversation.item.truncate", "item_id": "an answer", "audio_end_ms": 10**400}])
@example(
    events=[
        {"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"prefix_padding_ms": 0.5}}}}},
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(48_000)).decode()},
    ]
)
@fuzz(QUICK, events=CONVERSATIONS)
async def test_conversations(target: Target, events: list[Any]) -> None:
    """Whatever a client of /v1/realtime sends, it is told what is wrong, and the conversation goes on."""
    await check_conversation(target, events)


@pytest.mark.long
@fuzz(LONG, events=CONVERSATIONS)
async def test_many_conversations(target: Target, events: list[Any]) -> None:
    """The same, for minutes."""
    await check_conversation(target, events)


async def check_avatar(target: Target, start: Any, messages: list[Any]) -> None:
    """A start that is wrong ends the connection with the reason; after a good one it lives on, whatever comes."""
    async with connect(address(target, "/v1/avatar", {}), additional_headers=target.anna.bearer) as ws:
        await ws.send(json.dumps(with_ids(start, target.ids)))
        async with asyncio.timeout(HANG):
            if (told := await receive(ws))["type"] == "started":
                for message in [*messages, {"type": "the last"}]:
                    await ws.send(message if isinstance(message, bytes) else json.dumps(message))
                while "'the last'" not in told.get("error", {}).get("message", ""):
                    told = await receive(ws)
                    if told["type"] == "error":
                        check_refusal(told["error"]["code"], TABLE[told["error"]["code"]].status)
            else:
                check_refusal(told["error"]["code"], TABLE[told["error"]["code"]].status)
                await ws.wait_closed()
                assert ws.close_code == 1008
    target.outcomes[told["error"]["code"] if ws.close_code == 1008 else "avatar"] += 1


GOOD_START = {"type": "start", "rate": 24_000, "portrait": "a portrait", "size": "128x128"}
MESSAGES = st.lists(
    st.sampled_from([{"type": "flush"}, {"type": "clear"}]) | VALUES | st.binary(max_size=50), max_size=6
)


@fuzz(QUICK // 2, start=st.just(GOOD_START) | STARTS | VALUES, messages=MESSAGES)
async def test_avatars(target: Target, start: Any, messages: list[Any]) -> None:
    """Whatever a client of /v1/avatar sends, it is told what is wrong."""
    await check_avatar(target, start, messages)


@pytest.mark.long
@fuzz(LONG, start=st.just(GOOD_START) | STARTS | VALUES, messages=MESSAGES)
async def test_many_avatars(target: Target, start: Any, messages: list[Any]) -> None:
    """The same, for minutes."""
    await check_avatar(target, start, messages)


async def ask(target: Target, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request for a WebSocket, which no client would send like this."""
    host = urlsplit(target.daemon.base)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    head = f"GET {path} HTTP/1.1\r\nHost: {host.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    key = (
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\nAuthorization: Bearer {target.anna.token}\r\n"
    )
    writer.write(f"{head}{key}\r\n".encode())
    return reader, writer


@pytest.mark.parametrize("path", ["/v1/events", "/v1/realtime", "/v1/avatar"])
@fuzz(QUICK, frames=st.lists(FRAMES, min_size=1, max_size=4))
async def test_frames(target: Target, path: str, frames: list[bytes]) -> None:
    """Bytes that are no WebSocket frames end the connection they came by, and no other."""
    reader, writer = await ask(target, path)
    async with asyncio.timeout(HANG):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"".join(frames))
        writer.write_eof()
        await reader.read()
        writer.close()
    target.outcomes["connection"] += 1


@pytest.mark.parametrize("path", ["/v1/events", "/v1/realtime", "/v1/avatar"])
@example(query={"x": "x" * 11_000})
@fuzz(
    QUICK,
    query=QUERIES
    | st.dictionaries(st.sampled_from(["model", "conversation", "after"]), WORDS.map(lambda word: word[:2000])),
)
async def test_handshakes(target: Target, path: str, query: dict[str, str]) -> None:
    """A socket asked for in a strange way is opened, closed with a reason, or refused with an error of the table."""
    async with asyncio.timeout(HANG):
        try:
            async with connect(address(target, path, query), additional_headers=target.anna.bearer) as ws:
                await ws.close()
        except InvalidStatus as refused:
            assert refused.response.body
            outcome = json.loads(refused.response.body)["error"]["code"]
            check_refusal(outcome, refused.response.status_code)
        else:
            assert ws.close_code in (1000, 1008)
            outcome = str(ws.close_code)
    target.outcomes[outcome] += 1


@example(path="//[")
@example(path="http://[/v1/events")
@fuzz(QUICK, path=PATHS)
async def test_addresses(target: Target, path: str) -> None:
    """A socket asked for at a strange address is opened there or refused with an error of the table."""
    reader, writer = await ask(target, path)
    async with asyncio.timeout(HANG):
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head and b"text/plain" not in head:  # what is no HTTP is refused in plain text
            outcome = json.loads(await reader.read())["error"]["code"]
            check_refusal(outcome, int(head.split()[1]))
        writer.write_eof()
        await reader.read()
        writer.close()
    target.outcomes[head.split()[1].decode()] += 1
