"""/asyncapi.json and docs/asyncapi.json: what goes over the WebSockets. Stand-in daemons hold all they tell to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

from echod.server.app import sockets
from echod.server.asyncapi import CHANNELS, document
from tests.drivers.described import message_validator
from tests.stand_ins.daemon import Daemon

ROOT = Path(__file__).parents[2]
RECORDED = sorted((ROOT / "tests" / "frameworks" / "recorded").glob("*.json"))
REALTIME = CHANNELS["realtime"]


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from refs(each)


def test_the_file_is_what_the_code_says() -> None:
    """`python scripts/asyncapi.py` writes it anew."""
    assert json.loads((ROOT / "docs" / "asyncapi.json").read_text("utf-8")) == json.loads(json.dumps(document()))


async def test_the_daemon_serves_it(daemon: Daemon) -> None:
    assert (await daemon.http.get("/asyncapi.json")).json() == json.loads(json.dumps(document()))


def test_every_socket_is_a_channel() -> None:
    """And nothing else is."""
    assert {channel.path for channel in CHANNELS.values()} == set(sockets(None))  # type: ignore[arg-type]


def test_every_reference_leads_somewhere() -> None:
    for ref in refs(document()):
        found: Any = document()
        for name in ref.removeprefix("#/").split("/"):
            found = found[name]
        assert found


def asked() -> dict[str, type[msgspec.Struct]]:
    return {str(kind.__struct_config__.tag): kind for kind in REALTIME.asked.events}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_frameworks_send(path: Path) -> None:
    """It is as described, by whomever it was recorded."""
    seen = set()
    for way, frame in json.loads(path.read_text("utf-8"))["frames"]:
        if way == ">" and frame["type"] != "input_audio_buffer.append":  # whose sound is recorded in words
            found = message_validator(asked()[frame["type"]]).iter_errors(frame)
            assert not [each.message for each in found], frame
            seen.add(frame["type"])
    assert len(seen) >= 3


async def test_what_is_described_is_acted_on(daemon: Daemon) -> None:
    """Every event that a client may send is known, and nothing else."""
    async with connect(f"{daemon.base.replace('http', 'ws')}/v1/realtime?model=auto") as socket:
        await socket.send(json.dumps({"type": "what"}))
        while (told := json.loads(await socket.recv()))["type"] != "error":
            pass
    known = told["error"]["message"].partition("known are ")[2].split(", ")
    assert sorted(known) == sorted(asked())


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("events", {"type": "job.lost", "seq": 1, "ts": 1.0}),
        ("realtime", {"type": "response.output_video.done", "event_id": "event_1", "url": "http://"}),
        ("avatar", {"type": "queued", "segment": "first", "place": 1}),
    ],
)
def test_what_is_not_described(channel: str, message: dict[str, Any]) -> None:
    """It would be found."""
    [kind] = [each for each in CHANNELS[channel].told.events if each.__struct_config__.tag in (None, message["type"])]
    assert list(message_validator(kind).iter_errors(message))
