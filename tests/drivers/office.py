"""A desk with its journal, whose fleet is the test."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from echod.config import Config, Settings
from echod.errors import EchodError
from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.jobs import life
from echod.jobs.desk import Desk
from echod.jobs.job import Draft, Job
from echod.journal import Journal
from tests.making.jobs import done
from tests.making.media import write_picture, write_wav
from tests.stand_ins.clock import Clock


class Idle:
    """A dispatcher that dispatches nothing: the test does."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.refuses: EchodError | None = None

    def wake(self) -> None:
        pass

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job.id)

    def helpers(self, job_id: str) -> list[str]:
        return []

    def refusal(self) -> EchodError | None:
        return self.refuses


class Office(NamedTuple):
    desk: Desk
    fleet: Idle
    clock: Clock
    draft: Draft

    async def clip(self, size: int = 0, account: str = "a") -> str:
        """The id of a job that has made one."""
        job = await self.desk.accept(msgspec.structs.replace(self.draft, account=account))
        (self.desk.directory(job.id) / "clip.mp4").write_bytes(bytes(size))
        await self.run(job, done())
        self.clock.now += 1
        return job.id

    async def run(self, job: Job, *events: life.Event) -> None:
        """What a fleet does: take the job, run it, end it."""
        self.desk.queue.discard(job.id)
        await self.desk.begin(job.id, "cpu")
        for event in events:
            await self.desk.apply(job.id, event)


async def open_office(config: Config, journal: Journal, inputs: Path) -> Office:
    fleet, clock = Idle(), Clock()
    desk = Desk(Settings(config), journal, ("preview", "other"), boot=await journal.boot(), clock=clock)
    await desk.open(fleet)
    draft = Draft(
        account="a",
        portrait=PortraitFacts(width=64, height=48, faces=1, box=None, sha256="p"),
        portrait_file=write_picture(inputs / "in.png"),
        speech=SpeechFacts(seconds=0.5, rate=16000, channels=1, sha256="s"),
        speech_file=write_wav(inputs / "in.wav"),
    )
    return Office(desk, fleet, clock, draft)
