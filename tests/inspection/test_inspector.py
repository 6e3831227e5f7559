from __future__ import annotations

import asyncio
import hashlib
import os
import select
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from echod.config import Settings, load
from echod.errors import EchodError
from echod.inspection.inspector import Inspector
from echod.inspection.messages import Inspected, Kind, Want
from tests.making.media import EXAMPLES, write_picture, write_wav

pytestmark = pytest.mark.asyncio(loop_scope="module")

PORTRAIT = EXAMPLES / "portrait.png"


def make_inspector(timeout: float = 60.0, memory: int = 3 * 2**29) -> Inspector:
    flags = {"inspect_timeout": timeout, "inspect_memory": memory, "max_seconds": 60.0}
    return Inspector(Settings(load(flags, {}, [])))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inspector() -> AsyncIterator[Inspector]:
    inspector = make_inspector()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DASHSCOPE_API_KEY", "a secret")
        yield inspector
    await inspector.close()


def child_of(inspector: Inspector, kind: Kind = "portrait") -> int:
    [pid] = inspector.pids(kind)
    return pid


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def killed(pid: int) -> None:
    """Kill it, and return when it is dead."""
    descriptor = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(select.select, [descriptor], [], [])
    os.close(descriptor)


def assert_gone(pid: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def begin_endless(
    inspector: Inspector, into: Path, want: Want = "portrait", account: str = ""
) -> asyncio.Task[object]:
    """Inspect a pipe that nobody writes to; returns once the child has opened it."""
    pipe = into / "pipe"
    os.mkfifo(pipe)
    task: asyncio.Task[object] = asyncio.create_task(inspector.inspect(pipe, into, want, account=account))
    # Opening the other end succeeds only when the child reads. The descriptor stays open: no end of file.
    opened = asyncio.create_task(asyncio.to_thread(os.open, pipe, os.O_WRONLY))
    await asyncio.wait([opened])
    task.add_done_callback(lambda _: os.close(opened.result()))
    return task


async def refusal(task: asyncio.Task[object]) -> EchodError:
    with pytest.raises(EchodError) as caught:
        await task
    return caught.value


async def test_a_portrait(inspector: Inspector, tmp_path: Path) -> None:
    """A picture with a face is written as PNG, and its size, faces, box and hash are told."""
    found = await inspector.inspect(PORTRAIT, tmp_path, "portrait")
    assert found.kind == "portrait"
    assert found.portrait is not None
    assert found.portrait.sha256 == hashlib.sha256(PORTRAIT.read_bytes()).hexdigest()
    with Image.open(found.prepared) as written, Image.open(PORTRAIT) as given:
        assert found.prepared == tmp_path / "portrait.png"
        assert (found.portrait.width, found.portrait.height) == written.size
        np.testing.assert_array_equal(np.asarray(written), np.asarray(given.convert("RGB")))
    assert found.portrait.faces == 1
    assert found.portrait.box is not None
    x0, y0, x1, y1 = found.portrait.box
    assert 0 < x0 < x1 < found.portrait.width
    assert 0 < y0 < y1 < found.portrait.height


async def test_several_faces(inspector: Inspector, tmp_path: Path) -> None:
    """All faces are counted and the largest one's box is told, at full size, of a picture larger than is looked at."""
    with Image.open(PORTRAIT) as given:
        portrait = given.convert("RGB").resize((1200, 1200))
    picture = Image.new("RGB", (2000, 1200), "grey")
    picture.paste(portrait.resize((700, 700)), (0, 0))
    picture.paste(portrait, (800, 0))
    picture.save(tmp_path / "two.png")
    found = await inspector.inspect(tmp_path / "two.png", tmp_path, "any")
    assert found.portrait is not None
    assert found.portrait.box is not None
    assert found.portrait.faces == 2
    assert found.portrait.box[0] > 800


async def test_machine_that_stood_still(inspector: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour in which nothing ran is not the file's: the child that had it goes on."""
    await inspector.start()
    child, loop = child_of(inspector), asyncio.get_running_loop()
    os.kill(child, signal.SIGSTOP)
    task = asyncio.create_task(inspector.inspect(PORTRAIT, tmp_path, "portrait"))
    now = loop.time
    try:
        for _ in range(10):  # until it waits
            await asyncio.sleep(0)
        monkeypatch.setattr(loop, "time", lambda: now() + 3600.0)
        for _ in range(10):  # until what is due has been done
            await asyncio.sleep(0)
    finally:
        os.kill(child, signal.SIGCONT)
    assert (await task).kind == "portrait"
    assert child_of(inspector) == child


async def test_a_recording(inspector: Inspector, tmp_path: Path) -> None:
    """A recording is written as FLAC, and its length, rate, channels and hash are told."""
    source = write_wav(tmp_path / "given.wav", seconds=0.5, rate=22050)
    found = await inspector.inspect(source, tmp_path, "any")
    assert found.kind == "speech"
    assert found.prepared == tmp_path / "speech.flac"
    assert found.prepared.read_bytes()[:4] == b"fLaC"
    assert found.speech is not None
    assert (found.speech.seconds, found.speech.rate, found.speech.channels) == (0.5, 22050, 1)
    assert found.speech.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (19, 19), (1, 5000), (5000, 40), (64, 48)])
async def test_no_face(inspector: Inspector, tmp_path: Path, width: int, height: int) -> None:
    """A picture without a face is refused whatever its shape, and its size is named."""
    write_picture(tmp_path / "given.png", width, height)
    with pytest.raises(EchodError, match=f"{width} x {height}") as caught:
        await inspector.inspect(tmp_path / "given.png", tmp_path, "portrait")
    assert caught.value.code == "no_face_detected"
    assert names(tmp_path) == ["given.png"]


async def test_speech_for_a_portrait_and_the_other_way_round(inspector: Inspector, tmp_path: Path) -> None:
    """Swapped inputs are told from unreadable ones."""
    speech = write_wav(tmp_path / "given.png")
    with pytest.raises(EchodError, match="is a recording; a portrait must be a picture") as caught:
        await inspector.inspect(speech, tmp_path, "portrait")
    assert caught.value.code == "unsupported_media"
    with pytest.raises(EchodError, match="is a picture; speech must be a recording") as caught:
        await inspector.inspect(PORTRAIT, tmp_path, "speech")
    assert caught.value.code == "unsupported_media"
    assert names(tmp_path) == ["given.png"]


async def test_the_child_holds_no_secrets(inspector: Inspector) -> None:
    """Keys in the daemon's environment do not reach the processes that decode what strangers send."""
    await inspector.start()
    for pid in (*inspector.pids("portrait"), *inspector.pids("speech")):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"PATH=" in environment
        assert b"DASHSCOPE" not in environment


async def test_a_death_while_idle_costs_no_file(inspector: Inspector, tmp_path: Path) -> None:
    """A child that died between two files is replaced without anybody noticing."""
    await inspector.start()
    before = child_of(inspector, "speech")
    os.kill(before, signal.SIGKILL)
    found = await inspector.inspect(write_wav(tmp_path / "given.wav"), tmp_path, "speech")
    assert found.kind == "speech"
    assert_gone(before)


async def test_a_killing_file_is_refused_and_those_behind_it_are_not(inspector: Inspector, tmp_path: Path) -> None:
    """The file that the child dies on is refused; files that waited behind it are inspected by the next child."""
    doomed = await begin_endless(inspector, tmp_path, "speech")
    waiting = [
        asyncio.create_task(inspector.inspect(write_wav(tmp_path / f"{n}.wav"), tmp_path, "speech")) for n in range(3)
    ]
    before = child_of(inspector, "speech")
    os.kill(before, signal.SIGSEGV)
    error = await refusal(doomed)
    assert (error.code, "broke down over the file (SIGSEGV)" in error.message) == ("speech_unreadable", True)
    assert [found.kind for found in await asyncio.gather(*waiting)] == ["speech"] * 3
    assert_gone(before)


async def test_a_child_that_somebody_kills(inspector: Inspector, tmp_path: Path) -> None:
    """A file is not to blame for a SIGKILL: it is tried again, and after a second one told what is known."""
    task = await begin_endless(inspector, tmp_path, "speech")
    await killed(child_of(inspector, "speech"))
    again = await asyncio.to_thread(os.open, tmp_path / "pipe", os.O_WRONLY)  # once the next child has it
    await killed(child_of(inspector, "speech"))
    error = await refusal(task)
    os.close(again)
    assert (error.code, "was killed twice" in error.message) == ("internal", True)
    assert names(tmp_path) == ["pipe"]


async def test_a_kill_costs_no_good_file(inspector: Inspector, tmp_path: Path) -> None:
    """A file whose child was killed by somebody is inspected by the next one."""
    source = write_wav(tmp_path / "given.wav")
    task = await begin_endless(inspector, tmp_path, "speech")
    (tmp_path / "pipe").unlink()
    source.rename(tmp_path / "pipe")
    await killed(child_of(inspector, "speech"))
    assert isinstance(found := await task, Inspected)
    assert found.kind == "speech"


async def test_another_account_never_waits(tmp_path: Path) -> None:
    """While one account's portrait and recording go on for ever and more wait, another's are inspected."""
    inspector = make_inspector()
    await inspector.start(shared=True)
    for name in ("portrait", "speech", "other"):
        (tmp_path / name).mkdir()
    kinds: list[Kind] = ["portrait", "speech"]
    endless = [await begin_endless(inspector, tmp_path / kind, kind, "ann") for kind in kinds]
    for kind in kinds:
        endless += [
            asyncio.create_task(inspector.inspect(tmp_path / "nowhere", tmp_path, kind, account="ann"))
            for _ in range(12)
        ]
    speech = write_wav(tmp_path / "given.wav")
    before = {kind: inspector.pids(kind) for kind in kinds}
    found = [
        await inspector.inspect(file, tmp_path / "other", "any", account="bob") for file in (PORTRAIT, speech, PORTRAIT)
    ]
    assert [each.kind for each in found] == ["portrait", "speech", "portrait"]
    assert not any(task.done() for task in endless)
    assert {kind: inspector.pids(kind) for kind in kinds} == before
    await inspector.close()
    errors = [await refusal(task) for task in endless]
    assert {error.code for error in errors} == {"draining"}


async def test_cancelling_ends_the_child_first(inspector: Inspector, tmp_path: Path) -> None:
    """When a cancelled inspection returns nobody writes into its directory any more; the next file is inspected."""
    task = await begin_endless(inspector, tmp_path)
    before = child_of(inspector)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_gone(before)
    assert (await inspector.inspect(write_wav(tmp_path / "given.wav"), tmp_path, "speech")).kind == "speech"


async def test_a_file_that_takes_too_long(tmp_path: Path) -> None:
    """A file that outlasts the time limit is refused with the limit's name, and its child is ended."""
    inspector = make_inspector(timeout=0.2)
    task = await begin_endless(inspector, tmp_path, "speech")
    before = child_of(inspector, "speech")
    error = await refusal(task)
    assert (error.code, "0.2 s (setting inspect_timeout)" in error.message) == ("speech_unreadable", True)
    assert_gone(before)
    await inspector.close()


@pytest.mark.long
async def test_a_stopped_child_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that hangs before it begins a file is not held against the file."""
    monkeypatch.setattr("echod.inspection.child.BEGIN_TIMEOUT", 3.0)
    inspector = make_inspector()
    await inspector.start()
    before = child_of(inspector, "speech")
    os.kill(before, signal.SIGSTOP)
    assert (await inspector.inspect(write_wav(tmp_path / "given.wav"), tmp_path, "speech")).kind == "speech"
    assert_gone(before)
    await inspector.close()


@pytest.mark.parametrize(("side", "memory"), [pytest.param(7000, 2**26, marks=pytest.mark.long), (1000, 2**24)])
async def test_a_file_that_takes_too_much_memory(tmp_path: Path, side: int, memory: int) -> None:
    """A picture that cannot be decoded, or looked at, within the memory limit is refused with the limit's name."""
    inspector = make_inspector(memory=memory)
    with Image.open(PORTRAIT) as portrait:
        portrait.resize((side, side)).save(tmp_path / "given.png", compress_level=1)
    with pytest.raises(EchodError) as caught:
        await inspector.inspect(tmp_path / "given.png", tmp_path, "portrait")
    assert (caught.value.code, "inspect_memory" in caught.value.message) == ("portrait_unreadable", True)
    assert (await inspector.inspect(write_wav(tmp_path / "given.wav"), tmp_path, "speech")).kind == "speech"
    await inspector.close()


@pytest.mark.parametrize("name", ["portrait.png", "speech.flac"])
async def test_a_full_disk(inspector: Inspector, tmp_path: Path, name: str) -> None:
    """When what workers read cannot be written the disk is blamed, not the file."""
    source = PORTRAIT if name == "portrait.png" else write_wav(tmp_path / "given.wav", seconds=5.0)
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / name).symlink_to("/dev/full")
    with pytest.raises(EchodError) as caught:
        await inspector.inspect(source, tmp_path / "into", "any")
    assert caught.value.code == "disk_full"
    assert names(tmp_path / "into") == []


@pytest.mark.parametrize("kind", ["portrait", "speech"])
@pytest.mark.parametrize("code", ["quota_exceeded", "disk_full"])
async def test_no_room_for_what_is_made_of_it(inspector: Inspector, tmp_path: Path, kind: Kind, code: str) -> None:
    """What workers read is never larger than allowed, nor written into the last of the disk; nothing of it is left."""
    source = PORTRAIT if kind == "portrait" else write_wav(tmp_path / "given.wav", seconds=5.0)
    (tmp_path / "into").mkdir()
    most = 20_000 if code == "quota_exceeded" else None
    spare = shutil.disk_usage(tmp_path).total if code == "disk_full" else 0
    with pytest.raises(EchodError) as caught:
        await inspector.inspect(source, tmp_path / "into", kind, allowance=lambda account: (most, spare))
    words = "disk_per_account" if most else "min_free"
    assert (caught.value.code, words in caught.value.message) == (code, True)
    assert names(tmp_path / "into") == []
    found = await inspector.inspect(source, tmp_path / "into", kind, allowance=lambda account: (10_000_000, 0))
    size = found.prepared.stat().st_size
    await inspector.inspect(source, tmp_path / "into", kind, allowance=lambda account: (size, 0))


async def test_closing_ends_everything(tmp_path: Path) -> None:
    """Closing ends the child while it works; that file and any later one are told that the daemon stops."""
    inspector = make_inspector()
    task = await begin_endless(inspector, tmp_path)
    before = child_of(inspector)
    await inspector.close()
    assert (await refusal(task)).code == "draining"
    assert_gone(before)
    with pytest.raises(EchodError) as caught:
        await inspector.inspect(write_wav(tmp_path / "given.wav"), tmp_path, "speech")
    assert caught.value.code == "draining"
    assert inspector.pids("portrait") == inspector.pids("speech") == []


async def test_closing_while_the_child_starts() -> None:
    """A child that is just being started is ended as well."""
    inspector = make_inspector()
    starting = asyncio.create_task(inspector.start())
    while not inspector.pids("portrait"):  # noqa: ASYNC110  (there is no event for it)
        await asyncio.sleep(0)
    before = child_of(inspector)
    await inspector.close()
    with pytest.raises(EchodError) as caught:
        await starting
    assert caught.value.code == "draining"
    assert_gone(before)


async def test_a_child_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation is the daemon's fault, not the file's."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    inspector = make_inspector()
    with pytest.raises(EchodError, match="does not start") as caught:
        await inspector.inspect(PORTRAIT, tmp_path, "portrait")
    assert caught.value.code == "internal"
    await inspector.close()


async def test_the_child_dies_with_its_daemon(tmp_path: Path) -> None:
    """A daemon killed in the middle of an inspection leaves no child behind."""
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from echod.config import Settings, load\n"
        "from echod.inspection.inspector import Inspector\n"
        "async def main():\n"
        "    inspector = Inspector(Settings(load({}, {}, [])))\n"
        "    await inspector.start()\n"
        "    print(inspector.pids('portrait')[0], flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert daemon.stdout
    child = os.pidfd_open(int(await daemon.stdout.readline()))
    daemon.kill()
    await daemon.wait()
    readable = asyncio.Event()
    asyncio.get_running_loop().add_reader(child, readable.set)
    await readable.wait()  # the test's own timeout is the limit
    asyncio.get_running_loop().remove_reader(child)
    os.close(child)
