"""A daemon with one device here and one on a Ray cluster of this machine alone, for all tests that only use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from echod.host import cluster
from tests.drivers.running import RunningDaemon


@pytest.fixture(scope="session")
def ray() -> None:
    if not cluster.is_installed():
        pytest.skip("Ray is not installed")


@pytest.fixture(scope="module")
def far_daemon(ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("far"), "--devices", "cpu,ray:1/cpu") as running:
        running.until_idle()
        yield running
