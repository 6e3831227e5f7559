"""An ear for one speaker: keeps what is said until it is taken, and hears when somebody begins and stops to speak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from echod.conversation.detector import WINDOW, Detector
from echod.sound.pcm import HEAR_RATE, SAMPLE
from echod.sound.resample import Resampler

INPUT_RATE = 24_000  # samples per second of what clients send
SECOND = INPUT_RATE * SAMPLE  # bytes of it
BEGIN_WINDOWS = 3  # voiced windows in a row that begin an utterance: a click is none
RELEASE = 0.15  # how far below the threshold a voice may fall and still go on

BYTES_PER_MS = HEAR_RATE * SAMPLE // 1000
WINDOW_MS = 1000 * WINDOW // HEAR_RATE

Eagerness: TypeAlias = Literal["low", "medium", "high", "auto"]
# Milliseconds of silence that end an utterance, for who says only how eager to be: OpenAI's semantic_vad.
SILENCE: Mapping[Eagerness, int] = {"low": 1000, "medium": 500, "high": 300, "auto": 500}


@dataclass(frozen=True)
class TurnDetection:
    """When an utterance begins and ends: OpenAI's server_vad, or its semantic_vad where there is an eagerness."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    create_response: bool = True
    interrupt_response: bool = True
    eagerness: Eagerness | None = None

    @property
    def silence_ms(self) -> int:
        return self.silence_duration_ms if self.eagerness is None else SILENCE[self.eagerness]


class SpeechStarted(NamedTuple):
    """Somebody speaks since `ms` of all the sound there was, padding included."""

    ms: int


class SpeechStopped(NamedTuple):
    """They stopped at `ms`; `sound` is the utterance."""

    ms: int
    sound: bytes


class Ear:
    """Fed with pcm16, mono, INPUT_RATE; keeps pcm16, mono, HEAR_RATE."""

    def __init__(self, detection: TurnDetection | None = None) -> None:
        self._resampler = Resampler(INPUT_RATE, HEAR_RATE)
        self._kept = bytearray()
        self._heard_ms = 0.0  # of all sound, up to the end of what is kept
        self._looked = 0  # bytes of what is kept that the detector has seen
        self._detector = Detector()
        self.detection = detection
        self._reset()

    def detect(self, detection: TurnDetection | None) -> None:
        """From now on listen for utterances like this, or not at all."""
        self.detection = detection
        self._looked = len(self._kept)
        self._reset()
        if detection is None:
            self.close()

    @property
    def kept_ms(self) -> int:
        return len(self._kept) // BYTES_PER_MS

    @property
    def now_ms(self) -> int:
        """Where the detector looks, in all the sound there was."""
        return round(self._heard_ms - (len(self._kept) - self._looked) / BYTES_PER_MS)

    def feed(self, sound: bytes) -> list[SpeechStarted | SpeechStopped]:
        """Take in sound. What the detector notices comes in order."""
        more = self._resampler.feed(sound)
        self._kept += more
        self._heard_ms += len(more) / BYTES_PER_MS
        return self._listen() if self.detection else []

    def take(self) -> bytes:
        """All that is kept, as an utterance."""
        rest = self._resampler.flush()
        self._heard_ms += len(rest) / BYTES_PER_MS
        sound = bytes(self._kept + rest)
        self.clear()
        return sound

    def split(self) -> SpeechStopped:
        """What was said so far by somebody who goes on: the next utterance begins where this one ends."""
        stopped = SpeechStopped(self.now_ms, self._cut())
        self._speaking = True
        return stopped

    def clear(self) -> None:
        self._resampler = Resampler(INPUT_RATE, HEAR_RATE)  # the old one may keep half a sample
        self._kept.clear()
        self._looked = 0
        self._reset()

    def close(self) -> None:
        self._detector.close()

    def _reset(self) -> None:
        self._speaking = False
        self._voiced = self._silent = 0  # windows in a row

    def _listen(self) -> list[SpeechStarted | SpeechStopped]:
        assert self.detection is not None
        noticed: list[SpeechStarted | SpeechStopped] = []
        while len(self._kept) - self._looked >= WINDOW * SAMPLE:
            window = self._kept[self._looked : self._looked + WINDOW * SAMPLE]
            self._looked += WINDOW * SAMPLE
            noticed += self._judge(self._voice_in(window), self.detection)
        if not self._speaking:
            self._forget(self.detection.prefix_padding_ms + BEGIN_WINDOWS * WINDOW_MS)
        return noticed

    def _judge(self, voice: float, detection: TurnDetection) -> list[SpeechStarted | SpeechStopped]:
        bound = detection.threshold - (RELEASE if self._speaking else 0.0)
        self._voiced, self._silent = (self._voiced + 1, 0) if voice >= bound else (0, self._silent + 1)
        if not self._speaking and self._voiced >= BEGIN_WINDOWS:
            self._speaking = True
            self._forget(detection.prefix_padding_ms + BEGIN_WINDOWS * WINDOW_MS)
            return [SpeechStarted(round(self._heard_ms - len(self._kept) / BYTES_PER_MS))]
        if self._speaking and self._silent * WINDOW_MS >= detection.silence_ms:
            return [SpeechStopped(self.now_ms, self._cut())]
        return []

    def _cut(self) -> bytes:
        """The utterance up to where the detector looks; what came after it stays."""
        sound = bytes(self._kept[: self._looked])
        del self._kept[: self._looked]
        self._looked = 0
        self._reset()
        return sound

    def _forget(self, keep_ms: int) -> None:
        """Let go of what is older than the padding before what the detector looks at."""
        surplus = self._looked - keep_ms * BYTES_PER_MS
        if surplus > 0:
            del self._kept[:surplus]
            self._looked -= surplus

    def _voice_in(self, window: bytearray) -> float:
        return self._detector.voice_in(window)
