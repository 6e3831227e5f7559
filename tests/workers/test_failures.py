from __future__ import annotations

import errno
import weakref

import pytest
import torch

from echod.inference.echomimic.pictures import NotFiniteError
from echod.inference.errors import InputError
from echod.workers.failures import describe, let_go, why_not_ready


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
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "internal", True, True),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), "internal", True, True),
        (RuntimeError("CUDA driver error: device not ready"), "internal", True, True),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory", False, False),
        (RuntimeError("CUDA driver error: out of memory"), "out_of_memory", False, False),  # of expandable segments
        (RuntimeError("Triton Error [CUDA]: out of memory"), "out_of_memory", False, False),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "out_of_memory",
            False,
            False,
        ),
    ],
)
def test_what_an_exception_means(error: Exception, code: str, transient: bool, sticky: bool) -> None:
    """Input, memory, disk and numbers are the job's own fault; what remains is tried again."""
    failed, lasts = describe(2, error)
    assert (failed.attempt, failed.code, failed.transient, lasts) == (2, code, transient, sticky)


def test_letting_go() -> None:
    """What the functions held that an error came out of is freed although the error itself is still there."""
    held: list[weakref.ref[torch.Tensor]] = []

    def forward() -> None:
        activations = torch.zeros(3)
        held.append(weakref.ref(activations))
        raise MemoryError("too much")

    def pipeline() -> None:
        latents = torch.zeros(3)
        held.append(weakref.ref(latents))
        try:
            forward()
        except MemoryError as error:
            raise RuntimeError("a window failed") from error

    with pytest.raises(RuntimeError) as raised:
        pipeline()
    assert all(each() is not None for each in held)
    let_go(raised.value)
    assert [each() for each in held] == [None, None]


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
        (
            RuntimeError(
                "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors ..."
            ),
            "this torch is not built for this card, install one that is: CUDA error: no kernel image",
            True,
        ),
        (
            RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update your GPU"),
            "the NVIDIA driver is too old for this torch, update it or install another torch: The NVIDIA",
            True,
        ),
        (AssertionError("Torch not compiled with CUDA enabled"), "this torch is built without CUDA", True),
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
