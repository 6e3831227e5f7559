"""Wheels of echod, as people install them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build_wheel(directory: Path, version: str | None = None) -> Path:
    """Built from a copy: a build leaves its own directory behind, whose files would be in the next wheel too.

    With another `version` it is a copy that says so.
    """
    source, out = directory / "source", directory / "wheel"
    shutil.copytree(ROOT / "echod", source / "echod")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    if version:
        module = source / "echod" / "__init__.py"
        module.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', module.read_text()))
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir")
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(out), str(source)], check=True)
    return next(out.glob("*.whl"))
