"""Where a board lies: in this process's memory, or in a directory that other processes of the host share.

Arrays are mapped; what is large and soon used, the results of calls and decoded frames, are files of their own. All of
it outlives whoever wrote it. Locks are held by open files, so that they go with a process, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from ..room import NoRoom, Room

SEATS = 64  # processes that may share a board: owners have even ones
NOBODY = -1
HEAD = 64  # bytes in front of the arrays, for whose board it is; a multiple of 8
SEAL = 8  # bytes


class UnfitError(Exception):
    """What lies there cannot be used; says why."""


class Sizes(NamedTuple):
    """`latents` (N, 4, h, w), how many calls there are, and how many batches are decoded."""

    latents: torch.Size
    dtype: torch.dtype
    calls: int
    batches: int


class Shelf:
    """The arrays of a board, and tensors kept by name: in memory, for this process alone."""

    latents: Tensor  # (2, N, 4, h, w): of each frame, by parity of its level
    sums: NDArray[np.int64]  # (2, N): their checksums
    levels: NDArray[np.int64]  # (N): how many steps a frame has taken
    done: NDArray[np.int64]  # (calls): 1 where it is
    decoded: NDArray[np.int64]  # (batches): 1 where frames are kept
    claims: NDArray[np.int64]  # (SEATS): the task that each has taken, or NOBODY
    shown: NDArray[np.int64]  # (1): batches that the owner is done with
    owner: NDArray[np.int64]  # (1): the seat of who shows them
    there = True  # as long as nobody has removed it

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.seat = 0
        self._tensors: dict[str, dict[str, Tensor]] = {}
        self._map(bytearray(self._size))

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        frames = self.sizes.latents[0]
        return {
            "sums": (2, frames),
            "levels": (frames,),
            "done": (self.sizes.calls,),
            "decoded": (self.sizes.batches,),
            "claims": (SEATS,),
            "shown": (1,),
            "owner": (1,),
        }

    @property
    def _size(self) -> int:
        numbers = sum(map(prod, self._shapes.values()))
        return HEAD + 8 * numbers + 2 * self.sizes.latents.numel() * self.sizes.dtype.itemsize

    def _map(self, buffer: bytearray | mmap.mmap) -> None:
        at = HEAD
        for name, shape in self._shapes.items():
            setattr(self, name, np.frombuffer(buffer, np.int64, prod(shape), at).reshape(shape))
            at += 8 * prod(shape)
        self.latents = torch.frombuffer(buffer, dtype=self.sizes.dtype, offset=at).view(2, *self.sizes.latents)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes anything meanwhile."""
        yield

    def present(self, seat: int) -> bool:
        """Whether whoever has, or had, this seat is still there."""
        return seat == self.seat

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        """All at once, or not at all. Raises OSError."""
        self._tensors[name] = tensors

    def kept(self, name: str) -> dict[str, Tensor]:
        """Raises UnfitError if they are not there, or damaged."""
        if name not in self._tensors:
            raise UnfitError(f"{name} is missing")
        return self._tensors[name]

    def drop(self, name: str) -> None:
        self._tensors.pop(name, None)

    def close(self) -> None:
        """Leave, and leave all as it is."""


class Directory(Shelf):
    """The same in a directory, made anew unless it holds a board of `identity`; then `unfit` is None, else says why.

    Raises OSError; NoRoom if it does not fit into `room`; without room, UnfitError if there is none to join.
    """

    def __init__(self, sizes: Sizes, path: Path, identity: str, *, room: Room | None = None) -> None:
        self.sizes, self.path, self._room = sizes, path, room
        self._seal = blake2b(f"{sizes} {identity}".encode(), digest_size=SEAL).digest()
        self._files = contextlib.ExitStack()
        self.unfit = self._enter()
        if self.unfit is None:
            self._map_file()
        elif room is None:
            self.close()
            raise UnfitError(self.unfit or "there is none")
        else:
            self.renew()

    def renew(self) -> None:
        """Begin anew, in files of its own: whoever has the old ones mapped can do no harm with them."""
        self.close()
        self.remove()
        self._enter()
        try:
            assert self._room is not None
            self._room.fit(self._size)
            # Writing to a map of a file with holes would end the process where the disk is full.
            os.posix_fallocate(self._board.fileno(), 0, self._size)
            self._map_file()
        except (OSError, NoRoom):
            self.close()
            self.remove()
            raise

    def begun(self) -> None:
        """What is in it now can be gone on with."""
        os.pwrite(self._board.fileno(), self._seal, 0)

    def _enter(self) -> str | None:
        """Take a seat. Returns why the board there cannot be used; empty where there is none."""
        if self._room is not None:  # who joins makes nothing: the clip may be there by now, or its job be gone
            self.path.mkdir(exist_ok=True)
        self._lock, self._board = self._file("lock"), self._file("board")
        # Who joins never has a seat that an owner had: it would be taken for that one, by itself and by the next owner.
        seats = range(0 if self._room is not None else 1, SEATS, 2)
        self.seat = next((seat for seat in seats if _locks(self._file(f"seat.{seat}"), fcntl.LOCK_EX)), SEATS)
        if self.seat == SEATS:
            raise BlockingIOError(f"{SEATS} processes share {self.path} already")
        size, found = os.fstat(self._board.fileno()).st_size, os.pread(self._board.fileno(), SEAL, 0)
        if not any(found):
            return ""
        if size != self._size or found != self._seal:
            return "it is of another clip, or of other models, devices or versions"
        return None

    @property
    def there(self) -> bool:  # type: ignore[override]
        return os.fstat(self._board.fileno()).st_nlink > 0

    def _file(self, name: str) -> BinaryIO:
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._files.enter_context(os.fdopen(descriptor, "r+b", buffering=0))

    def _map_file(self) -> None:
        self._map(mmap.mmap(self._board.fileno(), self._size))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def present(self, seat: int) -> bool:
        if seat == self.seat:
            return True
        try:
            with (self.path / f"seat.{seat}").open("rb") as file:
                return not _locks(file, fcntl.LOCK_SH)  # many may look at once, and are not who they look for
        except FileNotFoundError:
            return False

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        data = safetensors.torch.save(tensors)
        part = self.path / f"part.{self.seat}"
        part.write_bytes(_sealed(data) + data)
        part.replace(self.path / name)

    def lend(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep what need not be there. Raises OSError, and NoRoom if it would take room that others are to have."""
        assert self._room is not None
        self._room.fit(sum(each.nbytes for each in tensors.values()))
        self.keep(name, tensors)

    def kept(self, name: str) -> dict[str, Tensor]:
        return read(self.path / name)

    def drop(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Of all that is kept."""
        return [path.name for path in self.path.iterdir() if path.name.startswith(("call.", "frames."))]

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        self._files.close()


def read(path: Path) -> dict[str, Tensor]:
    """What a board keeps there. Raises UnfitError."""
    try:
        data = path.read_bytes()
        if data[:SEAL] != _sealed(data[SEAL:]):
            raise UnfitError(f"{path.name} is damaged")
        return safetensors.torch.load(data[SEAL:])
    except (OSError, SafetensorError) as error:
        raise UnfitError(f"{path.name} cannot be read: {error}") from None


def checksum(data: bytes | memoryview) -> int:
    """64 bits against damage, faster than a digest: other words have another one, and so have words elsewhere."""
    words = np.frombuffer(data, np.int64, len(data) // 8)
    return (int(np.dot(words, _odd(len(words)))) + 1) % (1 << 63)


@lru_cache(maxsize=64)
def _odd(count: int) -> NDArray[np.int64]:
    return np.arange(1, 2 * count, 2)


def _sealed(data: bytes) -> bytes:
    return (checksum(data) + checksum(data[-8:])).to_bytes(SEAL)


def _locks(file: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
