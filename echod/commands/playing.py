"""Playing sound and clips on this machine, by a program that is there."""

from __future__ import annotations

import queue
import shutil
import subprocess
import threading
from pathlib import Path

from echod.commands.common import note

# The first that is found plays. What only plays sound is no use for clips.
SOUND_ONLY = (("pw-play",), ("paplay",), ("afplay",), ("aplay", "-q"))
ANYTHING = (("mpv", "--really-quiet"), ("ffplay", "-autoexit", "-loglevel", "error"))
PLAYERS = {".wav": (*SOUND_ONLY, *ANYTHING), ".mp4": ANYTHING}


def player(suffix: str) -> tuple[str, ...] | None:
    """The command that plays such files, without their names."""
    return next((command for command in PLAYERS[suffix] if shutil.which(command[0])), None)


class Playing:
    """Files one after the other, beside what else goes on."""

    def __init__(self) -> None:
        self._files: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._silent = threading.Event()  # what waits is passed over
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def play(self, path: Path) -> None:
        self._silent.clear()
        self._files.put(path)

    def stop(self) -> None:
        """Silence, now: also of what was to come."""
        self._silent.set()
        if (process := self._process) is not None:
            process.terminate()

    def close(self) -> None:
        """Return once everything has been played."""
        self._files.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (path := self._files.get()) is not None:
            if self._silent.is_set():
                continue
            command = player(path.suffix)
            if command is None:
                note(f"nothing here plays {path.suffix[1:]} files: install mpv or ffmpeg")
                continue
            with subprocess.Popen(
                [*command, path], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as self._process:
                if self._silent.is_set():  # meanwhile
                    self._process.terminate()
            self._process = None
