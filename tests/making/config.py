"""Settings of their own for one test."""

from __future__ import annotations

from pathlib import Path

from echod import config as configs
from echod.config import Config


def make_config(directory: Path, **flags: object) -> Config:
    return configs.load(
        {"state_dir": directory / "state", "runtime_dir": directory / "run", "port": 0, "min_free": 1, **flags},
        environ={"HOME": str(directory)},
        files=[],
    )
