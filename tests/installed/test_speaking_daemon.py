"""Speech settings that change under a running daemon."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.drivers.running import LIGHT, RunningDaemon, wait_for_log

SPEECH = """
[speech]
openai_url = "http://127.0.0.1:1/v1"
voice = "openai/tts-1/alloy"
"""


def default_voice(daemon: RunningDaemon) -> str:
    with daemon.http() as http:
        [voice] = [voice["id"] for voice in http.get("/v1/voices").json()["data"] if voice["default"]]
    return str(voice)


def test_what_waits_for_a_restart(tmp_path: Path) -> None:
    """SIGHUP leaves backends and voices what they were, and says so: what is named next may not be set up."""
    settings = tmp_path / ".config/echod/config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(SPEECH)
    with RunningDaemon(tmp_path, command=LIGHT) as daemon:
        assert default_voice(daemon) == "openai/tts-1/alloy"
        settings.write_text('[speech]\nvoice = "dashscope/cosyvoice-v3-flash/longanyang"\n')
        daemon.send(signal.SIGHUP)
        wait_for_log(daemon, "after a restart also voice, openai_url")
        assert default_voice(daemon) == "openai/tts-1/alloy"
