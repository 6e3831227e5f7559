"""One far incarnation without Ray: its actor is in this process, or is a list of what one says."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq
import zmq.asyncio

from echod import __version__
from echod.jobs.job import ClipOptions
from echod.workers import messages
from echod.workers.cluster.carrier import Carrier
from echod.workers.cluster.incarnation import Incarnation
from echod.workers.cluster.messages import About, Birth, Word, encode
from echod.workers.spec import Spec
from echod.workers.state import Ending
from tests.stand_ins import far_child

TIMEOUT = 30.0


class Here:
    """An actor in this process."""

    doing = "connecting"

    def __init__(self) -> None:
        self.carrier = Carrier()
        self.ended = False

    async def connected(self) -> None:
        return

    def place(self, device: str) -> Here:
        return self

    async def waits_for(self, device: str) -> str:
        return "starting"

    async def call(self, method: str, *arguments: bytes | str | int) -> Any:
        return await getattr(self.carrier, method)(*arguments)

    def end(self) -> None:
        self.ended = True


class Scripted(Here):
    """A node that says this, whatever it is asked, and then nothing more."""

    def __init__(self, *said: bytes | Iterable[Word], version: str | None = __version__) -> None:
        super().__init__()
        self._said = [each if isinstance(each, bytes) else encode(list(each)) for each in said]
        self._version = version
        self.orders: list[messages.Order] = []
        self.told = asyncio.Event()  # that there is an order

    async def call(self, method: str, *arguments: bytes | str | int) -> Any:
        if method == "about":
            return msgspec.json.encode(About("elsewhere", self._version))
        if method == "order":
            assert isinstance(arguments[0], bytes)
            self.orders.append(messages.decode_order(arguments[0]))
            self.told.set()
        if method == "words":
            await self.told.wait()
            if not self._said:
                await asyncio.Event().wait()
            return self._said.pop(0)
        return None


class Home:
    """The daemon's side of it, with a job to be made."""

    def __init__(self, directory: Path, places: Here) -> None:
        self.job = directory / "jobs" / "video_1"
        self.job.mkdir(parents=True)
        (self.job / "portrait.png").write_bytes(b"portrait")
        (self.job / "speech.flac").write_bytes(b"speech")
        self.lines: list[str] = []
        self._run = tempfile.TemporaryDirectory()  # socket paths are short
        run = Path(self._run.name)
        spec = Spec(
            index=3, epoch=2, device="ray/cpu", engines=("preview",), weights="", directory=str(run),
            reports=f"{run}/reports", inbox=f"{run}/inbox", parent=0, threads=1,
        )  # fmt: skip
        self._context = zmq.asyncio.Context()
        self._inbox = self._context.socket(zmq.PUSH)
        self._inbox.bind(f"ipc://{spec.inbox}")
        self._reports: asyncio.Queue[messages.Report] = asyncio.Queue()
        self.signals = asyncio.StreamReader()
        self._incarnation = Incarnation(
            Birth(f"{far_child.__name__}:main", spec), places, self._context, self._take, self.signals,
            self.lines.append,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        self.life = asyncio.create_task(self._incarnation.live())
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.life.cancel()
        await asyncio.gather(self.life, return_exceptions=True)
        self._inbox.close(linger=0)
        self._context.term()
        self._run.cleanup()

    async def _take(self, data: bytes) -> None:
        envelope = messages.decode_envelope(data)
        assert (envelope.worker, envelope.epoch) == (3, 2)
        await self._reports.put(envelope.report)

    async def send(self, order: messages.Order) -> None:
        await self._inbox.send(messages.encode(order))

    async def run(self, seed: int = far_child.GOOD, most: int | None = None, attempt: int = 1) -> None:
        await self.send(
            messages.Run(
                job=self.job.name, attempt=attempt, engine="preview", options=ClipOptions(seed=seed),
                directory=str(self.job), box=None, portrait_sha256="p", speech_sha256="s", most=most,
            )
        )  # fmt: skip

    async def told(self, kind: type[messages.Report]) -> Any:
        """The next report of a kind; others before it are passed over."""
        async with asyncio.timeout(TIMEOUT):
            while not isinstance(report := await self._reports.get(), kind):
                pass
        return report

    async def ending(self) -> Ending:
        async with asyncio.timeout(TIMEOUT):
            return await self.life

    def files(self) -> set[str]:
        """What the job has beside its inputs."""
        return {path.name for path in self.job.iterdir()} - {"portrait.png", "speech.flac"}
