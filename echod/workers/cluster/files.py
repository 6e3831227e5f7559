"""The files of a far attempt: which are sent, which come back, and where they lie on either side.

Here a job has its directory, on the node one of the same name for as long as the attempt runs. Nothing is held in
memory but a piece of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from echod.inference.publishing import publish
from echod.inference.room import Room
from echod.jobs import folder
from echod.workers.cluster.messages import PIECE, Grown, Name
from echod.workers.messages import Run

CERTIFICATE, KEY = "certificate.pem", "key.pem"
PORTRAITS = "portraits"  # a directory on the node, for those that are prepared
CLIP = "clip.mp4"
# What a child writes whole, in the order in which it does.
WHOLE: Mapping[Name, str] = {"thumbnail": "thumbnail.jpg", "end": folder.END, "manifest": folder.MANIFEST, "clip": CLIP}
SMALL = 64 << 20  # bytes that none of them but the clip needs
MORE = 16 << 20  # bytes by which a signed clip with its header in front may be larger than what grew


class Breach(Exception):
    """A node says what no node of ours would."""


def inputs(order: Run) -> Iterator[tuple[str, Path]]:
    """What the child will read: its name on the node, and where it is here."""
    directory = Path(order.directory)
    for name in folder.INPUTS:
        yield name, directory / name
    if order.options.chained and (directory / folder.BEFORE).exists():
        yield folder.BEFORE, directory / folder.BEFORE
    if order.identity:
        yield from zip((CERTIFICATE, KEY), map(Path, order.identity), strict=True)


def pieces(path: Path) -> Iterator[bytes]:
    """Of a file, one at least."""
    with path.open("rb") as file:
        data = file.read(PIECE)
        yield data
        while data := file.read(PIECE):
            yield data


def stream(directory: str, attempt: int) -> Path:
    return Path(directory, f"stream.{attempt}.mp4")


class Departing:
    """On the node: what the child writes for an attempt, each byte once."""

    def __init__(self, order: Run) -> None:
        self._job = order.job
        self._directory = Path(order.directory)
        self._path = stream(order.directory, order.attempt)
        self._stream: BinaryIO | None = None
        self._shown = False  # whether the thumbnail is gone

    def grown(self) -> Iterator[Grown]:
        """What is new. Once it is open, the stream is read to its end though it has lost its name."""
        if self._stream is None and self._path.exists():
            self._stream = self._path.open("rb", buffering=0)
        if self._stream:
            while data := self._stream.read(PIECE):
                yield Grown(job=self._job, file="stream", data=data)
        if not self._shown and (self._directory / WHOLE["thumbnail"]).exists():
            self._shown = True
            yield from self._whole("thumbnail")

    def rest(self) -> Iterator[Grown]:
        """Everything else of a clip that is done."""
        yield from self.grown()
        for name in ("end", "manifest", "clip"):
            if (self._directory / WHOLE[name]).exists():
                yield from self._whole(name)

    def close(self) -> None:
        if self._stream:
            self._stream.close()

    def _whole(self, name: Name) -> Iterator[Grown]:
        path = self._directory / WHOLE[name]
        left = path.stat().st_size
        for data in pieces(path):
            left -= len(data)
            yield Grown(job=self._job, file=name, data=data, last=left <= 0)


class Arriving:
    """Here: what comes of an attempt, under names and within limits that the node has no say in."""

    def __init__(self, order: Run) -> None:
        self._directory = directory = Path(order.directory)
        small = {name: Room(directory, SMALL, order.spare) for name in WHOLE}
        most = None if order.most is None else order.most + MORE
        self._rooms: dict[Name, Room] = {
            **small,
            "stream": Room(directory, order.most, order.spare),
            "clip": Room(directory, most, order.spare),
        }
        self._stream = stream(order.directory, order.attempt)
        self._open: dict[Name, BinaryIO] = {}
        self._arrived: set[Name] = set()

    def take(self, grown: Grown) -> None:
        """Raises NoRoom and OSError, and Breach for more than there can be."""
        if grown.file in self._arrived:
            raise Breach(f"a second {grown.file} for one attempt")
        if grown.file not in self._open:
            self._open[grown.file] = self._part(grown.file).open("wb", buffering=0)
        self._rooms[grown.file].take(len(grown.data))
        rest = memoryview(grown.data)
        while rest:
            rest = rest[self._open[grown.file].write(rest) or 0 :]
        if grown.last and grown.file != "stream":
            self._open.pop(grown.file).close()
            self._arrived.add(grown.file)
            if grown.file != "clip":
                self._part(grown.file).replace(self._directory / WHOLE[grown.file])

    def publish(self) -> None:
        """The clip gets its name, synced. Raises OSError, and Breach where it has not come."""
        if "clip" not in self._arrived:
            raise Breach("an attempt is done, and its clip has not come")
        publish(self._part("clip"), self._directory / CLIP)
        self._close()

    def drop(self) -> None:
        """Nothing stays of an attempt that has failed."""
        self._close()
        for path in (self._stream, *map(self._part, WHOLE)):
            path.unlink(missing_ok=True)

    def _part(self, name: Name) -> Path:
        return self._stream if name == "stream" else self._directory / f"{WHOLE[name]}.part"

    def _close(self) -> None:
        for file in self._open.values():
            file.close()
