"""Asking a daemon without workers, and reading its answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection

from echod.accounts.store import Accounts
from echod.journal import Journal
from echod.server.caller import caller
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import PORTRAIT

# Who calls a daemon without accounts.
local_only = partial(caller, accounts=Accounts(Journal(Path("no journal"))))

SECOND = b"\1\0" * 24_000  # of sound, as conversations have it


@contextlib.asynccontextmanager
async def over_unix_socket(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=str(daemon.config.socket))
    async with daemon.client(transport=transport, base_url="http://localhost") as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until it holds."""
    while not condition():  # noqa: ASYNC110  (it holds whenever the other tasks have got that far)
        await asyncio.sleep(0)


async def receive(ws: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(await ws.recv()))


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and param of an error answer, whose shape is checked on the way."""
    body = answer.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert len(body["error"]["message"]) > 10
    return answer.status_code, body["error"]["code"], body["error"]["param"]


async def make_role(daemon: Daemon, **fields: str) -> None:
    answer = await daemon.http.post(
        "/v1/roles", data={"name": "ada", **fields}, files={"portrait": ("p.png", PORTRAIT)}
    )
    assert answer.status_code == 200, answer.text


def history(daemon: Daemon) -> list[tuple[str, str]]:
    """What the reply model was told was said before."""
    return [(each.author, each.text) for each in daemon.backend.turns[-1].history]


@contextlib.asynccontextmanager
async def working(daemon: Daemon) -> AsyncIterator[None]:
    """A fleet that completes every job it gets."""

    async def work() -> None:
        async for event in daemon.desk.feed.watch(None):
            if event.type == "job.queued":
                job = await daemon.hands.begin()
                await daemon.hands.progress(job, 0.5)
                await daemon.hands.complete(job)

    task = asyncio.create_task(work())
    yield
    task.cancel()
    await asyncio.wait([task])
