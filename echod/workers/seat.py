"""What one incarnation of a worker does: pure values, no I/O.

    starting --loaded--> idle --reserve--> reserved --told--> sent --began--> begun --ended--> idle

A conversation job may be reserved on top of a batch job that was sent: that one is suspended from then on, although the
worker lets go of it only at its next checkpoint, and goes on when the one on top has ended. Every method returns
the seat as it is then, the same object if what happened does not concern it.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from echod.jobs.job import CONVERSATION, Job
from echod.workers.messages import Prepare
from echod.workers.state import WorkerState


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """`running` is the job on top, sent or still being committed. One that is `leaving` takes no other."""

    ready: bool = False
    running: Job | None = None
    suspended: Job | None = None
    sent: bool = False  # whether the worker was told of `running`
    begun: bool = False  # whether it has said so
    leaving: bool = False
    helping: str | None = None  # a job that another worker runs; whoever helps is idle to everybody else
    calls: int = 0  # that it has computed for it
    preparing: Prepare | None = None
    prepared: frozenset[Prepare] = frozenset()

    @property
    def state(self) -> WorkerState:
        if not self.ready:
            return "starting"
        return "busy" if self.running or self.leaving else "idle"

    @property
    def works(self) -> bool:
        """Whether the worker must report. While its only job is being committed it has nothing to say."""
        return not self.ready or self.sent or bool(self.suspended or self.preparing or self.helping)

    @property
    def owes(self) -> bool:
        """Whether its last words are worth waiting for: how a job has ended, or why it cannot get ready."""
        return not self.ready or bool(self.running or self.preparing)

    @property
    def interruptible(self) -> bool:
        """Whether a conversation job may go on top."""
        return self.running is not None and self.running.priority < CONVERSATION and self.sent

    def holds(self, job_id: str) -> bool:
        return any(job.id == job_id for job in (self.running, self.suspended) if job)

    def loaded(self) -> Seat:
        return replace(self, ready=True)

    def reserve(self, job: Job) -> Seat:
        """The job is this worker's, which is told once the attempt is committed."""
        return replace(self, running=job, suspended=self.running, sent=False, begun=False)

    def told(self, attempt: Job) -> Seat:
        """The reserved job, its attempt committed, is sent."""
        return replace(self, running=attempt, sent=True)

    def began(self, job_id: str) -> Seat:
        return replace(self, begun=True) if self.running and self.running.id == job_id else self

    def ended(self, job_id: str, *, leaving: bool = False) -> Seat:
        """The job has ended. If the worker is `leaving` with it, the one below ends with the worker."""
        if self.running and self.running.id == job_id:
            if leaving:
                return replace(self, running=None, leaving=True)
            below = self.suspended is not None
            return replace(self, running=self.suspended, suspended=None, sent=below, begun=below)
        if self.suspended and self.suspended.id == job_id:  # before the job on top of it arrived
            return replace(self, suspended=None)
        return self

    def help(self, job_id: str) -> Seat:
        return replace(self, helping=job_id, calls=0)

    def helped(self, calls: int, *, over: bool) -> Seat:
        if not self.helping:
            return self
        return replace(self, helping=None, calls=0) if over else replace(self, calls=calls)

    def prepare(self, portrait: Prepare) -> Seat:
        return replace(self, preparing=portrait)

    def warm(self) -> Seat:
        """What the worker was preparing is done with."""
        return replace(self, preparing=None, prepared=self.prepared | {self.preparing}) if self.preparing else self

    def lost(self) -> tuple[Job | None, list[Job]]:
        """When the worker dies: the job that it dies under, if any, and what else it was sent, which is blameless.

        A job that was not sent is in neither: it goes back to the queue once its attempt is committed.
        """
        on_top = self.running if self.sent else None
        blamed = on_top
        if self.preparing or (self.helping and not self.begun):  # what was sent behind it has not begun
            blamed = None
        elif self.suspended and not self.begun:  # it never let the job on top begin
            blamed = self.suspended
        return blamed, [job for job in (self.suspended, on_top) if job and job is not blamed]
