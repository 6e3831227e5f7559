"""hibari's voices: small, quick, English. One lies in its package; others where they have been pulled to."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import msgspec

from echod.speech.backend import Voice
from echod.speech.local.voice import Found, Loaded, LocalVoice

HIBARI = "hibari"
HEART = "heart"  # the voice in the package
REGISTRY = "voices.json"
RATE = 24_000


class _Entry(msgspec.Struct):
    """What matters here in an entry of the package's registry."""

    file: str
    language: str
    bundled: bool = False


def hibari_voices(directory: Path) -> Found:
    """Those whose file is here: in the package, or in `directory`."""
    found: dict[Voice, LocalVoice] = {}
    for name, entry in _registry().items():
        place = _package() if entry.bundled else directory
        if place and (path := place / entry.file).is_file():
            voice = Voice("local", HIBARI, name)
            found[voice] = LocalVoice(voice, entry.language.lower(), Loaded(path, RATE))
    return found


def hibari_names() -> list[str]:
    """All that there could be; none where hibari is not installed."""
    return list(_registry())


@cache
def _registry() -> dict[str, _Entry]:
    # Read, not imported: the daemon needs nothing else of it, and importing takes a quarter of a second.
    package = _package()
    try:
        return msgspec.json.decode((package / REGISTRY).read_bytes(), type=dict[str, _Entry]) if package else {}
    except (OSError, msgspec.DecodeError):  # another package of that name
        return {}


@cache
def _package() -> Path | None:
    spec = importlib.util.find_spec(HIBARI)
    return Path(spec.origin).parent / "assets" if spec and spec.origin else None
