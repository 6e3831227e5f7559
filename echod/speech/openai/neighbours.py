"""Servers on this machine that speak OpenAI's protocol: found for whoever asks, and never used unasked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

import httpx
import msgspec

from echod.speech.backend import Failure
from echod.speech.openai.http import decode, read

T = TypeVar("T")

PORTS = (11434, 1234, 8080, 8000, 8880)  # as Ollama, LM Studio, llama.cpp, vLLM and Speaches, Kokoro have them
TIMEOUT = 1.0  # seconds for a whole answer
OURSELVES = "echod"  # who owns the models of another daemon like us

# What a model does, by its name.
HEARS = re.compile(r"whisper|asr|transcri|parakeet", re.IGNORECASE)
SPEAKS = re.compile(r"tts|kokoro|piper|speech", re.IGNORECASE)
NEITHER = re.compile(r"embed|rerank|\bbge|clip|flux|stable-diffusion", re.IGNORECASE)


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class _Voices(msgspec.Struct):
    voices: list[str]


class Neighbour(NamedTuple):
    """A server at the base URL `url`, and its models and voices by name."""

    url: str
    models: list[str]
    voices: list[str]

    def toml(self, *, dashscope: bool) -> str:
        """Lines of a configuration file: each model does what it seems made for, the rest stays as it is.

        `dashscope`: there is a key for it, so that whatever is not set is DashScope's, else this box's.
        """
        lines = [f"openai_url = {json.dumps(self.url)}"]
        for function, setting in (("reply", "reply_model"), ("hear", "hear_model"), ("speak", "voice")):
            if function in self.does:
                lines.append(f"{setting} = {json.dumps(self.does[function])}")
            if (function in self.does) == dashscope:
                lines.append(f'{function}_backend = "{"openai" if dashscope else "local"}"')
        return "\n".join(["[speech]", *lines])

    @property
    def does(self) -> Mapping[str, str]:
        """The first model for each function, and its first voice."""
        does: dict[str, str] = {}
        for model in self.models:
            if HEARS.search(model):
                does.setdefault("hear", model)
            elif SPEAKS.search(model):
                if self.voices:
                    does.setdefault("speak", f"openai/{model}/{self.voices[0]}")
            elif not NEITHER.search(model):
                does.setdefault("reply", model)
        return does


async def find() -> list[Neighbour]:
    """Those that answer on loopback within a second. They are asked for their models; nothing is sent to them."""
    # A proxy from the environment must not stand before what is on this machine.
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
        asked = await asyncio.gather(*(_look(client, f"http://127.0.0.1:{port}/v1") for port in PORTS))
    return [neighbour for neighbour in asked if neighbour and neighbour.does]


async def _look(client: httpx.AsyncClient, url: str) -> Neighbour | None:
    listed = await _ask(client, f"{url}/models", _Models)
    if listed is None or any(model.owned_by == OURSELVES for model in listed.data):
        return None
    spoken = await _ask(client, f"{url}/audio/voices", _Voices)
    return Neighbour(url, _plain(model.id for model in listed.data), _plain(spoken.voices if spoken else ()))


async def _ask(client: httpx.AsyncClient, url: str, kind: type[T]) -> T | None:
    """What it says, if it says that in time and form."""
    try:
        async with asyncio.timeout(TIMEOUT), client.stream("GET", url) as answer:
            return decode(await read(answer), kind) if answer.is_success else None
    except (httpx.HTTPError, TimeoutError, Failure):
        return None


def _plain(names: Iterable[str]) -> list[str]:
    """Those that may be shown on a terminal."""
    return [name for name in names if name.isprintable()]
