"""/v1/avatar of the installed daemon, as docs/avatar.md uses it."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np

from echod.sound.pcm import SPEAK_RATE
from echod.sound.resample import Resampler
from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES

PAGE = Path(__file__).parents[2] / "docs" / "avatar.md"
SECONDS, FPS = 3, 24


def test_the_example(daemon: RunningDaemon, tmp_path: Path) -> None:
    """The program on the page has a recording said: as many pictures as it lasts, moving, with its own sound."""
    with wave.open(str(EXAMPLES / "speech.wav")) as file:
        rate, said = file.getframerate(), file.readframes(SECONDS * file.getframerate())
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "none"))
        file.writeframes(said)
    with daemon.http() as http, (EXAMPLES / "portrait.png").open("rb") as portrait:
        form = {"name": "ada", "options[size]": "128x128"}
        http.post("/v1/roles", data=form, files={"portrait": portrait}).raise_for_status()
        found = re.search(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        assert found is not None
        program = found[1].replace("ws://127.0.0.1:8765", daemon.tcp.replace("http", "ws"))
        try:
            subprocess.run([sys.executable, "-c", program, "speech.wav"], cwd=tmp_path, check=True, timeout=120)
        finally:
            http.delete("/v1/roles/ada").raise_for_status()
    with av.open(str(tmp_path / "avatar.h264"), "r") as pictures:
        frames = [frame.to_ndarray(format="gray") for frame in pictures.decode(video=0)]
    assert len(frames) == SECONDS * FPS and frames[0].shape == (128, 128)
    assert max(np.abs(frame.astype(int) - frames[0]).mean() for frame in frames) > 1
    with wave.open(str(tmp_path / "avatar.wav")) as file:
        assert file.getframerate() == SPEAK_RATE
        heard = file.readframes(file.getnframes())
    resampler = Resampler(rate)
    assert heard == resampler.feed(said) + resampler.flush()
