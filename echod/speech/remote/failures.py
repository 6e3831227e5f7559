"""What it means when a server refuses or breaks off, in the codes of OpenAI and of those made after its pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from http.client import responses
from time import time
from typing import Any

import httpx
import msgspec

from echod.host.redaction import redact
from echod.speech.backend import Failure, Kind

MAX_WORDS = 300  # characters of the server's own words
MAX_SEARCHED = 1000  # characters of them that are searched, in a time that grows with their square
MAX_REFUSAL = 64 * 1024  # bytes that are read for them; the loop stands meanwhile

# Parts of error codes, of which servers have many spellings: model_not_found, Model.NotExist, invalid_model. What they
# say counts more than the status.
CODES: tuple[tuple[str, Kind], ...] = (
    ("contentfilter", "moderated"),
    ("contentpolicy", "moderated"),
    ("datainspection", "moderated"),
    ("moderation", "moderated"),
    ("insufficientquota", "quota"),
    ("billing", "quota"),
    ("arrearage", "quota"),
    ("modelnot", "retired"),
    ("modeldec", "retired"),
    ("modeldep", "retired"),
    ("invalidmodel", "retired"),
    ("apikey", "auth"),
    ("authentication", "auth"),
    ("permission", "forbidden"),
    ("accessdenied", "forbidden"),
    ("ratelimit", "throttled"),
    ("throttling", "throttled"),
)
STATUSES: Mapping[int, Kind] = {
    401: "auth", 402: "quota", 403: "forbidden", 408: "unavailable", 429: "throttled",
    501: "invalid",  # it cannot do that, and will not learn it
}  # fmt: skip
NO_MODEL = re.compile(
    r"model\b.*\b(not (be )?(found|exist|available|installed)|no longer|deprecated|decommissioned|retired)"
    r"|(unknown|unsupported|invalid|no such) model",
    re.IGNORECASE | re.DOTALL,
)
STATUS = re.compile(r"[1-5][0-9]{2}")
NAME = re.compile(r"[\w.:/-]{1,80}", re.ASCII)  # a code, and no sentence
NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what decoding raises
_anything = msgspec.json.Decoder(float_hook=float)  # msgspec's own reading of numbers takes 11 us for 1e308
SENT = re.compile(r"""['"]input['"]\s*:|input_value=""")  # validation errors quote what was sent after this


def refusal(
    status: int, body: bytes, headers: Mapping[str, str], *, speaks: bool = False, private: Sequence[str] = ()
) -> Failure:
    """What an answer that is none means. `private` is what must not be repeated to anyone.

    Within a stream the status is 200. With `speaks` a refused voice is told from a refused request.
    """
    code, words, kind = _read(body)
    return said_no(status, code, words, headers, kind, speaks=speaks, private=private)


def said_no(
    status: int,
    code: str,
    words: str,
    headers: Mapping[str, str],
    kind: str = "",
    *,
    speaks: bool = False,
    private: Sequence[str] = (),
) -> Failure:
    """The same, of an answer that has been read."""
    if STATUS.fullmatch(code):
        status, code = int(code) if status == 200 else status, ""
    names = re.sub(r"[^a-z]", "", f"{code} {kind}".lower())
    name = next(filter(NAME.fullmatch, (code, kind)), responses.get(status, ""))
    said = " ".join(str(part) for part in (status if status != 200 else None, name) if part)
    return Failure(
        _kind(status, names, words, speaks),
        f"the server answered {said}".rstrip(),
        quotable(words, private),
        retry_after=retry_after(headers.get("retry-after")),
    )


def _kind(status: int, names: str, words: str, speaks: bool) -> Kind:
    for part, kind in CODES:
        if part in names:
            return kind
    if speaks and status in (400, 404, 422) and "voice" in (names + words).lower():
        return "voice"
    if status in (400, 404, 422) and NO_MODEL.search(words[:MAX_SEARCHED]):
        return "retired"
    if status in STATUSES:
        return STATUSES[status]
    invalid = status < 500 if status >= 300 else "invalid" in names or "badrequest" in names
    return "invalid" if invalid else "unavailable"


def _read(body: bytes) -> tuple[str, str, str]:
    """Code, message and type of an error, in the shapes that servers give it."""
    try:
        answer = _anything.decode(body) if len(body) <= MAX_REFUSAL else None
    except NO_JSON:
        return "", "", ""
    error = answer.get("error") or answer.get("detail") or answer if isinstance(answer, dict) else answer
    match error:
        case dict():
            kind = error.get("type") or error.get("error")
            return str(error.get("code") or ""), str(error.get("message") or ""), str(kind or "")
        case list():
            return "", "; ".join(_validation_error(item) for item in error), ""
        case _:
            return "", str(error or ""), ""


def _validation_error(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    place = item.get("loc")
    return f"{'.'.join(map(str, place)) if isinstance(place, list) else ''}: {item.get('msg', '')}"


def quotable(words: str, private: Sequence[str] = ()) -> str:
    """A server's words, short, and without what is nobody else's business."""
    words = SENT.split(words)[0].encode(errors="replace").decode()  # half a character cannot be passed on
    for text in private:
        words = words.replace(text, "...") if text.strip() else words
    return redact(" ".join(words.split()))[:MAX_WORDS]


def retry_after(value: str | None) -> float | None:
    """Seconds, from a Retry-After header that says them or a date."""
    if not value:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None


def unreachable(error: httpx.HTTPError) -> Failure:
    """The failure that stands for a connection's."""
    words = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return Failure("timeout", f"the server did not answer in time: {type(error).__name__}")
    if isinstance(error, httpx.NetworkError):
        return Failure("connection", f"the connection failed: {quotable(words)}")
    if isinstance(error, httpx.ProxyError) or "closed" in words or "disconnected" in words:
        return Failure("connection", "the connection failed", quotable(words))
    return Failure("protocol", "the server does not speak HTTP as it should", quotable(words))
