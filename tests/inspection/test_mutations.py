"""Pictures and recordings with bytes changed, by the hundred, through the real inspection child."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from echod.config import Settings
from echod.errors import TABLE, EchodError
from echod.inspection.inspector import Inspector
from echod.journal import Journal
from echod.uploads.store import FileStore
from tests.drivers.uploads import upload
from tests.making.config import make_config
from tests.making.media import EXAMPLES
from tests.making.pictures import portrait, saved
from tests.making.sounds import SPEECH, tone, write_sound

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO")
SOUNDS = (
    ("pcm_s24le", "wav"), ("pcm_f32le", "wav"), ("flac", "flac"), ("libmp3lame", "mp3"), ("aac", "ipod"),
    ("aac", "adts"), ("libopus", "ogg"), ("libopus", "webm"), ("pcm_mulaw", "au"), ("pcm_s16be", "aiff"),
)  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module")
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    """With limits under which a file that takes too much is given up soon."""
    limits = {"inspect_timeout": 5, "inspect_memory": 2**29, "max_seconds": 20, "max_pixels": 4_000_000}
    settings = Settings(make_config(tmp_path, **limits))
    inspector = Inspector(settings)
    journal = Journal(tmp_path / "echod.sqlite3")
    journal.open()
    yield FileStore(tmp_path / "files", journal, inspector, settings)
    await journal.close()
    await inspector.close()


def originals(directory: Path) -> list[bytes]:
    """One good file of every format that is taken, and of some that are not."""
    image = portrait().resize((256, 256))
    files = [saved(image, format) for format in PICTURES]
    files += [
        write_sound(directory / f"{codec}.{format}", tone(0.4), codec, format=format).read_bytes()
        for codec, format in SOUNDS
    ]
    return [*files, SPEECH, (EXAMPLES / "speech.wav").read_bytes()[:100_000]]


def mutated(dice: random.Random, files: list[bytes]) -> bytes:
    """One of the files after one to three accidents, most of them near its beginning, where headers are."""
    data = bytearray(dice.choice(files))
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(min(len(data), dice.choice((64, 512, 1 << 30))) or 1)
        match dice.randrange(7):
            case 0:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                data[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + dice.randrange(1, 64)]
            case 4:
                data[at:at] = data[at : at + dice.randrange(1, 4096)]
            case 5:
                data[at : at + 256] = dice.randbytes(256)
            case 6:
                other = dice.choice(files)
                data[at:] = other[dice.randrange(len(other)) :]
    return bytes(data)


@pytest.mark.parametrize("count", [40, pytest.param(600, marks=pytest.mark.long)])
async def test_mutations(store: FileStore, tmp_path: Path, count: int) -> None:
    """Each is taken or refused with a code for its kind of file; the store keeps what was taken and nothing else."""
    seed = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))
    print(f"ECHOD_CHAOS_SEED={seed}")
    dice, outcomes = random.Random(seed), Counter[str]()
    files = originals(tmp_path)
    for number in range(count):
        try:
            record = await upload(
                store, mutated(dice, files), f"mutation {number}", dice.choice(("any", "portrait", "speech"))
            )
        except EchodError as error:
            assert TABLE[error.code].status == 400, (number, error)
            outcomes[error.code] += 1
        else:
            outcomes[record.kind] += 1
            await store.delete(record.id, None)
        assert list(store.root.iterdir()) == [], number
    print(f"mutations={count} {' '.join(f'{outcome}={times}' for outcome, times in sorted(outcomes.items()))}")
