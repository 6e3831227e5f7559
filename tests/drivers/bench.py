"""A desk and a fleet with scripted workers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from echod.config import Settings
from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs.desk import Desk
from echod.jobs.job import BATCH, ClipOptions, Draft, Job
from echod.journal import Journal
from echod.workers.fleet import Fleet
from echod.workers.spec import Spec
from echod.workers.state import DeviceState
from tests.making.config import make_config
from tests.making.media import EXAMPLES, write_picture, write_wav
from tests.stand_ins import engine as scripted

TIMEOUT = 60.0


class Bench:
    """A desk and a fleet with scripted workers."""

    def __init__(self, desk: Desk, fleet: Fleet, inputs: Path) -> None:
        self.desk = desk
        self.fleet = fleet
        self.inputs = inputs

    async def accept(
        self, seed: int = scripted.GOOD, *, account: str = "a", priority: int = BATCH, engine: str = "preview"
    ) -> Job:
        return await self.desk.accept(
            Draft(
                account=account,
                portrait=PortraitFacts(width=64, height=48, faces=1, box=None, sha256=f"p{seed}"),
                portrait_file=self.inputs / "portrait.png",
                speech=SpeechFacts(seconds=0.5, rate=16000, channels=1, sha256="s"),
                speech_file=self.inputs / "speech.flac",
                engine=engine,
                options=ClipOptions(width=128, height=128, fps=10, seed=seed),
                priority=priority,
            )
        )

    async def film(
        self, speech: Path, seconds: float, *, side: int = 128, steps: int | None = None, priority: int = BATCH
    ) -> Job:
        """A lossless clip of the example's portrait by EchoMimic, for workers that can."""
        return await self.desk.accept(
            Draft(
                account="a",
                portrait=PortraitFacts(width=512, height=512, faces=1, box=None, sha256="p"),
                portrait_file=(EXAMPLES / "portrait.png").resolve(),  # a link to it would be linked as it is
                speech=SpeechFacts(seconds=seconds, rate=16000, channels=1, sha256="s"),
                speech_file=speech,
                engine="echomimic",
                options=ClipOptions(width=side, height=side, steps=steps, lossless=True),
                priority=priority,
            )
        )

    async def until(self, job: Job, wanted: Callable[[Job], bool]) -> Job:
        watcher = self.desk.feed.watch_job(await self.desk.find(job.id, None))
        try:
            async with asyncio.timeout(TIMEOUT):
                async for event in watcher:
                    if wanted(event.job):
                        return event.job
        finally:
            watcher.close()
        raise AssertionError("the feed ended")

    async def ended(self, job: Job) -> Job:
        return await self.until(job, lambda job: job.terminal)

    async def devices(self, wanted: Callable[[list[DeviceState]], bool]) -> list[DeviceState]:
        changed = asyncio.Event()
        self.fleet.on_change = changed.set
        async with asyncio.timeout(TIMEOUT):
            while not wanted(self.fleet.devices()):
                changed.clear()
                await changed.wait()
        return self.fleet.devices()

    async def ready(self) -> list[DeviceState]:
        return await self.devices(lambda devices: all(device.state == "idle" for device in devices))

    async def file(self, job: Job, name: str) -> None:
        """Until the scripted engine has left its mark."""
        path = self.desk.directory(job.id) / name
        async with asyncio.timeout(TIMEOUT):
            while not path.exists():  # noqa: ASYNC110  (another process makes it)
                await asyncio.sleep(0.01)

    def open_gate(self, job: Job) -> None:
        (self.desk.directory(job.id) / "gate").touch()


@asynccontextmanager
async def bench(
    tmp_path: Path,
    devices: int = 1,
    main: Callable[[Spec], None] = scripted.main,
    engines: tuple[str, ...] = ("preview",),
    following: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    **flags: object,
) -> AsyncIterator[Bench]:
    write_picture(tmp_path / "portrait.png")
    write_wav(tmp_path / "speech.flac")
    with tempfile.TemporaryDirectory() as run:  # socket paths are short
        config = make_config(tmp_path, runtime_dir=run, c2pa=False, **flags)
        config.state_dir.mkdir(exist_ok=True)
        journal = Journal(config.state_dir / "journal")
        journal.open()
        settings = Settings(config)
        desk = Desk(settings, journal, engines, boot=await journal.boot())
        names = names or ("cpu",) * devices
        fleet = Fleet(settings, desk, names, main, following)
        for worker in fleet.workers:
            worker.backoff_unit = 0.01
        await desk.open(fleet)
        await fleet.start()
        try:
            yield Bench(desk, fleet, tmp_path)
        finally:
            hurry = asyncio.Event()
            hurry.set()
            await fleet.drain(0, hurry)
            await desk.close()
            await journal.close()
