"""Debian's Chromium, and somebody who looks at the page of a daemon with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.drivers.running import RunningDaemon
from tests.drivers.visitor import ELSEWHERE, PATIENCE, SPEECH, Visit, Visitor

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")  # the same, with half the work


@pytest.fixture(scope="module")
def microphone() -> Path:
    """What is heard, again and again, from whenever the microphone is opened."""
    return SPEECH


@pytest.fixture(scope="module")
def browser(microphone: Path) -> Iterator[Browser]:
    """One for the tests of a module."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium to look at the page with")
    # Not for a whole session: while Playwright's own event loop is there, no other can run in this thread.
    arguments = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        "--autoplay-policy=no-user-gesture-required",
        f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
    ]
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, daemon: RunningDaemon) -> Iterator[Visit]:
    """Opens windows, with options of Playwright's contexts. None may end with a fault that was not forgiven."""
    visitors: list[Visitor] = []
    daemon.until_idle()

    def visit(host: str = "127.0.0.1", public: str | None = None, **options: Any) -> Visitor:
        visitors.append(Visitor(browser, public or daemon.tcp.replace("127.0.0.1", host), **options))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.close()
    assert [visitor.unforgiven() for visitor in visitors] == [[] for _ in visitors]


@pytest.fixture
def visitor(visit: Visit) -> Visitor:
    return visit()
