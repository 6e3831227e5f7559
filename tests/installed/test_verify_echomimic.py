"""EchoMimic's clips made again: after kills, and with other weights. With small random ones, through the daemon."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from echod.commands.jobs import fetch
from echod.commands.verify import verify
from echod.inference.echomimic.tiny import init_tiny
from tests.drivers.running import RunningDaemon, gone
from tests.making.media import EXAMPLES, write_wav

PORTRAIT = EXAMPLES / "portrait.png"


def again(daemon: RunningDaemon, clip: Path, speech: Path, *more: str) -> Result:
    inputs = ("--portrait", str(PORTRAIT), "--speech", str(speech))
    return CliRunner().invoke(verify, [str(clip), *inputs, "-q", "--url", daemon.url, *more])


@pytest.mark.long
def test_a_clip_that_was_resumed(tmp_path: Path) -> None:
    """It is made again with the same frames, twice; when weights have changed, that file alone is named."""
    weights, speech, clip = tmp_path / "weights", write_wav(tmp_path / "speech.wav", 1.5), tmp_path / "clip.mp4"
    init_tiny(weights)
    with RunningDaemon(tmp_path, "--devices", "cpu", "--engine", "echomimic", "--weights", str(weights)) as daemon:
        daemon.until_idle()
        with daemon.client() as client:
            video = client.submit(PORTRAIT, speech, size="128x128", steps=2)["id"]
            for event in client.follow(video):
                job = event["video"]["echod"]
                if job["windows_done"] * 2 > job["windows_total"] > 0:
                    break
            (worker,) = daemon.devices()
            os.kill(worker["pid"], signal.SIGKILL)
            gone([worker["pid"]])
            *_, event = client.follow(video)
        assert event["video"]["status"] == "completed" and event["video"]["echod"]["windows_resumed"] > 0
        assert CliRunner().invoke(fetch, [video, "-o", str(clip), "--url", daemon.url]).exit_code == 0
        for _ in range(2):
            told = again(daemon, clip, speech)
            assert (told.exit_code, told.stdout) == (0, "same frames: all 36\n")
        daemon.stop()
        path = weights / "denoising_unet_acc.pth"
        tensors = torch.load(path, weights_only=True)
        tensors["conv_in.weight"] += 0.5
        torch.save(tensors, path)
        daemon.start()
        daemon.until_idle()
        told = again(daemon, clip, speech, "--json")
        report = json.loads(told.stdout)
        assert (told.exit_code, report["result"]) == (1, "different")
        assert [each["name"] for each in report["differences"]] == ["weights.denoising_unet_acc.pth"]
