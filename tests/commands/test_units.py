"""The systemd units, as `echod service show` prints them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from echod.commands.installation import unit
from echod.config import load
from echod.host import descriptors
from tests.drivers.command import ECHOD, run

FLAGS = [[], ["--user"]]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("flags", FLAGS)
def test_systemd_accepts_the_unit(tmp_path: Path, flags: list[str]) -> None:
    """systemd-analyze has nothing to say about either unit."""
    file = tmp_path / "echod.service"
    file.write_text(run("service", "show", *flags, home=tmp_path).stdout)
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    verified = subprocess.run(["systemd-analyze", *flags, "verify", file], capture_output=True, text=True, env=environ)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize("flags", FLAGS)
def test_what_the_unit_promises(tmp_path: Path, flags: list[str]) -> None:
    """The unit runs this installation's command, waits out a drain, and never restarts on bad settings."""
    parsed = RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(run("service", "show", *flags, home=tmp_path).stdout)
    service = parsed["Service"]
    assert service["ExecStart"] == f"{ECHOD} serve"
    assert (service["Type"], service["NotifyAccess"], service["KillMode"]) == ("notify", "main", "mixed")
    assert (service["RestartPreventExitStatus"], service["OOMPolicy"]) == ("78", "continue")
    assert int(service["LimitNOFILE"]) == descriptors.MOST
    assert float(service["TimeoutStopSec"]) > load({}, {}, []).drain_timeout
    # Each of these takes CUDA's devices or its compiled code away.
    assert not {"PrivateDevices", "MemoryDenyWriteExecute", "NoExecPaths", "ProcSubset"} & set(service)
    assert service["ExecReload"].startswith("/bin/sh ")  # there is no /bin/kill on a bare Debian


AT_MOST = 2.5  # of 10


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_exposure(tmp_path: Path) -> None:
    """systemd finds little that the service could do to the machine, although it may use NVIDIA's devices."""
    file = tmp_path / "echod.service"
    file.write_text(run("service", "show", home=tmp_path).stdout)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    [exposure] = re.findall(r"exposure level for echod\.service: ([\d.]+)", said)
    assert float(exposure) <= AT_MOST
    [devices] = re.findall(r"device ACL with some special devices: (.*?) *\d", said)
    assert devices.split() == ["char-rtc:r", "char-nvidia*:rwm"]


def test_a_command_in_a_home(tmp_path: Path) -> None:
    """Where the command lies in a home, the unit lets the service read those; else it sees none."""
    for place, protect in (("/opt/echod", "yes"), ("/home/anna/venv", "read-only"), ("/root/venv", "read-only")):
        assert f"\nProtectHome={protect}\n" in unit(Path(place, "bin/echod"), user=False)
