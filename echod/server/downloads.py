"""Files of a job or an upload as answers: Range, HEAD and ETag from Starlette, errors in our words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Message, Receive, Scope, Send

from echod.errors import EchodError
from echod.server.refusals import error_response

REFUSED = (400, 416)  # what Starlette answers to a range that cannot be served


class Download(FileResponse):
    """A file that may be asked for in ranges."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = Headers(scope=scope).get("if-none-match", "")
        if known == "*" or self.headers["etag"] in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            await NotModifiedResponse(self.headers)(scope, receive, send)
            return
        held: list[Message] = []  # the start of the answer, until the file is open: it may have been removed meanwhile

        async def checked(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.append(message)
            elif not (held and held[0]["status"] in REFUSED):
                while held:
                    await send(held.pop())
                await send(message)

        try:
            await super().__call__(scope, receive, checked)
        except FileNotFoundError:
            await error_response(_gone(self.filename))(scope, receive, send)
            return
        if held:
            headers = {name.decode(): value.decode() for name, value in held[0]["headers"]}
            error = _range_error(held[0]["status"], headers.get("content-range", ""))
            keep = {name: value for name, value in headers.items() if name == "content-range"}
            await error_response(error, keep)(scope, receive, send)


def _range_error(status: int, size: str) -> EchodError:
    if status == 416:
        message = f"the range lies outside the file ({size.removeprefix('bytes */')} bytes)"
        return EchodError("range_not_satisfiable", message, param="Range")
    return EchodError("invalid_request", "the Range header must look like bytes=0-1023", param="Range")


def _gone(filename: str | None) -> EchodError:
    return EchodError("not_found", f"the file of {filename} is no longer kept")


def download(
    path: Path,
    media_type: str,
    filename: str,
    disposition: Literal["inline", "attachment"] = "attachment",
    *,
    title: str | None = None,
) -> Download:
    """`title` is a better file name, for clients that take letters of any script (RFC 6266, 5).

    EchodError not_found if the file is gone, though it was there once.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise _gone(filename) from None
    answer = Download(
        path,
        media_type=media_type,
        stat_result=found,
        filename=filename,
        content_disposition_type=disposition,
        headers={"Cache-Control": "private"},
    )
    if title is not None:
        answer.headers["content-disposition"] += f"; filename*=utf-8''{quote(title, safe='')}"
    return answer
