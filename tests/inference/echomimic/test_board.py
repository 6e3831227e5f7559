"""A clip in the making outlives whoever makes it, and may be made by many."""

from __future__ import annotations

import errno
import fcntl
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from echod.inference import contract
from echod.inference.echomimic.board import Batch, Board
from echod.inference.echomimic.shelf import Directory, Shelf
from echod.inference.echomimic.windows import Call, Plan
from echod.inference.room import Room

SIDES = (4, 2, 3)
PLAN = Plan(21, 3, 6, 2)


def noise(plan: Plan) -> Tensor:
    return torch.randn(plan.frames, *SIDES, generator=torch.Generator().manual_seed(3))


def step(level: int, frames: list[int], velocities: Tensor, latents: Tensor) -> Tensor:
    return latents * 0.9 + velocities * (level + 1)


def compute(call: Call, latents: Tensor) -> Tensor:
    """Each frame's velocity depends on all of the window."""
    return torch.sin(latents + latents.mean(0) * (1 + call[1]))


def opened(plan: Plan, directory: Path | None, identity: str = "these models") -> Board:
    place = None if directory is None else contract.Board(directory, Room(directory.parent))
    return Board.begin(plan, noise(plan), plan.frames, step, place, identity)


def work(board: Board, most: int = 10**6) -> int:
    """Do what there is to do, up to so many calls of the denoiser. Returns how many."""
    calls = 0
    while calls < most and (task := board.take()) is not None:
        if isinstance(task, Batch):
            board.add_frames(task, torch.full((4, 1, 1, 3), task.number, dtype=torch.uint8))
        else:
            calls += 1
            board.add(task, compute(task, board.given(task)))
        while not board.complete and board.show() is not None:
            pass
    return calls


def latents(board: Board) -> Tensor:
    assert (board.shelf.levels == board.plan.steps).all()
    return board.shelf.latents[board.plan.steps % 2].clone()


def plainly(plan: Plan) -> Tensor:
    """Step after step, each frame's velocities added up in the windows' order."""
    made = noise(plan)
    for level in range(plan.steps):
        sums, counts = torch.zeros_like(made), torch.zeros(plan.frames, 1, 1, 1)
        for window in range(plan.windows):
            frames = plan.covered((level, window))
            sums[frames] += compute((level, window), made[frames])
            counts[frames] += 1
        made = step(level, list(range(plan.frames)), sums / counts, made)
    return made


@pytest.mark.parametrize("plan", [PLAN, Plan(4, 2, 6, 2), Plan(1, 1), Plan(40, 4, 5, 3)], ids=str)
@pytest.mark.parametrize("shared", [False, True])
def test_equals_step_by_step(plan: Plan, shared: bool, tmp_path: Path) -> None:
    """In memory or in a directory: the numbers of one step after the other; nothing is kept in the end."""
    board = opened(plan, tmp_path / "board" if shared else None)
    assert work(board) == plan.calls
    assert board.complete
    assert torch.equal(latents(board), plainly(plan))
    if isinstance(board.shelf, Directory):
        assert board.shelf.names() == []
    board.close()


@pytest.mark.parametrize("done", range(0, PLAN.calls + 1, 2))
def test_goes_on_after_a_death(done: int, tmp_path: Path) -> None:
    """Whoever comes next computes what is left, no more, and makes the same clip."""
    first = opened(PLAN, tmp_path)
    assert work(first, done) == done
    if task := first.take():  # taken, and never given back
        assert task
    first.close()
    second = opened(PLAN, tmp_path)
    assert second.resumed == done
    assert work(second) == PLAN.calls - done
    assert torch.equal(latents(second), plainly(PLAN))
    second.close()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    """Latents of any dtype lie there, of which numpy need know nothing: who comes next makes the same of them."""

    def begun(name: str) -> Board:
        place = contract.Board(tmp_path / name, Room(tmp_path))
        return Board.begin(PLAN, noise(PLAN).to(dtype), PLAN.frames, step, place, f"in {dtype}")

    first, whole = begun("first"), begun("whole")
    assert work(first, PLAN.calls // 2) == PLAN.calls // 2
    first.close()
    second = begun("first")
    assert (second.resumed, work(second)) == (PLAN.calls // 2, PLAN.calls - PLAN.calls // 2)
    assert work(whole) == PLAN.calls
    assert torch.equal(latents(second), latents(whole)) and latents(second).dtype == dtype
    for board in (second, whole):
        board.close()


class Killed(BaseException):
    pass


@contextmanager
def killed_at(point: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process ends at the so-many-th time that something is about to be written."""
    left = point

    def dying(_: object, *args: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    real_keep, real_drop = Directory.keep, Directory.drop

    def keep(self: Directory, name: str, tensors: dict[str, Tensor]) -> None:
        dying(self)
        real_keep(self, name, tensors)

    def drop(self: Directory, name: str) -> None:
        dying(self)
        real_drop(self, name)

    def counted(level: int, frames: list[int], velocities: Tensor, latents: Tensor) -> Tensor:
        dying(None)
        return step(level, frames, velocities, latents)

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "keep", keep)
        patch.setattr(Directory, "drop", drop)
        patch.setitem(globals(), "step", counted)
        yield


@pytest.mark.parametrize("point", range(0, 60, 3))
def test_killed_while_it_writes(point: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the writing of a call's results is cut off, that call is computed again, and no other."""
    first = opened(PLAN, tmp_path)
    expected = plainly(PLAN)
    with killed_at(point, monkeypatch):
        first._step = globals()["step"]
        with pytest.raises(Killed):
            work(first)
    first.close()
    second = opened(PLAN, tmp_path)
    assert second.resumed + work(second) == PLAN.calls
    assert torch.equal(latents(second), expected)
    second.close()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), workers=st.integers(2, 4))
def test_many_hands(seed: int, workers: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever computes what, in whatever order they end, with deaths and newcomers in between: the same clip."""
    chance, directory = random.Random(seed), tmp_path_factory.mktemp("board")
    crew = [opened(PLAN, directory), *(joined(directory) for _ in range(workers - 1))]
    at: dict[int, Call | Batch] = {}
    for _ in range(20 * PLAN.calls):
        if (crew[0].shelf.levels == PLAN.steps).all():
            break
        who = chance.randrange(workers)
        if who not in at:
            if (task := crew[who].take()) is not None:
                assert task not in at.values()
                at[who] = task
            continue
        if chance.random() < 0.1:  # killed; another comes
            crew[who].close()
            crew[who] = joined(directory) if who else opened(PLAN, directory)
            del at[who]
            continue
        task = at.pop(who)
        if isinstance(task, Batch):
            crew[who].add_frames(task, torch.zeros(4, 1, 1, 3, dtype=torch.uint8))
        else:
            crew[who].add(task, compute(task, crew[who].given(task)))
    assert torch.equal(latents(crew[0]), plainly(PLAN))
    for board in crew:
        board.close()


def joined(directory: Path) -> Board:
    return Board.join(PLAN, noise(PLAN).shape, torch.float32, PLAN.frames, step, directory, "these models")


def test_who_joins_makes_nothing(tmp_path: Path) -> None:
    """The clip may be there by the time that a helper comes, or its job may have been deleted."""
    with pytest.raises(OSError):
        joined(tmp_path / "board")
    assert list(tmp_path.iterdir()) == []
    owner = opened(PLAN, tmp_path / "board")
    helper = joined(tmp_path / "board")
    before = helper.attended
    shutil.rmtree(tmp_path / "board")
    assert (before, helper.attended) == (True, False)
    helper.close()
    owner.close()


def test_who_joins_too_late(tmp_path: Path) -> None:
    """Whoever comes after the owner's death helps nobody, and neither that nor looking keeps the next from going on."""
    first = opened(PLAN, tmp_path)
    work(first, 3)
    first.close()
    late = joined(tmp_path)
    before = late.attended
    with (tmp_path / "seat.0").open("rb") as seat:
        fcntl.flock(seat, fcntl.LOCK_SH)  # as whoever looks has it for a moment
        second = opened(PLAN, tmp_path)
        assert second.resumed == 3
    assert (before, late.attended) == (False, True)
    late.close()
    second.close()


def scratch(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("damage", ["short", "latents", "identity", "gone"])
def test_what_is_of_no_use(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A board that is damaged, or of something else, is not gone on with; the log says so."""
    first = opened(PLAN, tmp_path)
    work(first, 9)
    first.close()
    file, identity = tmp_path / "board", "these models"
    if damage == "short":
        file.write_bytes(file.read_bytes()[:-64])
    elif damage == "latents":
        scratch(file, 64 + 17)
        scratch(file, 64 + 21 * 4 * 2 * 3 * 4 + 17)
    elif damage == "identity":
        identity = "other models"
    else:
        file.unlink()
    second = opened(PLAN, tmp_path, identity)
    assert (second.resumed, work(second)) == (0, PLAN.calls)
    assert torch.equal(latents(second), plainly(PLAN))
    assert ("begins anew" in caplog.text) == (damage != "gone")
    second.close()


def test_a_damaged_result_is_computed_again(tmp_path: Path) -> None:
    first = opened(PLAN, tmp_path)
    work(first, 9)
    assert isinstance(first.shelf, Directory)
    kept = first.shelf.names()[0]
    first.close()
    scratch(tmp_path / kept, 100)
    second = opened(PLAN, tmp_path)
    assert second.resumed == 8
    assert work(second) == PLAN.calls - 8
    assert torch.equal(latents(second), plainly(PLAN))
    second.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The clip goes on in memory, and the log says why; nothing is left on the disk."""
    board, real, left = opened(PLAN, tmp_path / "board"), Directory.keep, 5

    def keep(self: Directory, name: str, tensors: dict[str, Tensor]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(code, "as told")
        real(self, name, tensors)

    monkeypatch.setattr(Directory, "keep", keep)
    assert work(board) == PLAN.calls
    assert torch.equal(latents(board), plainly(PLAN))
    assert type(board.shelf) is Shelf
    assert not (tmp_path / "board").exists()
    assert "goes on without its board" in caplog.text
    board.close()


def test_no_room_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with holes would end the process when it is written to; where there is no room there is no file."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "as told")

    monkeypatch.setattr("os.posix_fallocate", full)
    board = opened(PLAN, tmp_path / "board")
    work(board)
    assert torch.equal(latents(board), plainly(PLAN))
    assert not (tmp_path / "board").exists()
    board.close()
