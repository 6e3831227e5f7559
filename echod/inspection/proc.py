"""An inspection child: decode one file at a time, and write what workers read. Started by `inspection_child.Child`."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from echod.errors import WAYS_OUT, EchodError
from echod.host.directories import storage_code, sync, unstorable
from echod.host.process import die_with_parent, take_pipes
from echod.inference.room import NoRoom, Room
from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.inspection.messages import (
    PREPARED,
    UNREADABLE,
    Finding,
    Inspected,
    Kind,
    NoPicture,
    Refused,
    Request,
    encoder,
    request_decoder,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from PIL import Image

    from echod.inference.face import Face

PICTURES = "PNG, JPEG, WebP, AVIF, BMP, GIF and TIFF pictures"
RECORDINGS = "WAV, MP3, M4A, OGG, FLAC, WebM and MP4 recordings"
MIN_SIDE = 20  # pixels of the copy that is looked at: the detector finds no smaller face


def main() -> None:
    parent, memory = int(sys.argv[1]), int(sys.argv[2])
    kind: Kind = "portrait" if sys.argv[3] == "portrait" else "speech"
    die_with_parent(parent)
    requests, replies = take_pipes(buffering=0)
    _warm_up(kind)
    _limit_memory(memory)
    replies.write(b"\n")
    for line in requests:
        replies.write(b"\n")
        replies.write(encoder.encode(answer(request_decoder.decode(line), kind, memory)) + b"\n")


def _warm_up(kind: Kind) -> None:
    """Import what takes time, and before the memory is measured."""
    from echod.inspection import pictures  # noqa: F401

    if kind == "speech":
        from echod.inspection import recordings  # noqa: F401

        return
    import numpy as np

    from echod.inference.face import glance

    glance(np.zeros((256, 256, 3), np.uint8))


def _limit_memory(memory: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold what clients sent


def answer(request: Request, kind: Kind, memory: int) -> Finding:
    """Inspect one file. Whatever is its own fault becomes a refusal; anything else ends the child."""
    try:
        return _portrait(request) if kind == "portrait" else _speech(request)
    except EchodError as error:
        return Refused(error.code, error.message)
    except NoRoom as error:
        return Refused(error.code, f"it cannot be prepared: {error}; {WAYS_OUT[error.code]}")
    except Exception as error:
        if is_out_of_memory(error):
            limit = f"{memory / 2**30:g} GiB (setting inspect_memory)"
            return Refused(UNREADABLE[request.want], f"decoding the file needs more than {limit}; send a smaller copy")
        if isinstance(error, OSError) and storage_code(error) != "internal":
            failure = unstorable("what was made of the file", error)
            return Refused(failure.code, failure.message)
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation has failed; torch and OpenCV say so in words only."""
    words = str(error)
    return isinstance(error, MemoryError) or "can't allocate memory" in words or "Insufficient memory" in words


def _digest(request: Request) -> str:
    with request.path.open("rb") as file:
        if not file.read(1):
            raise EchodError(UNREADABLE[request.want], "the file is empty")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _portrait(request: Request) -> Inspected | NoPicture:
    from echod.inference.face import in_order
    from echod.inspection import pictures

    if not pictures.recognises(request.path):
        return NoPicture()
    sha256 = _digest(request)
    image = pictures.read(request.path, request.max_pixels)
    faces = _look(image)
    target = request.into / PREPARED["portrait"]
    with _Counted(target, Room(request.into, request.most, request.spare)) as file:
        image.save(file, "PNG", compress_level=1)
    sync(target)
    portrait = PortraitFacts(
        width=image.width,
        height=image.height,
        faces=len(faces),
        box=faces[0].box,
        boxes=tuple(face.box for face in in_order(faces)),
        sha256=sha256,
    )
    return Inspected(kind="portrait", prepared=target, portrait=portrait)


class _Counted(io.BufferedWriter):
    """A file that counts what is written to it."""

    def __init__(self, path: Path, room: Room) -> None:
        super().__init__(io.FileIO(path, "w"))
        self._room = room

    def write(self, data: ReadableBuffer) -> int:
        self._room.take(memoryview(data).nbytes)
        return super().write(data)


def _look(image: Image.Image) -> list[Face]:
    """The faces that the picture shows, the largest first."""
    import numpy as np

    from echod.inference.face import GLANCE_SIDE, glance

    side = min(image.size) * min(1, GLANCE_SIDE / max(image.size))
    faces = glance(np.asarray(image)) if side >= MIN_SIDE else []
    if not faces:
        raise EchodError(
            "no_face_detected",
            f"no face was found in the picture ({image.width} x {image.height}); use one that shows a face from the "
            "front, large and evenly lit",
        )
    return faces


def _speech(request: Request) -> Inspected:
    from echod.inspection import pictures, recordings

    sha256 = _digest(request)
    if request.want == "portrait":
        if recordings.recognises(request.path):
            raise EchodError("unsupported_media", "the file is a recording; a portrait must be a picture")
        raise EchodError("portrait_unreadable", f"the file is no picture; {PICTURES} are read")
    if request.want == "speech" and pictures.recognises(request.path):
        raise EchodError("unsupported_media", "the file is a picture; speech must be a recording")
    target = request.into / PREPARED["speech"]
    try:
        sound = recordings.convert(
            request.path, target, request.max_seconds, Room(request.into, request.most, request.spare)
        )
    except recordings.NotARecording as error:
        reads = RECORDINGS if request.want == "speech" else f"{PICTURES}, {RECORDINGS}"
        raise EchodError(UNREADABLE[request.want], f"the file cannot be used: {error}; {reads} are read") from error
    sync(target)
    speech = SpeechFacts(seconds=sound.seconds, rate=sound.rate, channels=sound.channels, sha256=sha256)
    return Inspected(kind="speech", prepared=target, speech=speech)


if __name__ == "__main__":
    main()
