"""An OpenAI-compatible server on the loopback interface: chat, transcription, speech, and every way in which they fail.

A model's name chooses the failure: `whisper-1@throttle`. Without one all goes well: hearing tells what it was given,
replying says it back, and speaking makes sound that has the words in it (`words_in`).
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import wave
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from echod.sound.pcm import SPEAK_RATE, wav
from tests.stand_ins.dashscope_answers import at_first, chunks, parroted, sound_of
from tests.stand_ins.loopback import Exchange, LoopbackServer, Request

KEY = "sk-test-0123456789abcdef"
HTML = "<html><body>Bad Gateway</body></html>"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


class Refusal(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str] = {}


def _error(status: int, code: str | None, message: str, kind: str = "invalid_request_error") -> Refusal:
    return Refusal(status, {"error": {"message": message, "type": kind, "param": None, "code": code}})


def _extra(field: str) -> dict[str, Any]:
    return {"type": "extra_forbidden", "loc": ["body", field], "msg": "Extra inputs are not permitted", "input": 1}


QUOTED = [{"type": "missing", "loc": ["body", "model"], "msg": "Field required", "input": {"input": "Some words."}}]
REFUSALS = {
    "auth": _error(401, "invalid_api_key", "Incorrect API key provided."),
    "forbidden": _error(403, None, "You may not use this model.", "permission_error"),
    "payment": _error(402, None, "Insufficient credits."),
    "throttle": _error(429, "rate_limit_exceeded", "Rate limit reached."),
    "quota": _error(429, "insufficient_quota", "You exceeded your current quota.", "insufficient_quota"),
    "model": _error(404, "model_not_found", "The model `x` does not exist or you do not have access to it."),
    "ollama": Refusal(404, {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error"}}),
    "vllm": Refusal(404, {"object": "error", "message": "The model `x` does not exist.", "code": 404}),
    "kokoro": Refusal(400, {"detail": {"error": "invalid_model", "message": "Unsupported model: x"}}),
    "endpoint": Refusal(404, {"detail": "Not Found"}),
    "moderated": _error(400, "content_policy_violation", "Your request was rejected."),
    "azure": _error(400, "content_filter", "The response was filtered."),
    "invalid": _error(400, None, "Something is missing."),
    "validation": Refusal(422, {"detail": QUOTED}),
    "pydantic": _error(400, None, str(QUOTED)),
    "large": _error(413, None, "Maximum content size limit exceeded."),
    "voice": Refusal(400, {"detail": {"error": "validation_error", "message": "Voice 'x' not found."}}),
    "500": _error(500, None, "The server had an error.", "server_error"),
    "501": _error(501, None, "This server does not support that.", "not_supported_error"),
    "503": Refusal(503, {"error": "overloaded"}, {"Retry-After": DATE}),
    "502html": Refusal(502, HTML),
    "html": Refusal(200, HTML),
    "redirect": Refusal(307, "", {"Location": "http://127.0.0.1:1/"}),
    "list": Refusal(400, [1, 2]),
    "error200": Refusal(200, {"error": {"message": "Try later.", "type": "rate_limit_error", "code": "429"}}),
}


@dataclass
class OpenAIServer(LoopbackServer):
    """`url` is its base URL. `rate` is that of the sound it makes, `voices` what it says of its voices, if anything.

    `tells` is how it tells the rate: headers of its sound.
    """

    key: str | None = KEY
    rate: int = SPEAK_RATE
    voices: Any = None
    tells: Mapping[str, str] = field(default_factory=dict)
    retry_after: str = "0.5"  # said with every 429
    piece: int = 999  # bytes of sound sent at once, half a sample at the end
    asked: Counter[str] = field(default_factory=Counter)  # requests by model name

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.url = f"http://{self.address}/v1"
        return self

    async def answer(self, request: Request, exchange: Exchange) -> None:
        if request.path == "/v1/audio/voices" and self.voices == "stall":
            await exchange.stall()
        elif request.path == "/v1/audio/voices" and self.voices is not None:
            await exchange.respond(200, self.voices)
        elif request.path == "/v1/audio/transcriptions":
            fields = {name: content for name, (_, content) in request.form.items()}
            await self._answer(request, exchange, fields["model"].decode(), fields)
        elif request.path in ("/v1/chat/completions", "/v1/audio/speech"):
            await self._answer(request, exchange, request.json["model"], request.json)
        else:
            await self._refuse(exchange, REFUSALS["endpoint"])

    async def _answer(self, request: Request, exchange: Exchange, model: str, asked: Any) -> None:
        self.asked[model] += 1
        failure = self._failure(model, request)
        if failure in REFUSALS:
            await self._refuse(exchange, REFUSALS[failure])
        elif failure == "second" and self.asked[model] == 2:
            await self._refuse(exchange, REFUSALS["throttle"])
        elif failure == "options" and "stream_options" in asked:
            await self._refuse(exchange, _error(400, None, "Unrecognized request argument: stream_options"))
        elif failure in ("newer", "neither") and "max_tokens" in asked:
            instead = " Use 'max_completion_tokens' instead." if failure == "newer" else ""
            await self._refuse(exchange, _error(400, None, f"Unsupported parameter: 'max_tokens'.{instead}"))
        elif failure == "neither" and "max_completion_tokens" in asked:
            await self._refuse(exchange, Refusal(422, {"detail": [_extra("max_completion_tokens")]}))
        elif failure == "echo":  # the key and all that was sent, in the server's own words
            said = f"Not with {request.headers['authorization']}: {json.dumps(asked, default=str, ensure_ascii=False)}"
            await self._refuse(exchange, _error(400, None, said))
        elif failure == "parrot":
            status, code, said = parroted(asked["input"] if "input" in asked else answer_to(asked))
            await self._refuse(exchange, _error(status, code, said))
        elif failure == "slow":
            await exchange.stall()
        elif failure == "drop":
            exchange.abort()
        elif failure == "close":
            exchange.close()
        elif failure == "nothttp":
            await exchange.send(b"220 smtp.example ESMTP\r\n\r\n")
        elif failure == "garbage" and "input" not in asked:
            await exchange.respond(200, {"not": "what you think"})
        elif request.path.endswith("transcriptions"):
            await self._transcribe(exchange, failure, asked["file"])
        elif request.path.endswith("completions"):
            await self._reply(exchange, failure, asked)
        else:
            await self._speak(exchange, failure, asked)

    def _failure(self, model: str, request: Request) -> str:
        authorized = self.key is None or request.headers.get("authorization") == f"Bearer {self.key}"
        return at_first(model.partition("@")[2], self.asked[model]) if authorized else "auth"

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        status, body, headers = refusal
        retry_after = {"Retry-After": self.retry_after} if status == 429 else {}
        await exchange.respond(status, body, {**retry_after, **headers})

    async def _transcribe(self, exchange: Exchange, failure: str, file: bytes) -> None:
        answer = {"text": f" {_told(file)}\n", "usage": {"type": "duration", "seconds": 2}}
        if failure == "abort":
            content = json.dumps(answer).encode()
            await exchange.begin(200, {"Content-Type": "application/json", "Content-Length": str(len(content))})
            await exchange.send(content[:9])
            exchange.abort()
        else:
            await exchange.respond(200, "x" * 2**21 if failure == "huge" else answer, {"X-Request-Id": "request-1"})

    async def _reply(self, exchange: Exchange, failure: str, asked: Any) -> None:
        await exchange.begin_chunked("text/event-stream; charset=utf-8")
        await exchange.chunk(b": keep-alive\r\n\r\n")
        if failure == "headers":
            await exchange.stall()
        for number, chunk in enumerate(chunks(asked["model"], answer_to(asked), failure)):
            while failure == "endless":
                await exchange.chunk(f"data: {json.dumps(chunk)}\n\n".encode())
                await asyncio.sleep(0.01)
            if number == 2 and await self._broke_off(exchange, failure):
                return
            if chunk["choices"] or "stream_options" in asked:
                # Tokens may hold what splitlines() takes for the end of a line.
                await exchange.chunk(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())
        await exchange.chunk(b"data: [DONE]")
        await exchange.chunk(b"")

    async def _speak(self, exchange: Exchange, failure: str, asked: Any) -> None:
        sound = sound_of(asked["input"])
        if failure.startswith("wav") or asked["response_format"] == "wav":
            sound = _as_wav(sound, self.rate, failure)
        sound = {"empty": b"", "mp3": b"ID3" + sound, "half": sound[:1]}.get(failure, sound)
        await exchange.begin_chunked("audio/pcm", self.tells)
        if failure == "headers":
            await exchange.stall()
        for number, start in enumerate(range(0, len(sound), self.piece)):
            if number == 1 and await self._broke_off(exchange, failure):
                return
            await exchange.chunk(sound[start : start + self.piece])
        await exchange.chunk(b"")

    async def _broke_off(self, exchange: Exchange, failure: str) -> bool:
        """What may happen in the middle of an answer."""
        match failure:
            case "abort":
                exchange.abort()
            case "cut":
                exchange.close()
            case "stall":
                await exchange.stall()
            case "huge":
                await exchange.chunk(b"data: " + b"x" * 2**21)
                await exchange.stall()
            case "error":
                error = {"error": {"message": "The engine died.", "type": "server_error", "code": 500}}
                await exchange.chunk(f"data: {json.dumps(error)}\n\n".encode())
                await exchange.stall()
            case "badevent":
                await exchange.chunk(b"data: {not what you think\n\n")
                await exchange.stall()
            case _:
                return False
        return True


def _as_wav(sound: bytes, rate: int, failure: str) -> bytes:
    """WAV unasked: well-formed, of unknown length, of other sound, with something after the sound, without any."""
    file = bytearray(wav(sound, rate))
    if failure == "wavstream":
        file[4:8] = file[40:44] = b"\xff\xff\xff\xff"
    if failure == "wavstereo":
        file[22] = 2
    if failure == "wavtail":
        file += b"LIST\x04\0\0\0tail"
    if failure == "wavempty":
        return bytes(file[:44])
    return bytes(file)


def answer_to(asked: Any) -> str:
    """What a reply says: what the last message held."""
    content = asked["messages"][-1]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return " ".join(_part(part) for part in parts)


def _part(part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return f"You said: {part['text']}"
    assert part["input_audio"]["format"] == "wav"
    return _told(base64.b64decode(part["input_audio"]["data"].removeprefix("data:;base64,"), validate=True))


def _told(file: bytes) -> str:
    with wave.open(io.BytesIO(file)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
        return f"{sound.getnframes()} samples at {sound.getframerate()}."
