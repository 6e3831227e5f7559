"""What comes to the socket of reports and is none: it is open to every program of the daemon's own user."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio

from echod.jobs.life import Progressed
from echod.workers import messages
from echod.workers.reports import Reports
from echod.workers.worker import Worker
from tests.drivers.bench import bench


def report(told: dict[str, Any], worker: int = 0) -> bytes:
    return msgspec.msgpack.encode({"worker": worker, "epoch": 1, "report": told})


def reports() -> Iterator[tuple[str, bytes]]:
    """What no worker sends, by name."""
    envelope = messages.encode(messages.Envelope(0, 1, messages.Alive("loading")))
    yield "nothing", b""
    yield "no MessagePack", b"\xc1" * 100
    yield "deep", b"\x91" * 100_000
    yield "half", envelope[:-3]
    yield "more behind it", envelope + envelope
    yield "a list", msgspec.msgpack.encode([1, 2, 3])
    yield "no report", report({"type": "Order"})
    for worker in (-1, 99, 2**63):
        yield f"worker {worker}", report({"type": "Alive", "doing": ""}, worker)
    for progress in (float("nan"), float("inf"), -1.0, 1e308):
        event = {"type": "Progressed", "attempt": 1, "stage": "s", "progress": progress}
        yield f"progress {progress}", report({"type": "Moved", "job": "j", "event": event})
    for name in ("Lost", "Requeued"):  # which the daemon alone may say
        event = {"type": name, "attempt": 1, "stalled": False, "reason": ""}
        yield name, report({"type": "Moved", "job": "j", "event": event})
    yield "large", b"\xc6\xff\xff\xff\xff" + bytes(2 << 20)


async def test_reports_that_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever comes to the socket of reports is dropped, with a line of the log, and jobs are made as before."""
    async with bench(tmp_path) as it:
        await it.ready()
        context = zmq.asyncio.Context()
        sent = 0
        for _name, data in reports():
            with context.socket(zmq.PUSH) as intruder:
                intruder.connect(f"ipc://{it.fleet.reports.path}")
                await intruder.send_multipart([data, b"a second part"] if sent % 2 else [data])
                sent += 1
        context.term()  # all that was sent has arrived
        assert (await it.ended(await it.accept())).status == "completed"
    dropped = [record for record in caplog.records if "no report" in record.message]
    assert len(dropped) >= sent - 1  # the large one is refused by ZeroMQ itself
    assert "Traceback" not in caplog.text


async def test_report_that_breaks_its_taking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the daemon's own under one report ends neither the reading nor goes unseen."""

    async with bench(tmp_path) as it:
        await it.ready()
        moved = it.fleet._moved

        def fail(worker: Worker, report: messages.Moved) -> None:
            if isinstance(report.event, Progressed):
                raise KeyError("missing")
            moved(worker, report)

        monkeypatch.setattr(it.fleet, "_moved", fail)
        assert (await it.ended(await it.accept())).status == "completed"
    assert "a report could not be taken" in caplog.text


def unix_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX)


async def test_what_a_killed_daemon_left(tmp_path: Path) -> None:
    """Sockets at which nobody listens any more are removed at the start; one that is listened at, and a file, stay."""
    with zmq.asyncio.Context() as context, unix_socket() as live, unix_socket() as waiting:
        live.bind(str(tmp_path / "9.1"))
        live.listen(0)
        waiting.connect(str(tmp_path / "9.1"))  # as many as it holds: the next one would have to wait
        with unix_socket() as dead:
            dead.bind(str(tmp_path / "0.7"))
            dead.listen()
        (tmp_path / "note").touch()
        made = Reports(str(tmp_path / "reports"), lambda envelope: None)
        made.open(context)
        assert {path.name for path in tmp_path.iterdir()} == {"9.1", "note", "reports"}
        made.close()
