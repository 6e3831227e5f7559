"""The daemon's handle on one device: who works there, over all its incarnations."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import msgspec
import zmq

from echod.host.cluster import is_far
from echod.workers import messages
from echod.workers.hand import Hand, Start
from echod.workers.seat import Seat
from echod.workers.spec import Spec
from echod.workers.state import DeathReason, DeviceState, Ending, WorkerState

DEATHS_BEFORE_READY = 5  # then a device counts as failed
BACKOFF, MAX_BACKOFF = 1.0, 60.0  # seconds
INBOX_LIMIT = 64  # orders; a worker that leaves more unread is not reading at all


class Worker:
    """One device, called `name`. `epoch` counts incarnations; each has an inbox of its own, so that no order outlives
    its reader.
    """

    def __init__(self, index: int, device: str, name: str, template: Spec, start: Start) -> None:
        self.index = index
        self.device = device
        self.name = name
        self._template = template
        self._start = start
        self.epoch = 0
        self.seat = Seat()
        self.over: Literal["failed", "stopping"] | None = None  # no further incarnation is meant to come
        self.leaves = False  # as soon as its job has ended
        self.reason: str | None = None
        self.idle_since = 0.0
        self.last_report = 0.0
        self.step_s: float | None = None
        self.left = 0  # windows of the running job
        self.numbers: dict[str, str] = {}  # by engine
        self.computed: dict[str, dict[str, str]] = {}  # by engine
        self.kernels: str | None = None
        self.helped = 0  # calls and batches, since the daemon started
        self.rests_until = 0.0  # it found nothing to help with
        self.stalled = False
        self.not_ready: messages.NotReady | None = None
        self.deaths_since_ready = 0
        self.deaths: Counter[DeathReason] = Counter()
        self.memory: messages.Memory | None = None
        self.backoff_unit = BACKOFF
        self.loads = 0
        self.hello: messages.Hello | None = None
        self.engines: list[str] = []
        self.exact: dict[str, bool] = {}  # by engine
        self.doing = ""  # on its way to being ready
        self._hand: Hand | None = None
        self._inbox: zmq.Socket[bytes]

    @property
    def state(self) -> WorkerState:
        return self.over or ("stopping" if self.leaves else self.seat.state)

    @property
    def free_to_help(self) -> bool:
        return self.state == "idle" and not (self.seat.helping or self.seat.preparing)

    @property
    def far(self) -> bool:
        """Whether it works on a node of a cluster."""
        return is_far(self.device)

    @property
    def node(self) -> str | None:
        """Which, once it is there."""
        return self.hello.node if self.hello else None

    @property
    def where(self) -> dict[str, Any]:
        """What lines of the log name it by."""
        return {"device": self.name, "worker": self.index, "epoch": self.epoch}

    @property
    def backoff(self) -> float:
        return min(MAX_BACKOFF, self.backoff_unit * 2.0**self.deaths_since_ready)

    @property
    def alive(self) -> bool:
        return self._hand is not None

    @property
    def fd(self) -> int:
        """Of the living incarnation: readable once it is dead."""
        assert self._hand is not None
        return self._hand.fd

    def spawn(self, context: zmq.Context[Any]) -> None:
        """Start the next incarnation. Main thread only.

        Raises OSError or ZMQError if it cannot be started; then nothing is left of it.
        """
        self.epoch += 1
        self.seat, self.over, self.leaves = Seat(), None, False
        self.hello, self.stalled, self.not_ready, self.step_s = None, False, None, None
        self.memory = None
        self.kernels, self.doing = None, f"getting ready with {', '.join(self._template.engines)}"
        self.last_report = time.monotonic()
        path = Path(self._template.directory) / f"{self.index}.{self.epoch}"
        path.unlink(missing_ok=True)
        # A bound PUSH without a peer refuses to send: nothing can pile up for a worker that is gone.
        self._inbox = context.socket(zmq.PUSH, socket_class=zmq.Socket)
        self._inbox.sndhwm = INBOX_LIMIT
        self._inbox.linger = 0
        spec = dataclasses.replace(
            self._template, index=self.index, epoch=self.epoch, device=self.device, inbox=str(path)
        )
        try:
            self._inbox.bind(f"ipc://{path}")
            self._hand = self._start(spec, self.name)
        except BaseException:
            self._inbox.close()
            raise

    def is_ready(self, said: messages.Ready) -> None:
        self.seat = self.seat.loaded()
        self.deaths_since_ready, self.reason = 0, None
        self.loads += 1
        self.engines, self.exact, self.numbers, self.computed = said.engines, said.exact, said.numbers, said.computed
        self.kernels, self.doing = said.kernels, ""

    def is_doing(self, what: str) -> bool:
        """Whether that is news: only what a worker does before it is ready is told."""
        news = self.seat.state == "starting" and self.doing != what
        if news:
            self.doing = what
        return news

    def has_died(self, ending: Ending) -> None:
        """It has failed if it died too often before it was ready, or has said that no restart would help."""
        self.deaths_since_ready += 1
        self.deaths["not_ready" if self.not_ready else "stalled" if self.stalled else ending.reason] += 1
        words = f"{ending.words} while {self.doing}" if self.doing else ending.words
        self.reason = self.not_ready.reason if self.not_ready else f"stalled, {words}" if self.stalled else words
        if (self.not_ready and self.not_ready.final) or self.deaths_since_ready >= DEATHS_BEFORE_READY:
            self.over = "failed"

    def revive(self) -> None:
        self.deaths_since_ready, self.reason, self.over = 0, None, None

    def send(self, order: messages.Order) -> bool:
        """Never waits; False if the worker is gone or does not read."""
        try:
            self._inbox.send(messages.encode(order), zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._hand:
            self._hand.kill(number)

    def bury(self) -> Ending:
        """Leave nothing of a dead incarnation, and close its inbox."""
        assert self._hand is not None
        ending, self._hand = self._hand.bury(), None
        self._inbox.close()
        (Path(self._template.directory) / f"{self.index}.{self.epoch}").unlink(missing_ok=True)
        return ending

    def abandon(self) -> None:
        """Let go of one that cannot be killed: its inbox would hold up the end of the ZeroMQ context."""
        assert self._hand is not None
        self._hand.abandon()
        self._hand = None
        self._inbox.close()

    @property
    def _pid(self) -> int | None:
        """Here, or on its node, which tells."""
        if self._hand is None:
            return None
        return self._hand.pid or (self.hello.pid if self.hello else None)

    def describe(self, helps: list[str], shares: list[str]) -> DeviceState:
        return DeviceState(
            worker=self.index,
            device=self.name,
            state=self.state,
            epoch=self.epoch,
            pid=self._pid,
            job=self.seat.running.id if self.seat.running else None,
            suspended=self.seat.suspended.id if self.seat.suspended else None,
            helping=self.seat.helping,
            helped=self.helped,
            helps=helps,
            shares=shares,
            numbers=self.numbers,
            computed=self.computed,
            engines=self.engines,
            exact=self.exact,
            kernels=self.kernels,
            doing=self.doing or None,
            deaths=dict(self.deaths),
            memory=msgspec.structs.asdict(self.memory) if self.memory else {},
            restarts=self.epoch - 1,
            loads=self.loads,
            reason=self.reason,
            cuda_visible_devices=self.hello.cuda_visible_devices if self.hello else None,
            torch_imported_at_hello=self.hello.torch_imported if self.hello else None,
            node=self.node,
        )
