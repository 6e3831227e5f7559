"""Plugins for frameworks, which give their agents a face: against the frameworks themselves, and a daemon."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.environments import environment
from tests.drivers.running import LIGHT, RunningDaemon
from tests.making.media import EXAMPLES

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
INTEGRATIONS = HERE.parents[1] / "integrations"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("avatars"), command=LIGHT) as daemon:
        with daemon.http() as http, (EXAMPLES / "portrait.png").open("rb") as portrait:
            http.post("/v1/roles", data={"name": "ada"}, files={"portrait": portrait}).raise_for_status()
        yield daemon


def run(daemon: RunningDaemon, python: Path, script: str, plugin: str) -> dict[str, object]:
    """What a script has seen."""
    done = subprocess.run(
        [str(python), "-W", "ignore", str(HERE / script), daemon.tcp],
        capture_output=True, text=True, env={"PYTHONPATH": str(INTEGRATIONS / plugin)}, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def test_livekit(daemon: RunningDaemon, pytestconfig: pytest.Config) -> None:
    """Pictures and sound in step, an end, an interruption, and a segment after it."""
    assert pytestconfig.cache is not None
    python = environment(pytestconfig.cache, "livekit-agents[openai]==1.8.9", "websockets>=15")
    assert run(daemon, python, "livekit_avatar.py", "livekit-plugins-echod") == {
        "refused": "there is no role 'nobody'; `echod roles list` shows all there are",
        "joined": "agent",
        "rests": True,
        "tracks": ["avatar_audio", "avatar_video"],
        "said": [2.0, 96, 2.0, False],
        "in step": True,
        "interrupted": [True, True],
        "after": [True, False],
    }


def test_pipecat(daemon: RunningDaemon, pytestconfig: pytest.Config) -> None:
    """The same, and a role that is not there costs the face and not the voice."""
    assert pytestconfig.cache is not None
    python = environment(pytestconfig.cache, "pipecat-ai[openai]==1.14.0", "websockets>=15")
    assert run(daemon, python, "pipecat_avatar.py", "pipecat-echod") == {
        "refused": "echod: there is no role 'nobody'; `echod roles list` shows all there are",
        "rests": ["OutputImageRawFrame"],
        "said": [2.0, True],
        "in step": True,
        "after": [1.0, 1],
        "broken": "",
    }
