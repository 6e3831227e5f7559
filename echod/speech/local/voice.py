"""A voice of this box: its name, its language, and what speaks with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from echod.speech.backend import Voice


class Program(NamedTuple):
    """A program that is started for each text; one that is `slow` to start, when the text before it was spoken.

    Where `rate` is None a WAV header says it.
    """

    command: tuple[str, ...]
    rate: int | None
    slow: bool = False


class Loaded(NamedTuple):
    """A file that the voice child keeps loaded; the voice's model is the engine that reads it."""

    model: Path
    rate: int


class LocalVoice(NamedTuple):
    """A voice, its language as a lower-case tag, and what speaks with it."""

    voice: Voice
    language: str
    speaker: Program | Loaded


Found: TypeAlias = Mapping[Voice, LocalVoice]
