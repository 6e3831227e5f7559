from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image

from echod.gpu_proc import Attempt, GpuProc, Spec, describe, read_portrait, why_not_ready
from echod.inference.echomimic.pipeline import NotFiniteError
from echod.inference.errors import InputError
from echod.jobs.job import Options
from echod.jobs.life import Progressed
from echod.workers import messages
from tests.stand_ins.engine import ScriptedEngine

ORDER = messages.Run(
    job="video_1", attempt=2, engine="preview", options=Options(), directory="/nowhere",
    box=None, portrait_sha256="p", speech_sha256="s",
)  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code", "transient", "sticky"),
    [
        (RuntimeError("broke"), "internal", True, False),
        (MemoryError(), "out_of_memory", False, False),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", False, False),
        (OSError(errno.EROFS, "Read-only file system"), "disk_failed", False, False),
        (OSError(errno.EIO, "Input/output error"), "disk_failed", True, False),
        (OSError(errno.EMFILE, "Too many open files"), "internal", True, False),
        (InputError("no_face_detected", "no face"), "no_face_detected", False, False),
        (NotFiniteError("step 1 of 6"), "not_finite", False, False),
        (RuntimeError("CUDA error: device-side assert triggered"), "internal", True, True),
    ],
)
def test_what_an_exception_means(error: Exception, code: str, transient: bool, sticky: bool) -> None:
    """Input, memory, disk and numbers are the job's own fault; what remains is tried again."""
    failed, lasts = describe(2, error)
    assert (failed.attempt, failed.code, failed.transient, lasts) == (2, code, transient, sticky)


def test_a_portrait_larger_than_pillow_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever `max_pixels` let in is read: Pillow's own limit does not count."""
    Image.new("RGB", (30, 20), "red").save(tmp_path / "portrait.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # as if it had 190 million
    assert read_portrait(tmp_path / "portrait.png").shape == (20, 30, 3)


GREEDY = torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has {'much ' * 100}")


@pytest.mark.parametrize(
    ("error", "reason", "final"),
    [
        (
            GREEDY,
            "out of GPU memory while loading echomimic: CUDA out of memory. Tried to allocate 2 GiB. GPU 0",
            False,
        ),
        (MemoryError("no"), "out of memory while loading echomimic: no; free some", False),
        (
            RuntimeError("CUDA error:\nthe device is busy"),
            "RuntimeError while loading echomimic: CUDA error: the",
            False,
        ),
        (OSError("libcudart.so: not found"), "OSError while loading echomimic: libcudart.so: not found", False),
        (InputError("model_not_loaded", "the weights are missing"), "the weights are missing", True),
        (NotFiniteError("the portrait's features are not finite"), "the portrait's features are not finite", True),
    ],
)
def test_why_a_worker_cannot_get_ready(error: Exception, reason: str, final: bool) -> None:
    """The reason is one line of bounded length; what no restart can change is final."""
    told = why_not_ready("loading echomimic", error)
    assert told.reason.startswith(reason)
    assert told.final == final
    assert "\n" not in told.reason
    assert len(told.reason) < 500


class Recorder(GpuProc):
    """A worker without a daemon, which keeps what it reports."""

    def __init__(self, directory: Path) -> None:
        nowhere = str(directory)
        super().__init__(
            Spec(engines=("preview",), weights="", directory=nowhere, reports="r", inbox="i", parent=0, threads=1)
        )
        self.engines["preview"] = ScriptedEngine()
        self.reports = list[messages.Report]()

    def report(self, report: messages.Report) -> None:
        self.reports.append(report)


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.chdir(tmp_path)
    made = Recorder(tmp_path)
    yield made
    made.close()


def expected_step(worker: Recorder, options: Options) -> float:
    """How long a step takes, as told before the first one of a job; then two pass."""
    attempt = Attempt(worker, msgspec.structs.replace(ORDER, options=options))
    worker.reports.clear()
    for done in range(3):
        attempt.checkpoint("decode", done, 3)
    told = worker.reports[0]
    assert isinstance(told, messages.Moved) and isinstance(told.event, Progressed)
    return told.step_s


@pytest.mark.parametrize(
    "other", [{"width": 256}, {"height": 256}, {"guidance": 2.5}, {"guidance": 1.0}], ids=lambda other: str(*other)
)
def test_step_times_are_those_of_like_jobs(recorder: Recorder, other: dict[str, float]) -> None:
    """How long a step takes is not known from jobs of another size or guidance, whose steps may be much shorter."""
    small = Options(width=128, height=128)
    assert expected_step(recorder, small) == 0
    assert expected_step(recorder, msgspec.structs.replace(small, seed=7)) > 0
    assert expected_step(recorder, msgspec.structs.replace(small, **other)) == 0
    assert expected_step(recorder, msgspec.structs.replace(small, **other)) > 0
