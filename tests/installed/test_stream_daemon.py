"""A clip watched while the installed daemon makes it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES, write_wav
from tests.making.playback import frame_hashes, playable

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(("lossless", "live"), [("false", "true"), ("true", "false")])
def test_stream_is_the_clip(daemon: RunningDaemon, tmp_path: Path, lossless: str, live: str) -> None:
    """The first fragment plays before half the clip is made, and what was streamed decodes to the clip's own frames."""
    speech = write_wav(tmp_path / "speech.wav", seconds=12.0)
    with daemon.http() as http, daemon.http() as second:
        form = {
            "data": {"size": "256x256", "lossless": lossless, "live": live},
            "files": {
                "input_reference": (EXAMPLES / "portrait.png").read_bytes(),
                "audio_reference": speech.read_bytes(),
            },
        }
        answer = http.post("/v1/videos", **form)  # type: ignore[arg-type]
        video = answer.raise_for_status().json()["id"]
        streamed, progress_at_first_frame = io.BytesIO(), None
        with http.stream("GET", f"/v1/videos/{video}/stream") as stream:
            assert stream.headers["content-type"] == "video/mp4"
            for chunk in stream.iter_bytes():
                streamed.write(chunk)
                if progress_at_first_frame is None and playable(streamed.getvalue()):
                    progress_at_first_frame = second.get(f"/v1/videos/{video}").json()["progress"]
        assert progress_at_first_frame is not None
        assert progress_at_first_frame < 50
        final = second.get(f"/v1/videos/{video}/content").read()
        assert json.loads(second.get(f"/v1/videos/{video}").text)["status"] == "completed"
    frames = frame_hashes(io.BytesIO(final))
    assert len(frames) == 12 * 24
    streamed.seek(0)
    assert frame_hashes(streamed) == frames


def test_the_readme_holds(daemon: RunningDaemon, local_voice: str, tmp_path: Path) -> None:
    """What the README shows in Python, by plain HTTP and with the client, makes clips as it stands there."""
    shutil.copy(EXAMPLES / "portrait.png", tmp_path)
    write_wav(tmp_path / "speech.wav", seconds=1.0)
    section = README.read_text("utf-8").partition("### From Python")[2].partition("### With curl")[0]
    plain, client, stock = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for program in (plain, client):
        code = program.replace("http://127.0.0.1:8765", daemon.tcp)
        command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", code]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"ECHOD_URL": daemon.url},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert len(frame_hashes(str(tmp_path / "clip.mp4"))) >= 24
        (tmp_path / "clip.mp4").unlink()
    compile(stock, "README.md", "exec")
