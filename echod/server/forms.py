"""Forms with files in them: fields where JSON would have them, files on their way to disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from echod.errors import EchodError
from echod.server.caller import Caller
from echod.server.multipart import Part, parts
from echod.server.refusals import blaming, invalid
from echod.server.services import Services
from echod.uploads.store import Receiving


@dataclass(frozen=True)
class Upload:
    """A file that came inside the form, not inspected yet."""

    filename: str
    receiving: Receiving


async def read_form(
    request: Request,
    served: Services,
    caller: Caller,
    stack: AsyncExitStack,
    files: Collection[str],
    misplaced: Callable[[Part], EchodError],
) -> tuple[dict[str, Any], dict[str, Upload]]:
    """The fields, and the files, which live as long as the stack.

    `files` names the parts that may be files, one each. Of what is a file and should not be, or should be and is not,
    `misplaced` says what is wrong.
    """
    fields: dict[str, Any] = {}
    uploads: dict[str, Upload] = {}
    async for part in parts(request):
        if (part.filename is None) == (part.name in files) or part.name in uploads:
            raise misplaced(part)
        if part.filename is None:
            nest(part.name, await part.text(), fields)
            continue
        receiving = await stack.enter_async_context(served.files.receive(caller.account))
        uploads[part.name] = Upload(part.filename, receiving)
        await save(part, receiving)
    return fields, uploads


async def save(part: Part, receiving: Receiving) -> None:
    with blaming(part.name):
        async for chunk in part.chunks():
            await receiving.write(chunk)


def nest(name: str, value: str, into: dict[str, Any]) -> None:
    """Put a form field where JSON would have it: `metadata[key]` under "key" in the object "metadata"."""
    match = re.fullmatch(r"([^\[\]]+)\[([^\[\]]*)\]", name)
    place, key = (into.setdefault(match[1], {}), match[2]) if match else (into, name)
    if not isinstance(place, dict) or key in place:
        raise invalid(f"field {name!r} is given more than once", name)
    place[key] = value
