"""`echod backup` of a running daemon, and a daemon on what `echod restore` makes of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import pytest

from echod.client.client import Client
from tests.drivers.command import run
from tests.drivers.running import LIGHT, RunningDaemon
from tests.making.media import EXAMPLES, write_wav
from tests.stand_ins.engine import GATED, GOOD

PASSWORD = "correct horse"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return EXAMPLES / "portrait.png", write_wav(tmp_path / "speech.wav")


def clip(client: Client, video: str) -> bytes:
    content = io.BytesIO()
    client.content(video, content)
    return content.getvalue()


def make(client: Client, files: tuple[Path, Path], seed: int, status: str) -> str:
    video = client.submit(*files, seed=seed, size="128x128")["id"]
    assert any(event["video"]["status"] == status for event in client.follow(video))
    return video


def test_there_and_back(tmp_path: Path, files: tuple[Path, Path]) -> None:
    """Taken while a clip is made: accounts, tokens, roles and clips are those of before, and the half made one is made.

    What was made, changed or removed afterwards is not in it.
    """
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with RunningDaemon(first, command=LIGHT) as daemon, daemon.client() as client:
        client.add_account("anna", "admin", PASSWORD)
        token = client.create_token("laptop", account="anna")["token"]
        finished = make(client, files, GOOD, "completed")
        before = clip(client, finished)
        unfinished = make(client, files, GATED, "in_progress")
        taken = run("backup", tmp_path / "copy", "--state-dir", daemon.state_dir, "--json", home=tmp_path)
        assert taken.returncode == 0, taken.stderr
        assert json.loads(taken.stdout)["jobs"] == 2
        client.remove(finished)
        refused = run("restore", tmp_path / "copy", "--state-dir", daemon.state_dir, home=tmp_path)
        assert refused.returncode == 78 and "another daemon uses the state directory" in refused.stderr
        daemon.kill()
    restored = run("restore", tmp_path / "copy", "--state-dir", second / "state", home=tmp_path)
    assert (restored.returncode, restored.stdout) == (0, f"{second / 'state'}\n"), restored.stderr
    with RunningDaemon(second, command=LIGHT) as daemon, Client(daemon.tcp, token) as client:
        assert httpx.get(f"{daemon.tcp}/v1/videos").status_code == 401
        assert client.me()["name"] == "anna"
        assert clip(client, finished) == before
        (second / "state" / "jobs" / unfinished / "gate").touch()
        assert list(client.follow(unfinished))[-1]["video"]["status"] == "completed"


@pytest.mark.long
def test_a_stopped_daemon(tmp_path: Path) -> None:
    """It need not run; where the state directory is somebody else's to name, it is named."""
    with RunningDaemon(tmp_path, command=LIGHT) as daemon:
        daemon.kill()  # its -wal stays
        taken = run("backup", tmp_path / "copy", "--state-dir", daemon.state_dir, home=tmp_path)
        assert (taken.returncode, taken.stdout) == (0, f"{tmp_path / 'copy'}\n"), taken.stderr
        daemon.start()
    nowhere = run("backup", tmp_path / "other", home=tmp_path / "state")
    assert nowhere.returncode == 78 and "--state-dir" in nowhere.stderr
