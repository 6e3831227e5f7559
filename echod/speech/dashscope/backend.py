"""DashScope hears, replies and speaks: Alibaba's servers, or one of your own that talks as they do.

Its SDK, unmodified, does the talking. Hearing and replying go through chat completions in compatible mode, speaking
through a WebSocket of its own. Text and sound travel in the requests themselves: the SDK uploads files where a media
part names one, and nothing here makes such a part of anything but base64.
"""

from __future__ import annotations

import logging
import os
import warnings
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from ssl import SSLContext
from typing import Any, Literal

import httpx

from echod.errors import ConfigurationError
from echod.host.redaction import redact
from echod.host.secret import Secret
from echod.sound.pcm import HEAR_RATE, SPEAK_RATE, wav
from echod.speech.backend import USAGE, Backend, Call, Failure, Question, Voice
from echod.speech.dashscope.errors import explained
from echod.speech.dashscope.tts import Synthesis, Wire
from echod.speech.remote.client import Clients, OneCall
from echod.speech.tools import CallPiece, pieces_of

MODELS = {"hear": "qwen3-asr-flash", "reply": "qwen3.5-omni-flash"}
VOICES = (
    Voice("dashscope", "cosyvoice-v3-flash", "longanyang"),
    Voice("dashscope", "cosyvoice-v3-flash", "longanhuan"),
    Voice("dashscope", "qwen-audio-3.1-tts-flash", "longanhuan_v3.1"),
    Voice("dashscope", "qwen-audio-3.1-tts-flash", "longanfengyue_v3.1"),
)
# These think unless told not to, which is billed and far too slow for a conversation.
THINKING = ("qwen3.8-omni-flash", "qwen3.6-plus", "qwen3.6-flash", "qwen3.5-plus", "qwen3.5-flash")
# At debug level these log whole requests, key and sound included.
LOGGERS = ("dashscope", "dashscope.v2", "httpx", "httpcore", "websockets.client")


class DashScope(Backend):
    """DashScope at `url` (compatible mode) and `ws_url`. Construct it in a running event loop.

    `sdk_timeout` (seconds) is longer than any call may take: whoever calls watches the clock.
    """

    name = "dashscope"
    hears_turns = True

    def __init__(
        self, key: Secret | None, url: str, ws_url: str, workspace: str | None = None, *, sdk_timeout: float = 3600.0
    ) -> None:
        import dashscope  # 0.7 s

        for logger in map(logging.getLogger, LOGGERS):
            logger.setLevel(max(logging.WARNING, logger.level))
        self._ws_url = ws_url
        self._tls = httpx.create_ssl_context()
        # Nothing is left out, for the SDK fills gaps from DASHSCOPE_* and ~/.dashscope.
        options: dict[str, Any] = {
            "api_key": key.reveal() if key else "",
            "base_url": url,
            "workspace": workspace or "",
            "region": "cn-beijing",  # without effect beside explicit URLs
            "protocol": "openai",
            "timeout": sdk_timeout,
            "max_retries": 0,
            "config_path": os.devnull,
        }
        make = partial(_Chat, options, self._tls)
        try:
            self._chats = Clients(make, make())
            self._voice_client = dashscope.Client(**options)
        except ValueError as error:
            raise ConfigurationError(f"DashScope's SDK refuses its settings: {redact(str(error))}") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # voices are a preview in it; its version is pinned
            self._voices = self._voice_client.audio.tts

    async def hear(self, sound: bytes, call: Call) -> str:
        options: dict[str, Any] = {"enable_itn": False}
        if call.language:
            options["language"] = call.language.partition("-")[0].lower()
        data = f"data:audio/wav;base64,{b64encode(wav(sound, HEAR_RATE)).decode()}"
        messages = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": data}}]}]
        with explained(call):
            request = {"model": call.model, "messages": messages, "parameters": {"asr_options": options}}
            async with self._chats.asked(lambda chat: chat.create(**request)) as completion:
                _note(completion, call)
                [choice] = completion.choices
                _check(choice.finish_reason)
                return str(choice.message.content or "")

    async def reply(self, turn: Question, call: Call) -> AsyncGenerator[str | CallPiece, None]:
        parameters: dict[str, Any] = {"modalities": ["text"]} if "omni" in call.model else {}
        if call.model.startswith(THINKING):
            parameters["enable_thinking"] = False
        if turn.max_tokens is not None:
            parameters["max_tokens"] = turn.max_tokens
        messages = turn.messages("data:;base64,")
        request = {"model": call.model, "messages": messages, "stream": True, "parameters": parameters}
        request |= turn.tools.chat()
        finish_reason, begun = None, 0
        with explained(call, turn.words):
            asked = self._chats.asked(lambda chat: chat.create(**request))
            async with asked as stream, aclosing(aiter(stream)) as chunks:
                async for chunk in chunks:
                    call.alive()
                    _note(chunk, call)
                    for choice in chunk.choices:
                        finish_reason = choice.finish_reason or finish_reason
                        if choice.delta.content:
                            yield choice.delta.content
                        calls = [each.model_dump() for each in choice.delta.tool_calls or ()]
                        for piece in pieces_of(calls, begun):
                            begun = max(begun, piece.number + 1)
                            yield piece
            _check(finish_reason)
        if finish_reason == "length":
            raise Failure("length", f"the model stopped at {turn.max_tokens or 'its most'} tokens")

    async def speak(self, text: AsyncIterator[str], voice: Voice, call: Call) -> AsyncGenerator[bytes, None]:
        wire = Wire(self._tls if self._ws_url.startswith("wss:") else None)
        session = self._voices.connect(
            model=voice.model,
            voice=voice.name,
            format="pcm",
            sample_rate=SPEAK_RATE,
            ws_url=self._ws_url,
            connector=wire.connect,
        )
        async with aclosing(Synthesis(session, wire, call).sound(text)) as sound:
            async for piece in sound:
                yield piece

    def default_model(self, function: Literal["hear", "reply"]) -> str:
        return MODELS[function]

    async def default_voice(self, language: str | None) -> Voice:
        """One that speaks Chinese and English."""
        return VOICES[0]

    async def voices(self) -> list[Voice]:
        return list(VOICES)

    async def close(self) -> None:
        self._voice_client.close()
        await self._chats.close()


class _Chat(OneCall):
    """Chat completions through the SDK. `options` are those of its clients."""

    def __init__(self, options: Mapping[str, Any], tls: SSLContext) -> None:
        import dashscope
        from dashscope.v2.transport import default_user_agent

        super().__init__(verify=tls, timeout=options["timeout"], headers={"User-Agent": default_user_agent()})
        self._credentials = {name: options[name] for name in ("api_key", "workspace")}
        self._sdk = dashscope.AsyncClient(http_client=self.http, **options)

    async def create(self, **request: Any) -> Any:
        return await self._sdk.chat.completions.create(**request, **self._credentials)


def _note(answer: Any, call: Call) -> None:
    call.request_id = answer.request_id or call.request_id
    if answer.usage:
        counted = {name: getattr(answer.usage, name, None) for name in USAGE}
        call.usage = {name: count for name, count in counted.items() if count is not None}


def _check(finish_reason: str | None) -> None:
    """The SDK takes an answer that breaks off for a whole one."""
    if finish_reason == "content_filter":
        raise Failure("moderated", "the server withheld the answer: content_filter")
    if finish_reason not in ("stop", "length", "tool_calls"):
        raise Failure("protocol", "the server's answer ended too early", f"finish_reason {finish_reason!r}")
