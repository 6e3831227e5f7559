"""Write what docs/ repeats of the code: tables of routes, events, settings and commands, and docs/asyncapi.json.

    python scripts/reference.py

Between `<!-- NAME -->` and `<!-- end -->` stands in a page what the function of `TABLES` gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from echod import config
from echod.cli import echod
from echod.jobs.feed import JOB_EVENTS
from echod.server.answers import CREDENTIALS, EVERYWHERE
from echod.server.app import create_app
from echod.server.asyncapi import CHANNELS, document

DOCS = Path(__file__).parent.parent / "docs"
USUAL = {*EVERYWHERE, *CREDENTIALS}
ASYNCAPI = DOCS / "asyncapi.json"


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def code(*words: str) -> str:
    return " ".join(f"`{word}`" for word in words)


def routes() -> str:
    app: FastAPI = create_app(None)  # type: ignore[arg-type]  # of which no route is asked
    rows = (
        (code(f"{method.upper()} {path}"), told["summary"], code(*(each for each in codes(told) if each not in USUAL)))
        for path, methods in get_openapi(title="", version="", routes=app.routes)["paths"].items()
        for method, told in methods.items()
    )
    return table(("route", "what", "refuses also with"), rows)


def codes(operation: dict[str, Any]) -> Iterator[str]:
    for response in operation["responses"].values():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        yield from schema.get("properties", {}).get("error", {}).get("properties", {}).get("code", {}).get("enum", ())


def events() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for channel in CHANNELS.values():
            for kinds, way in ((channel.asked.events, "to echod"), (channel.told.events, "from echod")):
                for kind in kinds:
                    if kind.__struct_config__.tag:
                        yield code(str(kind.__struct_config__.tag)), channel.path, way
        for each in JOB_EVENTS:
            yield code(each), CHANNELS["events"].path, "from echod"

    return table(("event", "WebSocket", ""), rows())


def settings() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, setting in config.SETTINGS.items():
            told = setting.metadata
            usual = "" if setting.default is MISSING else code(json.dumps(told["kind"].show(setting.default)))
            yield code(name), told["section"], usual, told["about"]

    return table(("setting", "section", "default", "meaning"), rows())


def commands() -> str:
    def rows(command: click.Command, path: str) -> Iterator[tuple[str, ...]]:
        if isinstance(command, click.Group):
            for name, each in command.commands.items():
                yield from rows(each, f"{path} {name}")
            return
        context = click.Context(command)
        arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
        options = [" ".join(each.opts[-1:]) for each in command.params if isinstance(each, click.Option)]
        told = command.get_short_help_str(200).removesuffix(".")
        yield code(" ".join((path, *arguments))), told, code(*options)

    return table(("command", "what", "options"), rows(echod, "echod"))


TABLES: dict[str, Callable[[], str]] = {
    "routes": routes,
    "events": events,
    "settings": settings,
    "commands": commands,
}


def written(page: str) -> str:
    """A page with its tables as the code has them."""
    return re.sub(
        rf"(<!-- ({'|'.join(TABLES)}) -->\n).*?(?=<!-- end -->)",
        lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n",
        page,
        flags=re.DOTALL,
    )


def asyncapi() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    ASYNCAPI.write_text(asyncapi(), "utf-8")
    for page in DOCS.glob("*.md"):
        page.write_text(written(page.read_text("utf-8")), "utf-8")
