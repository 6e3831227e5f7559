"""Behind a daemon without workers: a fleet that does as it is told, and an inspector that decodes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

from echod.errors import EchodError
from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.inspection.messages import PREPARED, Inspected
from echod.jobs import life
from echod.jobs.desk import Desk
from echod.jobs.job import Job

PORTRAIT, SPEECH = b"a picture of a face", b"some words"  # what the inspector below takes for the two


class Inspector:
    """Tells by the first bytes what a file is, and decodes nothing."""

    async def inspect(self, path: Path, into: Path, want: str, **_: object) -> Inspected:
        data = path.read_bytes()
        kind = "portrait" if data.startswith((b"a", b"\x89PNG", b"\xff\xd8")) else "speech"
        if data.startswith(b"?") or want not in ("any", kind):
            raise EchodError(f"{want}_unreadable" if want != "any" else "unsupported_media", "it cannot be read")
        prepared = into / PREPARED[kind]
        prepared.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        if kind == "portrait":
            portrait = PortraitFacts(width=640, height=480, faces=2, box=(1, 2, 3, 4), sha256=digest)
            return Inspected(kind="portrait", prepared=prepared, portrait=portrait)
        speech = SpeechFacts(seconds=1.5, rate=16000, channels=1, sha256=digest)
        return Inspected(kind="speech", prepared=prepared, speech=speech)


class Hands:
    """Stands in for the fleet behind the desk: attempts begin, grow and end when a test says so."""

    def __init__(self) -> None:
        self.desk: Desk
        self.refused: EchodError | None = None
        self.cancelled: list[str] = []

    def wake(self) -> None:
        pass

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job.id)

    def helpers(self, job_id: str) -> list[str]:
        return []

    def refusal(self) -> EchodError | None:
        return self.refused

    async def begin(self) -> Job:
        """Start the next attempt of the next job."""
        job = self.desk.queue.pop()
        assert job is not None
        begun = await self.desk.begin(job.id, "cpu")
        assert begun is not None
        return begun

    def growing(self, job: Job) -> Path:
        return self.desk.directory(job.id) / f"stream.{job.attempt}.mp4"

    async def grow(self, job: Job, data: bytes) -> None:
        """Add to the clip of a running attempt; the first time makes it playable."""
        first = not self.growing(job).exists()
        with self.growing(job).open("ab") as file:
            file.write(data)
        if first:
            await self.desk.apply(job.id, life.FirstFrame(job.attempt))

    async def progress(self, job: Job, share: float) -> None:
        event = life.Progressed(attempt=job.attempt, stage="decode", progress=share, windows_total=4)
        await self.desk.apply(job.id, event)

    async def complete(self, job: Job, data: bytes = b"0123456789") -> None:
        directory = self.desk.directory(job.id)
        (directory / "thumbnail.jpg").write_bytes(b"small picture")
        (directory / "clip.mp4").write_bytes(data)
        self.growing(job).unlink(missing_ok=True)
        done = life.Done(attempt=job.attempt, frames=36, crop=(1, 2, 3, 4), faces=2, timings_ms={"decode": 1500})
        await self.desk.apply(job.id, done)

    async def fail(self, job: Job, code: str, transient: bool = False) -> None:
        failed = life.Failed(attempt=job.attempt, code=code, message="as told", transient=transient)
        await self.desk.apply(job.id, failed)
