"""Which backends there are, and which of them hears, replies and speaks. What cannot be used is refused at start.

`auto` means DashScope where there is a key for it, else the OpenAI-compatible server if one is named, else this box.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from echod.config import Config, Settings
from echod.errors import ConfigurationError
from echod.host.cards import NoSuchDevice, visible_alone
from echod.host.secret import Secret, find_secret
from echod.speech.backend import Backend, Function, Voice
from echod.speech.calls import Calls
from echod.speech.errors import lacking
from echod.speech.usage import Usage

FUNCTIONS: tuple[Function, ...] = ("hear", "reply", "speak")
ALIBABA = ".aliyuncs.com"  # the hosts whose WebSocket is found beside their HTTP
OPENAI = ".api.openai.com"  # its host, and those of its regions
OPENAI_API_KEY = "OPENAI_API_KEY"  # what every client of OpenAI's reads, and so may be there for others
WEBSOCKET_PATH = "/api-ws/v1/inference"
# What backends are made of, and which of them does what.
UNTIL_RESTART = (
    "hear_backend", "reply_backend", "speak_backend", "hear_model", "reply_model", "voice", "voices",
    "dashscope_url", "dashscope_ws_url", "dashscope_workspace", "dashscope_key_file",
    "openai_url", "openai_key_file", "openai_rate", "openai_sound", "speech_device", "speech_calls",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is configured, checked: who does what, and what each backend needs. This box can always be used."""

    chosen: Mapping[Function, str]
    usable: tuple[str, ...]
    dashscope_key: Secret | None
    dashscope_ws_url: str
    openai_key: Secret | None


def plan(config: Config, environ: Mapping[str, str] = os.environ) -> Plan:
    """Decide who does what. Raises ConfigurationError, naming the setting."""
    dashscope_key = find_secret(
        "DASHSCOPE_API_KEY", config.dashscope_key_file, "dashscope-api-key", environ, "dashscope_key_file"
    )
    openai_key = _openai_key(config, environ)
    given = {"dashscope": dashscope_key is not None, "openai": bool(config.openai_url), "local": True}
    usable = tuple(name for name, there in given.items() if there)
    chosen: dict[Function, str] = {}
    for function in FUNCTIONS:
        wanted = getattr(config, f"{function}_backend")
        chosen[function] = usable[0] if wanted == "auto" else _usable(wanted, usable, f"{function}_backend")
    if config.voice:
        backend = _usable(Voice.parse(config.voice).backend, usable, "voice")
        if config.speak_backend in ("auto", backend):
            chosen["speak"] = backend
        else:
            raise ConfigurationError(
                f"voice = {config.voice} is a voice of {backend}, and speak_backend is {config.speak_backend}; "
                "leave one of them out",
                param="voice",
            )
    try:
        visible_alone(config.speech_device)
    except NoSuchDevice as error:
        raise ConfigurationError(f"speech_device: {error}", param="speech_device") from None
    for voice in config.voices:
        _usable(Voice.parse(voice).backend, usable, "voices")
    ws_url = dashscope_ws_url(config) if dashscope_key else ""
    return Plan(chosen, usable, dashscope_key, ws_url, openai_key)


def _openai_key(config: Config, environ: Mapping[str, str]) -> Secret | None:
    """The key for the server at `openai_url`. OPENAI_API_KEY, meant for OpenAI, would be shown to whoever that is."""
    variable, credential, setting = "ECHOD_OPENAI_KEY", "openai-api-key", "openai_key_file"
    key = find_secret(variable, config.openai_key_file, credential, environ, setting)
    if key is None and _is_openais(config.openai_url):
        key = find_secret(OPENAI_API_KEY, None, credential, environ, setting)
    return key


def _is_openais(url: str) -> bool:
    """Whether OpenAI answers there, in whatever region, and nobody on the way hears."""
    parts = urlsplit(url)
    return parts.scheme == "https" and f".{parts.hostname}".endswith(OPENAI)


def keys(config: Config, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Which key goes where, in words. Raises ConfigurationError."""
    made, told = plan(config, environ), []
    if made.dashscope_key:
        servers = dict.fromkeys(map(_server, (config.dashscope_url, made.dashscope_ws_url)))
        told.append(f"that of {made.dashscope_key.origin} goes to {' and '.join(servers)}")
    if made.openai_key and config.openai_url:
        told.append(f"that of {made.openai_key.origin} goes to {_server(config.openai_url)}")
    elif environ.get(OPENAI_API_KEY) and config.openai_url:
        told.append(
            f"{OPENAI_API_KEY} is OpenAI's, and does not go to {_server(config.openai_url)}, which gets none: if it "
            "wants one, set ECHOD_OPENAI_KEY, openai_key_file or the credential openai-api-key"
        )
    return told


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _usable(backend: str, usable: tuple[str, ...], setting: str) -> str:
    if backend in usable:
        return backend
    message = f"{setting} names the backend {backend}, but {lacking(backend)}"
    raise ConfigurationError(message, param=setting)


def dashscope_ws_url(config: Config) -> str:
    """DashScope's WebSocket. A server that is not Alibaba's needs its own: the SDK would send the key to Alibaba."""
    if config.dashscope_ws_url:
        return config.dashscope_ws_url
    host = urlsplit(config.dashscope_url).netloc
    if (urlsplit(config.dashscope_url).hostname or "").endswith(ALIBABA):
        return f"wss://{host}{WEBSOCKET_PATH}"
    raise ConfigurationError(
        f"dashscope_url = {config.dashscope_url} is no server of Alibaba's, but voices would still be Alibaba's, by "
        f"its WebSocket; set dashscope_ws_url too, such as ws://{host}{WEBSOCKET_PATH}",
        param="dashscope_ws_url",
    )


def reloaded(config: Config, running: Config) -> tuple[Config, list[str]]:
    """Settings read again beside `running` ones: what backends are made of stays. And what waits for a restart."""
    kept = {name: getattr(running, name) for name in UNTIL_RESTART}
    return replace(config, **kept), [name for name, value in kept.items() if value != getattr(config, name)]


@asynccontextmanager
async def open_calls(
    settings: Settings,
    environ: Mapping[str, str] = os.environ,
    record: Callable[[Usage], object] = lambda usage: None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Calls]:
    """Everything that can be called. Raises ConfigurationError."""
    config = settings.now
    made = plan(config, environ)
    async with AsyncExitStack() as stack:
        backends = {name: _open(name, made, config) for name in made.usable}
        for backend in backends.values():
            stack.push_async_callback(backend.close)
        if config.understanding == "omni" and not backends[made.chosen["reply"]].hears_turns:
            raise ConfigurationError(
                f"understanding = omni, but {made.chosen['reply']} replies to text alone: set reply_backend to "
                "one that hears (dashscope, or openai with openai_sound), or understanding = asr+reply",
                param="understanding",
            )
        yield Calls(settings, backends, made.chosen, record, clock)


def _open(name: str, made: Plan, config: Config) -> Backend:
    match name:
        case "dashscope":
            from echod.speech.dashscope.backend import DashScope

            return DashScope(
                made.dashscope_key, config.dashscope_url, made.dashscope_ws_url, config.dashscope_workspace or None
            )
        case "openai":
            from echod.speech.openai.backend import OpenAI

            named = map(Voice.parse, filter(None, (config.voice, *config.voices)))
            voices = [voice for voice in named if voice.backend == "openai"]
            return OpenAI(
                config.openai_url, made.openai_key, rate=config.openai_rate, sound=config.openai_sound, voices=voices
            )
        case _:
            from echod.speech.local.backend import Local

            return Local(config.weights_dir, config.speech_device)
