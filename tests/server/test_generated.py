"""Requests made of /openapi.json, by whoever may send them: each is answered, and as described there."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import requests
from hypothesis import HealthCheck, given, reject, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.drivers.described import Answer, check, operations
from tests.stand_ins.backend import Willing
from tests.stand_ins.daemon import Daemon

QUICK, MANY = 200, 5_000  # in all
CALLERS = ("local", "nobody", "user", "admin")  # the first where there are no accounts, the others where there are
SEED = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))

# What a schema cannot say: such an account is there, such a role is not, the cookie was not sent, what is printable.
UNSAID = (
    "is taken",
    "there is a role",
    "there is no session to end",
    "printable characters",
    "url must",
    "url: ",
    "send a picture of a face",
    "inside the picture, which is",
    "all of the face, which is",
    "counted from left to right",
    "send the portrait again",
)
LOOKED_AT = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
]
UNDECLARED = ("PATCH", "TRACE", "PROPFIND", "DELETE", "PUT", "POST")


def judged(cases: st.SearchStrategy[Case[Any]]) -> st.SearchStrategy[Case[Any]]:
    """But for those on which schemathesis breaks: it holds some forms to a schema that cannot judge files."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Case[Any]:
        try:
            return draw(cases)
        except ValueError as error:
            if "Unsupported type: 'Binary'" in str(error):
                reject()
            raise

    return drawn()


class Generated:
    """Cases sent to a daemon by one caller."""

    def __init__(self, daemon: Daemon, headers: dict[str, str]) -> None:
        self.base, self.document, self.headers = daemon.base, daemon.app.openapi(), headers
        self.outcomes: Counter[str] = Counter()
        self.session = requests.Session()
        self.session.headers.update(headers)

    def send(self, examples: int) -> None:
        schema = from_dict(self.document)
        valid, broken = (schema.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))

        @settings(max_examples=examples, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
        @seed(SEED)
        @given(case=judged(valid | broken), other=st.none() | st.sampled_from(UNDECLARED))
        def each(case: Case[Any], other: str | None) -> None:
            self.check(case)
            if other and other.lower() not in self.document["paths"][case.operation.path]:
                self.check_undeclared(case, other)

        with self.session:
            each()

    def check(self, case: Case[Any]) -> None:
        answer = case.call(base_url=self.base, session=self.session)
        told = self._count(answer)
        assert answer.status_code < 500, told
        check(self.document, told)
        case.validate_response(answer, checks=LOOKED_AT)
        if case.meta and case.meta.generation.mode.is_positive and answer.status_code == 400:
            error = answer.json()["error"]
            assert error["code"] != "invalid_request" or any(each in error["message"] for each in UNSAID), told

    def check_undeclared(self, case: Case[Any], method: str) -> None:
        told = self._count(self.session.request(method, self.base + case.formatted_path))
        assert operations(self.document, told.path) is None or told.status in (401, 405), told
        check(self.document, told)

    def _count(self, answer: Any) -> Answer:
        """What came, which is counted."""
        self.outcomes[str(answer.status_code)] += 1
        path = unquote(answer.request.path_url.partition("?")[0])
        values = {name: value if isinstance(value, str) else ", ".join(value) for name, value in answer.headers.items()}
        return Answer(answer.request.method, path, answer.status_code, httpx.Headers(values), answer.content)


async def headers(daemon: Daemon, caller: str) -> dict[str, str]:
    if caller == "local":
        return {}
    admin = await daemon.person("anna", "admin")
    user = await daemon.person("bert")
    return {"nobody": {}, "user": user.bearer, "admin": admin.bearer}[caller]


async def check_generated(daemon: Daemon, caller: str, examples: int, caplog: pytest.LogCaptureFixture) -> None:
    backends: Any = daemon.calls.backends
    backends["scripted"] = Willing()
    generated = Generated(daemon, await headers(daemon, caller))
    await asyncio.to_thread(generated.send, examples)
    counts = " ".join(f"{status}={times}" for status, times in sorted(generated.outcomes.items()))
    print(f"ECHOD_CHAOS_SEED={SEED} caller={caller} cases={generated.outcomes.total()} {counts}")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("caller", CALLERS)
async def test_generated(daemon: Daemon, caller: str, caplog: pytest.LogCaptureFixture) -> None:
    """No server error, no answer that is not described, and nothing refused that the description allows."""
    await check_generated(daemon, caller, QUICK // len(CALLERS), caplog)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("caller", CALLERS)
async def test_many_generated(daemon: Daemon, caller: str, caplog: pytest.LogCaptureFixture) -> None:
    """The same, 5,000 times."""
    await check_generated(daemon, caller, MANY // len(CALLERS), caplog)
