"""The service of the machine: whose commands are about it, and as whom they write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from echod import config
from echod.host import service

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root goes on as another account")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echod.service").touch()
    monkeypatch.setattr(service, "UNIT", tmp_path / "echod.service")


def directories(environ: dict[str, str]) -> tuple[str, str]:
    settings = config.load({}, service.as_service(environ), [])
    return str(settings.state_dir), str(settings.weights_dir)


@pytest.fixture(autouse=True)
def no_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As installed: a checkout has a directory of weights itself."""
    monkeypatch.setattr(config, "__file__", str(tmp_path / "echod" / "config.py"))


SERVICE = ("/var/lib/echod", "/var/lib/echod/weights")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("uid", "environ", "expected"),
    [
        (0, {"HOME": "/root"}, SERVICE),
        (0, {"HOME": "/root", "ECHOD_WEIGHTS": "/w"}, (SERVICE[0], "/w")),
        (0, {"HOME": "/root", "STATE_DIRECTORY": "/s"}, ("/s", "/s/weights")),
        (1000, {"HOME": "/home/a"}, ("/home/a/.local/state/echod", "/home/a/.local/state/echod/weights")),
        (999, {"HOME": "/var/lib/echod"}, SERVICE),  # as `sudo -u echod` sets it
        (999, {"HOME": "/var/lib/echod", "STATE_DIRECTORY": "/var/lib/echod"}, SERVICE),
    ],
)
def test_which_directory(
    monkeypatch: pytest.MonkeyPatch, uid: int, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    """Unit, service account and root mean the same directories; everybody else their own."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert directories(environ) == expected


def test_without_a_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root's own daemon keeps root's own state."""
    monkeypatch.setattr(service, "UNIT", tmp_path / "nothing")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert directories({"HOME": "/root"})[0] == "/root/.local/state/echod"


@pytest.mark.parametrize(("uid", "before"), [(0, ""), (1, "sudo -u daemon "), (65534, "")])
def test_the_command_that_pulls(monkeypatch: pytest.MonkeyPatch, uid: int, before: str) -> None:
    """It names the directory, and the account, where nobody would think of being that."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    command = service.pull_command("echomimic", Path("/var/lib/it's/weights"))
    assert command == f"""{before}echod weights pull echomimic --weights '/var/lib/it'"'"'s/weights'"""


BECOME = """
import os, sys
from pathlib import Path
from echod.errors import EchodError
from echod.host import service
place = Path(sys.argv[1])
sys.prefix = sys.argv[2]
try:
    service.become_owner(place)
    place.mkdir()
except EchodError as error:
    print(error.message)
print(os.geteuid(), os.getegid(), os.environ["HOME"])
"""


def become(place: Path, prefix: str) -> list[str]:
    ended = subprocess.run([sys.executable, "-c", BECOME, place, prefix], capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()


@root
def test_root_writes_as_the_owner(tmp_path: Path) -> None:
    """What root fetches into the service's directory is the service's, through directories that are not there yet."""
    with_access(tmp_path)
    os.chown(tmp_path, 1, 1)
    assert become(tmp_path / "weights", "/usr") == ["1 1 /usr/sbin"]
    assert (tmp_path / "weights").stat().st_uid == 1
    os.chown(tmp_path, 0, 0)
    assert become(tmp_path / "other", "/usr")[0].startswith("0 0")


@root
def test_an_owner_who_cannot_run_this(tmp_path: Path) -> None:
    """Said before anything is imported that could not be read."""
    with_access(tmp_path)
    os.chown(tmp_path, 1, 1)
    shut = tmp_path / "shut"
    shut.mkdir(0o700)
    assert "belongs to daemon, who cannot run the program in" in become(tmp_path / "weights", str(shut))[0]


def with_access(path: Path) -> None:
    """pytest's directories are shut to other accounts."""
    for each in (path, *path.parents[:3]):
        if each != Path("/tmp"):
            each.chmod(0o755)
