"""The installed command as a person uses it: in a directory of its own, at one daemon, in the background too."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from tests.drivers.command import ECHOD, run_echod
from tests.making.media import EXAMPLES

PORTRAIT = EXAMPLES / "portrait.png"


class Cli:
    """The command in a directory of its own, at one daemon."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self.directory.mkdir(exist_ok=True)

    def __call__(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_echod(*arguments, url=self.url, cwd=self.directory, **options)

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def detach(self, speech: Path) -> str:
        return self("submit", PORTRAIT, speech, "--detach").stdout.strip()

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}

    @contextlib.contextmanager
    def running(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """The command in the background; it has ended when the block has."""
        environ = {**os.environ, "ECHOD_URL": self.url}
        command = [str(ECHOD), *map(str, arguments)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=self.directory, env=environ, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
                process.wait(60)
            finally:
                process.kill()

    def until_started(self, job: str) -> None:
        """Until the job runs: the worker has told of work done on it."""
        with self.running("watch", job, "--json") as watching:
            assert watching.stdout is not None
            for line in watching.stdout:
                if json.loads(line)["video"]["echod"]["stage"]:
                    break
            watching.kill()


def until(process: subprocess.Popen[str], text: str) -> str:
    """What the command says on stderr, up to a line with the text in it."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"no {text!r} in {said}")


def accepted(process: subprocess.Popen[str]) -> str:
    """The id of the job that a `submit` in the background has handed in."""
    return until(process, "accepted").split()[1]


def duration(path: Path) -> float:
    """Seconds of a clip, which has a picture and sound."""
    with av.open(str(path)) as container:
        assert container.streams.video
        assert container.streams.audio
        return sum(1 for _ in container.decode(video=0)) / 24
