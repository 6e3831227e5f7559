"""`echod weights pull whisper:NAME` and `voice:NAME`, against a server on the loopback interface.

Where a file is, and what it must be, its package says: stand-ins for openai-whisper and hibari-tts name that server.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from echod.speech.local.backend import Local
from echod.speech.local.hibari import hibari_names
from echod.speech.local.registry import published
from tests.drivers.command import ECHOD
from tests.stand_ins.hub import File, Hub

MIB = 1 << 20
CHUNK = 10 * MIB  # huggingface_hub writes down what has come in pieces of this size
HEARING = os.urandom(2 * CHUNK)
VOICE = os.urandom(5000)
VOICES = "somebody/voices"
ONNX = "bf_emma.int8.onnx"


def sha(content: bytes) -> str:
    return sha256(content).hexdigest()


HEARING_FILE = f"{sha(HEARING)}/tiny.en.pt"  # openai-whisper's URLs have the sha256 before the name


@pytest.fixture
def server() -> Iterator[Hub]:
    with Hub(VOICES, {HEARING_FILE: File(HEARING), f"voices/{ONNX}": File(VOICE)}) as server:
        yield server


class Place:
    """A directory of weights, and the command line of a user who keeps them there."""

    def __init__(self, home: Path, server: Hub) -> None:
        self.directory = home / "weights"
        packages = home / "packages"
        for name in ("whisper", "hibari"):
            (packages / name).mkdir(parents=True)
        (packages / "whisper" / "__init__.py").write_text(
            f"import torch_is_not_wanted\n_MODELS = {{'tiny.en': '{server.url}/content/main/{HEARING_FILE}'}}\n"
        )
        (packages / "hibari" / "__init__.py").touch()
        entry = {"file": ONNX, "sha256": sha(VOICE), "bytes": len(VOICE)}
        (packages / "hibari" / "voices.py").write_text(
            f"BASE_URL = 'http://127.0.0.1:9/{VOICES}/resolve/main/voices/'\n"
            f"VOICES = {{'heart': {{'bundled': True}}, 'emma': {entry}}}\n"
        )
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": server.url,
            "ECHOD_WEIGHTS": str(self.directory),
            "PYTHONPATH": str(packages),
        }

    def start(self, what: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ECHOD, "weights", "pull", what],
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pull(self, what: str, code: int = 0, **environ: str) -> str:
        """Pull to the end, which must be `code`. Returns stdout; stderr where the code is not 0."""
        with self.start(what, **environ) as process:
            out, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        return errors if code else out

    def files(self) -> set[str]:
        return {path.relative_to(self.directory).as_posix() for path in self.directory.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, server: Hub) -> Place:
    return Place(tmp_path, server)


def starts(server: Hub, name: str) -> list[int]:
    """Where each answer with the file's content began."""
    return [request.start for request in server.requests if request.name == name and request.method == "GET"]


def test_hearing(server: Hub, place: Place) -> None:
    """The checkpoint comes whole, is found by whatever hears, and is not fetched twice."""
    path = place.directory / "whisper-tiny.en.pt"
    assert place.pull("whisper:tiny.en") == f"{path}\n"
    assert path.read_bytes() == HEARING
    assert place.files() == {"whisper-tiny.en.pt"}
    assert Local(place.directory).default_model("hear") == "whisper-tiny.en.pt"
    place.pull("whisper:tiny.en")
    assert starts(server, HEARING_FILE) == [0]


def test_a_voice(server: Hub, place: Place) -> None:
    """A voice comes from the hub, or the mirror that HF_ENDPOINT names, to where voices are looked for."""
    path = place.directory / "voices" / ONNX
    assert place.pull("voice:emma") == f"{path}\n"
    assert path.read_bytes() == VOICE


def test_what_is_damaged_is_fetched_again(server: Hub, place: Place) -> None:
    """A file of which one bit has changed is replaced."""
    place.pull("voice:emma")
    path = place.directory / "voices" / ONNX
    path.write_bytes(bytes([VOICE[0] ^ 1]) + VOICE[1:])
    place.pull("voice:emma")
    assert path.read_bytes() == VOICE


def test_a_connection_that_breaks_off(server: Hub, place: Place) -> None:
    """Half way through the file the pull goes on from there by itself."""
    server.files[HEARING_FILE] = File(HEARING, break_at=CHUNK + MIB)
    place.pull("whisper:tiny.en")
    assert (place.directory / "whisper-tiny.en.pt").read_bytes() == HEARING
    assert starts(server, HEARING_FILE) == [0, CHUNK]


def test_a_pull_that_is_killed(server: Hub, place: Place) -> None:
    """The next pull goes on where one that was killed stood; the file has no name before it is whole."""
    server.files[HEARING_FILE] = File(HEARING, break_at=CHUNK + MIB, hold=True)
    with place.start("whisper:tiny.en") as process:
        assert server.held.wait(60)
        partial = next(place.directory.glob("whisper-tiny.en.pt.*.part"))
        while partial.stat().st_size < CHUNK:
            assert process.poll() is None
        assert "another pull" in place.pull("whisper:tiny.en", code=2)
        process.kill()
    assert not (place.directory / "whisper-tiny.en.pt").exists()
    place.pull("whisper:tiny.en")
    assert (place.directory / "whisper-tiny.en.pt").read_bytes() == HEARING
    assert starts(server, HEARING_FILE) == [0, CHUNK]
    assert place.files() == {"whisper-tiny.en.pt"}


def test_other_content(server: Hub, place: Place) -> None:
    """What comes and is not what was announced is thrown away, and said so."""
    server.files[HEARING_FILE] = File(HEARING, sent=b"x" * 5000)
    message = place.pull("whisper:tiny.en", code=1)
    assert "whisper-tiny.en.pt: what came has sha256" in message and sha(HEARING) in message
    assert place.files() == set()
    server.files[HEARING_FILE] = File(HEARING)
    place.pull("whisper:tiny.en")
    assert place.files() == {"whisper-tiny.en.pt"}


@pytest.mark.parametrize(("status", "code", "words"), [(404, 2, "404"), (500, 1, "it answered 500")])
def test_refusals(server: Hub, place: Place, status: int, code: int, words: str) -> None:
    """A file that is not given out is named, with whom it was asked of and why."""
    server.files[HEARING_FILE].status = status
    message = place.pull("whisper:tiny.en", code=code)
    reason = message.splitlines()[-1]
    assert reason.startswith(f"echod: whisper-tiny.en.pt was not fetched from {server.url}: ")
    assert words in reason
    assert "HF_ENDPOINT" not in message


def test_nobody_there(place: Place) -> None:
    """Where nobody listens the pull says so; a mirror may help for a voice. Offline it does not even try."""
    message = place.pull("voice:emma", code=1, HF_ENDPOINT="http://127.0.0.1:9")
    assert "was not fetched from http://127.0.0.1:9" in message and "HF_ENDPOINT" in message
    assert "HF_HUB_OFFLINE" in place.pull("whisper:tiny.en", code=1, HF_HUB_OFFLINE="1")


@pytest.mark.parametrize(
    ("what", "there"),
    [("whisper:huge", "whisper:tiny.en"), ("whisper", "whisper:tiny.en"), ("voice:heart", "voice:emma")],
)
def test_unknown_names(place: Place, what: str, there: str) -> None:
    """A name that is none is refused with those there are; the voice that lies in the package need not be fetched."""
    assert f"there are {there}\n" in place.pull(what, code=2)


# What the packages themselves say


@pytest.mark.parametrize("name", ["tiny.en", "base", "small"])
def test_openai_whisper(name: str) -> None:
    """The installed package knows where its checkpoints are, and the sha256 of each."""
    found = published(f"whisper:{name}")
    assert found.file == f"whisper-{name}.pt"
    assert found.url.startswith("https://") and found.url.endswith(f"/{name}.pt")
    assert re.fullmatch("[0-9a-f]{64}", found.sha256)


@pytest.mark.skipif(not hibari_names(), reason="hibari-tts is not installed: pip install '.[voice]'")
def test_hibari() -> None:
    """The installed package knows its further voices."""
    found = published("voice:emma")
    assert (found.file, found.mirrored) == (f"voices/{ONNX}", True)
    assert found.url.endswith(f"/{ONNX}")
    assert found.size and re.fullmatch("[0-9a-f]{64}", found.sha256)
