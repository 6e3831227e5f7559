"""The disk under the state directory fills up, and gets room again; what lies on it is not what it should be."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.drivers.command import run_echod
from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES, write_wav

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

DISK = 64 << 20  # bytes
NO_CHECK: dict[str, Any] = {"ECHOD_MIN_FREE": "1"}  # so that the disk itself says no, and not the check before


class SmallDisk:
    """A tmpfs with a state directory in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Until only `leave` bytes are free."""
        with self._ballast.open("ab") as file:
            file.truncate(0)
            filled = False
            while not filled:
                stat = os.statvfs(self.directory)
                with contextlib.suppress(OSError):  # somebody else wrote meanwhile
                    os.posix_fallocate(file.fileno(), 0, stat.f_bavail * stat.f_frsize - leave)
                    filled = True

    def clear(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    directory = tmp_path / "state"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "echod-test", directory],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a file system of its own needs the right to mount: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def until(holds: Callable[[], bool]) -> None:
    """The test's own time limit ends it."""
    pause = threading.Event()
    while not holds():
        pause.wait(0.02)


class Visitor:
    """Uploads, submits and looks, over HTTP."""

    def __init__(self, http: httpx.Client, speech: Path) -> None:
        self.http = http
        self.inputs = {"input_reference": EXAMPLES / "portrait.png", "audio_reference": speech}
        self.ids: dict[str, Any] = {}

    def upload(self) -> None:
        """Both inputs, so that jobs only name them."""
        for field, path in self.inputs.items():
            answer = self.http.post("/v1/files", files={"file": path.read_bytes()}, data={"purpose": "user_data"})
            self.ids[field] = {"file_id": answer.raise_for_status().json()["id"]}

    def submit(self) -> str:
        answer = self.http.post("/v1/videos", json={"size": "256x256", **self.ids})
        return str(answer.raise_for_status().json()["id"])

    def until(self, id: str, *statuses: str) -> dict[str, Any]:
        video: dict[str, Any] = {}

        def look() -> bool:
            video.update(self.http.get(f"/v1/videos/{id}").json())
            return video["status"] in statuses

        until(look)
        return video

    def ended(self, id: str) -> dict[str, Any]:
        return self.until(id, "completed", "failed", "cancelled")

    def makes_a_clip(self) -> None:
        video = self.ended(self.submit())
        assert video["status"] == "completed", video


@contextlib.contextmanager
def visiting(daemon: RunningDaemon, seconds: float = 3.0) -> Iterator[Visitor]:
    with daemon.http() as http:
        visitor = Visitor(http, write_wav(daemon.directory / "speech.wav", seconds=seconds))
        visitor.upload()
        yield visitor


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def kept(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_full_while_inputs_arrive(tmp_path: Path, disk: SmallDisk) -> None:
    """Uploads and submits are refused with disk_full and leave nothing; when there is room again they are taken."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon) as visitor:
        before = kept(disk.directory / "files"), kept(disk.directory / "jobs")
        portrait = {"file": (EXAMPLES / "portrait.png").read_bytes()}
        for leave in (0, 4096, 32 << 10, 200 << 10, 1 << 20):  # nothing, a directory, the bytes, what is made of them
            disk.fill(leave)
            refused = visitor.http.post("/v1/files", files=portrait, data={"purpose": "user_data"})
            assert refused.status_code == 200 or code(refused) == (507, "disk_full"), (leave, refused.text)
            if refused.status_code == 200:
                visitor.http.delete(f"/v1/files/{refused.json()['id']}").raise_for_status()
        disk.fill()
        refused = visitor.http.post("/v1/videos", json=visitor.ids)
        assert code(refused) == (507, "disk_full")
        assert visitor.http.get("/v1/videos").json()["data"] == []
        assert (kept(disk.directory / "files"), kept(disk.directory / "jobs")) == before
        disk.clear()
        visitor.makes_a_clip()


def test_full_at_the_end_of_an_upload(tmp_path: Path, disk: SmallDisk) -> None:
    """Whichever block is the first without room, of its files or of the journal, a refused upload leaves nothing."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon) as visitor:
        files = disk.directory / "files"
        blocks = sum(
            path.stat().st_blocks // 8 for path in (files / visitor.ids["input_reference"]["file_id"]).iterdir()
        )
        before, refused = kept(files), 0
        for leave in range(blocks - 6, blocks + 10):
            disk.fill(leave * 4096)
            answer = visitor.http.post(
                "/v1/files", files={"file": (EXAMPLES / "portrait.png").read_bytes()}, data={"purpose": "user_data"}
            )
            if answer.status_code == 507:
                refused += 1
                assert kept(files) == before, leave
            else:
                visitor.http.delete(f"/v1/files/{answer.raise_for_status().json()['id']}").raise_for_status()
        assert refused
        disk.clear()
        visitor.makes_a_clip()


def test_full_while_a_role_is_made(tmp_path: Path, disk: SmallDisk) -> None:
    """A role there is no room for is refused and leaves nothing; one that cannot be read comes back by itself."""
    portrait = (EXAMPLES / "portrait.png").read_bytes()
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, daemon.http() as http:
        http.post("/v1/roles", files={"portrait": portrait}, data={"name": "ada"}).raise_for_status()
        blocks = sum(path.stat().st_blocks // 8 for path in disk.directory.glob("*/**/portrait.*"))
        http.delete("/v1/roles/ada").raise_for_status()
        for leave in (0, 1, 2, *range(blocks // 2, blocks * 2, 16)):
            disk.fill(leave * 4096)
            answer = http.post("/v1/roles", files={"portrait": portrait}, data={"name": "ada"})
            if answer.status_code == 200:
                break
            assert code(answer) == (507, "disk_full"), (leave, answer.text)
            assert kept(disk.directory / "roles") == kept(disk.directory / "cache" / "roles") == set()
        disk.clear()
        assert answer.status_code == 200, answer.text
        shutil.rmtree(disk.directory / "cache" / "roles")
        disk.fill()
        assert http.get("/v1/roles/ada").json()["error"]
        assert code(http.get("/v1/roles/ada/portrait")) == (507, "disk_full")
        disk.clear()
        assert http.get("/v1/roles/ada").json()["error"] is None


def test_room_is_made_on_a_full_disk(tmp_path: Path, disk: SmallDisk) -> None:
    """Clips and uploads can be deleted when not a byte is free, and then the next clip is made."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon) as visitor:
        clips = [visitor.ended(visitor.submit())["id"] for _ in range(2)]
        disk.fill()
        for path in (f"/v1/videos/{clips[0]}", f"/v1/files/{visitor.ids['input_reference']['file_id']}"):
            deleted = visitor.http.delete(path)
            assert deleted.status_code == 200, deleted.text
            assert code(visitor.http.get(path)) == code(visitor.http.get(f"{path}/content")) == (404, "not_found")
            disk.fill()
        assert [video["id"] for video in visitor.http.get("/v1/videos").json()["data"]] == clips[1:]
        visitor.http.delete(f"/v1/videos/{clips[1]}").raise_for_status()
        assert kept(disk.directory / "jobs") == set()
        disk.clear()
        visitor.upload()
        visitor.makes_a_clip()


def test_full_while_a_clip_is_made(tmp_path: Path, disk: SmallDisk) -> None:
    """The job fails with disk_full, its worker lives on, and the next job is made once there is room."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon, seconds=60.0) as visitor:
        job = visitor.submit()
        grown = disk.directory / "jobs" / job / "stream.1.mp4"
        until(lambda: grown.exists() and grown.stat().st_size > 10_000)
        disk.fill()
        until(lambda: not grown.exists())  # the attempt is over
        disk.clear()  # the journal may wait for room as well
        video = visitor.ended(job)
        assert (video["status"], video["error"]["code"]) == ("failed", "disk_full"), video
        assert kept(disk.directory / "jobs" / job) == {"portrait.png", "speech.flac"}
        assert [device["restarts"] for device in daemon.devices()] == [0]
        visitor.inputs["audio_reference"] = write_wav(tmp_path / "short.wav", seconds=1.0)
        visitor.upload()
        visitor.makes_a_clip()


def test_a_clip_that_would_fill_the_disk(tmp_path: Path, disk: SmallDisk) -> None:
    """The largest lossless frames there are end at half of min_free, as disk_full; others go on as before."""
    with RunningDaemon(tmp_path, ECHOD_MIN_FREE="32MiB") as daemon, visiting(daemon) as visitor:
        answer = visitor.http.post("/v1/videos", json={"size": "1024x1024", "fps": 60, "lossless": True, **visitor.ids})
        job, least = answer.raise_for_status().json()["id"], DISK

        def ended() -> bool:
            nonlocal least
            least = min(least, shutil.disk_usage(disk.directory).free)
            return bool(visitor.http.get(f"/v1/videos/{job}").json()["status"] == "failed")

        until(ended)
        assert least > (16 << 20) - (4 << 20)  # what is written between two looks, and by the journal
        error = visitor.http.get(f"/v1/videos/{job}").json()["error"]
        assert (error["code"], "16 must stay free" in error["message"]) == ("disk_full", True)
        assert kept(disk.directory / "jobs" / job) == {"portrait.png", "speech.flac"}
        assert [device["restarts"] for device in daemon.devices()] == [0]
        visitor.makes_a_clip()
        print(f"disk={DISK >> 20}MiB least_free={least >> 20}MiB")


def test_full_when_the_clip_is_published(tmp_path: Path, disk: SmallDisk) -> None:
    """Room for the clip but not for the copy that is published: the job fails, and half a clip is never kept."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon, seconds=20.0) as visitor:
        first = visitor.ended(visitor.submit())
        size = (disk.directory / "jobs" / first["id"] / "clip.mp4").stat().st_size
        assert size > 300_000
        disk.fill(leave=size + size // 2)
        video = visitor.ended(visitor.submit())
        assert (video["status"], video["error"]["code"]) == ("failed", "disk_full"), video
        assert kept(disk.directory / "jobs" / video["id"]) == {"portrait.png", "speech.flac"}
        disk.clear()
        visitor.makes_a_clip()


def test_full_journal(tmp_path: Path, disk: SmallDisk) -> None:
    """A step of a job waits until it can be written; a job is never shown in a status that is not on disk."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon) as visitor:
        daemon.until_idle()
        worker = daemon.devices()[0]["pid"]
        os.kill(worker, signal.SIGSTOP)
        jobs = [visitor.submit() for _ in range(8)]
        disk.fill()
        outcomes: list[httpx.Response] = []

        def cancel(id: str) -> None:
            with daemon.http() as http:
                outcomes.append(http.post(f"/v1/videos/{id}/cancel"))

        threads = [threading.Thread(target=cancel, args=(id,)) for id in jobs[1:]]
        for thread in threads:
            thread.start()
        assert visitor.http.get("/healthz").status_code == 200
        os.kill(worker, signal.SIGCONT)
        disk.clear()
        for thread in threads:
            thread.join()
        assert [outcome.json()["status"] for outcome in outcomes] == ["cancelled"] * 7
        assert visitor.ended(jobs[0])["status"] == "completed"
        daemon.kill()
        daemon.start()
        statuses = {video["id"]: video["status"] for video in visitor.http.get("/v1/videos").json()["data"]}
        assert statuses == {jobs[0]: "completed"} | dict.fromkeys(jobs[1:], "cancelled")


def serve(directory: Path) -> subprocess.CompletedProcess[str]:
    """A start that is to fail."""
    return run_echod("serve", "--engine", "preview", "--port", "0", "--state-dir", directory / "state",
                     "--runtime-dir", directory / "run", env={"HOME": str(directory)})  # fmt: skip


def test_start_on_a_full_disk(tmp_path: Path, disk: SmallDisk) -> None:
    """Neither a first nor a later start comes up, and each says why in a sentence; with room nothing is missing."""
    disk.fill()
    assert_refused(serve(tmp_path), "full")
    disk.clear()
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon) as visitor:
        visitor.makes_a_clip()
    disk.fill()
    assert_refused(serve(tmp_path), "full")
    disk.clear()
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, daemon.client() as client:
        assert [video["status"] for video in client.videos()] == ["completed"]


def assert_refused(ended: subprocess.CompletedProcess[str], word: str) -> None:
    assert ended.returncode not in (0, None)
    assert word in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr


def refuse_one_request(visitor: Visitor, name: str) -> None:
    """What needs the directory `name` is refused, and nothing comes of it; what does not need it still works."""
    if name == "files":
        portrait = {"file": (EXAMPLES / "portrait.png").read_bytes()}
        refused = visitor.http.post("/v1/files", files=portrait, data={"purpose": "user_data"})
    else:
        refused = visitor.http.post("/v1/videos", json=visitor.ids)
    assert code(refused) == (507, "disk_failed"), refused.text
    assert visitor.http.get("/v1/videos").json()["data"] == []


def test_directories_that_are_none(tmp_path: Path) -> None:
    """Files where directories should be: requests are refused, the daemon stays, and all is well when they are back."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon) as visitor:
        for name in ("files", "jobs"):
            directory, aside = daemon.state_dir / name, daemon.state_dir / f"{name}.aside"
            directory.rename(aside)
            directory.touch()
            refuse_one_request(visitor, name)
            directory.unlink()
            aside.rename(directory)
        visitor.makes_a_clip()


@pytest.mark.usefixtures("disk")
def test_directories_that_turn_unwritable(tmp_path: Path) -> None:
    """The same for directories that can be read only, as those of a disk with errors; a running job fails, no more."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon) as visitor:
        for name in ("files", "jobs"):
            with read_only(daemon.state_dir / name):
                refuse_one_request(visitor, name)
        worker = daemon.devices()[0]["pid"]
        os.kill(worker, signal.SIGSTOP)
        job = visitor.submit()
        with read_only(daemon.state_dir / "jobs"):
            os.kill(worker, signal.SIGCONT)
            video = visitor.ended(job)
            assert (video["status"], video["error"]["code"]) == ("failed", "disk_failed"), video
        visitor.makes_a_clip()


@pytest.mark.usefixtures("disk")
def test_directory_that_turns_unwritable_under_a_clip(tmp_path: Path) -> None:
    """What the attempt left cannot be removed then: the job ends, a start comes up, and what was left goes later."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon, seconds=20.0) as visitor:
        job = visitor.submit()
        visitor.until(job, "in_progress")
        directory = daemon.state_dir / "jobs" / job
        until(lambda: (directory / "stream.1.mp4").exists())
        with read_only(daemon.state_dir / "jobs"):
            video = visitor.ended(job)
            assert (video["status"], video["error"]["code"]) == ("failed", "disk_failed"), video
            assert kept(directory) > {"portrait.png", "speech.flac"}
            daemon.kill()
            daemon.start()
        daemon.kill()
        daemon.start()
        until(lambda: kept(directory) == {"portrait.png", "speech.flac"})
        log = daemon.log.read_text()
        assert "cannot be removed" in log and "a step of a job failed" not in log, log


class FailingDisk:
    """An ext4 of its own under a state directory, which its kernel makes read-only as after an error."""

    def __init__(self, directory: Path, image: Path) -> None:
        self.directory = directory
        self._image = image

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self._image, self.directory], check=True, capture_output=True)

    def fail(self) -> None:
        """Files that are open for writing cannot be written any more either."""
        subprocess.run(["mount", "-o", "remount,abort", self.directory], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.directory], check=True)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[FailingDisk]:
    disk = FailingDisk(tmp_path / "state", tmp_path / "image")
    disk.directory.mkdir(mode=0o700)
    with (tmp_path / "image").open("wb") as image:
        image.truncate(DISK)
    try:
        subprocess.run(["mkfs.ext4", "-q", tmp_path / "image"], check=True, capture_output=True)
        disk.mount()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk of its own needs mkfs.ext4 and the right to mount: {error}")
    disk.directory.chmod(0o700)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk.directory], check=True)


def test_disk_that_fails(tmp_path: Path, failing: FailingDisk) -> None:
    """Whatever needs to be written, the journal too, is refused with disk_failed; what is there is served. A start on
    such a disk is refused in a sentence, and one on a mended disk has everything."""
    with RunningDaemon(tmp_path, **NO_CHECK) as daemon, visiting(daemon) as visitor:
        made = visitor.ended(visitor.submit())["id"]
        portrait = {"file": (EXAMPLES / "portrait.png").read_bytes()}
        failing.fail()
        answers = (
            visitor.http.post("/v1/files", files=portrait, data={"purpose": "user_data"}),
            visitor.http.post("/v1/videos", json=visitor.ids),
            visitor.http.post("/v1/roles", files={"portrait": portrait["file"]}, data={"name": "ada"}),
            visitor.http.post("/v1/accounts", json={"name": "a", "password": "correct horse", "role": "admin"}),
            visitor.http.delete(f"/v1/videos/{made}"),
            visitor.http.delete(f"/v1/files/{visitor.ids['input_reference']['file_id']}"),
        )
        for answer in answers:
            assert code(answer) == (507, "disk_failed"), (answer.request.url, answer.text)
        assert visitor.http.get(f"/v1/videos/{made}/content").status_code == 200
        daemon.kill()
        assert_refused(ended := serve(tmp_path), "ead-only")
        assert ended.returncode == 78
        failing.unmount()
        failing.mount()
        daemon.start()
        assert visitor.http.get(f"/v1/videos/{made}").json()["status"] == "completed"
        visitor.makes_a_clip()
        log = daemon.log.read_text()
        assert "Traceback" not in log, log
    print(f"requests refused on a disk that failed: {len(answers)}")


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.mark.parametrize("damage", ["no database", "torn pages", "cut short", "a directory"])
def test_database_that_is_none(tmp_path: Path, damage: str) -> None:
    """A daemon that cannot read its journal does not start, names the file, and leaves it as it is."""
    path = tmp_path / "state" / "echod.sqlite3"
    path.parent.mkdir(mode=0o700)
    match damage:
        case "no database":
            path.write_bytes(b"not a database, but longer than its header would be. " * 100)
        case "a directory":
            path.mkdir()
        case _:
            with RunningDaemon(tmp_path) as daemon, visiting(daemon):
                pass
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            data = path.read_bytes()
            path.write_bytes(data[:4096] + (os.urandom(len(data) - 4096) if damage == "torn pages" else b""))
    before = None if path.is_dir() else path.read_bytes()
    ended = serve(tmp_path)
    assert_refused(ended, "echod.sqlite3")
    assert ended.returncode == 78
    assert before is None or path.read_bytes() == before
