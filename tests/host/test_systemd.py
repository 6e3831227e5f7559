from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import pytest

from echod.host.systemd import notify, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """systemd's end of the notify socket."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@echod-test-{secrets.token_hex(8)}"
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(name.replace("@", "\0", 1))
    receiver.settimeout(10)
    request.addfinalizer(receiver.close)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    return receiver


def test_fields_arrive(systemd: socket.socket) -> None:
    """All fields of one call arrive in one datagram, one a line."""
    assert notify(READY=1, STATUS="2 devices")
    assert systemd.recv(4096) == b"READY=1\nSTATUS=2 devices"


def test_a_value_cannot_add_a_field(systemd: socket.socket) -> None:
    """A line break in a value does not start another field."""
    assert notify(STATUS="no device:\nMAINPID=1")
    assert systemd.recv(4096) == b"STATUS=no device: MAINPID=1"


@pytest.mark.parametrize("value", ["", "vsock:2:1", "/nowhere/notify"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Without a socket that can be used nothing is sent and nothing raised."""
    monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert not notify(READY=1)


def test_a_full_socket_does_not_block(systemd: socket.socket) -> None:
    """A systemd that does not read never holds up the event loop."""
    while notify(STATUS="x" * 1000):
        pass
    assert not notify(WATCHDOG=1)


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("30000000", None, 15.0),
        ("30000000", "own", 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_watchdog_interval(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, interval: float | None
) -> None:
    """The watchdog wants a word every half of its limit, from the process it names."""
    pid = str(os.getpid()) if pid == "own" else pid
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert watchdog_interval() == interval
