"""A worker without engines: it says and writes what gpu_proc does around them. The seed says what becomes of a job."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import zmq

from echod.jobs import life
from echod.workers import messages
from echod.workers.spec import Spec

GOOD, DIES, WAITS = range(3)
STREAM = bytes(range(256)) * (20 << 10)  # several pieces, and of no round size with what is behind it
CLIP = STREAM[::-1] + b"end"


def main(spec: Spec) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    context = zmq.Context()
    inbox, reports = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    inbox.connect(f"ipc://{spec.inbox}")
    reports.connect(f"ipc://{spec.reports}")

    def report(said: messages.Report) -> None:
        reports.send(messages.encode(messages.Envelope(spec.index, spec.epoch, said)))

    print(f"threads {spec.threads}", file=sys.stderr)
    report(messages.Hello(cuda_visible_devices="", torch_imported=False))
    report(messages.Ready(engines=["preview"], exact={"preview": True}, numbers={"preview": "1"}, load_ms=1))
    while True:
        match messages.decode_order(inbox.recv()):
            case messages.Run() as order:
                report(messages.Moved(job=order.job, event=make(order, report)))
            case messages.Prepare() as prepare:
                report(messages.Prepared(None if Path(prepare.portrait).read_bytes() == b"portrait" else "another"))
            case messages.Cancel(job=job):
                report(messages.Moved(job=job, event=life.Cancelled()))
            case messages.Stop():
                break
    context.destroy(linger=1000)


def make(order: messages.Run, report: object) -> life.Done:
    assert callable(report)
    directory = Path(order.directory)
    read = [(directory / name).read_bytes() for name in ("portrait.png", "speech.flac")]
    assert read == [b"portrait", b"speech"]
    report(messages.Began(order.job, order.attempt))
    stream = directory / f"stream.{order.attempt}.mp4"
    stream.write_bytes(STREAM)
    (directory / "thumbnail.jpg").write_bytes(b"thumbnail")
    report(messages.Moved(job=order.job, event=life.FirstFrame(order.attempt)))
    if order.options.seed == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    if order.options.seed == WAITS:
        signal.sigwait({signal.SIGUSR1})
    with stream.open("ab") as file:
        file.write(b"more")
    (directory / "manifest.json").write_text("{}")
    (directory / "clip.mp4").write_bytes(CLIP)
    stream.unlink()
    return life.Done(attempt=order.attempt, frames=1, crop=(0, 0, 1, 1), faces=1, timings_ms={})
