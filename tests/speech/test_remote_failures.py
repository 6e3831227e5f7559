"""Refusals whose bodies are no help, on purpose or not."""

from __future__ import annotations

import json

import pytest

from echod.speech.backend import Failure, Kind
from echod.speech.dashscope.errors import refused
from echod.speech.openai.http import decode
from echod.speech.remote.failures import MAX_REFUSAL, refusal

HOSTILE = [
    b"",
    b"\xff\xfe",
    b'{"error": {"message": "\xff"}}',
    b"[" * 100_000,
    b'{"error":' * 100_000,
    b'{"error": {"code": "\xc2\xb2", "message": "\xc2\xb2"}}',
    b'{"error": {"code": "' + b"9" * 5000 + b'"}}',
    b'{"error": {"code": {"a": []}, "message": 7, "type": [null]}}',
    b'{"error": [[], 7, {"loc": 3}]}',
    b"null",
]


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: repr(body[:24]))
@pytest.mark.parametrize(("status", "kind"), [(401, "auth"), (429, "throttled"), (503, "unavailable"), (200, None)])
def test_hostile_bodies(status: int, kind: Kind | None, body: bytes) -> None:
    """The status counts, and when to come back, whatever the body is."""
    failure = refusal(status, body, {"retry-after": "3"})
    assert failure.kind == kind or kind is None
    assert failure.retry_after == 3.0
    json.dumps(failure.message).encode()


def test_a_status_within() -> None:
    """A code that is a status counts as one within a stream; other numbers are names like any other."""
    assert refusal(200, b'{"error": {"code": 429}}', {}).kind == "throttled"
    failure = refusal(400, b'{"error": {"code": "1301", "message": "no"}}', {})
    assert failure.message == "the server answered 400 1301: no"


def test_a_code_that_is_a_sentence() -> None:
    """A server that writes prose where a code belongs is not quoted as if it were one."""
    failure = refusal(500, b'{"error": {"code": "you said: the treasure", "message": "no"}}', {})
    assert failure.message == "the server answered 500 Internal Server Error: no"


def test_half_a_character() -> None:
    """What an SDK reads and no UTF-8 can hold is replaced."""
    failure = refused(401, "InvalidApiKey", "no \ud83d key", {})
    assert (failure.kind, failure.message) == ("auth", "the server answered 401 InvalidApiKey: no ? key")


def test_whose_words() -> None:
    """The reason is in our own words; the server's are told apart."""
    failure = refusal(503, b'{"error": {"code": "overloaded", "message": "Lost after: the treasure"}}', {})
    assert failure.reason == "the server answered 503 overloaded"
    assert failure.message == "the server answered 503 overloaded: Lost after: the treasure"


def test_long_words() -> None:
    """Words are searched as far as they make sense, and a body that is far too long for an error is not decoded."""
    words = "model " * 2000 + "not found"
    assert refusal(404, json.dumps({"error": {"message": words}}).encode(), {}).kind == "invalid"
    assert refusal(404, json.dumps({"error": {"message": "x" * MAX_REFUSAL}}).encode(), {}).message.endswith("Found")


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: repr(body[:24]))
def test_hostile_answers(body: bytes) -> None:
    """An answer that is no JSON of the right shape is a failure and nothing else."""
    with pytest.raises(Failure):
        decode(body, list[int])
