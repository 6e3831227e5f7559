"""What DashScope says, yes or no. Shaped after its documentation: the live service was never asked."""

from __future__ import annotations

import base64
import io
import wave
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

SAMPLES = 240  # of sound for each character
THOUGHTS = 5
USAGE = {"prompt_tokens": 57, "completion_tokens": 15, "total_tokens": 72}


class Refusal(NamedTuple):
    status: int
    code: str
    message: str


REFUSALS = {
    "auth": Refusal(401, "InvalidApiKey", "Invalid API-key provided."),
    "forbidden": Refusal(403, "AccessDenied.Unpurchased", "Access to model denied."),
    "throttle": Refusal(429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    "burst": Refusal(429, "limit_burst_rate", "Request rate increased too quickly."),
    "allocation": Refusal(429, "Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota."),
    "free": Refusal(429, "Throttling.AllocationQuota", "Free allocated quota exceeded."),
    "quota": Refusal(429, "insufficient_quota", "You exceeded your current quota."),
    "arrearage": Refusal(400, "Arrearage", "Access denied, please make sure your account is in good standing."),
    "notfound": Refusal(404, "ModelNotFound", "Model can not be found."),
    "notexist": Refusal(400, "InvalidParameter", "Model not exist."),
    "moderated": Refusal(400, "DataInspectionFailed", "Input data may contain inappropriate content."),
    "invalid": Refusal(400, "InvalidParameter", "Required parameter is missing."),
    "large": Refusal(413, "RequestTooLarge", "The request is too large."),
    "500": Refusal(500, "InternalError", "An internal error has occurred."),
    "503": Refusal(503, "ServiceUnavailable", "The service is busy."),
}


def at_first(failure: str, asked: int) -> str:
    """What goes wrong with a request of that number: `throttle20` is the first twenty refused, the others answered."""
    for passing in ("throttle", "abort"):
        count = failure.removeprefix(passing)
        if count != failure and count.isdecimal():
            return passing if asked <= int(count) else ""
    return failure


def parroted(words: str) -> Refusal:
    """A server's own fault, with some of the words in what it says of it."""
    return Refusal(500, "InternalError", f"Lost after {words[-24:]}")


def sound_of(words: str) -> bytes:
    """pcm16 that has the words in it."""
    return b"".join(array("H", [ord(letter)] * SAMPLES).tobytes() for letter in words)


def words_in(sound: bytes) -> str:
    return "".join(map(chr, array("H", sound)[::SAMPLES]))


def answer_to(request: dict[str, Any]) -> str:
    """What a transcript or a reply says: what the last message held."""
    content = request["messages"][-1]["content"]
    if isinstance(content, str):
        return f"You said: {content}"
    return " ".join(_told(part) for part in content)


def _told(part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return f"You said: {part['text']}"
    prefix, comma, data = part["input_audio"]["data"].partition(",")
    assert prefix in ("data:;base64", "data:audio/wav;base64") and comma
    with wave.open(io.BytesIO(base64.b64decode(data, validate=True))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return f"{file.getnframes()} samples at {file.getframerate()}."


def _call(arguments: str, **more: Any) -> dict[str, Any]:
    """A piece of one; with a name it is the first."""
    name = {"name": more.pop("name")} if "name" in more else {}
    return {**more, "function": {**name, "arguments": arguments}}


TOOL_CALLS: dict[str, list[list[dict[str, Any]]]] = {
    "calls": [
        [_call("", index=0, id="call_1", type="function", name="weather")],
        [_call('{"place":', index=0), _call("", index=1, id="call_2", type="function", name="time")],
        [_call(' "Paris"}', index=0)],
        [_call("{}", index=1)],
    ],
    "uncounted": [[_call('{"place": "Paris"}', name="weather"), _call("{}", name="time")]],
}


def completion(model: str, answer: str, failure: str) -> dict[str, Any]:
    """An answer in one; `failure` as in `chunks`, or "nochoice"."""
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "finish_reason": _finish_reason(failure), "message": message}
    choices = [] if failure == "nochoice" else [choice]
    usage = {**USAGE, "seconds": 2}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": choices, "usage": usage}


def chunks(model: str, answer: str, failure: str) -> Iterator[dict[str, Any]]:
    """An answer in pieces: "eof" leaves its end out, "length" and "filtered" say that it was cut, and why.

    "thinks" says so before. "calls" calls for two functions at once, "uncounted" as servers do that send each whole.
    """

    def chunk(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model, "choices": choices, **more}

    for _ in range(THOUGHTS if failure == "thinks" else 0):
        yield chunk([{"index": 0, "delta": {"content": "", "reasoning_content": "Hm."}, "finish_reason": None}])
    for start in range(0, len(answer), 6):
        yield chunk([{"index": 0, "delta": {"content": answer[start : start + 6]}, "finish_reason": None}])
    for calls in TOOL_CALLS.get(failure, ()):
        yield chunk([{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}])
    if failure != "eof":
        yield chunk([{"index": 0, "delta": {"content": ""}, "finish_reason": _finish_reason(failure)}])
        yield chunk([], usage=USAGE)


def _finish_reason(failure: str) -> str | None:
    reasons = {"length": "length", "filtered": "content_filter", "eof": None, "calls": "tool_calls"}
    return reasons.get(failure, "stop")


def native_completion(answer: str) -> dict[str, Any]:
    """An answer of the native protocol, which echod must never use: it uploads files."""
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": [{"text": answer}]}}
    return {"output": {"choices": [choice]}, "usage": {"input_tokens": 57, "output_tokens": 15}, "request_id": "native"}
