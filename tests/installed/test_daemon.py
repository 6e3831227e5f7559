"""The installed daemon as systemd and an operator meet it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import unix_connect

from echod.client.client import Event
from echod.errors import EchodError
from tests.drivers.command import run_echod
from tests.drivers.running import LIGHT, RunningDaemon, alive, descendants, gone, wait_for_log
from tests.making.media import EXAMPLES, write_wav

PORTRAIT = EXAMPLES / "portrait.png"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Long enough for a test to act while its clip is made."""
    return write_wav(tmp_path / "speech.wav", seconds=20.0)


def submit(daemon: RunningDaemon, speech: Path) -> str:
    with daemon.client() as client:
        return client.submit(PORTRAIT, speech, size="256x256")["id"]


def follow(daemon: RunningDaemon, video: str) -> Iterator[Event]:
    with daemon.client() as client:
        yield from client.follow(video)


def until_started(daemon: RunningDaemon, video: str) -> None:
    for event in follow(daemon, video):
        if event["video"]["status"] == "in_progress":
            return


def status(daemon: RunningDaemon, video: str) -> str:
    with daemon.client() as client:
        return client.video(video)["status"]


def test_start_and_stop_under_systemd(tmp_path: Path) -> None:
    """READY comes once it listens, STATUS tells of devices, STOPPING on SIGTERM; it exits with 0, nothing is left."""
    with RunningDaemon(tmp_path) as daemon:
        assert "cpu starting" in next(notice["STATUS"] for notice in daemon.notices if "READY" in notice)
        daemon.until("STATUS", "cpu idle")
        assert daemon.runtime_dir.joinpath("echod.sock").is_socket()
        children = list(descendants(daemon.process.pid))
        daemon.send(signal.SIGTERM)
        daemon.until("STOPPING")
        assert daemon.process.wait(60) == 0
        gone(children)
        assert not daemon.runtime_dir.joinpath("echod.sock").exists()
        log = daemon.log.read_text()
        assert all(
            word in log for word in ("listens on http://127.0.0.1:", "unix:", "devices cpu", "preview", "state in")
        )


def test_watchdog(tmp_path: Path) -> None:
    """The event loop itself says that it lives, twice in the time systemd allows."""
    with RunningDaemon(tmp_path, command=LIGHT, WATCHDOG_USEC="400000") as daemon:
        for _ in range(3):
            daemon.until("WATCHDOG", "1")


@pytest.mark.long
def test_blocked_event_loop(tmp_path: Path) -> None:
    """A hung loop says nothing; what systemd does then ends the daemon with a dump of its stacks, and its children."""
    hanging = (sys.executable, "-m", "tests.stand_ins.blocked")
    with RunningDaemon(tmp_path, command=hanging, WATCHDOG_USEC="400000") as daemon:
        children = list(descendants(daemon.process.pid))
        with pytest.raises(TimeoutError):
            while True:
                assert "WATCHDOG" not in daemon.notice(seconds=1.5)
        daemon.send(signal.SIGABRT)
        assert daemon.process.wait(60) == -signal.SIGABRT
        assert "announce_and_hang" in daemon.log.read_text()
        gone(children)


def test_drain(tmp_path: Path, speech: Path) -> None:
    """SIGTERM lets the running job finish while submits are refused and systemd is asked for time; sockets get 1012."""
    with RunningDaemon(tmp_path) as daemon:
        video = submit(daemon, speech)
        until_started(daemon, video)
        with unix_connect(str(daemon.runtime_dir / "echod.sock"), "ws://localhost/v1/events") as events:
            daemon.send(signal.SIGTERM)
            daemon.until("STOPPING")
            daemon.until("EXTEND_TIMEOUT_USEC")
            with pytest.raises(EchodError) as refused:
                submit(daemon, speech)
            assert refused.value.code == "draining"
            seen = []
            with pytest.raises(ConnectionClosedError) as closed:
                while True:
                    seen.append(str(events.recv(60)))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert '"type":"job.completed"' in seen[-1]
        assert daemon.process.wait(60) == 0
        daemon.start()
        assert status(daemon, video) == "completed"


@pytest.mark.long
def test_second_signal(tmp_path: Path, speech: Path) -> None:
    """A second signal stops at once; the next start makes the clip, and nothing counts against the job."""
    with RunningDaemon(tmp_path) as daemon:
        video = submit(daemon, speech)
        until_started(daemon, video)
        daemon.send(signal.SIGINT)
        daemon.until("STOPPING")
        assert daemon.stop(signal.SIGINT) == 0
        daemon.start()
        last = [event["video"] for event in follow(daemon, video)][-1]
        assert (last["status"], last["echod"]["attempt"]) == ("completed", 2)


@pytest.mark.long
def test_reload(tmp_path: Path) -> None:
    """SIGHUP reads the settings again; a broken file changes nothing and is named in the log."""
    settings = tmp_path / ".config/echod/config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[limits]\nqueue_limit = 5\n")
    with RunningDaemon(tmp_path) as daemon:
        daemon.until("STATUS", "cpu idle")
        for text, wanted in (("[limits]\nqueue_limit = 0\n", "not reloaded: queue_limit"), ("", "settings reloaded")):
            settings.write_text(text)
            daemon.send(signal.SIGHUP)
            wait_for_log(daemon, wanted)


def test_state_directory_in_use(daemon: RunningDaemon, tmp_path: Path) -> None:
    """A second daemon on the same state directory is refused with 78 and says what to do; the first is unharmed."""
    second = run_echod("serve", "--state-dir", daemon.state_dir, "--runtime-dir", tmp_path / "r", "--port", "0")
    assert second.returncode == 78
    assert str(daemon.state_dir) in second.stderr
    assert "--state-dir" in second.stderr
    assert "Traceback" not in second.stderr
    assert alive(daemon.process.pid)


def test_port_in_use(daemon: RunningDaemon, tmp_path: Path) -> None:
    """A port in use is refused with 78, naming port and setting, and no worker is left behind."""
    port = daemon.tcp.rpartition(":")[2]
    second = run_echod("serve", "--state-dir", tmp_path / "s", "--runtime-dir", tmp_path / "r", "--port", port)
    assert second.returncode == 78
    assert port in second.stderr
    assert "--port" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.long
def test_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """A state directory that cannot be made is refused with 78."""
    (tmp_path / "file").touch()
    refused = run_echod("serve", "--state-dir", tmp_path / "file" / "s", "--runtime-dir", tmp_path / "r")
    assert refused.returncode == 78
    assert "Traceback" not in refused.stderr


@pytest.mark.long
def test_killed_daemon_leaves_nobody(tmp_path: Path, speech: Path) -> None:
    """No worker and no inspection child outlives a daemon that was killed in the middle of a job."""
    with RunningDaemon(tmp_path) as daemon:
        video = submit(daemon, speech)
        until_started(daemon, video)
        assert len(list(descendants(daemon.process.pid))) >= 2
        daemon.kill()
        daemon.start()
        last = [event["video"] for event in follow(daemon, video)][-1]
        assert (last["status"], last["echod"]["attempt"]) == ("completed", 2)
