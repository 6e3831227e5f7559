"""Encode a clip once, into a fragmented mp4 that can be played while it grows; then rewrap it for good.

The packets of the stream and of the finished clip are the same, so both decode to the same frames.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from PIL import Image as Picture

from .audio import Speech, decode
from .contract import Frames, Image, Show, Size, as_it_is
from .room import Room

CRF = 18
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
QUEUED_BATCHES = 2  # rendered ahead of the encoder; bounds memory
THREADS = 4  # of the encoder: a fixed number, since both its output and its delay depend on it
BT601 = 6  # the number of SMPTE 170M in H.273, of its primaries, curve and matrix alike: what swscale turns RGB into
AHEAD = 3 * 1024  # samples of live sound before the picture's: no fragment is written without the next one's sound
LOOKAHEAD = 8  # frames: each one delays the first fragment

# Every fragment starts with a key frame (see `_video_stream`); at 1 fps sound alone cuts some between them.
# delay_moov: the header waits for the first packets, so that it can tell players to skip the AAC encoder's run-in.
# use_metadata_tags: keys that the format does not know are written too.
FRAGMENTED = {
    "movflags": "frag_keyframe+empty_moov+delay_moov+default_base_moof+use_metadata_tags",
    "frag_duration": "500000",
}
# Not frag_every_frame: time stamps in the first two fragments would be those of the frames behind.
LIVE = {"movflags": "empty_moov+delay_moov+default_base_moof+use_metadata_tags", "frag_duration": "1"}
FINISHED = {"movflags": "faststart+use_metadata_tags"}
MUXERS_OWN = ("major_brand", "minor_version", "compatible_brands", "encoder")  # metadata that each muxer writes itself


class ClipWriter:
    """Encodes frames and the speech in a thread of its own.

    With `live` every frame is a fragment of its own, and none waits for later ones to be encoded better. `show` makes
    of a frame, there and only then, the picture of that `size` that is encoded. `write` blocks while the encoder is
    behind; an exception of the encoder is raised by the next `write` or `close`.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        fps: int,
        speech: Speech,
        *,
        show: Show = as_it_is,
        lossless: bool = False,
        live: bool = False,
        mark: Mapping[str, str],
        tags: Mapping[str, str] | None = None,
        room: Room | None = None,
    ) -> None:
        self.frames = 0
        self._path = path
        self._file = _AppendOnly(path, room or Room(path.parent))
        self._batches: queue.Queue[Frames | None] = queue.Queue(QUEUED_BATCHES)
        self._error: BaseException | None = None
        self._aborted = False
        start = partial(
            _Encoder, self._file, size, fps, speech, show, lossless, live, metadata(mark) | dict(tags or {})
        )
        self._thread = threading.Thread(target=self._run, args=[start], name=f"encode {path.name}", daemon=True)
        self._thread.start()

    @property
    def playable(self) -> bool:
        """Whether the file holds its header and first fragment: the muxer hands over nothing before them."""
        return self._file.written > 0

    def wait_for_fragment(self) -> None:
        """Return once the stream can be played, or nothing more comes of the first frames that were written."""
        self._file.begun.wait()

    def write(self, frames: Frames) -> None:
        self._check()
        self.frames += len(frames)
        self._batches.put(frames)

    def close(self) -> None:
        """Encode what is left and complete the file."""
        self._stop()
        self._check()

    def abort(self) -> None:
        """Drop what is not yet encoded and remove the file. May follow anything, even `close`."""
        self._aborted = True
        self._stop()
        self._path.unlink(missing_ok=True)

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._batches.put(None)
            self._thread.join()
        self._file.close()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self, start: Callable[[], _Encoder]) -> None:
        batches = self._take()
        try:
            with start() as encoder:
                for batch in batches:
                    if self._aborted:
                        break
                    encoder.encode(batch)
                    self._file.begun.set()
                else:
                    encoder.finish()
        except BaseException as error:
            self._error = error
        self._file.begun.set()
        for _ in batches:
            pass  # after an error too, so that a caller in `write` is never stuck

    def _take(self) -> Iterator[Frames]:
        while (batch := self._batches.get()) is not None:
            yield batch


class _AppendOnly:
    """The growing file: every write reaches the kernel at once and whole, and nothing is ever rewritten."""

    def __init__(self, path: Path, room: Room) -> None:
        self._file = path.open("wb", buffering=0)
        self._room = room
        self.written = 0
        self.begun = threading.Event()  # whoever waits for the first fragment has waited long enough

    def write(self, data: bytes) -> int:
        self._room.take(len(data))
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.written += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()


class _Encoder:
    """Video and sound into one container, the sound kept level with the picture."""

    def __init__(
        self,
        file: _AppendOnly,
        size: Size,
        fps: int,
        speech: Speech,
        show: Show,
        lossless: bool,
        live: bool,
        tags: Mapping[str, str],
    ) -> None:
        self._container: OutputContainer = av.open(file, "w", format="mp4", options=LIVE if live else FRAGMENTED)
        self._container.metadata.update(tags)
        self._file = file
        self._video = _video_stream(self._container, size, fps, lossless, live)
        self._sound = _sound_stream(self._container, speech)
        self._show = show
        self._fps = fps
        self._frames = 0
        self._samples = 0
        self._ahead = AHEAD if live else 0
        rate = self._sound.rate
        self._speech: Iterator[AudioFrame] = decode(speech.path, "fltp", self._sound.layout.name, rate)

    def encode(self, frames: Frames) -> None:
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(self._show(picture), format="rgb24")
            frame.pts, frame.time_base = self._frames, Fraction(1, self._fps)
            self._frames += 1
            self._container.mux(self._video.encode(frame))
            self._encode_sound()
            if self._file.written:
                self._file.begun.set()

    def finish(self) -> None:
        self._container.mux(self._video.encode(None))
        self._container.mux(self._sound.encode(None))
        self._container.close()

    def __enter__(self) -> _Encoder:
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Closing twice is fine; left open, the container would write its trailer whenever it is collected.
        with suppress(av.FFmpegError, OSError, ValueError) if exc_info[0] else nullcontext():
            self._container.close()

    def _encode_sound(self) -> None:
        """Up to the end of the newest picture; of what is live a little beyond, unless the speech ends before."""
        end = self._frames * self._sound.rate // self._fps + self._ahead
        while self._samples < end and (frame := next(self._speech, None)) is not None:
            frame.pts, frame.time_base = self._samples, Fraction(1, self._sound.rate)
            self._samples += frame.samples
            self._container.mux(self._sound.encode(frame))


def _video_stream(container: OutputContainer, size: Size, fps: int, lossless: bool, live: bool) -> VideoStream:
    keyint = max(1, fps // 2)
    stream = container.add_stream("libx264rgb" if lossless else "libx264", rate=fps)
    stream.width, stream.height = size
    stream.pix_fmt = "rgb24" if lossless else "yuv420p"
    context = stream.codec_context
    context.thread_count = THREADS
    if not lossless:  # untagged, players take large pictures for BT.709, and faces change colour
        context.color_primaries = context.color_trc = context.colorspace = BT601
        context.color_range = ColorRange.MPEG
    stream.options = {
        "preset": "veryfast",
        **({"tune": "zerolatency"} if live else {}),
        **({"qp": "0"} if lossless else {"crf": str(CRF)}),
        "x264-params": f"keyint={keyint}:min-keyint={keyint}:scenecut=0:sync-lookahead=0"
        + ("" if live else f":rc-lookahead={LOOKAHEAD}"),
    }
    return stream


def _sound_stream(container: OutputContainer, speech: Speech) -> AudioStream:
    rate = min(AAC_RATES, key=lambda rate: abs(rate - speech.rate))
    stream = container.add_stream("aac", rate=rate)
    stream.layout = "mono" if speech.channels == 1 else "stereo"
    return stream


def metadata(mark: Mapping[str, str]) -> dict[str, str]:
    """mp4 tags that say what the clip is, in words for people and players alike."""
    facts = ", ".join(f"{key} {value}" for key, value in mark.items())
    return {"title": "AI-generated talking head", "comment": f"AI-generated by echod: {facts}"}


def remux(stream: Path, clip: Path, room: Room | None = None) -> None:
    """Rewrap a fragmented file as an mp4 whose header comes first; the same packets, nothing is encoded again."""
    room = room or Room(clip.parent)
    with (
        av.open(str(stream)) as source,
        av.open(str(clip), "w", format="mp4", options=FINISHED) as out,
    ):
        out.metadata.update({key: value for key, value in source.metadata.items() if key not in MUXERS_OWN})
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:  # None: the empty packet that ends each stream
                packet.stream = streams[packet.stream.index]
                room.take(packet.size)
                out.mux(packet)


def thumbnail(frame: Image, path: Path) -> None:
    """The frame as a JPEG file; it appears complete or not at all."""
    part = path.with_name(path.name + ".part")
    Picture.fromarray(np.ascontiguousarray(frame)).save(part, "JPEG", quality=90)
    part.replace(path)
