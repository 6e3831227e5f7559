"""The state of a clip in the making: what every frame's latents are, and which window calls are done.

Several processes of a host may share it, and whoever is killed costs the call that it was in, no more. A frame has two
slots for latents, by parity of its level, the steps it has taken: the next latents are written beside those that hold,
then the level moves on, and only when all windows are done in which the frame is does it move again. So whatever is cut
off can be done once more. Means and steps of the scheduler are computed here, on the CPU and in one order, so that it
is all one who computed what, and when.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import contract
from ..room import NoRoom
from .shelf import NOBODY, Directory, Shelf, Sizes, UnfitError, checksum
from .windows import Agenda, Call, Plan, wavefront

GRID = 4  # frames decoded together, counted from the first: in other batches their pixels would differ in the last bit
AHEAD = 16  # batches decoded before they are wanted, at most

# level, n frames, their mean velocities, their latents -> latents; (n, 4, h, w), fp32
Step = Callable[[int, list[int], Tensor, Tensor], Tensor]

Order = Callable[[Plan], Iterator[Call]]

log = logging.getLogger("echod.board")


class Batch(NamedTuple):
    """Frames GRID * number and on, to be decoded."""

    number: int


class Board:
    """What has become of a plan, of which `wanted` frames are shown. `resumed` calls were done when it was opened."""

    def __init__(
        self, plan: Plan, wanted: int, shelf: Shelf, step: Step, order: Order = wavefront, *, joined: bool = False
    ) -> None:
        self.plan, self.wanted, self.shelf = plan, wanted, shelf
        self.resumed = 0
        self._step, self._joined = step, joined
        self._agenda = Agenda(plan, order)
        self._left: Shelf | None = None  # whose lock is still held when it is left
        self._results: dict[Call, dict[str, Tensor]] = {}  # by this process, as far as others wait for them

    @classmethod
    def begin(
        cls,
        plan: Plan,
        latents: Tensor,
        wanted: int,
        step: Step,
        place: contract.Board | None = None,
        identity: str = "",
        order: Order = wavefront,
    ) -> Self:
        """At `place`, going on with what is there if it is sound and of `identity`; without one, or room, in memory."""
        sizes = Sizes(latents.shape, latents.dtype, plan.calls, -(-wanted // GRID))
        if place is not None:
            try:
                shelf = Directory(sizes, place.directory, f"{plan} {identity}", room=place.room)
                board = cls(plan, wanted, shelf, step, order)
                board._go_on_or_begin(latents)
                return board
            except (OSError, NoRoom) as error:
                log.warning("a clip goes on without a board that would outlive its worker: %s", error)
        board = cls(plan, wanted, Shelf(sizes), step, order)
        board._begin(latents)
        return board

    @classmethod
    def join(
        cls, plan: Plan, size: torch.Size, dtype: torch.dtype, wanted: int, step: Step, directory: Path, identity: str
    ) -> Self:
        """One that another process owns. Raises OSError, and UnfitError if that is not of `identity`, or gone."""
        shelf = Directory(Sizes(size, dtype, plan.calls, -(-wanted // GRID)), directory, f"{plan} {identity}")
        return cls(plan, wanted, shelf, step, joined=True)

    @property
    def attended(self) -> bool:
        """Whether somebody still shows what is computed here."""
        return not self.complete and self.shelf.there and self.shelf.present(int(self.shelf.owner[0]))

    def _go_on_or_begin(self, latents: Tensor) -> None:
        shelf = self.shelf
        assert isinstance(shelf, Directory)
        with shelf.locked():
            why = shelf.unfit
            if why is None and shelf.present(int(shelf.owner[0])) and shelf.owner[0] != shelf.seat:
                raise BlockingIOError("somebody else makes this clip")
            if why is None:
                try:
                    self._check()
                except UnfitError as error:
                    why = str(error)
                    shelf.renew()
        if why:
            log.warning("the clip begins anew; what was left of it is of no use: %s", why)
        if why is not None:
            self._begin(latents)
            shelf.begun()

    def _begin(self, latents: Tensor) -> None:
        self.shelf.latents[0] = latents
        self.shelf.claims[:] = NOBODY
        self.shelf.owner[0] = self.shelf.seat
        self.shelf.sums[0] = _sums(latents, 0)

    def _check(self) -> None:
        """Raises UnfitError for latents that are not what was written. Results that are not are computed again."""
        levels = self.shelf.levels
        if levels.min() < 0 or levels.max() > self.plan.steps:
            raise UnfitError("its levels are damaged")
        for frame, level in enumerate(levels.tolist()):
            if self.shelf.sums[level % 2, frame] != _sums(self.shelf.latents[level % 2, frame, None], level)[0]:
                raise UnfitError(f"the latents of frame {frame} are damaged")
        for call in wavefront(self.plan):
            if self._done(call) and self._waiting(call):
                try:
                    self.shelf.kept(_name(call))
                except UnfitError as error:
                    log.warning("a window is computed again: %s", error)
                    self.shelf.done[self._number(call)] = 0
        self.shelf.shown[0] = 0  # what was shown went with whoever showed it
        self.shelf.decoded[:] = 0
        self.shelf.owner[0] = self.shelf.seat
        self.resumed = self.calls_done
        log.info("the clip goes on where it was: %d of %d windows are done", self.resumed, self.plan.calls)

    # What there is to do

    @property
    def calls_done(self) -> int:
        return int(self.shelf.done.sum())

    @property
    def ready(self) -> Call | Batch | None:
        """What would be taken now; None: others are at all that can be done."""
        taken = self._taken()
        return next((task for task in self._possible() if self._number(task) not in taken), None)

    def take(self) -> Call | Batch | None:
        """The next thing to do, which is the caller's until it is given back or the caller is gone."""
        with self.shelf.locked():
            task = self.ready
            self.shelf.claims[self.shelf.seat] = NOBODY if task is None else self._number(task)
        return task

    def _possible(self) -> Iterator[Call | Batch]:
        shown = int(self.shelf.shown[0])
        for number in range(shown, min(shown + AHEAD, len(self.shelf.decoded))):
            if not self.shelf.decoded[number] and self._final(number):
                yield Batch(number)
        yield from self._agenda.ready(self.shelf.done)

    def _taken(self) -> set[int]:
        """What others are at, those who are still there."""
        claims = enumerate(self.shelf.claims.tolist())
        return {n for seat, n in claims if n != NOBODY and seat != self.shelf.seat and self.shelf.present(seat)}

    def _number(self, task: Call | Batch) -> int:
        if isinstance(task, Batch):
            return self.plan.calls + task.number
        return self.plan.number(task)

    def _done(self, call: Call) -> bool:
        return bool(self.shelf.done[self._number(call)])

    # Window calls

    def given(self, call: Call) -> Tensor:
        """The latents of a call that was taken, (F, 4, h, w)."""
        return self.shelf.latents[call[0] % 2, self.plan.covered(call)]

    def add(self, call: Call, velocities: Tensor) -> None:
        """What the denoiser made of them, (F, 4, h, w) in fp32 on the CPU. Raises OSError where it cannot be kept."""
        found = {str(frame): velocity for frame, velocity in zip(self.plan.covered(call), velocities, strict=True)}
        with self.shelf.locked():
            if not self._done(call):  # by another, while the daemon took us for dead
                self._results[call] = found
                moved = self._move(call)
                waiting = {name: velocity for name, velocity in found.items() if int(name) not in moved}
                if waiting:
                    self._keep(_name(call), waiting)
                self.shelf.done[self._number(call)] = 1
                self._forget({call, *(other for frame in moved for other in self._agenda.covering(call[0], frame))})
            self.shelf.claims[self.shelf.seat] = NOBODY

    def _move(self, call: Call) -> set[int]:
        """Frames that waited for this call alone take their step. Returns all of the call's that have taken it."""
        step, covered = call[0], self.plan.covered(call)
        frames = [frame for frame in self._agenda.moved(call, self.shelf.done) if self.shelf.levels[frame] == step]
        if frames:
            old, new = step % 2, (step + 1) % 2
            means = torch.stack([self._mean(step, frame) for frame in frames])
            made = self._step(step, frames, means, self.shelf.latents[old, frames].float()).to(self.shelf.latents.dtype)
            self.shelf.latents[new, frames] = made
            self.shelf.sums[new, frames] = _sums(made, step + 1)
            self.shelf.levels[frames] = step + 1
        return {frame for frame in covered if self.shelf.levels[frame] > step}

    def _mean(self, step: int, frame: int) -> Tensor:
        first, *others = (self._result(call)[str(frame)] for call in self._agenda.covering(step, frame))
        return sum(others, first) / (1 + len(others)) if others else first

    def _result(self, call: Call) -> dict[str, Tensor]:
        if call not in self._results:
            self._results[call] = self.shelf.kept(_name(call))
        return self._results[call]

    def _waiting(self, call: Call) -> bool:
        return bool((self.shelf.levels[self.plan.covered(call)] <= call[0]).any())

    def _forget(self, calls: set[Call]) -> None:
        for call in calls:
            if self._done(call) and not self._waiting(call):
                self._results.pop(call, None)
                self.shelf.drop(_name(call))

    # Frames

    def _final(self, number: int) -> bool:
        frames = slice(number * GRID, min((number + 1) * GRID, self.wanted))
        return bool((self.shelf.levels[frames] == self.plan.steps).all())

    def final(self, batch: Batch) -> Tensor:
        """The latents of a batch, (GRID, 4, h, w): after the clip's last frame, that once more."""
        frames = [min(batch.number * GRID + i, self.wanted - 1) for i in range(GRID)]
        return self.shelf.latents[self.plan.steps % 2, frames]

    def ends(self, count: int) -> Tensor:
        """The latents of the last frames of a clip that is complete, so many, (count, 4, h, w)."""
        return self.shelf.latents[self.plan.steps % 2, self.wanted - count : self.wanted].clone()

    @property
    def frames_shown(self) -> int:
        return min(int(self.shelf.shown[0]) * GRID, self.wanted)

    @property
    def complete(self) -> bool:
        return self.frames_shown == self.wanted

    def next_to_show(self, batch: Batch) -> bool:
        return bool(batch.number == self.shelf.shown[0])

    def show(self) -> Tensor | None:
        """The next frames of the clip, (n, H, W, 3) uint8, if somebody has decoded them; only the owner shows."""
        number = int(self.shelf.shown[0])
        if not self.shelf.decoded[number]:
            return None
        try:
            frames = self.shelf.kept(f"frames.{number}")["frames"]
        except UnfitError as error:
            log.warning("frames are decoded again: %s", error)
            self.shelf.decoded[number] = 0
            return None
        self.shelf.drop(f"frames.{number}")
        self.pass_over(Batch(number))
        return frames[: self.wanted - number * GRID]

    def pass_over(self, batch: Batch) -> None:
        """The owner has shown this one."""
        with self.shelf.locked():
            self.shelf.decoded[batch.number] = 1
            self.shelf.shown[0] = batch.number + 1
            if self.shelf.claims[self.shelf.seat] == self._number(batch):
                self.shelf.claims[self.shelf.seat] = NOBODY

    def add_frames(self, batch: Batch, frames: Tensor) -> None:
        """What the decoder made of a batch, (GRID, H, W, 3) uint8."""
        with self.shelf.locked():
            self._keep(f"frames.{batch.number}", {"frames": frames})
            self.shelf.decoded[batch.number] = 1
            self.shelf.claims[self.shelf.seat] = NOBODY

    # Where it lies

    def _keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        try:
            self.shelf.keep(name, tensors)
        except OSError as error:
            if self._joined:
                raise
            self._leave(error)
            self.shelf.keep(name, tensors)

    def _leave(self, error: OSError) -> None:
        """Go on in memory, without whoever helped: they find that the directory is gone."""
        left, self.shelf = self.shelf, Shelf(self.shelf.sizes)
        assert isinstance(left, Directory)
        self._left = left
        log.warning("a clip goes on without its board, which cannot be written: %s", error)
        for name in ("latents", "sums", "levels", "done", "decoded", "claims", "shown", "owner"):
            getattr(self.shelf, name)[:] = getattr(left, name)
        for name in left.names():
            with contextlib.suppress(UnfitError):
                self.shelf.keep(name, left.kept(name))
        left.remove()

    def lend(self, name: str, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """Leave what others need so that they can help; without room for it they cannot."""
        if isinstance(self.shelf, Directory):
            try:
                self.shelf.lend(name, tensors())
            except (OSError, NoRoom) as error:
                log.warning("nobody can help with a clip: %s", error)

    def close(self) -> None:
        for shelf in filter(None, (self.shelf, self._left)):
            shelf.close()


def _name(call: Call) -> str:
    return f"call.{call[0]}.{call[1]}"


def _sums(latents: Tensor, level: int) -> NDArray[np.int64]:
    """Checksums of frames (n, 4, h, w): other latents, another level or none at all have another one."""
    return (
        np.array([checksum(each.numpy().data.cast("B")) for each in latents.contiguous().view(torch.uint8)], np.int64)
        + level
    )
