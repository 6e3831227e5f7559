"""Installed packages with an engine, as far as echod can tell: a module, and what pip writes down of it."""

from __future__ import annotations

from pathlib import Path


def write_package(
    site: Path, name: str, code: str, *, about: str = "License-Expression: MIT", loader: str = ""
) -> None:
    """The package `echod-NAME` 1.0 with the engine NAME, in a directory that is to be on the path."""
    site.mkdir(exist_ok=True)
    (site / f"echod_{name}.py").write_text(code)
    written = site / f"echod_{name}-1.0.dist-info"
    written.mkdir()
    (written / "METADATA").write_text(f"Metadata-Version: 2.4\nName: echod-{name}\nVersion: 1.0\n{about}\n")
    (written / "entry_points.txt").write_text(f"[echod.engines]\n{name} = {loader or f'echod_{name}:load'}\n")


SCRIPTED = """
from tests.stand_ins.engine import ScriptedEngine

class Engine(ScriptedEngine):
    name = "{name}"
{more}

def load(given):
    return Engine()
"""


def scripted(name: str, more: str = "") -> str:
    """The code of one that does what a job's seed says, with further lines of its class."""
    return SCRIPTED.format(name=name, more="\n".join(f"    {line}" for line in more.splitlines()))
