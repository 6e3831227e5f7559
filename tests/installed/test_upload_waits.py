"""How long one account's portrait waits for another account's uploads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echod.config import Settings
from echod.errors import EchodError
from echod.inspection.inspector import Inspector
from tests.making.config import make_config
from tests.making.media import EXAMPLES
from tests.making.pictures import scans
from tests.making.sounds import tone, write_sound

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

RECORDINGS, SECONDS, PICTURES, SIDE, HIS = 12, 1800, 4, 7000, 40


async def timed(work: Coroutine[Any, Any, object]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def test_waiting_for_another_account(tmp_path: Path) -> None:
    """Twelve recordings of half an hour and four pictures of 49 million pixels, or of 2,000 scans, hold up nobody else.

    A portrait of another account is answered before the second file of each kind; how long that takes is printed.
    """
    write_sound(tmp_path / "long.ogg", np.tile(tone(1.0, 16000), SECONDS), "libopus", format="ogg", rate=16000)
    with Image.open(EXAMPLES / "portrait.png") as portrait:
        large = portrait.convert("RGB").resize((SIDE, SIDE))
    large.save(tmp_path / "large.jpg", progressive=True)
    (tmp_path / "scans.jpg").write_bytes(scans(large.resize((2000, 2000)), 2000))
    inspector = Inspector(
        Settings(make_config(tmp_path, inspect_timeout=60, max_seconds=SECONDS, max_pixels=SIDE * SIDE))
    )
    await inspector.start(shared=True)
    order: list[str] = []

    async def inspect(name: str, account: str) -> None:
        into = tmp_path / f"{account} {len(order)} {time.monotonic_ns()}"
        into.mkdir()
        try:
            await inspector.inspect(
                EXAMPLES / name if account == "bob" else tmp_path / name, into, "any", account=account
            )
        except EchodError as error:
            assert "scans" in error.message
        order.append(f"{account} {name}")

    alone = await timed(inspect("portrait.png", "bob"))
    order.clear()
    names = ["large.jpg", "scans.jpg"] * PICTURES + ["long.ogg"] * RECORDINGS
    hers = [asyncio.create_task(inspect(name, "ann")) for name in names]
    await asyncio.sleep(0)  # the first of them has one of the two children
    waits = [await timed(inspect("portrait.png", "bob")) for _ in range(HIS)]
    assert not all(task.done() for task in hers)
    for task in hers:
        task.cancel()
    await asyncio.gather(*hers, return_exceptions=True)
    print(
        f"portraits={len(waits)} alone={alone:.2f}s first={waits[0]:.2f}s longest={max(waits[1:]):.2f}s "
        f"mean={sum(waits) / len(waits):.2f}s behind={len(names)}"
    )
    for kind in ("long.ogg", "large.jpg"):
        assert order[: order.index("bob portrait.png")].count(f"ann {kind}") <= 1
    await inspector.close()
