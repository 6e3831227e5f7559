"""The installed command, run to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ECHOD = Path(sys.executable).with_name("echod")  # the installed command

OURS = ("ECHOD_", "DASHSCOPE_", "OPENAI_")  # variables that mean something to echod, and are a test's alone to set


def run_echod(*arguments: str | Path, url: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """The installed command, to its end."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    if url:
        environ["ECHOD_URL"] = url
    return subprocess.run(
        [ECHOD, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environ | options.pop("env", {}),
        **options,
    )


def run(*arguments: str | Path, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user whose home is `home` and who has nothing else in the environment."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), **environ}
    return subprocess.run([ECHOD, *arguments], env=env, cwd=home, capture_output=True, text=True, timeout=120)
