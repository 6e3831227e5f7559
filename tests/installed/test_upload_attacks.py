"""What strangers might upload, through the store and real inspection children."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from echod.config import Settings
from echod.errors import TABLE, EchodError
from echod.inspection.inspector import Inspector
from echod.journal import Journal
from echod.uploads.store import FileStore
from tests.drivers.uploads import upload
from tests.making.config import make_config
from tests.making.sounds import SPEECH, write_sound
from tests.making.upload_attacks import bombs, odd_sounds, pointers, polyglots

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

QUOTA = 40_000_000  # bytes


@pytest_asyncio.fixture(loop_scope="module")
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    settings = Settings(make_config(tmp_path, disk_per_account=QUOTA, inspect_timeout=60, max_seconds=700))
    inspector = Inspector(settings)
    await inspector.start()
    journal = Journal(tmp_path / "echod.sqlite3")
    journal.open()
    yield FileStore(tmp_path / "files", journal, inspector, settings)
    await journal.close()
    await inspector.close()


class Trap:
    """A server of which nobody should know."""

    def __init__(self) -> None:
        self.visits = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


async def test_made_files(store: FileStore, tmp_path: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is taken or refused with a code of its own; no child dies, nothing is opened or fetched, nothing is left."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(SPEECH)
    monkeypatch.chdir(tmp_path)  # of which children know by names without a directory
    seed = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))
    files = [*bombs(tmp_path), *odd_sounds(), *polyglots(tmp_path)]
    links = [(name, data) for name, data in pointers(secret, trap.address)]
    queue = [(name, data, False) for name, data in files] + [(name, data, True) for name, data in links]
    random.Random(seed).shuffle(queue)
    children, outcomes = everybody(store), Counter[str]()
    for name, data, points in queue:
        for want in ("any", "portrait", "speech"):
            try:
                record = await upload(store, data, name, want)
            except EchodError as error:
                assert TABLE[error.code].status == 400, (name, want, error)
                outcomes[error.code] += 1
            else:
                assert not points, (name, want)
                outcomes[record.kind] += 1
                await store.delete(record.id, None)
            assert everybody(store) == children, (name, want)
            assert list(store.root.iterdir()) == [], (name, want)
    assert trap.visits == 0
    print(
        f"ECHOD_CHAOS_SEED={seed} files={len(queue)} uploads={3 * len(queue)} deaths=0 visits=0 "
        + " ".join(f"{outcome}={times}" for outcome, times in sorted(outcomes.items()))
    )


def everybody(store: FileStore) -> list[int]:
    return store.inspector.pids("portrait") + store.inspector.pids("speech")


async def test_few_bytes_that_become_many(store: FileStore, tmp_path: Path) -> None:
    """Noise as Opus grows a hundredfold when it is unpacked: the account's quota is where that ends, to the byte."""
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 48000 * 60))
    write_sound(tmp_path / "noise.ogg", noise, "libopus", format="ogg", options={"b": "6000", "vbr": "off"})
    data, sent, kept, refused = (tmp_path / "noise.ogg").read_bytes(), 0, 0, 0
    for _ in range(10):
        sent += len(data)
        try:
            await upload(store, data, "noise", "speech")
            kept += 1
        except EchodError as error:
            assert (error.code, "disk_per_account" in error.message) == ("quota_exceeded", True)
            refused += 1
    stored = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    assert stored == store.quota.used("local") <= QUOTA
    assert kept and refused
    print(f"sent={sent} stored={stored} quota={QUOTA} kept={kept} refused={refused}")
