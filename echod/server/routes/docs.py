"""/docs: the routes as one page without scripts, so that it works offline and under a strict policy."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

from fastapi.responses import HTMLResponse

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
code { font-size: 1rem } dt { margin-top: 1rem } dd { margin: 0 0 0 2rem }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } a { color: #8bf } }
"""
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"


def page(openapi: dict[str, Any]) -> HTMLResponse:
    """A page that lists every operation of an OpenAPI document with its parameters and form fields."""
    operations = [
        _operation(method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
        if method not in ("head", "options")  # every path has them
    ]
    info = openapi["info"]
    body = (
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} The same for "
        'programs: <a href="/openapi.json">/openapi.json</a>. The WebSockets: '
        f'<a href="/asyncapi.json">/asyncapi.json</a>.</p><dl>{"".join(operations)}</dl>'
    )
    head = f"<meta charset=utf-8><title>echod</title><style>{STYLE}</style>"
    return HTMLResponse(
        f"<!doctype html><html lang=en>{head}{body}</html>", headers={"Content-Security-Policy": POLICY}
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    fields = {item["name"]: item["schema"] for item in operation.get("parameters", [])}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        fields |= content["schema"].get("properties", {})
    rows = "".join(_field(name, schema) for name, schema in fields.items())
    summary = escape(operation.get("summary", ""))
    return f"<dt><code><b>{method.upper()}</b> {escape(path)}</code> {summary}</dt>{rows}"


def _field(name: str, schema: dict[str, Any]) -> str:
    return f"<dd><code>{escape(name)}</code> {escape(schema.get('description', ''))}</dd>"
