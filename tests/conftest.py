"""Fixtures every test may use. `ECHOD_TEST_ASSETS` names a directory of portraits, recordings and recorded tensors."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from echod.config import Config
from tests.drivers import processes

# Test processes share the cores, and more threads than cores spin on each other. The limit holds in workers too, which
# set a number of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

# The command line speaks the language of whoever runs the tests.
os.environ["LC_ALL"] = "C.UTF-8"

# Whoever runs the tests in the background of a script ignores SIGINT, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from tests.drivers.running import RunningDaemon
from tests.making.config import make_config

# On a machine with much else to do, an example may take any time.
settings.register_profile("echod", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("echod")


def pytest_configure(config: pytest.Config) -> None:
    processes.register(config)


# Half a million objects are made by collecting the tests, and stay: the garbage collector need not visit them again.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # extension modules complain of what is never collected


REQUIRE_ALL = os.environ.get("ECHOD_REQUIRE_ALL") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ECHOD_REQUIRE_ALL=1 a test that skips itself has failed: whatever it needs was promised to be there."""
    report = yield
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although ECHOD_REQUIRE_ALL=1: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def assets() -> Path:
    """The directory of test assets that are not part of this repository."""
    directory = os.environ.get("ECHOD_TEST_ASSETS")
    if not directory:
        pytest.skip("ECHOD_TEST_ASSETS names no directory of test assets")
    return Path(directory)


@pytest.fixture(scope="session")
def espeak() -> str:
    """The program espeak-ng, for tests of it and of the languages that nothing else here speaks."""
    path = shutil.which("espeak-ng")
    if path is None:
        pytest.skip("espeak-ng is not installed")
    return path


@pytest.fixture(scope="session")
def local_voice() -> str:
    """Who speaks English on this box, whoever that is."""
    from echod.speech.backend import Failure
    from echod.speech.local.voices import Voices

    try:
        return str(asyncio.run(Voices(Path("nowhere")).default("en")))
    except Failure as failure:
        pytest.skip(f"nothing speaks English here: {failure.message.partition(':')[0]}")


@pytest.fixture
def no_hibari(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without the extra `voice`, on whatever machine."""
    from echod.speech.local import hibari as local_hibari

    monkeypatch.setattr(local_hibari, "_registry", dict)


@pytest.fixture
def no_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without a chat model, on whatever machine: its reply is scripted."""
    from echod.speech.local import backend as local

    monkeypatch.setattr(local, "smollm_file", lambda: None)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings of their own for one test: nothing of this machine's configuration, a free port, fresh directories."""
    return make_config(tmp_path)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """One running daemon with one CPU worker for all tests that only use it."""
    from tests.drivers.running import RunningDaemon

    with RunningDaemon(tmp_path_factory.mktemp("daemon")) as running:
        yield running
