"""/openapi.json: nothing of an answer or a body is left open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from echod.errors import TABLE
from echod.server.samples import ANSWERED, ASKED
from tests.drivers.described import validator
from tests.stand_ins.daemon import Daemon

# What is not said of it: the schema of whatever version made the clip.
OPEN = {("get", "/v1/videos/{video_id}/manifest", "200")}


@pytest.fixture
def document(daemon: Daemon) -> dict[str, Any]:
    return daemon.app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def media(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Status (or nothing, of the body), media type and what is said of it."""
    contents = {"": operation.get("requestBody", {}), **operation["responses"]}
    for status, told in contents.items():
        for kind, each in told.get("content", {}).items():
            if "schema" in each:  # a part of JSON has none
                yield status, kind, each


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from refs(each)


def resolved(document: dict[str, Any], ref: str) -> Any:
    found: Any = document
    for name in ref.removeprefix("#/").split("/"):
        found = found[name]
    return found


async def test_every_answer_has_its_schema(document: dict[str, Any]) -> None:
    """What is answered with JSON is a schema by name, with properties; a file is bytes of a named type."""
    for method, path, operation in operations(document):
        if method in ("head", "options"):
            continue
        assert [status for status, *_ in media(operation) if status.startswith("2")], (method, path)
        for status, kind, each in media(operation):
            if kind != "application/json" or not status or (method, path, status) in OPEN:
                assert each["schema"].get("type") in ("object", "string") or not status, (method, path, status)
                continue
            for ref in refs(each["schema"]):
                assert resolved(document, ref)["properties"], (method, path, status, ref)
            assert list(refs(each["schema"])), (method, path, status)


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """And every schema is used."""
    used = set(refs(document))
    for ref in used:
        assert resolved(document, ref)
    assert used >= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


async def test_every_body_and_answer_has_an_example(document: dict[str, Any]) -> None:
    """It is as its schema has it."""
    checked = 0
    for method, path, operation in operations(document):
        for status, kind, each in media(operation):
            if kind not in ("application/json", "multipart/form-data") or status.startswith("503"):
                continue
            given = [each["example"]] if "example" in each else list(each.get("examples", {}).values())
            assert given or (method, path, status) in OPEN or method == "options", (method, path, status)
            for example in given:
                value = resolved(document, example["$ref"])["value"] if "$ref" in example else example
                validator(msgspec.json.encode(each["schema"])).validate(value)
                checked += 1
    assert checked > 300


async def test_examples_are_what_is_decoded() -> None:
    """An example says nothing that its type does not know, and each type has one."""
    for example in (*ANSWERED, *ASKED):
        assert msgspec.json.decode(msgspec.json.encode(example), type=type(example)) == example
    assert len({type(example) for example in (*ANSWERED, *ASKED)}) == len(ANSWERED) + len(ASKED)


async def test_every_refusal_is_of_the_table(document: dict[str, Any]) -> None:
    """By status; and no code that is answered by HTTP is missing."""
    named = set()
    for _, _, operation in operations(document):
        for status, _, each in media(operation):
            code = each["schema"].get("properties", {}).get("error", {}).get("properties", {}).get("code", {})
            for name in code.get("enum", ()):
                assert str(TABLE[name].status) == status
                named.add(name)
    told_elsewhere = {name for name in TABLE if name.split("_")[0] in ("response", "input", "conversation", "item")}
    known = {name for name, row in TABLE.items() if row.status} - told_elsewhere
    assert known - named == {"method_not_allowed", "hearing_not_installed", "reply_not_installed"}


async def test_one_document(daemon: Daemon, document: dict[str, Any]) -> None:
    """What is served is what the tests look at."""
    assert (await daemon.http.get("/openapi.json")).json() == json.loads(json.dumps(document))
