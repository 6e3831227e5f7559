"""Whether an engine keeps the contract, as far as a worker can see at work: it holds what others wrote to it, too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .contract import HELPING, STAGES, WAITING, Frames, Portrait, Size
from .registry import installed

METHODS = ("settle", "prepare", "frames", "help")


class ContractError(RuntimeError):
    """An engine gave what the contract does not allow; the message names its package. To try again would not help."""

    code = "internal"

    def __init__(self, engine: str, problem: str) -> None:
        found = installed().get(engine)
        super().__init__(f"engine {found.where_from if found else engine} does not keep the contract: {problem}")


def lacks(engine: Any, name: str) -> Iterator[str]:
    """What an engine has not, or has otherwise than the contract says: what can be seen before it works."""
    if missing := [each for each in METHODS if not callable(getattr(engine, each, None))]:
        yield f"{type(engine).__name__} has no {', '.join(missing)}"
        return
    if getattr(engine, "name", None) != name:
        yield f"its name is {getattr(engine, 'name', None)!r}, not {name!r} as its entry point says"
    if not isinstance(getattr(engine, "exact", None), bool):
        yield "exact must be True or False"
    if not isinstance(getattr(engine, "numbers", ()), str | None):
        yield "numbers must be text or None"
    for words, kind in (("mark", str), ("computed", str), ("files", Path)):
        if not _is_table(getattr(engine, words, None), kind):
            yield f"{words} must be a mapping of text to {'paths' if kind is Path else 'text'}"
    yield from _wrong_shares(getattr(engine, "shares", None), getattr(engine, "windows", None))


def _wrong_shares(shares: Any, windows: Any) -> Iterator[str]:
    if not _is_table(shares, float | int):
        yield "shares must be a mapping of stages to numbers"
    elif strange := sorted(shares.keys() - set(STAGES)):
        yield f"there is no stage {', '.join(strange)}; shares may have {', '.join(STAGES)}"
    elif not math.isclose(sum(shares.values()), 1, abs_tol=1e-6) or min(shares.values()) < 0:
        yield f"shares must be 0 or more and sum to 1, not to {sum(shares.values()):g}"
    elif windows not in shares:
        yield f"windows is {windows!r}, and must be a stage of its shares"


def _is_table(given: Any, kind: Any) -> bool:
    return isinstance(given, Mapping) and all(
        isinstance(key, str) and isinstance(value, kind) for key, value in given.items()
    )


def portrait_of(engine: str, portrait: Any, size: Size) -> Portrait:
    """What `prepare` returned. Raises ContractError."""
    if not isinstance(portrait, Portrait) or portrait.size != size:
        raise ContractError(engine, f"prepare returned {_short(portrait)}, and no Portrait of size {size}")
    return portrait


def frames_of(engine: str, batches: Iterable[Any], size: Size, total: int) -> Iterator[Frames]:
    """The batches as they come. Raises ContractError for one of another kind, and unless they are `total` frames."""
    given, (width, height) = 0, size
    for batch in batches:
        if not isinstance(batch, np.ndarray) or batch.dtype != np.uint8 or batch.shape[1:] != (height, width, 3):
            raise ContractError(engine, f"frames gave {_short(batch)}, and no uint8 array (n, {height}, {width}, 3)")
        given += len(batch)
        if given > total or not len(batch):
            raise ContractError(engine, f"frames gave {len(batch)} frames at once and {given} in all, of {total}")
        yield batch
    if given < total:
        raise ContractError(engine, f"frames gave {given} of {total} frames")


def check_progress(engine: str, stage: Any, done: Any, total: Any) -> None:
    """What a checkpoint is called with. Raises ContractError."""
    if stage not in (*STAGES, WAITING, HELPING):
        raise ContractError(engine, f"its checkpoint named the stage {stage!r}; there are {', '.join(STAGES)}")
    if not (isinstance(done, int) and isinstance(total, int) and 0 <= done <= total):
        raise ContractError(engine, f"its checkpoint said {done!r} of {total!r} at {stage}; both are whole, from 0 up")


def _short(given: Any) -> str:
    if isinstance(given, np.ndarray):
        return f"an array of {given.dtype} {given.shape}"
    return f"{type(given).__name__}{f' of size {given.size}' if isinstance(given, Portrait) else ''}"
