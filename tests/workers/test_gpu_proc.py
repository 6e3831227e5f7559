from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image

from echod.gpu_proc import GpuProc, Leaving
from echod.inference.contract import Checkpoint
from echod.inference.portraits import PortraitCache, read_portrait
from echod.jobs.job import ClipOptions
from echod.jobs.life import Progressed
from echod.workers import messages
from echod.workers.attempt import Attempt
from echod.workers.spec import Spec
from tests.stand_ins.engine import ScriptedEngine

ORDER = messages.Run(
    job="video_1", attempt=2, engine="preview", options=ClipOptions(), directory="/nowhere",
    box=None, portrait_sha256="p", speech_sha256="s",
)  # fmt: skip


def test_a_portrait_larger_than_pillow_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever `max_pixels` let in is read: Pillow's own limit does not count."""
    Image.new("RGB", (30, 20), "red").save(tmp_path / "portrait.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # as if it had 190 million
    assert read_portrait(tmp_path / "portrait.png").shape == (20, 30, 3)


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


class Failing(ScriptedEngine):
    """Fails as libraries under torch do, with all activations of a model in its hands."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
        self.held: weakref.ref[torch.Tensor]

    def help(self, board: Path, checkpoint: Checkpoint) -> int:
        activations = torch.zeros(3)
        self.held = weakref.ref(activations)
        raise RuntimeError(self.words)


def test_memory_is_let_go_before_the_cache_is_emptied(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed for want of a card's memory holds none when the allocator is told to give back what is free."""
    engine = recorder.engines["preview"] = Failing(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    )
    recorder.device, recorder.portraits = "cuda:0", PortraitCache(0)
    kept: list[torch.Tensor | None] = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: kept.append(engine.held()))
    recorder.help(messages.Help("video_1", "preview", "/nowhere"))
    assert kept == [None]
    assert recorder.reports == [messages.Helped("video_1", 0, over=True)]


def test_a_lost_context_while_it_helps(recorder: Recorder) -> None:
    """Whoever helps when CUDA fails for good leaves too, and is started again: each later call would fail."""
    recorder.engines["preview"] = Failing("Triton Error [CUDA]: an illegal memory access was encountered")
    with pytest.raises(Leaving):
        recorder.help(messages.Help("video_1", "preview", "/nowhere"))


def expected_step(worker: Recorder, options: ClipOptions) -> float:
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
    small = ClipOptions(width=128, height=128)
    assert expected_step(recorder, small) == 0
    assert expected_step(recorder, msgspec.structs.replace(small, seed=7)) > 0
    assert expected_step(recorder, msgspec.structs.replace(small, **other)) == 0
    assert expected_step(recorder, msgspec.structs.replace(small, **other)) > 0
