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


def test_livekit(daemon: RunningDaemon, pytestconfig: pytest.Config) -> None:
    """Pictures and sound in step, an end, an interruption, and a segment after it."""
    assert pytestconfig.cache is not None
    python = environment(pytestconfig.cache, "livekit-agents[openai]==1.8.9", "websockets>=15")
    command = [str(python), "-W", "ignore", str(HERE / "livekit_avatar.py"), daemon.tcp]
    plugin = {"PYTHONPATH": str(INTEGRATIONS / "livekit-plugins-echod")}
    done = subprocess.run(command, capture_output=True, text=True, env=plugin, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == {
        "refused": "there is no role 'nobody'; `echod roles list` shows all there are",
        "joined": "agent",
        "rests": True,
        "tracks": ["avatar_audio", "avatar_video"],
        "said": [2.0, 96, 2.0, False],
        "in step": True,
        "interrupted": [True, True],
        "after": [1.0, False],
    }
