"""What daemon and workers say to each other over ipc: msgspec structs in MessagePack, never pickle.

Daemon to worker, one inbox per incarnation: Run, Help, Prepare, Cancel, Stop. Worker to daemon, one shared socket: an
`Envelope` with the worker's number and epoch around one report; what befalls a job is told as the event that its life
knows. Pictures and sound never travel here, paths do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

import msgspec

from echod.jobs import life
from echod.jobs.job import ClipOptions
from echod.jobs.life import Count

Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Run(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make a clip from `<directory>/portrait.png` and `<directory>/speech.flac`.

    It may have at most `most` bytes, and so many as leave `spare` free on the disk.
    """

    job: str
    attempt: int
    engine: str
    options: ClipOptions
    directory: str
    box: tuple[float, float, float, float] | None
    portrait_sha256: str
    speech_sha256: str
    most: int | None = None
    spare: int = 0
    producer: str = "echod"
    identity: tuple[str, str] | None = None  # paths of the certificate and the key that sign the clip


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Warm a portrait, so that the first job with it and these options starts without face and reference work."""

    engine: str
    portrait: str
    portrait_sha256: str
    box: tuple[float, float, float, float] | None
    options: ClipOptions


class Help(msgspec.Struct, frozen=True, tag=True):
    """Compute for a job that another worker runs in `directory`, until that is over; a Run is taken up in between."""

    job: str
    engine: str
    directory: str


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """End this attempt at its next checkpoint."""

    job: str
    attempt: int


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Leave at the next checkpoint; whatever runs is abandoned."""


Order: TypeAlias = Run | Help | Prepare | Cancel | Stop


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A worker's first event, sent before it imports torch. On a cluster it has a `node`, and its `pid` is of there."""

    cuda_visible_devices: str | None
    torch_imported: bool
    node: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    pid: Count | None = None


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Engines are loaded; the worker is idle. Whose `numbers` of an engine are the same may help each other.

    `computed` is what computes, by engine: the device by name, the dtype where there is one. `kernels` is
    what came of compiling them, None where none were to be.
    """

    engines: list[str]
    exact: dict[str, bool]
    numbers: dict[str, str] = {}
    computed: dict[str, dict[str, str]] = {}
    kernels: str | None = None
    load_ms: Count


class NotReady(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot get ready and says why before it exits; if that is `final`, no restart would change it."""

    reason: str
    final: bool = True


class Memory(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Bytes of a card: what this worker has taken of it, the most it had, what nobody has, all there is."""

    taken: Count
    peak: Count
    free: Count
    size: Count


class Began(msgspec.Struct, frozen=True, tag=True):
    """The attempt runs."""

    job: str
    attempt: int


class Moved(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a worker's work means for the job.

    With Progressed, `step_s` is the rolling time of such a step in seconds, 0 if none was timed yet. After a Failed
    whose error is `sticky` the worker exits: its device context is lost.
    """

    job: str
    event: life.Progressed | life.FirstFrame | life.Done | life.Failed | life.Cancelled
    step_s: Seconds = 0.0
    sticky: bool = False


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """A Prepare is done with; the portrait is warm unless there is a `problem`."""

    problem: str | None = None


class Helped(msgspec.Struct, frozen=True, tag=True):
    """A Help has come to so many window calls and batches of frames, and goes on unless it is `over`."""

    job: str
    calls: Count
    over: bool


class Alive(msgspec.Struct, frozen=True, tag=True):
    """The worker passed a point outside any job (loading, compiling, warming up): it is not stalled."""

    doing: str


Report: TypeAlias = Hello | Ready | NotReady | Memory | Began | Moved | Prepared | Helped | Alive


class Envelope(msgspec.Struct, frozen=True):
    """A report with its sender; those of an older epoch are dropped."""

    worker: Count
    epoch: int
    report: Report


encode: Callable[[Order | Envelope], bytes] = msgspec.msgpack.Encoder().encode
decode_order: Callable[[bytes], Order] = msgspec.msgpack.Decoder(Order).decode
decode_envelope: Callable[[bytes], Envelope] = msgspec.msgpack.Decoder(Envelope).decode
