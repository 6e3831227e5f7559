from __future__ import annotations

import errno

import pytest
import torch

from echod.inference.echomimic.pictures import NotFiniteError
from echod.inference.errors import InputError
from echod.workers.failures import describe, why_not_ready


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
