"""What the daemon says it can do."""

from __future__ import annotations

from typing import Any

import msgspec

from echod.server.routes.capabilities import Capabilities
from tests.drivers.asking import refusal
from tests.stand_ins.daemon import Daemon, device_state


async def look(daemon: Daemon) -> dict[str, Any]:
    answer = await daemon.http.get("/v1/capabilities")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    msgspec.convert(answer.json(), Capabilities)
    return dict(answer.json())


async def test_what_is_there(daemon: Daemon) -> None:
    """Who hears, replies and speaks; the engines with the devices that are ready for them; sizes and limits."""
    daemon.states.append(device_state("failed"))
    assert await look(daemon) == {
        "object": "capabilities",
        "hears": {"available": True, "by": "scripted/model-h", "reason": None},
        "replies": {"available": True, "by": "scripted/model-r", "reason": None, "scripted": False},
        "speaks": {
            "available": True,
            "by": "scripted/model-s",
            "reason": None,
            "languages": ["en"],
            "default_voice": "scripted/model-s/anna",
        },
        "engines": [
            {"id": "preview", "exact": False, "devices": ["cpu"]},
            {"id": "other", "exact": None, "devices": []},
        ],
        "sizes": {"min": 128, "max": 1024, "step": 8, "default": "512x512"},
        "limits": {
            "max_seconds": 1800.0,
            "max_upload": 64 << 20,
            "max_pixels": 50_000_000,
            "max_prompt": 10_000,
            "max_utterance": 60.0,
        },
    }


async def test_what_is_missing(daemon: Daemon) -> None:
    """What cannot be done says why, by code, and with the commands that help; a limit that changes is the new one."""
    daemon.backend.missing = "there is none: run `apt install espeak-ng`"
    daemon.settings.now = daemon.changed(max_seconds=5)
    found = await look(daemon)
    for part, code in (("hears", "hearing"), ("replies", "reply"), ("speaks", "voice")):
        assert (found[part]["available"], found[part]["by"]) == (False, None)
        assert found[part]["reason"] == {
            "code": f"{code}_not_installed",
            "message": "there is none: run `apt install espeak-ng`",
            "commands": ["apt install espeak-ng"],
        }
    assert (found["speaks"]["languages"], found["speaks"]["default_voice"]) == ([], None)
    assert found["limits"]["max_seconds"] == 5
    assert not daemon.backend.calls


async def test_who_may_look(daemon: Daemon) -> None:
    """Every account may, and nobody without one."""
    await daemon.person("root", "admin")
    ada = await daemon.person("ada")
    assert (await ada.http.get("/v1/capabilities")).status_code == 200
    assert refusal(await daemon.http.get("/v1/capabilities"))[:2] == (401, "unauthorized")


async def test_described(daemon: Daemon) -> None:
    """/openapi.json has the whole answer."""
    known = (await daemon.http.get("/openapi.json")).json()["components"]["schemas"]
    assert set(known["Capabilities"]["properties"]) == set(await look(daemon))
    assert known["Engine"]["properties"]["devices"] == {"type": "array", "items": {"type": "string"}}
