"""The far hand: in the actor's process on a node, what the daemon is to its workers at home.

It starts the same child, watches it by pidfd, hands it orders, and says what it reports and writes. Everything lies in
a private directory, which goes with the hand; what a killed one left goes when the next starts on its node.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio
from msgspec.structs import replace

from echod.host.directories import create_private, short_temporary
from echod.jobs import life
from echod.workers import messages
from echod.workers.cluster.files import CERTIFICATE, KEY, PORTRAITS, Departing
from echod.workers.cluster.furnishing import furnish
from echod.workers.cluster.messages import PIECE, Ended, Grown, Said, Told, Word, decode_birth, encode
from echod.workers.hand import how_it_ended
from echod.workers.messages import Moved, Prepare, Prepared, Run
from echod.workers.spec import Spec
from echod.workers.state import Ending
from echod.workers.worker import INBOX_LIMIT

HOUSES = short_temporary() / f"echod-far-{os.getuid()}"
TICK = 20  # milliseconds between two looks at files that grow
IDLE = 1000  # the same where none does
LAST_WORDS = 100  # milliseconds that those of a dead child may take
WAITING = 4  # words that nobody has fetched yet; a child that says more waits
PATIENCE = 5.0  # seconds until whoever fetches words is answered with none
LONGEST = 2000  # characters of a line
LEASE = 30.0  # seconds without anybody who fetches them: the daemon, or the way to it, is gone


class NodeHand:
    """One incarnation. Use inside a running event loop whose thread lives as long as the process."""

    def __init__(self, birth: bytes) -> None:
        self._birth = decode_birth(birth)
        self.directory, self._held = house()
        self._words: asyncio.Queue[Word] = asyncio.Queue(WAITING)
        self._attempts: dict[str, Departing] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._fetched = time.monotonic()
        self._context = zmq.asyncio.Context()
        self._inbox: zmq.Socket[bytes] = zmq.Context(self._context).socket(zmq.PUSH)
        self._inbox.sndhwm = INBOX_LIMIT
        self._inbox.bind(f"ipc://{self.directory}/inbox")
        self._reports = self._context.socket(zmq.PULL)
        self._reports.bind(f"ipc://{self.directory}/reports")
        self._living = asyncio.create_task(self._live())
        self._leased = asyncio.create_task(self._lease())

    # What the link asks

    def take(self, name: str, data: bytes, begins: bool) -> bytes:
        """A piece of a file that an order will name. Nothing, or the number of the error that this disk gave."""
        path = self.directory / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with path.open("wb" if begins else "ab") as file:
                file.write(data)
        except OSError as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            return str(error.errno or errno.EIO).encode()
        return b""

    def order(self, data: bytes) -> None:
        order = messages.decode_order(data)
        match order:
            case Run():
                directory = self.directory / order.job
                identity = (str(directory / CERTIFICATE), str(directory / KEY)) if order.identity else None
                order = replace(order, directory=str(directory), identity=identity)
                self._attempts[order.job] = Departing(order)
            case Prepare():
                order = replace(order, portrait=str(self.directory / order.portrait))
        try:
            self._inbox.send(messages.encode(order), zmq.NOBLOCK)
        except zmq.Again:  # gone, or deaf: either way it will not obey
            self.kill(signal.SIGKILL)

    async def words(self) -> bytes:
        """The next ones, as soon as there are any; none after a while."""
        found: list[Word] = []
        self._fetched = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                found.append(await self._words.get())
        while not self._words.empty() and sum(len(word.data) for word in found if isinstance(word, Grown)) < PIECE:
            found.append(self._words.get_nowait())
        self._fetched = time.monotonic()
        return encode(found)

    def kill(self, number: int) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def close(self) -> None:
        """End the child, and leave nothing of it."""
        for task in (self._leased, self._living):
            task.cancel()
        self.kill(signal.SIGKILL)
        await asyncio.gather(self._living, return_exceptions=True)
        self._clear()

    # The child

    async def _live(self) -> None:
        say = self._words.put
        try:
            async for word in self._said():
                await say(word)
            ending = how_it_ended(self._child.wait() if self._child else 0)
        except Exception as error:
            ending = Ending("lost", f"lost: {type(error).__name__} on the node: {error}"[:1000])
        await say(Ended(ending))

    async def _said(self) -> AsyncIterator[Word]:
        """All that there is to say, in order."""
        async for found in furnish(self._birth.spec, self.directory, socket.gethostname()):
            if isinstance(found, Spec):
                self._spawn(encode(replace(self._birth, spec=found)))
            else:
                yield Told(found)
        if self._child is None:
            return
        dead = self._watch()
        while not dead.done():
            for line in self._log.taken():
                yield Said(line)
            for attempt in self._attempts.values():
                for grown in attempt.grown():
                    yield grown
            if await self._until_report(dead):
                async for word in self._reported():
                    yield word
        while await self._reports.poll(LAST_WORDS):
            async for word in self._reported():
                yield word
        self._log.read()
        for line in self._log.taken():
            yield Said(line)

    def _spawn(self, birth: bytes) -> None:
        """Its death is tied to this thread. It imports what this process could."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-P", "-m", "echod.workers.cluster.child", str(os.getpid())]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        self._pidfd = os.pidfd_open(self._child.pid)
        assert self._child.stdin
        assert self._child.stderr
        self._log = Lines(self._child.stderr.fileno())
        asyncio.get_running_loop().add_reader(self._log.fd, self._log.read)
        with contextlib.suppress(BrokenPipeError), self._child.stdin as pipe:
            pipe.write(birth)

    def _watch(self) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        dead = loop.create_future()

        def died() -> None:
            loop.remove_reader(self._pidfd)
            dead.set_result(None)

        loop.add_reader(self._pidfd, died)
        return dead

    async def _until_report(self, dead: asyncio.Future[Any]) -> bool:
        """Whether there is one; if not, it is time to look at files, or the child is dead."""
        poll: asyncio.Future[Any] = asyncio.ensure_future(self._reports.poll(TICK if self._attempts else IDLE))
        await asyncio.wait([poll, dead], return_when=asyncio.FIRST_COMPLETED)
        if not poll.done():
            poll.cancel()
            return False
        return bool(poll.result())

    async def _reported(self) -> AsyncIterator[Word]:
        """A report, behind what the child had written by then."""
        report = messages.decode_envelope(await self._reports.recv()).report
        match report:
            case messages.Hello():
                assert self._child
                report = replace(report, node=socket.gethostname(), pid=self._child.pid)
            case Moved(job=job, event=event) if attempt := self._attempts.get(job):
                for grown in attempt.rest() if isinstance(event, life.Done) else attempt.grown():
                    yield grown
                if not isinstance(event, life.Progressed | life.FirstFrame):
                    self._forget(job)
            case Prepared():
                shutil.rmtree(self.directory / PORTRAITS, ignore_errors=True)
        yield Told(report)

    def _forget(self, job: str) -> None:
        self._attempts.pop(job).close()
        shutil.rmtree(self.directory / job, ignore_errors=True)

    async def _lease(self) -> None:
        """Where nobody has fetched a word for long, nobody will: leave, and the process with it."""
        while (left := self._fetched + LEASE - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)  # it moves on with every word
        self.kill(signal.SIGKILL)
        self._clear()
        os._exit(1)

    def _clear(self) -> None:
        if self._child:
            self._child.wait()
            asyncio.get_running_loop().remove_reader(self._log.fd)
            assert self._child.stderr
            self._child.stderr.close()
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        for attempt in self._attempts.values():
            attempt.close()
        self._inbox.close(linger=0)
        self._reports.close(linger=0)
        self._context.term()
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._held)


class Lines:
    """What the child logs, line by line; of too many the first are lost."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self._rest = b""
        self._lines: deque[str] = deque(maxlen=1000)

    def read(self) -> None:
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self.fd)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(line.decode(errors="replace")[:LONGEST] for line in lines)
        self._rest = self._rest[-LONGEST:]

    def taken(self) -> Iterator[str]:
        while self._lines:
            yield self._lines.popleft()


def house() -> tuple[Path, int]:
    """A directory for one hand, locked for as long as this process lives; what others left that were killed is removed.

    One at a time, so that none is taken for left before it is locked.
    """
    create_private(HOUSES)
    with contextlib.closing(_Locked(HOUSES, fcntl.LOCK_EX)):
        for left in HOUSES.iterdir():
            with contextlib.suppress(OSError), contextlib.closing(_Locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB)):
                shutil.rmtree(left, ignore_errors=True)
        directory = Path(tempfile.mkdtemp(dir=HOUSES))
        return directory, _Locked(directory, fcntl.LOCK_EX).descriptor


class _Locked:
    def __init__(self, directory: Path, how: int) -> None:
        self.descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self.descriptor, how)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self.descriptor)
