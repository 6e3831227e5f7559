"""Engines of other packages through the daemon: the example, one that breaks, one that is slow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from echod.inference.compare import pictures
from tests.drivers.command import run_echod
from tests.drivers.running import LIGHT, RunningDaemon, wait_for_log
from tests.making.media import EXAMPLES, write_wav
from tests.making.packages import scripted, write_package
from tests.stand_ins.engine import GATED, SILENT

PORTRAIT = EXAMPLES / "portrait.png"


@pytest.fixture(scope="session")
def nutcracker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed as people would: a directory for PYTHONPATH."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLES / "engine", source, dirs_exist_ok=True)  # a build leaves files of its own behind
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(site), str(source)], check=True)
    return site


def test_the_example(tmp_path: Path, nutcracker: Path) -> None:
    """Installed and named, it is the daemon's main engine; its clips are of its frames, and say whose they are."""
    speech = write_wav(tmp_path / "speech.wav", seconds=0.5)
    with RunningDaemon(tmp_path, "--engine", "nutcracker", PYTHONPATH=str(nutcracker)) as daemon:
        daemon.until_idle()
        with daemon.http() as http:
            models = http.get("/v1/models").json()["data"]
        assert [model["id"] for model in models] == ["nutcracker", "preview"]
        assert models[0]["owned_by"] == "echod-nutcracker"
        assert models[0]["echod"] == {"exact": True, "licence": "Apache-2.0"}
        with daemon.client() as client:
            *_, last = client.follow(client.submit(PORTRAIT, speech, size="128x128", lossless=True)["id"])
        video = last["video"]
        assert (video["status"], video["model"], video["echod"]["frames"]) == ("completed", "nutcracker", 12)
        directory = daemon.state_dir / "jobs" / video["id"]
        frames = np.stack(list(pictures(directory / "clip.mp4")))
        assert json.loads((directory / "manifest.json").read_text())["engine"] == "nutcracker"
    dark = (frames == (40, 10, 10)).all(-1)
    assert dark[6].sum() > 100  # an open mouth; the tone is as loud as it opens


def test_the_example_keeps_the_contract(nutcracker: Path) -> None:
    """Whoever copies it begins with an engine that passes every check."""
    environ = os.environ | {"PYTHONPATH": str(nutcracker)}
    command = [sys.executable, "-m", "echod.inference.check", "nutcracker"]
    run = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("ok    loading      nutcracker (of the package echod-nutcracker 0.1)\n")


def test_one_that_breaks(tmp_path: Path) -> None:
    """A crash while it is loaded is its worker's: the daemon answers, and says what died of which package."""
    write_package(tmp_path / "site", "odd", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    light = RunningDaemon(tmp_path, "--engine", "odd", command=LIGHT, PYTHONPATH=str(tmp_path / "site"))
    with light as daemon:
        wait_for_log(daemon, "worker died: killed by SIGSEGV while ")
        (device,) = daemon.devices()
        assert (device["state"], device["engines"]) == ("starting", [])
        assert re.search(
            "SIGSEGV while (loading odd .of the package echod-odd 1.0|getting ready with)", device["reason"]
        )
        with daemon.client() as client:
            assert client.health()["status"] == "ok"
            assert client.submit(PORTRAIT, write_wav(tmp_path / "speech.wav"), size="128x128")["status"] == "queued"


@pytest.mark.long
def test_one_that_is_slow(tmp_path: Path) -> None:
    """Its progress is shown, it can be cancelled at its next checkpoint, and a long silence ends it, in words."""
    write_package(tmp_path / "site", "odd", scripted("odd"))
    patience = {"ECHOD_STALL_TIMEOUT": "1s", "ECHOD_STALL_TIMEOUT_FIRST": "30s", "PYTHONPATH": str(tmp_path / "site")}
    speech = write_wav(tmp_path / "speech.wav")
    with RunningDaemon(tmp_path, "--engine", "odd", command=LIGHT, **patience) as daemon, daemon.client() as client:
        gated = client.submit(PORTRAIT, speech, size="128x128", fps=10, seed=GATED)["id"]
        for event in client.follow(gated):
            if event["video"]["status"] == "in_progress" and event["video"]["echod"]["windows_done"] == 4:
                shown = event["video"]
                client.cancel(gated)
        assert (shown["progress"], shown["echod"]["stage"], shown["echod"]["windows_total"]) == (72, "decode", 5)
        assert event["video"]["status"] == "cancelled"
        client.submit(PORTRAIT, speech, size="128x128", fps=10, seed=SILENT)
        wait_for_log(daemon, "worker died: stalled, killed by SIGABRT; again in")


def test_one_that_is_not_there(tmp_path: Path) -> None:
    """It is refused with 78, naming those that are installed, of packages too."""
    write_package(tmp_path / "site", "odd", "")
    refused = run_echod("serve", "--engine", "wan", env={"PYTHONPATH": str(tmp_path / "site")})
    assert refused.returncode == 78
    assert (
        "must be one of auto, preview, echomimic, echomimic-fast, echomimic-quality, odd, which are installed"
        in refused.stderr
    )
