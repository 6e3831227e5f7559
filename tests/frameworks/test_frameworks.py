"""Frameworks for voice agents, as they are and in their default configuration, talking to a role.

`ECHOD_RECORD=1` writes what they send into recorded/, for test_recorded.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import wave
from pathlib import Path

import pytest

from echod.sound.pcm import SPEAK_RATE
from echod.sound.resample import Resampler
from tests.drivers.environments import environment, node_modules
from tests.drivers.frames import Recorder
from tests.making.media import EXAMPLES
from tests.stand_ins.daemon import Daemon

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
RECORDED = HERE / "recorded"
ALL = {"text", "speech", "interruption", "tools", "history"}
# Script, and the packages it needs.
PYTHON = {
    "openai_agents": ("openai-agents==0.24.0",),
    "pipecat_agent": ("pipecat-ai[openai]==1.14.0",),
    "livekit_agent": ("livekit-agents[openai]==1.8.9",),
}
NODE = {"agents_realtime": ("@openai/agents-realtime@0.20.0",)}


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of somebody who speaks: pcm16, mono, 24 kHz."""
    with wave.open(str(EXAMPLES / "speech.wav")) as file:
        sound = Resampler(file.getframerate(), SPEAK_RATE).feed(file.readframes(3 * file.getframerate()))
    path = tmp_path_factory.mktemp("speech") / "speech.pcm"
    path.write_bytes(sound)
    return path


async def run(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, name: str, command: list[str], cwd: Path) -> None:
    """Have a script talk, and see that it could do all there is."""
    recorder = Recorder(monkeypatch)
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, cwd=cwd, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told == dict.fromkeys(ALL, True), done.stderr[-4000:]
    assert set(recorder.errors) <= {"response_cancel_not_active"}
    if os.environ.get("ECHOD_RECORD"):
        entries = ",\n".join(json.dumps(entry) for entry in recorder.recording()["frames"])
        statuses = json.dumps(recorder.statuses)
        (RECORDED / f"{name}.json").write_text(f'{{"statuses": {statuses}, "frames": [\n{entries}\n]}}\n')


@pytest.mark.parametrize("name", PYTHON)
async def test_in_python(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, speech: Path, name: str
) -> None:
    """A text turn, a spoken turn, an interruption, a call of a tool, and an edit of the history."""
    assert pytestconfig.cache is not None
    python = await asyncio.to_thread(environment, pytestconfig.cache, *PYTHON[name])
    base = daemon.base if name == "livekit_agent" else daemon.base.replace("http", "ws")  # as each wants it
    command = [str(python), "-W", "ignore", str(HERE / f"{name}.py"), f"{base}/v1", str(speech)]
    await run(daemon, monkeypatch, name, command, speech.parent)


@pytest.mark.parametrize("name", NODE)
async def test_in_javascript(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, speech: Path, name: str
) -> None:
    """The same."""
    assert pytestconfig.cache is not None
    if not (node := shutil.which("node")):
        pytest.skip("there is no node here")
    directory = await asyncio.to_thread(node_modules, pytestconfig.cache, *NODE[name])
    command = [node, str(HERE / f"{name}.mjs"), f"{daemon.base.replace('http', 'ws')}/v1", str(speech)]
    await run(daemon, monkeypatch, name, command, directory)
