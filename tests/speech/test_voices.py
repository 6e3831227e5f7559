"""Finding the voice that somebody names."""

from __future__ import annotations

import pytest

from echod.config import Config, Settings
from echod.errors import EchodError
from echod.speech.backend import Voice
from echod.speech.calls import Calls
from echod.speech.voices import find_voice
from tests.stand_ins.backend import Scripted

ANNA, OTTO, ELSEWHERE = (Voice.parse(name) for name in ("local/piper/anna", "local/piper/otto", "server/tts/anna"))


class Speaker(Scripted):
    """Knows these voices, speaks with the first of them unless the language is German, and counts who asks."""

    def __init__(self, *known: Voice) -> None:
        super().__init__()
        self.known = list(known)
        self.asked = 0

    async def voices(self) -> list[Voice]:
        self.asked += 1
        return self.known

    async def default_voice(self, language: str | None) -> Voice:
        return self.known[1 if language == "de" else 0]


@pytest.fixture
def server() -> Speaker:
    return Speaker(ELSEWHERE)


@pytest.fixture
def calls(config: Config, server: Speaker) -> Calls:
    return Calls(Settings(config), {"local": Speaker(ANNA, OTTO), "server": server}, {"speak": "local"})


async def test_named(calls: Calls, server: Speaker) -> None:
    """A voice has its full name, or a name that is no other's; a server is not asked for one that is named in full."""
    assert await find_voice(calls, "server/tts/zoe") == Voice.parse("server/tts/zoe")
    assert await find_voice(calls, "local/piper/otto") == OTTO
    assert server.asked == 0
    assert await find_voice(calls, "otto") == OTTO


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("anna", "2 voices have that name"),
        ("zoe", "`echod voices` lists"),
        ("local/piper/zoe", "this box has no such voice"),
        ("nowhere/tts/zoe", "the backends set up here are local, server"),
    ],
)
async def test_not_found(calls: Calls, name: str, reason: str) -> None:
    """A voice that is not there is refused, with what to do about it."""
    with pytest.raises(EchodError, match=reason) as caught:
        await find_voice(calls, name)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "voice")


async def test_unnamed(calls: Calls) -> None:
    """Who names none gets the default voice of the language, told or seen."""
    assert await find_voice(calls, None) == ANNA
    assert await find_voice(calls, None, "Guten Tag!", "de") == OTTO
