"""One far incarnation, here: orders and files go to its actor, what that says goes to the daemon.

What comes from a node is checked: it is one of the kinds of words there are, about a job that this incarnation runs,
and its files have the names that they have here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Never, Protocol, TypeVar

import msgspec
import zmq
import zmq.asyncio
from msgspec.structs import replace

from echod import __version__
from echod.inference.room import NoRoom
from echod.jobs import life
from echod.workers import messages
from echod.workers.cluster.connection import Place, Unfit, in_short
from echod.workers.cluster.files import PORTRAITS, Arriving, Breach, inputs, pieces
from echod.workers.cluster.messages import (
    MOST,
    About,
    Birth,
    Ended,
    Grown,
    Said,
    Told,
    Word,
    decode_about,
    decode_words,
    encode,
)
from echod.workers.failures import describe
from echod.workers.hand import how_it_ended
from echod.workers.messages import Alive, Moved, NotReady, Prepare, Run
from echod.workers.reports import MAX_REPORT
from echod.workers.state import Ending

T = TypeVar("T")

TICK = 1.0  # seconds between two signs of life of what has to be waited for
SILENCE = 30.0  # seconds after which a node that says nothing, not even that, is lost
CLOSING = 2.0  # seconds that an actor may take to leave nothing on its node


class Places(Protocol):
    """What finds places for actors."""

    doing: str

    async def connected(self) -> None: ...

    def place(self, device: str) -> Place: ...

    async def waits_for(self, device: str) -> str: ...


class Incarnation:
    """`report` hands the daemon what this worker says, `log` takes lines of its; `signals` are the daemon's to it."""

    def __init__(
        self,
        birth: Birth,
        places: Places,
        context: zmq.asyncio.Context,
        report: Callable[[bytes], Awaitable[None]],
        signals: asyncio.StreamReader,
        log: Callable[[str], None],
    ) -> None:
        self._birth = birth
        self._places = places
        self._send = report
        self._signals = signals
        self._log = log
        self._inbox = context.socket(zmq.PULL)
        self._inbox.connect(f"ipc://{birth.spec.inbox}")
        self._place: Place | None = None
        self._node = ""
        self._arriving: dict[str, Arriving] = {}
        self._runs: dict[str, Run] = {}
        self._spoilt: dict[str, life.Failed] = {}  # what failed here, and on its node goes on until it is cancelled

    async def live(self) -> Ending:
        """From its start to its end."""
        tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._obey_signals())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task.done()).result()
        except Unfit as error:
            await self._report(NotReady(str(error)))
            return how_it_ended(0)
        except (Breach, msgspec.MsgspecError, ValueError) as error:
            return _lost(f": node {self._node} sent what none should: {in_short(error)}")
        except TimeoutError:
            return _lost(f": no word from node {self._node} for {SILENCE:.0f} s")
        except Exception as error:  # of Ray's there are many
            return _lost(f"{f' with node {self._node}' if self._node else ''}: {in_short(error)}")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

    async def _work(self) -> Ending:
        device = self._birth.spec.device
        await self._waiting(self._places.connected(), self._connecting)
        self._place = self._places.place(device)
        about = await self._waiting(self._call("about"), lambda: self._places.waits_for(device))
        self._node = _fit(decode_about(about)).node
        await self._call("start", encode(self._birth))
        orders = asyncio.create_task(self._forward())
        listening = asyncio.create_task(self._listen())
        try:
            done, _ = await asyncio.wait([orders, listening], return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in (orders, listening):
                task.cancel()
            await asyncio.gather(orders, listening, return_exceptions=True)

    async def _waiting(self, work: Awaitable[T], doing: Callable[[], Awaitable[str]]) -> T:
        """Until it is done, with a sign of life now and then."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=TICK))[0]:
                await self._report(Alive(await doing()))
            return task.result()
        finally:
            task.cancel()

    async def _connecting(self) -> str:
        return self._places.doing

    async def _call(self, method: str, *arguments: bytes | str | int) -> bytes:
        assert self._place
        return bytes(await self._place.call(method, *arguments) or b"")

    async def _report(self, report: messages.Report) -> None:
        spec = self._birth.spec
        data = messages.encode(messages.Envelope(spec.index, spec.epoch, report))
        if len(data) > MAX_REPORT:  # the daemon would cut off all that come by the same socket
            raise Breach(f"a report of {len(data)} bytes")
        await self._send(data)

    # To the node

    async def _obey_signals(self) -> Ending:
        """Until it is to end, or the daemon has let go of it."""
        while data := await self._signals.read(1):
            if (number := data[0]) == signal.SIGKILL or not self._node:
                break
            async with asyncio.timeout(CLOSING):  # else the next signal, which ends it, would wait too
                await self._call("kill", number)
        return how_it_ended(-signal.SIGKILL)

    async def _forward(self) -> Never:
        while True:
            order = messages.decode_order(await self._inbox.recv())
            match order:
                case Run():
                    if not await self._ship(order):
                        continue
                case Prepare():
                    name = f"{PORTRAITS}/{order.portrait_sha256}"
                    with contextlib.suppress(OSError):  # the child will say that it is not there
                        await self._put(name, Path(order.portrait))
                    order = replace(order, portrait=name)
            await self._call("order", messages.encode(order))

    async def _ship(self, order: Run) -> bool:
        """Whether the node has now what the attempt reads."""
        self._arriving[order.job], self._runs[order.job] = Arriving(order), order
        try:
            for name, path in inputs(order):
                await self._put(f"{order.job}/{name}", path)
        except OSError as error:
            del self._arriving[order.job], self._runs[order.job]
            await self._report(Moved(job=order.job, event=describe(order.attempt, error)[0]))
            return False
        return True

    async def _put(self, name: str, path: Path) -> None:
        for number, data in enumerate(pieces(path)):
            if refused := await self._call("take", name, data, number == 0):
                raise OSError(int(refused), f"node {self._node}: {os.strerror(int(refused))}")

    # From the node

    async def _listen(self) -> Ending:
        while True:
            async with asyncio.timeout(SILENCE):
                data = await self._call("words")
            if len(data) > MOST:
                raise Breach(f"{len(data)} bytes at once")
            for word in decode_words(data):
                if isinstance(word, Ended):
                    return word.ending
                await self._take(word)

    async def _take(self, word: Word) -> None:
        match word:
            case Grown():
                await self._grown(word)
            case Told(report=Moved() as moved):
                await self._moved(moved)
            case Told(report=messages.Hello() as hello):
                await self._report(replace(hello, node=self._node))
            case Told(report=messages.Ready() as ready):
                await self._report(replace(ready, numbers={}))  # nobody helps it, and it helps nobody
            case Told(report=report):
                await self._report(report)
            case Said(line=line):
                self._log(line)

    async def _grown(self, grown: Grown) -> None:
        if grown.job in self._spoilt:
            return
        if grown.job not in self._arriving:
            raise Breach(f"a file of job {grown.job!r}, which it does not run")
        try:
            self._arriving[grown.job].take(grown)
        except (NoRoom, OSError) as error:
            await self._spoil(grown.job, error)

    async def _spoil(self, job: str, error: Exception) -> None:
        """The attempt has failed, though its node does not know it yet."""
        order = self._runs[job]
        self._spoilt[job] = describe(order.attempt, error)[0]
        self._arriving[job].drop()
        await self._call("order", messages.encode(messages.Cancel(job, order.attempt)))

    async def _moved(self, moved: Moved) -> None:
        job, event = moved.job, moved.event
        if job not in self._arriving:
            raise Breach(f"of job {job!r}, which it does not run")
        if isinstance(event, life.Progressed | life.FirstFrame):
            if job not in self._spoilt:
                await self._report(moved)
            return
        if isinstance(event, life.Done) and job not in self._spoilt:
            try:
                await asyncio.to_thread(self._arriving[job].publish)
            except (NoRoom, OSError) as error:
                self._spoilt[job] = describe(event.attempt, error)[0]
        arriving = self._arriving.pop(job)
        del self._runs[job]
        failed = self._spoilt.pop(job, None)
        if failed or not isinstance(event, life.Done):
            arriving.drop()
        await self._report(replace(moved, event=failed) if failed else moved)

    async def _close(self) -> None:
        """Nothing is left of it, on its node and here."""
        for arriving in self._arriving.values():
            arriving.drop()
        self._inbox.close(linger=0)
        if self._place is None:
            return
        if self._node:
            with contextlib.suppress(Exception):  # it may be gone
                async with asyncio.timeout(CLOSING):
                    await self._call("close")
        with contextlib.suppress(Exception):
            self._place.end()


def _lost(how: str) -> Ending:
    return Ending("lost", f"lost{how}")


def _fit(about: About) -> About:
    """Raises Unfit for a node that has another echod, or none."""
    if about.version == __version__:
        return about
    has = f"has echod {about.version}" if about.version else "has no echod"
    raise Unfit(f"node {about.node} {has}, and this daemon is {__version__}: install the same there")
