"""Another user of the machine tries everything that lies in the directories of a daemon, and plants what they can."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.drivers.running import LIGHT, RunningDaemon, descendants
from tests.making.media import EXAMPLES, write_wav

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user"),
]

NOBODY = 65534


def as_nobody(act: Callable[[], dict[str, int]]) -> Counter[str]:
    """What another user of the machine comes to by doing this."""
    reading, writing = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # threads of pytest's own do not matter to the child
        pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(reading)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writing, json.dumps(act()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return Counter(json.loads(said))


def attack(paths: list[Path], roots: list[Path]) -> dict[str, int]:
    """Read, write, remove, replace, add, link, connect: how often that was tried, and what came to something."""
    count: Counter[str] = Counter()
    tries: dict[str, Callable[[Path], object]] = {
        "list": lambda path: list(path.iterdir()),
        "stat": lambda path: path.stat(),
        "read": lambda path: path.read_bytes(),
        "write": lambda path: path.open("ab").close(),
        "truncate": lambda path: os.truncate(path, 0),
        "add": lambda path: (path / "planted").mkdir(),
        "link": lambda path: (path / "planted link").symlink_to("/etc/passwd"),
        "rename": lambda path: path.rename(path.with_name("moved")),
        "replace": lambda path: Path(tempfile.mkstemp()[1]).rename(path),
        "unlink": lambda path: path.unlink(),
        "chmod": lambda path: path.chmod(0o777),
        "hard link": lambda path: Path(tempfile.mktemp()).hardlink_to(path),
        "connect": connect,
    }
    for path in paths:
        for name, act in tries.items():
            count["tried"] += 1
            with contextlib.suppress(OSError):
                act(path)
                if not (name == "stat" and path in roots):  # that they are there, everybody may know
                    count[f"{name} {path}"] += 1
    return count


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))


def everything(*roots: Path) -> list[Path]:
    return [path for root in roots for path in (root, *root.rglob("*"))]


@pytest.fixture
def reached() -> Iterator[Path]:
    """A directory that anybody may pass: nothing but the modes of what is in it keeps them out."""
    directory = Path(tempfile.mkdtemp(prefix="echod-reached-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def use(daemon: RunningDaemon) -> None:
    """An upload, a clip, a role, an account: something in every directory."""
    speech = write_wav(daemon.directory / "speech.wav")
    with daemon.client() as client, daemon.http() as http:
        portrait = {"file": (EXAMPLES / "portrait.png").read_bytes()}
        http.post("/v1/files", files=portrait, data={"purpose": "user_data"}).raise_for_status()
        http.post("/v1/roles", files={"portrait": portrait["file"]}, data={"name": "ada"}).raise_for_status()
        video = client.submit(EXAMPLES / "portrait.png", speech, size="128x128")["id"]
        for _ in client.follow(video):
            pass
        client.add_account("anna", "admin", "correct horse")


@pytest.mark.parametrize("mask", [0, 0o002, 0o022, 0o027, 0o077], ids=oct)
def test_another_user(reached: Path, mask: int) -> None:
    """With any umask they come to nothing: not to a file, not to a socket, not to anything they could plant."""
    with umask(mask), RunningDaemon(reached, command=LIGHT) as daemon:
        use(daemon)
        daemon.runtime_dir.chmod(0o755)  # as a unit's may be, for a group that may use the socket
        roots = [daemon.state_dir, daemon.runtime_dir, daemon.runtime_dir / "workers"]
        paths = everything(daemon.state_dir, daemon.runtime_dir)
        open_ones = [path for path in paths if path.lstat().st_mode & 0o077 and not path.is_symlink()]
        allowed = {daemon.runtime_dir, daemon.runtime_dir / "echod.sock"}
        assert set(open_ones) <= allowed, open_ones
        processes = [Path(f"/proc/{pid}/{name}") for pid in (daemon.process.pid, *descendants(daemon.process.pid))
                     for name in ("environ", "mem", "fd")]  # fmt: skip
        control = reached / "control"
        control.mkdir()
        control.chmod(0o777)
        assert len(as_nobody(lambda: attack([control], []))) > 3  # what is open, they do come to
        found = as_nobody(lambda: attack([*paths, *processes], [*roots, *processes, *allowed]))
        tried = found.pop("tried")
        found.pop(f"list {daemon.runtime_dir}")  # which they may, and see names of sockets
        assert not found, found
        with daemon.client() as client:
            assert [video["status"] for video in client.videos()] == ["completed"]
    print(f"umask={mask:04o} paths={len(paths)} tried={tried} came_to_something=0")


def plant(what: str, path: Path) -> dict[str, int]:
    match what:
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(tempfile.mkdtemp())
        case "file":
            path.touch()
    return {"planted": 1}


@pytest.mark.parametrize("what", ["directory", "link", "file"])
def test_planted_before_the_start(tmp_path: Path, what: str) -> None:
    """What another user has put where a directory is to be made, in a place where everybody may, is refused by name."""
    refused = 0
    shared = Path(tempfile.mkdtemp(prefix="echod-shared-"))
    try:
        shared.chmod(0o1777)
        for number, setting in enumerate(("--state-dir", "--runtime-dir")):
            path = shared / str(number)
            as_nobody(partial(plant, what, path))
            assert path.lstat().st_uid == NOBODY
            others = {"--state-dir": tmp_path / "state", "--runtime-dir": tmp_path / "run"} | {setting: path}
            flags = [str(part) for pair in others.items() for part in pair]
            ended = subprocess.run([*LIGHT, "serve", "--port", "0", *flags], capture_output=True, text=True, timeout=60)
            assert ended.returncode in (2, 78), ended.stderr  # of a file click itself says that it is none
            assert str(path) in ended.stderr and "Traceback" not in ended.stderr, ended.stderr
            assert path.lstat().st_uid == NOBODY and path.lstat().st_size < 4097
            refused += 1
    finally:
        shutil.rmtree(shared)
    print(f"planted={what} starts={refused} refused={refused}")
