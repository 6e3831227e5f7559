"""Recordings as clients send them, made a FLAC file. Client bytes: call only in the inspection child.

Whatever PyAV decodes and holds sound is taken, a video as well. The FLAC keeps the recording's own rate and channels,
with 16 bits per sample: a clip's own sound has no more to it. A lossy source's packets are not kept as they are, though
they are smaller: workers would have to decode what a client wrote. Packets that do not decode are left out, as players
do, up to a tenth of all. A file that ends before its own header says (an upload cut short) is refused: nobody
wants half a clip after the wait for a whole one. Formats written as a stream make no such promise and are taken as
they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from echod.errors import EchodError
from echod.inference.room import Room

MIN_SECONDS = 0.1
SILENCE = 10 ** (-60 / 20)  # peak, of full scale 1.0: -60 dBFS
MIN_RATE, MAX_RATE, MAX_CHANNELS = 4_000, 384_000, 8  # FLAC ends at 8 channels

MAX_BROKEN = 0.1  # of all packets
MISSING_SECONDS, MISSING_SHARE = 0.25, 0.02  # headers round, and encoders pad: the larger of both is no break
STREAMED = 0x7FFF0000  # RIFF sizes from here on are what programs write that do not know the size yet

# Nothing that opens further files: playlists, concat scripts, image sequences.
FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp4,mp3,mpeg,mpegts,ogg,tta,voc,w64,wav,wv"
)

# OSError: a header points outside the file. IndexError: a stream begins late, which PyAV does not expect.
UNDECODABLE = (av.FFmpegError, OSError, IndexError)


class NotARecording(Exception):
    """The bytes are in none of `FORMATS`, or hold no sound; the message says which."""


def recognises(source: Path) -> bool:
    """Whether the header is that of something with sound."""
    try:
        with source.open("rb") as file, _open(file) as container:
            return bool(container.streams.audio)
    except NotARecording:
        return False


@dataclass(frozen=True)
class Sound:
    """What was written: seconds counted in decoded samples, samples per second, channels."""

    seconds: float
    rate: int
    channels: int


def convert(source: Path, target: Path, max_seconds: float, room: Room | None = None) -> Sound:
    """Decode `source` into the FLAC file `target`.

    Raises NoRoom, NotARecording, EchodError: speech_unreadable, speech_silent, speech_too_short, speech_too_long.
    """
    with source.open("rb") as file, _open(file) as container:
        if not container.streams.audio:
            raise NotARecording("it holds no sound")
        stream = container.streams.audio[0]
        if stream.codec_context is None:  # contrary to its annotation
            raise NotARecording("its sound is of an unknown kind")
        stream.codec_context.thread_count = 1
        frames = _decoded(container, stream)
        sound, peak = _write(frames, target, max_seconds, room or Room(target.parent))
        promised = max(_promised(container, stream), _promised_by_riff(source, sound.seconds))
    if promised - sound.seconds > max(MISSING_SECONDS, MISSING_SHARE * promised):
        raise _unreadable(
            f"the recording breaks off: its header promises {promised:.1f} s, {sound.seconds:.1f} s are there; "
            "probably a copy or an upload was cut short, send the whole file"
        )
    if sound.seconds < MIN_SECONDS:
        raise EchodError(
            "speech_too_short", f"the recording has {sound.seconds:.2f} s of sound; at least {MIN_SECONDS} s are needed"
        )
    if peak < SILENCE:
        raise EchodError(
            "speech_silent", "the recording is silent: it stays below -60 dBFS throughout; record it louder"
        )
    return sound


@cache
def _options() -> dict[str, str]:
    """What libav may do with a client's bytes: no other file or address, only these formats, only sound decoders."""
    decoders = (name for name in av.codecs_available if _is_sound(name))
    return {"format_whitelist": FORMATS, "protocol_whitelist": "none", "codec_whitelist": ",".join(decoders)}


def _is_sound(codec: str) -> bool:
    try:
        return av.Codec(codec, "r").type == "audio"
    except ValueError:  # there is only an encoder of that name
        return False


def _open(file: BinaryIO) -> InputContainer:
    try:
        return av.open(file, "r", options=_options(), metadata_errors="ignore")
    except UNDECODABLE as error:
        raise NotARecording("it cannot be decoded") from error


def _decoded(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    packets = broken = 0
    for packet in _packets(container, stream):
        packets += 1
        try:
            frames = packet.decode()
        except UNDECODABLE:
            broken += 1
            continue
        yield from (frame for frame in frames if isinstance(frame, AudioFrame))
    if broken > MAX_BROKEN * packets:
        raise _unreadable(
            f"the recording is damaged: {broken} of its {packets} packets cannot be decoded, at most "
            f"{MAX_BROKEN:.0%} may be; export it again"
        )


def _packets(container: InputContainer, stream: AudioStream) -> Iterator[av.Packet[AudioStream]]:
    try:
        yield from container.demux(stream)
    except UNDECODABLE:  # the container is damaged from here on; what came before counts
        return


def _write(frames: Iterator[AudioFrame], target: Path, max_seconds: float, room: Room) -> tuple[Sound, float]:
    """Encode the frames; returns what was written and its peak, 1.0 = full scale."""
    first = next(frames, None)
    if first is None:
        return Sound(0.0, MIN_RATE, 1), 0.0
    rate, channels = first.sample_rate, first.layout.nb_channels
    _check_shape(rate, channels)
    samples, peak = 0, 0.0
    with av.open(str(target), "w", format="flac") as container:
        output = container.add_stream("flac", rate=rate, options={"compression_level": "0"})
        output.layout, output.format = first.layout, "s16"
        for frame in _alike(first, frames):
            samples += frame.samples
            if samples > max_seconds * rate:
                raise EchodError(
                    "speech_too_long",
                    f"the recording is longer than {max_seconds:g} s (setting max_seconds); send it in parts",
                )
            peak = max(peak, _peak(frame))
            for packet in output.encode(frame):  # which converts them to the output's format
                room.take(packet.size)
                container.mux(packet)
        container.mux(output.encode(None))
    return Sound(samples / rate, rate, channels), peak


def _check_shape(rate: int, channels: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise _unreadable(
            f"the recording has {rate} samples per second; {MIN_RATE} to {MAX_RATE} are read, resample it to 48000"
        )
    if channels > MAX_CHANNELS:
        raise _unreadable(
            f"the recording has {channels} channels; at most {MAX_CHANNELS} are read, mix it down to stereo"
        )


def _alike(first: AudioFrame, frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """All frames in the layout and rate of the first; joined recordings may change theirs on the way.

    Their samples become packed ones: of planar frames with eight channels PyAV makes arrays with a ninth from wherever
    the pointer behind them leads.
    """
    resampler: AudioResampler | None = None
    wanted = ("flt" if first.format.name.startswith(("flt", "dbl")) else "s16", *_shape(first)[1:])
    shape = wanted
    for frame in itertools.chain([first], frames):
        frame.pts = None  # gaps and jumps in broken timestamps are not silence
        if _shape(frame) != shape:
            yield from resampler.resample(None) if resampler else ()
            shape = _shape(frame)
            resampler = AudioResampler(*wanted) if shape != wanted else None
        yield from resampler.resample(frame) if resampler else (frame,)
    yield from resampler.resample(None) if resampler else ()


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _peak(frame: AudioFrame) -> float:
    """The largest of the frame's packed samples, 1.0 = full scale."""
    samples = frame.to_ndarray()
    if samples.dtype.kind == "i":
        return float(max(int(samples.max()), -int(samples.min())) / 2**15)
    peak = float(np.abs(samples).max())
    if not math.isfinite(peak):
        raise _unreadable("the recording holds samples that are no numbers (NaN or infinite); export it again")
    return peak


def _promised(container: InputContainer, stream: AudioStream) -> float:
    """Seconds the header states; 0 where it states none, or where libav guesses them from the size."""
    stated = container.format.name == "flac" or "mov" in container.format.name
    return float(stream.duration * stream.time_base) if stated and stream.duration and stream.time_base else 0.0


def _promised_by_riff(source: Path, seconds: float) -> float:
    """The same for a RIFF file of which `seconds` were decoded: libav cuts what the header states to what is there."""
    with source.open("rb") as file:
        head = file.read(8)
    there, size = source.stat().st_size, 8 + int.from_bytes(head[4:8], "little")
    return seconds * size / there if head[:4] == b"RIFF" and there < size < STREAMED else 0.0


def _unreadable(message: str) -> EchodError:
    return EchodError("speech_unreadable", message)
