"""Voices that stay loaded in a child: hibari's and piper's. They are read from files; nothing here ever downloads.

Both run on one thread: a sentence takes a fraction of the time for which it sounds, and the workers want the cores.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from echod.speech.backend import Failure

if TYPE_CHECKING:
    from hibari.g2p import G2P
    from onnxruntime import SessionOptions

KEPT = 4  # voices
WARM_UP = "Good evening."  # an engine loads half of what it needs with its first sentence
HANZI_READER = "g2pW"  # the directory of what reads Chinese to piper, which would download it

# A sentence in, its sound out: pcm16, mono, at the voice's own rate.
Speaker: TypeAlias = Callable[[str], Iterator[bytes]]


@lru_cache(maxsize=KEPT)
def load_speaker(engine: str, model: Path) -> Speaker:
    """The voice in the file `model`. Failure: missing."""
    load = {"hibari": _hibari, "piper": _piper}[engine]
    try:
        speaker = load(model)
        for _ in speaker(WARM_UP):
            pass
    except (ImportError, Failure):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise Failure("missing", f"{model.name} is no voice that {engine} can read: {reason}") from error
    return speaker


def _hibari(model: Path) -> Speaker:
    from hibari import Hibari
    from hibari.voices import VOICES

    _quiet()
    name = next(name for name, voice in VOICES.items() if voice["file"] == model.name)
    voice = Hibari(name, model=str(model), threads=1, g2p=_reader(VOICES[name]["british"]))

    def speak(sentence: str) -> Iterator[bytes]:
        try:
            read = voice.phonemize(sentence)
        except (ValueError, LookupError):  # numbers of more than 21 digits, circled ones
            read = voice.phonemize(_plain(sentence))
        for phonemes in read:
            samples = voice.from_phonemes(phonemes, seed=0)  # the same words sound the same
            yield (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()

    return speak


@cache
def _reader(british: bool) -> G2P:
    """What makes phonemes of words: most of a voice's memory, so that voices share it."""
    from hibari.g2p import G2P

    return G2P(british=british)


def _plain(sentence: str) -> str:
    """Its letters and marks, and its digits one by one."""
    return "".join(
        letter if letter.isalpha() or letter in " '.,!?" else f" {unicodedata.digit(letter, '')} "
        for letter in sentence
    )  # fmt: skip


def _piper(model: Path) -> Speaker:
    from onnxruntime import InferenceSession
    from piper.config import PiperConfig
    from piper.voice import PiperVoice

    config = PiperConfig.from_dict(json.loads(Path(f"{model}.json").read_bytes()))
    reader = model.parent / HANZI_READER
    if config.phoneme_type == "pinyin" and not reader.is_dir():
        raise Failure("missing", f"{model.name} needs piper's {HANZI_READER} beside it, which reads Chinese to it")
    # Not PiperVoice.load: that gives the voice a thread for every core.
    voice = PiperVoice(InferenceSession(str(model), _quiet(), providers=["CPUExecutionProvider"]), config)
    voice.download_dir = model.parent

    def speak(sentence: str) -> Iterator[bytes]:
        for chunk in voice.synthesize(sentence):
            yield chunk.audio_int16_bytes

    return speak


def _quiet() -> SessionOptions:
    """onnxruntime on one thread, without its warnings about a machine's hardware."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options
