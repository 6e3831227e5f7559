"""`/` and `/static/...`: the page. A fixed list of files inside the package; no path comes from a client."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, Request, Response

from echod.errors import EchodError

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

# Nothing from elsewhere, nothing inline, no markup made of text. blob: is for what the page itself has at hand: a
# portrait before it is sent, a clip that grows.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked for again each time: after an update nobody has half of the old page
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


@dataclass(frozen=True)
class File:
    """One file of the page, as it is sent."""

    body: bytes
    media_type: str
    etag: str


def _read() -> dict[str, File]:
    """By path."""
    files = {}
    for source in resources.files("echod.server").joinpath("static").iterdir():
        suffix = source.name.rpartition(".")[2]
        if suffix in TYPES:
            path = "/" if source.name == "index.html" else f"/static/{source.name}"
            body = source.read_bytes()
            files[path] = File(body, TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return files


FILES = _read()

router = APIRouter(include_in_schema=False)


def open_to_all(method: str, path: str) -> bool:
    """Whether this asks for a part of the page, which has to be there before anybody can log in."""
    return method in ("GET", "HEAD") and path in FILES


@router.api_route("/", methods=["GET", "HEAD"])
@router.api_route("/static/{name}", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    file = FILES.get(request.url.path)
    if file is None:
        raise EchodError("not_found", f"the page has no file {request.url.path!r}")
    headers = {**HEADERS, "ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)
