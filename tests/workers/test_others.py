"""Engines of other packages in workers: whatever is wrong with one is a reason that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from echod.errors import EchodError
from tests.drivers.bench import bench
from tests.making.packages import scripted, write_package

BOTH = ("odd", "preview")
LOSES_A_FRAME = """
exact = False
computed = {"approximation": "one frame less"}
def frames(self, *given):
    return list(super().frames(*given))[:-1]
"""


async def test_one_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No restart would change it: the device has failed at once, and jobs are refused with the reason."""
    write_package(tmp_path / "site", "odd", "import nowhere")
    monkeypatch.syspath_prepend(tmp_path / "site")
    async with bench(tmp_path, engines=BOTH) as made:
        (device,) = await made.devices(lambda devices: devices[0].state == "failed")
        said = "engine odd (of the package echod-odd 1.0) cannot be imported: ModuleNotFoundError: No module named 'now"
        assert device.epoch == 1 and device.reason is not None and said in device.reason
        with pytest.raises(EchodError) as refused:
            await made.accept(engine="odd")
        assert refused.value.code == "no_device" and said in refused.value.message


async def test_one_that_crashes_once_and_loses_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash is told with what was loaded meanwhile, and the worker comes again. What breaks the contract at work ends
    the first attempt, in words that name the package, and the worker goes on.
    """
    crash = (
        "import os, signal\nif not os.path.exists('{0}'):\n open('{0}', 'w')\n os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    write_package(tmp_path / "site", "odd", crash.format(tmp_path / "crashed") + scripted("odd", LOSES_A_FRAME))
    monkeypatch.syspath_prepend(tmp_path / "site")
    async with bench(tmp_path, engines=BOTH) as made:
        (device,) = await made.devices(lambda devices: devices[0].reason is not None)
        # As the worker said, if its last words left it in time.
        loading = r"loading odd \(of the package echod-odd 1.0\)|getting ready with odd, preview"
        assert re.fullmatch(f"killed by SIGSEGV while ({loading})", device.reason or "")
        (device,) = await made.ready()
        assert (device.epoch, device.exact) == (2, {"odd": False, "preview": True})
        ended = await made.ended(await made.accept(engine="odd"))
        assert ended.error is not None and (ended.error.code, ended.attempt) == ("internal", 1)
        assert (
            "odd (of the package echod-odd 1.0) does not keep the contract: frames gave 4 of 5" in ended.error.message
        )
        assert ended.approximation == "one frame less"
        ended = await made.ended(await made.accept())
        assert (ended.status, ended.approximation) == ("completed", None)
        assert [device.restarts for device in made.fleet.devices()] == [1]
