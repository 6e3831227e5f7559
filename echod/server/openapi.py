"""/openapi.json: what FastAPI knows of the routes, and what it does not: who may ask, HEAD and OPTIONS."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from echod.server.admission import OPEN
from echod.server.answers import refusals
from echod.server.caller import COOKIE

SCHEMES: dict[str, Any] = {
    "token": {"type": "http", "scheme": "bearer", "description": "An API token of POST /v1/account/tokens."},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by POST /v1/account/login."},
    "signature": {
        "type": "apiKey", "in": "query", "name": "signature",
        "description": "Part of the addresses that answers carry: whoever has one may open what it names.",
    },
}  # fmt: skip
SIGNED = ("/content", "/stream", "/portrait", "/speech")  # ends of paths that may be opened by such an address


def document(app: FastAPI, accounts: bool) -> dict[str, Any]:
    """The OpenAPI document. Without `accounts`, callers on the daemon's own machine need no credentials."""
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    made["components"] = {"securitySchemes": SCHEMES}  # FastAPI's own are for a 422 that is never answered
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)
            operation["security"] = _security(method, path, accounts)
        if "get" in operations:
            operations["head"] = _head(operations["get"])
        operations["options"] = _options(path, operations) | {"security": _security("options", path, accounts)}
    return made


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
