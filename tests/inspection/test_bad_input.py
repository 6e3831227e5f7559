"""Every bad file that people and attackers send, each refused with its code before it becomes a job or a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from echod.config import Settings, load
from echod.errors import TABLE, EchodError
from echod.inference.portraits import read_portrait
from echod.inspection.inspector import Inspector
from echod.inspection.messages import Want
from echod.journal import Journal
from echod.uploads.store import FileStore
from tests.drivers.uploads import upload
from tests.making import profiles
from tests.making.config import make_config
from tests.making.pictures import PORTRAIT, png_header, portrait, saved
from tests.making.sounds import SPEECH, tone, wav_bytes, write_sound

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = b"This is no picture, whatever its name says.\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inspector() -> AsyncIterator[Inspector]:
    inspector = Inspector(Settings(load({"inspect_timeout": 60, "max_seconds": 2}, {}, [])))
    yield inspector
    await inspector.close()


@pytest_asyncio.fixture(loop_scope="module")
async def store(tmp_path: Path, inspector: Inspector) -> AsyncIterator[FileStore]:
    journal = Journal(tmp_path / "echod.sqlite3")
    journal.open()
    yield FileStore(tmp_path / "files", journal, inspector, Settings(make_config(tmp_path)))
    await journal.close()


def truncated_jpeg() -> bytes:
    data = saved(portrait(), "JPEG")
    return data[: len(data) // 2]


BAD: list[tuple[str, Callable[[], bytes], Want, str, str]] = [
    # name, bytes, wanted, code, words in the message
    ("empty.png", bytes, "portrait", "portrait_unreadable", "empty"),
    ("empty.wav", bytes, "speech", "speech_unreadable", "empty"),
    ("empty", bytes, "any", "unsupported_media", "empty"),
    ("truncated.jpg", truncated_jpeg, "portrait", "portrait_unreadable", "incomplete"),
    ("truncated.wav", lambda: SPEECH[:5000], "speech", "speech_unreadable", "breaks off"),
    ("header.wav", lambda: SPEECH[:30], "speech", "speech_unreadable", "cannot be decoded"),
    ("text.png", lambda: TEXT, "portrait", "portrait_unreadable", "no picture"),
    ("text.wav", lambda: TEXT, "speech", "speech_unreadable", "cannot be decoded"),
    ("text.bin", lambda: TEXT, "any", "unsupported_media", "PNG"),
    ("bomb.png", lambda: png_header(50_000, 50_000), "portrait", "portrait_unreadable", "max_pixels"),
    ("wall.png", lambda: saved(Image.new("RGB", (400, 300), "grey"), "PNG"), "portrait", "no_face_detected", "no face"),
    ("silence.wav", lambda: wav_bytes(bytes(32000)), "speech", "speech_silent", "dBFS"),
    ("short.wav", lambda: wav_bytes(SPEECH[44:1644]), "speech", "speech_too_short", "0.05 s"),
    ("long.wav", lambda: wav_bytes(SPEECH[44:] * 5), "speech", "speech_too_long", "2 s (setting max_seconds)"),
    ("portrait.png", PORTRAIT.read_bytes, "speech", "unsupported_media", "is a picture"),
    ("speech.wav", lambda: SPEECH, "portrait", "unsupported_media", "is a recording"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "want", "code", "words"), BAD, ids=[f"{row[0]}-{row[2]}" for row in BAD])
async def test_bad_files_are_refused(
    store: FileStore, name: str, make: Callable[[], bytes], want: Want, code: str, words: str
) -> None:
    """Each bad file gets its code, status 400, its name and the reason, and leaves nothing behind."""
    with pytest.raises(EchodError) as caught:
        await upload(store, make(), name, want)
    assert (caught.value.code, TABLE[code].status) == (code, 400)
    assert caught.value.message.startswith(f"{name}: ")
    assert words in caught.value.message
    assert list(store.root.iterdir()) == []
    assert await store.list(None) == ([], False)


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(portrait().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)


def transparent() -> bytes:
    image = portrait()
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda value: min(255, 2 * value)))
    return saved(image, "PNG")


def sixteen_bit() -> bytes:
    grey = np.asarray(portrait().convert("L")).astype(np.uint16) * 257
    return saved(Image.fromarray(grey), "PNG")


def profiled() -> bytes:
    return saved(portrait(), "JPEG", icc_profile=profiles.swapped(padding=2 << 20))


@pytest.mark.parametrize("make", [rotated, transparent, sixteen_bit, profiled])
async def test_unusual_portraits_are_taken(store: FileStore, make: Callable[[], bytes]) -> None:
    """A face is found in a picture that lies on its side by EXIF, is transparent, has 16 bits, or a huge profile.

    What is written of it holds its pixels and nothing else, so that workers can read it.
    """
    record = await upload(store, make(), "portrait.png", "portrait")
    assert record.portrait is not None
    assert (record.portrait.width, record.portrait.height) == portrait().size
    assert record.portrait.faces >= 1
    assert set(chunks(store.prepared(record).read_bytes())) == {b"IHDR", b"IDAT", b"IEND"}
    assert read_portrait(store.prepared(record)).shape == (*portrait().size[::-1], 3)


def chunks(png: bytes) -> Iterator[bytes]:
    """The names of a PNG file's chunks."""
    place = 8
    while place < len(png):
        yield png[place + 4 : place + 8]
        place += 12 + int.from_bytes(png[place : place + 4], "big")


@pytest.mark.parametrize(
    ("codec", "container", "video"),
    [
        ("pcm_s24le", "wav", False), ("pcm_f32le", "wav", False), ("libmp3lame", "mp3", False), ("aac", "ipod", False),
        ("libopus", "ogg", False), ("libopus", "webm", False), ("aac", "mp4", True),
    ],
)  # fmt: skip
async def test_unusual_speech_is_taken(
    store: FileStore, tmp_path: Path, codec: str, container: str, video: bool
) -> None:
    """24-bit and float WAV, MP3, M4A, OGG, WebM and a video with sound are speech."""
    data = write_sound(tmp_path / "given", tone(1.0), codec, format=container, video=video).read_bytes()
    record = await upload(store, data, "speech", "speech")
    assert record.speech is not None
    assert record.speech.rate == 48000
    assert record.speech.seconds == pytest.approx(1.0, abs=0.06)
