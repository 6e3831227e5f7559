"""Engines by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .contract import Engine
from .errors import InputError
from .limits import ENGINES


def load_engine(
    name: str, weights: Path | None, device: str, dtype: str = "auto", tick: Callable[[], None] = lambda: None
) -> Engine:
    """The engine `name` on a torch device, ready for its first job.

    `weights` is the directory of model files; the preview needs none. `dtype` is one of
    `limits.DTYPES`; the preview has none. `tick` is called all the while, as a sign of life.
    Raises InputError (model_not_loaded), naming what is missing or wrong.
    """
    if name == "preview":
        from .preview import PreviewEngine

        return PreviewEngine()
    if name in ENGINES:
        if weights is None:
            raise InputError("model_not_loaded", f"{name} needs a directory of weights; `echod weights pull {name}`")
        from .echomimic.engine import EchoMimicEngine

        return EchoMimicEngine.load(name, weights, device, dtype, tick)
    raise InputError("model_not_loaded", f"there is no engine {name!r}; engines: {', '.join(ENGINES)}")
