"""A clip that many compute, while whoever computes is killed or called away: always the frames of one made alone."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from echod.client.client import Video
from echod.inference.audio import Speech
from echod.inference.clip import make_clip
from echod.inference.contract import Options
from echod.inference.echomimic.engine import EchoMimicEngine
from echod.inference.echomimic.tiny import init_tiny
from echod.jobs.job import CONVERSATION, Job
from tests.drivers.bench import bench
from tests.drivers.running import DTYPE, RunningDaemon, descendants, gone
from tests.making.media import EXAMPLES, write_wav
from tests.making.playback import digest
from tests.stand_ins import doomed

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

DOOMED = (sys.executable, "-m", "tests.stand_ins.doomed")
SECONDS, STEPS = 1.5, 4
CALLS, BATCHES = STEPS * 5, 9  # of 38 frames in windows of 12 that share 3; of 36 frames
POINTS = [  # the stage, and how far it has got
    ("audio", 0), ("denoise", 0), ("denoise", 1), ("denoise", CALLS // 4), ("denoise", CALLS // 2),
    ("denoise", CALLS * 3 // 4), ("denoise", CALLS - 1), ("decode", 4), ("decode", 20), ("mux", 0),
]  # fmt: skip


class Studio:
    """Weights, a speech, and what one process with one thread makes of it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.weights = directory, directory / "weights"
        init_tiny(self.weights)
        self.speech = write_wav(directory / "speech.wav", SECONDS)
        self.alone = self.make(128)

    def make(self, side: int) -> str:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            engine = EchoMimicEngine.load("echomimic", self.weights, "cpu", DTYPE)
            portrait = engine.prepare(np.asarray(Image.open(EXAMPLES / "portrait.png").convert("RGB")), (side, side))
            make_clip(engine, portrait, Speech.open(self.speech), Options(steps=STEPS), self.directory, lossless=True)
        finally:
            torch.set_num_threads(threads)
        return digest(self.directory / "clip.mp4")

    def daemon(self, name: str, devices: int) -> RunningDaemon:
        directory = self.directory / name
        directory.mkdir()
        flags = (
            "--devices",
            ",".join(["cpu"] * devices),
            "--engine",
            "echomimic",
            "--dtype",
            DTYPE,
            "--weights",
            str(self.weights),
        )
        return RunningDaemon(directory, *flags, command=DOOMED, ECHOD_TEST_FATE=str(directory / "fate"))


def ready(daemon: RunningDaemon) -> None:
    """However long four workers take to start on a busy machine; the test's own time limit ends it."""
    while True:
        with contextlib.suppress(TimeoutError):
            return daemon.until_idle()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module", params=[2, 4])
def daemon(studio: Studio, request: pytest.FixtureRequest) -> Iterator[RunningDaemon]:
    with studio.daemon(f"{request.param} workers", request.param) as daemon:
        ready(daemon)
        yield daemon


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.drivers.bench.TIMEOUT", 600.0)


@pytest.fixture
def dice() -> random.Random:
    seed = int(os.environ.get("ECHOD_CHAOS_SEED", random.randrange(1 << 32)))
    print(f"ECHOD_CHAOS_SEED={seed}")
    return random.Random(seed)


def submit(daemon: RunningDaemon, speech: Path, steps: int | None = STEPS) -> str:
    with daemon.client() as client:
        return client.submit(EXAMPLES / "portrait.png", speech, size="128x128", steps=steps, lossless=True)["id"]


def followed(daemon: RunningDaemon, video: str) -> Video:
    with daemon.client() as client:
        return [event["video"] for event in client.follow(video)][-1]


def made(daemon: RunningDaemon, video: str) -> str:
    """What it shows; nothing else is left of the job's making."""
    directory = daemon.state_dir / "jobs" / video
    assert not [path.name for path in directory.iterdir() if path.name.startswith(("board", "stream"))]
    return digest(directory / "clip.mp4")


def again(directory: Path) -> tuple[int, int]:
    """How many calls and batches were begun more often than once, since this was last asked."""
    begun = directory / "fate.begun"
    tasks = Counter(line.split(" ", 1)[1] for line in begun.read_text().splitlines())
    begun.unlink()
    calls = sum(count - 1 for task, count in tasks.items() if task.startswith("call"))
    return calls, tasks.total() - len(tasks) - calls


def test_all_idle_workers_help(daemon: RunningDaemon, studio: Studio) -> None:
    """Every worker takes part, nothing is computed twice, and the clip is that of one made alone."""
    video = submit(daemon, studio.speech)
    job = followed(daemon, video)
    devices = job["echod"]["devices"]
    assert (job["status"], job["echod"]["attempt"]) == ("completed", 1)
    assert len(devices) == len(daemon.devices())
    assert again(daemon.directory) == (0, 0)
    assert made(daemon, video) == studio.alone
    print(f"devices={devices} repeated=0")


def test_helpers_killed_every_second(daemon: RunningDaemon, studio: Studio) -> None:
    """For as long as clips last; a job whose helpers died twice runs on alone. No attempt is lost."""
    pause, killed, videos = threading.Event(), 0, list[str]()
    while killed < 6:
        videos.append(video := submit(daemon, studio.speech))
        while not pause.wait(1.0):
            with daemon.client() as client:
                if (job := client.video(video))["status"] not in ("queued", "in_progress"):
                    break
            if helpers := [device["pid"] for device in daemon.devices() if device["helping"] == video]:
                os.kill(helpers[0], signal.SIGKILL)
                gone(helpers[:1])
                killed += 1
        assert (job["status"], job["echod"]["attempt"]) == ("completed", 1)
        assert made(daemon, video) == studio.alone
        assert len(videos) < 30, "nobody helps"
    ready(daemon)
    print(f"jobs={len(videos)} helpers_killed={killed}")


@pytest.mark.parametrize("who", ["owner", "daemon"])
def test_killed_at_ten_points(studio: Studio, dice: random.Random, who: str) -> None:
    """Before the first window, between any two, while frames are decoded, at the end: what was done is not lost."""
    lost: Counter[str] = Counter()
    with studio.daemon(f"{who} dies", 2) as daemon:
        ready(daemon)
        for stage, done in POINTS:
            fate, met = daemon.directory / "fate", daemon.directory / "fate.met"
            children = list(descendants(daemon.process.pid))
            fate.write_text(f"{who} {stage} {done} {dice.randrange(60)}")
            video = submit(daemon, studio.speech)
            if who == "daemon":
                assert daemon.process.wait(120) == -signal.SIGKILL
                gone(children)
                daemon.start()
            job, extras = (job := followed(daemon, video)), job["echod"]
            calls, batches = again(daemon.directory)
            assert met.read_text().split()[0] == who
            assert (job["status"], extras["attempt"]) == ("completed", 2), (stage, done, job)
            assert made(daemon, video) == studio.alone, (stage, done)
            assert calls <= (1 if who == "owner" else 2), (stage, done)
            assert batches <= BATCHES
            lost.update(jobs=1, calls=calls, batches=batches, resumed=extras["windows_resumed"])
            met.unlink()
            ready(daemon)
        with daemon.client() as client:
            assert len(list(client.videos())) == len(POINTS)
    print(f"{who}: {dict(lost)} of {len(POINTS) * CALLS} calls and {len(POINTS) * BATCHES} batches")


async def test_killed_half_way_through_ten_seconds(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 240 frames no call is computed again but that of who was killed, and frames that were shown are decoded."""
    speech, calls, batches = write_wav(tmp_path / "ten.wav", 10.0), 6 * 27, 60
    fate = tmp_path / "fate"
    monkeypatch.setenv("ECHOD_TEST_FATE", str(fate))
    fate.write_text(f"owner denoise {calls // 2} 20")
    async with bench(tmp_path, 2, doomed.main, engines=("echomimic",), dtype=DTYPE, weights_dir=studio.weights) as work:
        await work.ready()
        job = await work.ended(await work.film(speech, 10.0, side=64))
    repeated, decoded = again(tmp_path)
    print(f"killed at: {fate.with_suffix('.met').read_text()} of {calls}; resumed={job.windows_resumed}, "
          f"computed again: {repeated} of {calls} calls, {decoded} of {batches} batches")  # fmt: skip
    assert (job.status, job.attempt) == ("completed", 2)
    assert job.windows_resumed >= calls // 2
    assert repeated <= 1
    assert decoded <= batches // 2


async def test_suspended_by_conversations(
    studio: Studio, dice: random.Random, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conversation jobs run on top of two clips, at random moments; these are the clips of nobody disturbed, and so
    are those of the conversation."""
    monkeypatch.setenv("ECHOD_TEST_FATE", str(tmp_path / "fate"))
    async with bench(tmp_path, 2, doomed.main, engines=("echomimic",), weights_dir=studio.weights, dtype=DTYPE) as work:
        await work.ready()
        batch = [await work.film(studio.speech, SECONDS, side=64, steps=STEPS) for _ in range(2)]
        talk, suspended = list[Job](), set[str | None]()
        for job, share in product(batch, sorted(dice.sample(range(1, CALLS), 3))):
            await work.until(job, lambda job, share=share: job.windows_done >= share or job.terminal)  # type: ignore[misc]
            talk.append(await work.film(studio.speech, SECONDS, side=64, steps=STEPS, priority=CONVERSATION))
            devices = await work.devices(lambda devices, id=talk[-1].id: id in {d.job for d in devices})  # type: ignore[misc]
            suspended |= {device.suspended for device in devices}
        ended = [await work.ended(job) for job in (*batch, *talk)]
        assert [(job.status, job.attempt) for job in ended] == [("completed", 1)] * len(ended)
        assert suspended & {job.id for job in batch}
        assert {digest(work.desk.directory(job.id) / "clip.mp4") for job in ended} == {studio.make(64)}
        took_part = [len(job.devices) for job in ended]
    calls, batches = begun(tmp_path / "fate.begun")
    assert (calls, batches) == (len(ended) * CALLS, len(ended) * BATCHES)
    print(f"batch=2 conversation={len(talk)} suspended={len(suspended - {None})} {took_part=} {calls=} {batches=}")


def begun(file: Path) -> tuple[int, int]:
    """How many calls and batches of all jobs were begun."""
    lines = file.read_text().splitlines()
    calls = sum(line.split()[1] == "call" for line in lines)
    return calls, len(lines) - calls
