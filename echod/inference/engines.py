"""Engines by name: found, loaded, and looked at before they are trusted with a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conformance import lacks
from .contract import Compiling, Engine, Loading
from .errors import InputError
from .registry import Registered, find


def load_engine(
    name: str,
    weights: Path | None,
    device: str,
    dtype: str = "auto",
    tick: Callable[[], None] = lambda: None,
    compiling: Compiling | None = None,
    decoder: str = "vae",
) -> Engine:
    """The engine `name` on a torch device, ready for its first job.

    `weights` is the directory of model files; the preview needs none. `dtype` is one of
    `limits.DTYPES`; the preview has none. `tick` is called all the while, as a sign of life. What can be compiled is
    handed to `compiling`; without it nothing is. `decoder` is one of `limits.DECODERS`, for those of EchoMimic.
    Raises InputError (model_not_loaded), naming what is missing or wrong, and whatever the engine raises.
    """
    registered = find(name)
    engine: Any = _loader(registered)(Loading(name, weights, device, dtype, tick, compiling, decoder))
    if problems := list(lacks(engine, name)):
        raise _unusable(registered, f"does not keep the contract of engines: {'; '.join(problems)}")
    loaded: Engine = engine
    return loaded


def _loader(registered: Registered) -> Callable[[Loading], Any]:
    """Raises InputError where its code cannot be imported, which no restart would change."""
    try:
        loader: Callable[[Loading], Any] = registered.loading()
    except MemoryError:
        raise
    except Exception as error:
        raise _unusable(registered, f"cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(loader):
        raise _unusable(registered, f"cannot be loaded: {registered.loader} is no function")
    return loader


def _unusable(registered: Registered, problem: str) -> InputError:
    return InputError("model_not_loaded", f"engine {registered.where_from} {problem}")
