"""Where files for this box's speech models are published: what the packages that read them say, and nobody else.

whisper:NAME   a checkpoint that hears, by openai-whisper
voice:NAME     a further voice of hibari's
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from echod.errors import EchodError

KINDS = ("whisper", "voice")


class Published(NamedTuple):
    """A file to fetch: where it goes in the weights directory, and how it is known to be right."""

    file: str
    url: str
    sha256: str
    size: int | None
    mirrored: bool  # on the hub, of which HF_ENDPOINT names mirrors


def published(what: str) -> Published:
    """What `whisper:NAME` or `voice:NAME` stands for. Raises EchodError invalid_request, naming those there are."""
    kind, _, name = what.partition(":")
    known = {"whisper": _whisper, "voice": _voices}[kind]()
    if name not in known:
        raise EchodError(
            "invalid_request", f"there is no {what}; there are {', '.join(f'{kind}:{each}' for each in known)}"
        )
    return known[name]


def _whisper() -> Mapping[str, Published]:
    """By the table in openai-whisper's source, for importing it takes torch along. Each URL has its file's sha256."""
    source = ast.parse((_package("whisper", "openai-whisper") / "__init__.py").read_text("utf-8"))
    table: Mapping[str, str] = next(
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODELS"
    )
    return {
        name: Published(f"whisper-{name}.pt", url, url.split("/")[-2], None, mirrored=False)
        for name, url in table.items()
    }


def _voices() -> Mapping[str, Published]:
    """By hibari's registry, without the voice that its package brings."""
    _package("hibari", "'hibari-tts<0.3'")
    from hibari.voices import BASE_URL, VOICES

    entries: Mapping[str, Mapping[str, Any]] = VOICES
    return {
        name: Published(
            f"voices/{entry['file']}", BASE_URL + entry["file"], entry["sha256"], entry["bytes"], mirrored=True
        )
        for name, entry in entries.items()
        if not entry.get("bundled")
    }


def _package(module: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise EchodError("invalid_request", f"{module} is not installed: run `pip install {distribution}`")
    return Path(spec.origin).parent


def on_mirror(url: str, mirror: str) -> str:
    """The same file on a mirror of the hub."""
    return mirror + urlsplit(url).path
