"""Somebody who looks at the page with a browser."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES

SPEECH = EXAMPLES / "speech.wav"

ELSEWHERE = "echod.test"  # the daemon's machine by another name: to browsers, plain http to somewhere else

# Keeps what the microphone is heard by, to see whether it still is.
TRACKS = """
    window.tracks = [];
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (what) => {
        const stream = await open(what);
        window.tracks.push(...stream.getTracks());
        return stream;
    };
"""

PATIENCE = 60_000  # ms until a test that hangs has failed: clips are made meanwhile, perhaps on a busy machine


class Visitor:
    """A browser window on a daemon's page, and whatever went wrong in it.

    `forgiven`: patterns of what the console may say, each after the address that it is about and a space. Chromium
    itself writes there when a request is refused or a connection lost.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.forgiven: list[str] = []
        self.faults: list[str] = []
        usual = {"locale": "en-GB", "reduced_motion": "reduce", "viewport": {"width": 1000, "height": 800}}
        self._context = browser.new_context(base_url=f"{url}/", **usual | options)
        self._context.set_default_timeout(PATIENCE)
        self.page = self._context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("websocket", lambda socket: self._asked(socket.url.replace("ws", "http", 1)))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.location['url'].removeprefix(self.url)} {message.text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((f"{self.url}/", f"blob:{urljoin(self.url, '/')}")):
            self.faults.append(f"a request that is for somebody else: {url}")

    def unforgiven(self) -> list[str]:
        return [fault for fault in self.faults if not any(re.fullmatch(pattern, fault) for pattern in self.forgiven)]

    def forgive(self, status: int, path: str) -> None:
        """Requests to `path`, a pattern, may be refused so."""
        self.forgiven.append(rf"{path} Failed to load resource: the server responded with a status of {status} \(.*\)")

    def forgive_loss(self) -> None:
        """The daemon may be away for a while."""
        lost = "CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|SOCKET_NOT_CONNECTED"
        self.forgiven.append(rf"/\S* Failed to load resource: net::ERR_({lost})")
        self.forgiven.append(r"/\S* WebSocket connection to '\S*/v1/(events|realtime)\S*' failed: .*")

    def close(self) -> None:
        self._context.close()

    # What every test does

    def open(self, where: str = "#/make") -> Page:
        """The page, once it knows who is there."""
        self.page.goto(f"./{where}")
        expect(self.page.locator("#tabs")).to_be_visible()
        return self.page

    def choose_portrait(self, path: Path = EXAMPLES / "portrait.png") -> None:
        self.page.locator("#portrait-file").set_input_files(path)
        expect(self.page.locator("#portrait-facts")).to_contain_text("One face found")

    def choose_speech(self, path: Path = SPEECH) -> None:
        self.page.get_by_label("Use a recording").check()
        self.page.locator("#speech-file").set_input_files(path)
        expect(self.page.locator("#speech-facts")).to_contain_text(f"{path.name} ·")

    def submit(self) -> str:
        """The id of the new clip, which is in view."""
        self.page.get_by_role("button", name="Make the clip").click()
        self.page.wait_for_url("**/#/clip/*")
        return self.page.url.rpartition("/")[2]


Visit = Callable[..., Visitor]


@contextlib.contextmanager
def held(daemon: RunningDaemon) -> Iterator[None]:
    """The worker does nothing while the block runs."""
    (device,) = daemon.devices()
    os.kill(device["pid"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(device["pid"], signal.SIGCONT)


def faults(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core finds wrong: the rule, and the elements that break it."""
    source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.evaluate(f"() => {{ {source}; }}")
    found = page.evaluate("() => axe.run()")["violations"]
    return [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found]
