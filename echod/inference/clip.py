"""From a prepared portrait and speech to a published clip on disk: the one way in, for workers and for library users.

image = np.asarray(PIL.Image.open("portrait.png").convert("RGB"))
engine = load_engine("preview", None, "cpu")
portrait = engine.prepare(image, (512, 512))
make_clip(engine, portrait, Speech.open(Path("speech.wav")), Options(), Path("out"))
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from .audio import Speech
from .conformance import check_progress, frames_of
from .contract import (
    Board,
    Checkpoint,
    Engine,
    Options,
    Portrait,
    Show,
    as_it_is,
    check_options,
    clip_frames,
    no_checkpoint,
)
from .label import labelled
from .picture import Blend, WholePicture
from .publishing import publish
from .room import Room
from .video import ClipWriter, remux, thumbnail


@dataclass(frozen=True)
class ClipFacts:
    """What was made. `timings_ms` has the time of each stage, `first_frame` and `total`, without suspended time."""

    frames: int
    seconds: float
    timings_ms: dict[str, int]


def make_clip(
    engine: Engine,
    portrait: Portrait,
    speech: Speech,
    options: Options,
    directory: Path,
    *,
    whole: WholePicture | None = None,
    attempt: int = 1,
    lossless: bool = False,
    label: str | None = None,
    mark: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    room: Room | None = None,
    checkpoint: Checkpoint = no_checkpoint,
    on_first_fragment: Callable[[], None] = lambda: None,
    seal: Callable[[Path, int], None] = lambda clip, frames: None,
) -> ClipFacts:
    """Write `clip.mp4` and `thumbnail.jpg` into `directory`; until then `stream.<attempt>.mp4` grows there.

    With the `whole` picture around `portrait.crop` the clip shows that, else the frames alone. It appears complete and
    synced or not at all. With `options.live` each frame can be had from the stream as soon as it is encoded. `label` is
    the language, en or zh, of a visible label. `mark` adds to what its metadata says beside "AI-generated", engine and
    seed, and `tags` are further metadata. `on_first_fragment` is called in this thread, once the stream can be played
    from its beginning; `seal` with the finished clip and how many frames it has, before it gets its name.

    Raises InputError, NoRoom, ContractError and what the engine or `checkpoint` raises; then neither stream nor clip is
    left, but perhaps `board`, with which the next call in this directory goes on.
    """
    check_options(options)
    room = room or Room(directory)
    stream, board = directory / f"stream.{attempt}.mp4", directory / "board"
    facts = {"engine": engine.name, "seed": str(options.seed), **engine.mark, **(mark or {})}
    size = whole.size if whole else portrait.size
    show = _show(whole, options.fps, label)  # the encoder's, in its thread
    writer = ClipWriter(stream, size, options.fps, speech, show=show, lossless=lossless, live=options.live, mark=facts,
                        tags=tags, room=room)  # fmt: skip
    clock = _StageClock(engine.name, checkpoint, writer, on_first_fragment)
    total = clip_frames(speech.seconds, options.fps)
    try:
        made = engine.frames(portrait, speech, options, clock.checkpoint, Board(board, room))
        for batch in frames_of(engine.name, made, portrait.size, total):
            writer.write(batch)
            if writer.frames == len(batch):
                clock.timings_ms["first_frame"] = clock.elapsed_ms()
                thumbnail(_show(whole, options.fps, label)(batch[0]), directory / "thumbnail.jpg")
                if options.live:  # else the next checkpoint does, which an engine may be long in coming to
                    writer.wait_for_fragment()
                    clock.announce()
        clock.checkpoint("mux", 0, 1)
        writer.close()
        clock.announce()
        _publish(stream, directory / "clip.mp4", room.for_copy(), lambda part: seal(part, writer.frames))
        shutil.rmtree(board, ignore_errors=True)
        clock.checkpoint("mux", 1, 1)
    except BaseException:
        writer.abort()
        raise
    return ClipFacts(writer.frames, writer.frames / options.fps, clock.finish())


def _show(whole: WholePicture | None, fps: int, label: str | None) -> Show:
    show = Blend(whole, fps) if whole else as_it_is
    return (lambda frame: labelled(show(frame), label)) if label else show


def _publish(stream: Path, clip: Path, room: Room, seal: Callable[[Path], None]) -> None:
    part = clip.with_name(clip.name + ".part")
    try:
        remux(stream, part, room)
        seal(part)
        publish(part, clip)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class _StageClock:
    """Passes checkpoints on, times the stages between them and tells once that the stream can be played."""

    def __init__(
        self, engine: str, checkpoint: Checkpoint, writer: ClipWriter, on_first_fragment: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._checkpoint = checkpoint
        self._writer = writer
        self._on_first_fragment = on_first_fragment
        self._announced = False
        self._suspended = 0.0  # seconds spent inside checkpoints: another job may have run there
        self._began = self._stage_began = monotonic()
        self._stage = ""
        self.timings_ms: dict[str, int] = {}

    def checkpoint(self, stage: str, done: int, total: int) -> None:
        check_progress(self._engine, stage, done, total)
        self._enter(stage)
        self.announce()
        before = monotonic()
        self._checkpoint(stage, done, total)
        self._suspended += monotonic() - before

    def announce(self) -> None:
        if self._writer.playable and not self._announced:
            self._announced = True
            self._on_first_fragment()

    def elapsed_ms(self) -> int:
        return round(1000 * (monotonic() - self._suspended - self._began))

    def finish(self) -> dict[str, int]:
        self._enter("")
        return {**self.timings_ms, "total": self.elapsed_ms()}

    def _enter(self, stage: str) -> None:
        if stage == self._stage:
            return
        now = monotonic() - self._suspended
        if self._stage:
            spent = self.timings_ms.get(self._stage, 0)  # stages may take turns
            self.timings_ms[self._stage] = spent + round(1000 * (now - self._stage_began))
        self._stage, self._stage_began = stage, now
