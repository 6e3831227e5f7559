"""What an exception in a worker means: for the job that it ended, for the device, for the start that it prevented."""

from __future__ import annotations

import errno
import sys
import textwrap
import traceback

from echod.errors import WAYS_OUT
from echod.host.directories import storage_code
from echod.jobs import life
from echod.workers import messages

SAID = 300  # characters of an exception in a reason: torch's on memory go on and on


def describe(attempt: int, error: Exception) -> tuple[life.Failed, bool]:
    """What a raised exception means: whose fault, whether to try again, and whether it is sticky."""
    code, transient, sticky = "internal", True, False
    if is_out_of_memory(error):
        code, transient = "out_of_memory", False
    elif isinstance(error, OSError) and storage_code(error) != "internal":
        code, transient = storage_code(error), error.errno == errno.EIO
    elif hasattr(error, "code"):  # inference's own errors say what they are
        code, transient = str(error.code), False
    elif is_sticky(error):
        sticky = True
    message = f"{type(error).__name__}: {error}" if code == "internal" else str(error)
    if code in WAYS_OUT:
        message = f"the clip cannot be written: {message}; {WAYS_OUT[code]}"
    return life.Failed(attempt=attempt, code=code, message=message, transient=transient), sticky


def why_not_ready(doing: str, error: Exception) -> messages.NotReady:
    """Why this process cannot get ready, in one line. What may pass, such as a lack of memory, is not final."""
    if isinstance(getattr(error, "code", None), str):  # inference's own errors say what they are
        return messages.NotReady(str(error))
    said = textwrap.shorten(str(error), SAID, placeholder=" ...")
    for words, why in UNFIT.items():
        if words in str(error):
            return messages.NotReady(f"{why}: {said}; or name other devices with `echod serve --devices`")
    if is_out_of_memory(error):
        kind = "memory" if type(error) is MemoryError else "GPU memory"
        reason = f"out of {kind} while {doing}: {said}; free some, or name other devices with `echod serve --devices`"
    else:
        reason = f"{type(error).__name__} while {doing}: {said}"
    return messages.NotReady(reason, final=False)


# What no restart changes, as torch says it.
OLD_DRIVER = "the NVIDIA driver is too old for this torch, update it or install another torch"
UNFIT = {
    "no kernel image is available": "this torch is not built for this card, install one that is",
    "driver on your system is too old": OLD_DRIVER,
    "driver version is insufficient": OLD_DRIVER,
    "not compiled with CUDA": "this torch is built without CUDA, install one with it",
}
# How the libraries under torch say it where they ask for memory themselves.
NO_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation")
LOST = (
    "CUDA error",
    "CUDA driver error",
    "cudaError",
    "Triton Error [CUDA]",
    "EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
)


def is_sticky(error: Exception) -> bool:
    """Whether the CUDA context is lost: every later call would fail the same way."""
    return any(words in str(error) for words in LOST) and not is_out_of_memory(error)


def is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # importing it may be what failed
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def let_go(error: BaseException | None) -> None:
    """Free what the functions held that it was raised in: all activations of a model, so that they can be released."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
