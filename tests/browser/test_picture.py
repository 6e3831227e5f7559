"""What the clip shows of the portrait: the view, the crop as it is dragged, the face that is clicked, the size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.drivers.running import RunningDaemon
from tests.drivers.visitor import Visit, Visitor
from tests.making.media import EXAMPLES, write_wav

CROP = (140, 32, 312, 204)  # of the example portrait, as it is cut by itself


@pytest.fixture(scope="module")
def couple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, the one on the right nearer."""
    picture = np.asarray(Image.open(EXAMPLES / "portrait.png").convert("RGB"))
    small = np.zeros_like(picture)
    small[128:384, 128:384] = picture[::2, ::2]
    path = tmp_path_factory.mktemp("couple") / "couple.png"
    Image.fromarray(np.concatenate([small, picture], axis=1)).save(path)
    return path


def crop_of(page: Page) -> tuple[int, ...]:
    drawn = page.locator(".marks .edge").get_attribute("d")
    x0, y0, x1, y1, _ = map(int, re.findall(r"\d+", drawn or ""))
    return x0, y0, x1, y1


def middle(mark: Locator) -> tuple[float, float]:
    box = mark.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def made(visitor: Visitor, daemon: RunningDaemon, tmp_path: Path) -> dict[str, Any]:
    """The job that the page asks for."""
    visitor.choose_speech(write_wav(tmp_path / "short.wav", seconds=0.3))
    job = visitor.submit()
    expect(visitor.page.locator("#clip .chip")).to_have_text("Completed")
    with daemon.http() as http:
        return dict(http.get(f"/v1/videos/{job}").json())


def test_dragging_the_crop(visitor: Visitor, daemon: RunningDaemon, tmp_path: Path) -> None:
    """It is moved by its middle and resized by its corners, never past the face; the clip is made of it."""
    page = visitor.open()
    visitor.choose_portrait()
    assert crop_of(page) == CROP
    page.get_by_label("Set the crop").check()
    x, y = middle(page.locator("[data-grip=se]"))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 60, steps=3)
    page.mouse.up()
    larger = crop_of(page)
    assert larger[:2] == CROP[:2] and larger[2] > CROP[2] and larger[2] - larger[0] == larger[3] - larger[1]
    page.mouse.move(*middle(page.locator("[data-grip=all]")))
    page.mouse.down()
    page.mouse.move(2000, 2000, steps=3)
    page.mouse.up()
    moved = crop_of(page)
    assert moved[0] > larger[0] and moved[2] - moved[0] == larger[2] - larger[0]
    page.locator("[data-grip=all]").press("ArrowLeft")
    nudged = crop_of(page)
    assert nudged[0] < moved[0]
    video = made(visitor, daemon, tmp_path)
    assert (video["size"], video["echod"]["view"], tuple(video["echod"]["crop"])) == ("512x512", "picture", nudged)


def test_choosing_a_face(visitor: Visitor, daemon: RunningDaemon, couple: Path, tmp_path: Path) -> None:
    """The largest is chosen until another one is clicked, after which a reload has it still."""
    page = visitor.open()
    page.locator("#portrait-file").set_input_files(couple)
    expect(page.locator("#portrait-facts")).to_contain_text("2 faces found")
    expect(page.get_by_role("button", name="Face 2 of 2")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Face 1 of 2").click()
    expect(page.get_by_role("button", name="Face 1 of 2")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("button", name="Face 1 of 2")).to_have_attribute("aria-pressed", "true")
    video = made(visitor, daemon, tmp_path)
    assert (video["size"], video["echod"]["framing"]["face"]) == ("1024x512", 0)
    assert video["echod"]["crop"][2] < 512


def test_view_and_size(visitor: Visitor) -> None:
    """The whole picture has its own size; of the face alone it is chosen, and decides the shape of the crop."""
    page = visitor.open()
    visitor.choose_portrait()
    page.locator("#options summary").click()
    expect(page.locator(".marks.view-picture")).to_be_visible()
    expect(page.get_by_label("Size")).to_be_hidden()
    page.get_by_label("Face only").check()
    expect(page.locator(".marks.view-face")).to_be_visible()
    for size, wide in (("1024x576", 1), ("576x1024", -1), ("512x512", 0)):
        page.get_by_label("Size").select_option(size)
        x0, y0, x1, y1 = crop_of(page)
        assert np.sign((x1 - x0) - (y1 - y0)) == wide
        expect(page.locator("#options-summary")).to_contain_text(size.replace("x", " × "))


def test_on_a_phone(visit: Visit) -> None:
    """A finger drags the crop, and the page does not scroll meanwhile."""
    visitor = visit(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    page = visitor.open()
    visitor.choose_portrait()
    page.get_by_label("Set the crop").tap()
    before = crop_of(page)
    page.locator("#stage").scroll_into_view_if_needed()
    x, y = middle(page.locator("[data-grip=se]"))
    scrolled = page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    for kind, moved in (("touchStart", 0), ("touchMove", 15), ("touchMove", 30), ("touchEnd", None)):
        points = [] if moved is None else [{"x": x + moved, "y": y + moved}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    after = crop_of(page)
    assert after[:2] == before[:2] and after[2] > before[2]
    assert page.evaluate("scrollY") == scrolled
