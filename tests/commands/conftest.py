"""What tests of commands share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from echod.commands import words


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chinese is spoken in this very process."""
    words.t.cache_clear()
    monkeypatch.setattr(words, "speaks_chinese", lambda: True)
    yield
    words.t.cache_clear()
