"""Packages in environments of their own, kept in pytest's cache; a test is skipped where no registry gives them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def target(cache: pytest.Cache, *packages: str) -> Path:
    """A directory for PYTHONPATH with these packages, and nothing that they depend on."""
    directory = _place(cache, packages)
    return _filled(
        directory, [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(directory)], packages
    )


def environment(cache: pytest.Cache, *packages: str) -> Path:
    """The Python of an environment with these packages, and with nothing of ours."""
    directory = _place(cache, packages)
    if not directory.is_dir():
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    python = directory / "bin" / "python"
    _filled(directory, [str(python), "-m", "pip", "install"], packages)
    return python


def node_modules(cache: pytest.Cache, *packages: str) -> Path:
    """A directory whose node_modules have these packages."""
    if not (npm := shutil.which("npm")):
        pytest.skip("there is no npm here")
    directory = _place(cache, packages)
    directory.mkdir(exist_ok=True)
    options = ["--prefix", str(directory), "--no-audit", "--no-fund", "--no-save"]
    return _filled(directory, [npm, "install", *options], packages)


def _place(cache: pytest.Cache, packages: tuple[str, ...]) -> Path:
    name = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    return cache.mkdir("environments") / name


def _filled(directory: Path, install: list[str], packages: tuple[str, ...]) -> Path:
    whole = directory / "whole"
    if not whole.exists():
        done = subprocess.run([*install, "--quiet", *packages], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no registry gives {' '.join(packages)}: {done.stderr.strip().splitlines()[-1:]}")
        whole.touch()
    return directory
