"""What the daemon makes of its limit of open files."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from echod.host.descriptors import most_connections, raise_limit


@pytest.fixture
def hard() -> Iterator[int]:
    """The hard limit of this process, whose soft one is low."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_raise_limit(hard: int) -> None:
    """The soft limit goes up to the hard one or 65,536, the hard one stays, and there are connections accordingly."""
    assert most_connections() == 384  # and a file for each, and 256 for the rest
    raise_limit()
    soft = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
    assert most_connections() == (soft - 256) // 2


def test_limit_that_is_higher_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that somebody set higher is not lowered."""
    monkeypatch.setattr("echod.host.descriptors.MOST", 16)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
