"""The systemd units, as `echod service show` prints them."""

from __future__ import annotations

import os
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from echod.config import load
from echod.host import descriptors
from tests.drivers.command import ECHOD, run

FLAGS = [[], ["--user"]]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("flags", FLAGS)
def test_systemd_accepts_the_unit(tmp_path: Path, flags: list[str]) -> None:
    """systemd-analyze has nothing to say about either unit."""
    unit = tmp_path / "echod.service"
    unit.write_text(run("service", "show", *flags, home=tmp_path).stdout)
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    verified = subprocess.run(["systemd-analyze", *flags, "verify", unit], capture_output=True, text=True, env=environ)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("flags", FLAGS)
def test_what_the_unit_promises(tmp_path: Path, flags: list[str]) -> None:
    """The unit runs this installation's command, waits out a drain, and never restarts on bad settings."""
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(run("service", "show", *flags, home=tmp_path).stdout)
    service = unit["Service"]
    assert service["ExecStart"] == f"{ECHOD} serve"
    assert (service["Type"], service["NotifyAccess"], service["KillMode"]) == ("notify", "main", "mixed")
    assert (service["RestartPreventExitStatus"], service["OOMPolicy"]) == ("78", "continue")
    assert int(service["LimitNOFILE"]) == descriptors.MOST
    assert float(service["TimeoutStopSec"]) > load({}, {}, []).drain_timeout
    # Each of these takes CUDA's devices or its compiled code away; ProtectClock by the DeviceAllow it implies.
    assert not {"PrivateDevices", "MemoryDenyWriteExecute", "DevicePolicy", "ProtectClock"} & set(service)
