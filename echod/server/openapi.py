"""/openapi.json: what FastAPI knows of the routes, and what it does not: schemas, who may ask, HEAD and OPTIONS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from echod.errors import TABLE
from echod.server.admission import OPEN
from echod.server.answers import SCHEMA, Fault, Refusal, refusals
from echod.server.caller import COOKIE
from echod.server.samples import ANSWERED, ASKED

SCHEMES: dict[str, Any] = {
    "token": {"type": "http", "scheme": "bearer", "description": "An API token of POST /v1/account/tokens."},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by POST /v1/account/login."},
    "signature": {
        "type": "apiKey", "in": "query", "name": "signature",
        "description": "Part of the addresses that answers carry: whoever has one may open what it names.",
    },
}  # fmt: skip
SAMPLES = {type(each).__name__: msgspec.to_builtins(each) for each in (*ANSWERED, *ASKED)}
SIGNED = ("/content", "/stream", "/portrait", "/speech")  # ends of paths that may be opened by such an address


def document(app: FastAPI, accounts: bool) -> dict[str, Any]:
    """The OpenAPI document. Without `accounts`, callers on the daemon's own machine need no credentials."""
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    refused = {code: {"summary": code, "value": _refusal(code)} for code in TABLE}
    # FastAPI's own are for a 422 that is never answered.
    made["components"] = {"schemas": schemas(), "examples": refused, "securitySchemes": SCHEMES}
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            operation["security"] = _security(method, path, accounts)
            _add_samples(operation)
        if "get" in operations:
            operations["head"] = _head(operations["get"])
        operations["options"] = _options(path, operations) | {"security": _security("options", path, accounts)}
    return made


def schemas() -> dict[str, Any]:
    """By name. What is answered has all its fields, those with a default too."""
    answered = components([Refusal, *map(type, ANSWERED)], SCHEMA)
    for schema in answered.values():
        require_defaults(schema)
    return components(map(type, ASKED), SCHEMA) | answered


def components(kinds: Iterable[Any], ref_template: str) -> dict[str, Any]:
    """The schemas of types and of what they are made of, by name."""
    _, found = msgspec.json.schema_components(kinds, ref_template=ref_template)
    return {name: _plain(schema) for name, schema in found.items()}


def require_defaults(schema: dict[str, Any]) -> None:
    for name, each in schema["properties"].items():
        if "default" in each:
            del each["default"]
            schema["required"].append(name)


def _plain(schema: Any) -> Any:
    """In words that those who generate clients know: a tuple is a list whose items are alike, one value a const."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(each) for name, each in schema.items() if name != "prefixItems"}
    if "prefixItems" in schema:
        plain["items"] = _plain(schema["prefixItems"][0])
        assert all(each == schema["prefixItems"][0] for each in schema["prefixItems"])
    if len(plain.get("enum", ())) == 1:
        [plain["const"]] = plain.pop("enum")
    return plain


def _add_samples(operation: dict[str, Any]) -> None:
    contents = [each.get("content", {}) for each in operation["responses"].values()]
    for content in (*contents, operation.get("requestBody", {}).get("content", {})):
        for media in content.values():
            schema = media.get("schema", {})
            kind = schema.get("$ref", "").rpartition("/")[2]
            if kind in SAMPLES:
                media["example"] = SAMPLES[kind]
            elif kind == Refusal.__name__:
                codes = schema["properties"]["error"]["properties"]["code"]["enum"]
                media["examples"] = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}


def _refusal(code: str) -> Any:
    fault = Fault(message="What was wrong, in a sentence.", type=TABLE[code].type, param=None, code=code)
    return msgspec.to_builtins(Refusal(fault))


def _security(method: str, path: str, accounts: bool) -> list[dict[str, list[str]]]:
    if (method.upper(), path) in OPEN:
        return []
    schemes = ["token", "session", *(["signature"] if method == "get" and path.endswith(SIGNED) else [])]
    any_of: list[dict[str, list[str]]] = [{scheme: []} for scheme in schemes]
    if not accounts:
        any_of.append({})
    return any_of


def _head(get: dict[str, Any]) -> dict[str, Any]:
    responses = {status: _bare(response) for status, response in get["responses"].items()}
    return get | {"summary": "What GET has, without its body", "operationId": f"{get['operationId']}_head",
                  "responses": responses}  # fmt: skip


def _bare(response: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in response.items() if name != "content"}


def _options(path: str, operations: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(operations.values()))
    told = {"description": "See Allow.", "headers": {"Allow": {"required": True, "schema": {"type": "string"}}}}
    return {
        "tags": first.get("tags", []),
        "summary": "The methods that are served here",
        "operationId": f"options{path.translate(str.maketrans('/{}', '___'))}",
        "parameters": [each for each in first.get("parameters", []) if each["in"] == "path"],
        "responses": {"204": told, **{str(status): answer for status, answer in refusals().items()}},
    }
