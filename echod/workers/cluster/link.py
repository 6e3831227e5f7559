"""The link: the one process that imports Ray. `python -m echod.workers.cluster.link SPEC`, started by the daemon.

It dies with the daemon, and everything on the cluster dies with it. A connection to its socket is one far incarnation:
a Birth and signals come in, how it ended goes out. Orders and reports take the daemon's own ZeroMQ sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import zmq
import zmq.asyncio

from echod.host import logs
from echod.host.directories import short_temporary
from echod.host.process import die_with_parent
from echod.host.terminal import plain
from echod.workers.cluster.connection import RayConnection
from echod.workers.cluster.far import LinkSpec
from echod.workers.cluster.incarnation import Incarnation
from echod.workers.cluster.messages import LENGTH, decode_birth, encode
from echod.workers.cluster.watch import watch

PREFIX = "echod-ray-"
REMOVING = 50  # tries to remove what dying processes may still write to


def main() -> None:
    spec = msgspec.json.Decoder(LinkSpec, float_hook=float).decode(sys.argv[1])
    die_with_parent(spec.parent)
    os.set_inheritable(spec.listens, False)  # who waits for a dead link must hear of its death
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _be_quiet()
    logs.set_up(spec.log_level, spec.log_json)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=short_temporary())) if spec.address == "local" else None
    if directory:
        _keep_house(directory)
        os.environ.update(ECHOD_WEIGHTS_DIR=spec.weights, ECHOD_STATE_DIR=spec.state)  # for nodes that are this machine
    connection = RayConnection(spec.address, spec.cpus, str(directory))
    asyncio.run(serve(spec, connection))


async def serve(spec: LinkSpec, connection: RayConnection) -> None:
    context = zmq.asyncio.Context()
    reports = context.socket(zmq.PUSH)
    reports.connect(f"ipc://{spec.reports}")

    async def report(data: bytes) -> None:
        await reports.send(data)

    async def incarnate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (size := int.from_bytes(await reader.readexactly(LENGTH), "big")):
            with contextlib.suppress(OSError):
                if await watch(connection, spec.address, writer):
                    os._exit(1)
            return
        birth = decode_birth(await reader.readexactly(size))
        ending = await Incarnation(birth, connection, context, report, reader, repeat).live()
        writer.write(encode(ending))
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()

    server = await asyncio.start_unix_server(incarnate, sock=socket.socket(fileno=spec.listens))
    await server.serve_forever()


def repeat(line: str) -> None:
    """A line of a far worker's log, which it has given its form already."""
    print(plain(line), file=sys.stderr)


def _be_quiet() -> None:
    """What Ray's libraries write themselves is none of our log."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.close(quiet)
    logging.raiseExceptions = False


def _keep_house(directory: Path) -> None:
    """Leave a process behind that ends what is left of a Ray of our own when this one ends, however it does.

    Its processes are in this session's group; some would wait a minute for a head that is gone. Workers have groups of
    their own, and die with theirs.
    """
    ours, theirs = os.pipe()
    group = os.getpgrp()
    if os.fork():
        os.close(ours)
        os.set_inheritable(theirs, False)
        return
    os.setpgid(0, 0)
    os.dup2(ours, 0)
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 1 << 20 else 1 << 20)
    os.read(0, 1)
    for _ in range(REMOVING):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            break
        time.sleep(0.05)
    os._exit(0)


if __name__ == "__main__":
    main()
