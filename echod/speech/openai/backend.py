"""Any server that speaks OpenAI's protocol, such as vLLM, Ollama, Speaches or Kokoro, with httpx and nothing else.

hear   POST audio/transcriptions   a form in, JSON out
reply  POST chat/completions       JSON in, server-sent events out
speak  POST audio/speech           JSON in, raw pcm out; one request for each sentence
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Literal

import msgspec

from echod.host.secret import Secret
from echod.sound.pcm import HEAR_RATE, wav
from echod.sound.unwrap import RATES, Unwrapper
from echod.speech.backend import Backend, Call, Failure, Question, Voice
from echod.speech.openai.http import SPEECH, Server, decode, read
from echod.speech.remote.failures import refusal
from echod.speech.sentences import lines
from echod.speech.tools import CallPiece, pieces_of

PIECE = 2**16  # bytes of sound
VOICES_TIMEOUT = 2.0  # seconds
DOUBT_TIMEOUT = 10.0  # seconds
MOST_TOKENS = ("max_tokens", "max_completion_tokens")  # what all know, and what some want in its place

# What servers count, and what we call it.
COUNTED = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "seconds": "seconds",
}


class OpenAI(Backend):
    """The server at `url`, which ends in /v1. `rate` is that of the pcm it sends, where it does not say it itself;
    `sound` is how its chat takes sound.

    `voices` are those of its voices that are known beforehand, the default one first.
    """

    name = "openai"

    def __init__(
        self,
        url: str,
        key: Secret | None,
        *,
        rate: int,
        sound: Literal["base64", "data_uri", "none"],
        voices: Sequence[Voice] = (),
    ) -> None:
        self.rate = self._last_rate = rate
        self.hears_turns = sound != "none"
        # DashScope wants a prefix; OpenAI and vLLM want none.
        self._data_uri = "data:;base64," if sound == "data_uri" else ""
        self._voices = list(voices)
        self._options = ["stream_options", "max_tokens"]  # of those that some servers refuse
        self._server = Server(url, key)

    async def hear(self, sound: bytes, call: Call) -> str:
        form = {"model": call.model, "response_format": "json"}
        if call.language:
            form["language"] = call.language.partition("-")[0].lower()
        files = {"file": ("speech.wav", wav(sound, HEAR_RATE), "audio/wav")}
        async with self._server.request("POST", "audio/transcriptions", call, data=form, files=files) as response:
            heard = decode(await read(response), _Transcript)
        call.usage = _counted(heard.usage)
        return heard.text.strip()

    async def reply(self, turn: Question, call: Call) -> AsyncGenerator[str | CallPiece, None]:
        body = {"model": call.model, "messages": turn.messages(self._data_uri), "stream": True, **turn.tools.chat()}
        if turn.sound is not None:
            body["modalities"] = ["text"]
        values = {"stream_options": {"include_usage": True}, **dict.fromkeys(MOST_TOKENS, turn.max_tokens)}
        while True:
            options = {name: values[name] for name in self._options if values[name] is not None}
            try:
                async with aclosing(self._reply(body | options, turn, call)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except Failure as failure:
                refused = [name for name in options if re.search(rf"\b{name}\b", failure.message)]
                if failure.kind != "invalid" or not refused:
                    raise
                self._do_without(refused[0])

    def _do_without(self, option: str) -> None:
        """From now on: older servers know no stream_options, and newer models of OpenAI's no max_tokens."""
        self._options = [name for name in self._options if name != option]
        if option == MOST_TOKENS[0]:
            self._options.append(MOST_TOKENS[1])

    async def _reply(
        self, body: Mapping[str, Any], turn: Question, call: Call
    ) -> AsyncGenerator[str | CallPiece, None]:
        ended, begun = None, 0
        async with aclosing(self._server.events("chat/completions", body, call, turn.words)) as events:
            async for event in events:
                call.alive()  # a model that thinks first says nothing for a while
                chunk = decode(event, _Chunk)
                if chunk.error:
                    raise refusal(200, event, {}, private=turn.words)
                call.usage = _counted(chunk.usage) or call.usage
                for choice in (chunk.choices or [])[:1]:
                    if choice.delta and choice.delta.content:
                        yield choice.delta.content
                    for piece in pieces_of(choice.delta.tool_calls if choice.delta else None, begun):
                        begun = max(begun, piece.number + 1)
                        yield piece
                    ended = choice.finish_reason or ended
        if ended is None:
            raise Failure("protocol", "the server ended the reply without a finish_reason: it is not whole")
        if ended == "length":
            raise Failure("length", f"the model stopped at {turn.max_tokens or 'its most'} tokens")
        if ended == "content_filter":
            raise Failure("moderated", "the server broke off the reply: content_filter")

    async def speak(self, text: AsyncIterator[str], voice: Voice, call: Call) -> AsyncGenerator[bytes, None]:
        async with aclosing(lines(text, skip=call.spoken)) as sentences:
            async for sentence in sentences:
                async with aclosing(self._say(sentence, voice, call)) as sound:
                    async for piece in sound:
                        for start in range(0, len(piece), PIECE):
                            yield piece[start : start + PIECE]
                call.spoken += 1

    async def _say(self, sentence: str, voice: Voice, call: Call) -> AsyncGenerator[bytes, None]:
        body = {"model": voice.model, "input": sentence, "voice": voice.name, "response_format": "pcm"}
        silent = True
        async with self._server.stream(SPEECH, body, call, [sentence]) as response:
            stream = Unwrapper(_rate(response.headers) or self.rate)
            async for piece in response.aiter_bytes():
                try:
                    sound = stream.feed(piece)
                except ValueError as error:
                    raise Failure("protocol", f"the server's sound is not pcm16, mono: {error}") from None
                silent = silent and not sound
                yield sound
        self._last_rate, sound = stream.rate, stream.flush()
        if silent and not sound:
            raise Failure("protocol", "the server sent no sound")
        yield sound

    async def doubt(self, voice: Voice, text: str) -> Failure | None:
        """Bare samples do not say their rate, and a server that does not say it either does so in WAV."""
        body = {"model": voice.model, "input": text, "voice": voice.name, "response_format": "wav"}
        stream = Unwrapper(self._last_rate)
        with suppress(Failure, TimeoutError, ValueError):
            asked = self._server.stream(SPEECH, body, Call(model=""), [text])
            async with asyncio.timeout(DOUBT_TIMEOUT), asked as response:
                async for piece in response.aiter_bytes():
                    if stream.feed(piece):  # its header has been read
                        break
        if stream.rate == self._last_rate:
            return None
        return Failure(
            "protocol",
            f"its server says in WAV that it speaks {stream.rate} samples a second, and its pcm was taken for "
            f"{self._last_rate}: set openai_rate = {stream.rate}",
        )

    def default_model(self, function: Literal["hear", "reply"]) -> str:
        if function == "hear":
            return "whisper-1"
        raise Failure("missing", f"reply_model is not set: one of the models that {self._server.url}/models lists")

    async def default_voice(self, language: str | None) -> Voice:
        return self._voices[0] if self._voices else Voice(self.name, "tts-1", "alloy")

    async def voices(self) -> list[Voice]:
        """Those known beforehand, and what GET audio/voices says: no part of the protocol, and many servers have it."""
        call = Call(model="")
        try:
            async with asyncio.timeout(VOICES_TIMEOUT), self._server.request("GET", "audio/voices", call) as response:
                listed = decode(await read(response), _Voices).voices
        except (Failure, TimeoutError):
            listed = []
        model = (await self.default_voice(None)).model
        found = [_voice(entry if isinstance(entry, dict) else {"name": entry}, model) for entry in listed]
        return list(dict.fromkeys([*self._voices, *(voice for voice in found if voice)]))

    async def close(self) -> None:
        await self._server.close()


class _Transcript(msgspec.Struct):
    text: str
    usage: Any = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


class _Voices(msgspec.Struct):
    voices: list[Any]


def _counted(usage: Any) -> dict[str, float]:
    counts = usage if isinstance(usage, dict) else {}
    return {ours: counts[name] for name, ours in COUNTED.items() if isinstance(counts.get(name), int | float)}


def _rate(headers: Mapping[str, str]) -> int | None:
    """The rate of bare samples, where the server tells it: X-Sample-Rate, or audio/pcm;rate=22050."""
    in_type = re.search(r"\brate=(\d+)", headers.get("content-type", ""))
    told = headers.get("x-sample-rate", in_type[1] if in_type else "").strip()
    return int(told) if told.isdecimal() and len(told) < 7 and int(told) in RATES else None


def _voice(entry: Mapping[str, Any], model: str) -> Voice | None:
    name = entry.get("id") or entry.get("voice_id") or entry.get("name")
    model = entry.get("model") or entry.get("model_id") or model
    if not (isinstance(name, str) and isinstance(model, str) and name.isprintable() and "/" not in name):
        return None
    return Voice(OpenAI.name, model, name)
