"""Which tests start no process. They cannot miss a program, and need not run again where all programs are hidden.

    ECHOD_NOTE_TESTS=DIR    their names are noted in this directory
    ECHOD_LEAVE_OUT=DIR     those noted there are left out

A test counts as one that starts processes if it started one, or shares a fixture with a test that did. Children of
multiprocessing are not counted: those are workers, which start nothing themselves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})


def register(config: pytest.Config) -> None:
    """Note or leave out tests, as the environment says."""
    if notes := os.environ.get("ECHOD_NOTE_TESTS"):
        config.pluginmanager.register(Noting(Path(notes)))
    if notes := os.environ.get("ECHOD_LEAVE_OUT"):
        config.pluginmanager.register(LeavingOut(Path(notes)))


class Noting:
    """Notes in a file of this process, line by line, each test that started no process."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / str(os.getpid())
        self._started = 0
        self._starting: set[object] = set()  # fixtures shared by tests of which one started a process
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS:
            self._started += 1

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        before = self._started
        result = yield
        fixtures = shared(item)
        if self._started > before:
            self._starting |= fixtures
        elif not fixtures & self._starting:
            with self._file.open("a", encoding="utf-8") as file:
                print(item.nodeid, file=file)
        return result


class LeavingOut:
    """Deselects the tests that were noted; one that nobody has noted runs."""

    def __init__(self, directory: Path) -> None:
        files = directory.iterdir()
        self._noted = {name for file in files for name in file.read_text("utf-8").splitlines()}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if item.nodeid in self._noted]
        items[:] = [item for item in items if item.nodeid not in self._noted]
        config.hook.pytest_deselected(items=left_out)


def shared(item: pytest.Item) -> set[object]:
    """The fixtures of ours that this test shares with others."""
    assert isinstance(item, pytest.Function)
    used = [fixtures[-1] for fixtures in item._fixtureinfo.name2fixturedefs.values()]
    return {each for each in used if each.scope != "function" and each.func.__module__.startswith("tests")}
