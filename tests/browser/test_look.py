"""How the page looks and who can use it: phones, two languages, light and dark, the keyboard, screen readers."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.drivers.visitor import Visit, Visitor, faults
from tests.making.media import EXAMPLES

WIDTH = 360  # pixels of a small phone
WORD = "Donaudampfschifffahrtsgesellschaft" * 9
VIEWS = ("#/make", "#/talk", "#/role/", "#/devices", "#/account")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_no_fault(visit: Visit, scheme: str) -> None:
    """axe finds no fault in any view, light or dark, with everything unfolded."""
    visitor = visit(color_scheme=scheme)
    for view in VIEWS:
        page = visitor.open(view)
        page.evaluate("() => document.querySelectorAll('details').forEach((part) => (part.open = true))")
        assert faults(page) == [], view
    page = visitor.open()
    visitor.choose_portrait()
    page.get_by_role("button", name="Make the clip").click()
    expect(page.locator("#submit-problem")).to_be_visible()
    assert faults(page) == [], "a portrait and a problem"
    page.get_by_label("Words to be spoken").fill("Hello.")
    visitor.submit()
    expect(page.locator("#clip .chip")).to_have_text("Completed")
    assert faults(page) == [], "a clip"


def test_phone(visit: Visit) -> None:
    """On a phone nothing is cut off sideways, and a clip can be made from words."""
    visitor = visit(viewport={"width": WIDTH, "height": 740}, is_mobile=True, has_touch=True)
    for view in VIEWS:
        page = visitor.open(view)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= WIDTH
    page = visitor.open()
    visitor.choose_portrait()
    page.get_by_label("Words to be spoken").fill("Hello.")
    visitor.submit()
    expect(page.locator("#clip .chip")).to_have_text("Completed")
    expect(page.locator("#clip-shown video")).to_be_in_viewport()
    page.get_by_role("link", name="Make another").click()
    card = page.locator("#clips li a").first
    card.scroll_into_view_if_needed()
    assert page.evaluate("() => scrollY") > 300
    card.click()
    expect(page.locator("#clip-shown video")).to_be_in_viewport(ratio=1)


def queued(prompt: str, position: int) -> dict[str, Any]:
    extras = {"title": prompt[:80], "queue_position": position, "stage": None, "engine": "preview"}
    job = {"id": f"video_{position}", "status": "queued", "progress": 0, "created_at": position, "prompt": prompt}
    return job | {"echod": extras}


def answer(page: Page, path: str, data: list[dict[str, Any]]) -> None:
    """The daemon lists this at `path`."""
    listed = {"object": "list", "data": data, "last_id": data[-1].get("id"), "has_more": False}
    page.route(f"**/{path}", lambda route: route.fulfill(json=listed))


def test_queue(visit: Visit) -> None:
    """Each clip that waits says how many are before it, as `echod ps` does, however long its words are."""
    visitor = visit(viewport={"width": WIDTH, "height": 740})
    short = queued("Hm.", 3) | {"status": "completed", "seconds": "0.4"}
    answer(visitor.page, "v1/videos?*", [queued("One", 0), queued(WORD, 1), queued("Many words. " * 250, 2), short])
    page = visitor.open("#/devices")
    expect(page.locator("#clips .soft").filter(has_text=" · 0:0")).to_contain_text(" · 0:01 · preview")
    rows = page.locator("#queue li")
    expect(rows).to_contain_text(["Next in line", "1 before it", "2 before it"])
    assert page.evaluate("() => document.documentElement.scrollWidth") <= WIDTH
    # All at once: the view may draw its rows anew at any moment.
    assert rows.evaluate_all("(rows) => Math.max(...rows.map((row) => row.getBoundingClientRect().height))") < 120


def test_who_helps(visit: Visit) -> None:
    """A device that helps says with what, and each whom it can help; why none, where the others have other numbers."""
    visitor = visit(viewport={"width": WIDTH, "height": 740})
    made = queued("Good evening", 0) | {"status": "in_progress"}
    answer(visitor.page, "v1/videos?*", [made | {"seconds": "1.0"}])
    idle: dict[str, Any] = {
        "state": "idle",
        "engines": ["echomimic"],
        "job": None,
        "helping": None,
        "shares": [],
        "restarts": 0,
        "reason": None,
    }
    idle["computed"] = {"echomimic": {"device": "Xeon", "dtype": "bfloat16"}, "preview": {"device": "Xeon"}}
    rows = [
        idle
        | {"device": "cpu", "state": "busy", "job": made["id"], "helps": ["cpu#2"], "numbers": {"echomimic": "x2"}},
        idle | {"device": "cpu#2", "helping": made["id"], "helps": ["cpu"], "numbers": {"echomimic": "x2"}},
        idle | {"device": "cuda:0", "helps": [], "numbers": {"echomimic": "H100"}, "shares": ["speech"]},
        idle | {"device": "cuda:1", "helps": [], "numbers": {}, "computed": {}, "node": "box-1"},
    ]
    nodes = [{"name": "box-1", "state": "alive", "gpus": 8, "cpus": 64}]
    cluster: dict[str, Any] = {"address": "auto", "version": "2.60.0", "problem": None, "nodes": nodes}
    ready = {"ready": True, "draining": False, "devices": rows, "cluster": cluster}
    visitor.page.route("**/readyz", lambda route: route.fulfill(json=ready))
    page = visitor.open("#/devices")
    workers = page.locator("#workers li")
    expect(workers).to_contain_text(
        ["Can help cpu#2", "Helps with Good evening", "Helps nobody: other numbers than cpu"]
    )
    expect(workers.last).not_to_contain_text("elp")
    expect(workers.nth(2)).to_contain_text("Shares its card with speech")
    expect(workers.first).not_to_contain_text("Shares")
    expect(workers.first).to_contain_text("Computes in bfloat16")
    expect(workers.last).not_to_contain_text("Computes")
    expect(workers.last).to_contain_text("On box-1")
    expect(page.locator("#cluster")).to_have_text("Nodes of the Ray cluster auto: 1; their GPUs: 8")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= WIDTH


def test_long_names(visit: Visit) -> None:
    """A name without a space in it does not widen the page."""
    visitor = visit(viewport={"width": WIDTH, "height": 740})
    visitor.page.route_web_socket(
        "**/v1/realtime*", lambda socket: socket.send('{"type": "session.created", "session": {"id": "sess_1"}}')
    )
    visitor.page.route("**/portrait", lambda route: route.fulfill(path=EXAMPLES / "portrait.png"))
    me = {"name": WORD[:64], "role": "admin", "created_at": 1}
    visitor.page.route("**/v1/account/me", lambda route: route.fulfill(json=me))
    answer(visitor.page, "v1/account/tokens", [{"id": "t", "name": WORD[:64], "account": WORD[:64]}])
    role = {"name": "long", "title": WORD, "greeting": WORD, "size": "256x256", "mode": "video", "box": None}
    answer(visitor.page, "v1/roles", [role])
    for view, shown in (("account", "#tokens li"), ("talk", "#roles li"), ("talk/long", "#turn-state")):
        page = visitor.open(f"#/{view}")
        expect(page.locator(shown)).to_be_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= WIDTH, view


def test_languages(visit: Visit) -> None:
    """The page speaks the browser's language, changes at once to the other one, and remembers that."""
    visitor = visit(locale="zh-CN")
    slow: list[Route] = []
    visitor.page.route("**/static/main.js", lambda route: slow.append(route))
    visitor.page.goto("/", wait_until="commit")
    expect(visitor.page.locator("#loading span:visible")).to_have_text("加载中…")
    slow.pop().continue_()
    expect(visitor.page.locator("#loading")).to_be_hidden()
    visitor.page.unroute_all()
    page = visitor.open()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.get_by_role("heading", level=1)).to_have_text("让照片开口说话")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Make a picture speak")
    expect(page.get_by_label("Words to be spoken")).to_have_attribute("placeholder", "Hello! It is good to see you.")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Make a picture speak")
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("让照片开口说话")
    expect(page).to_have_title("让照片开口说话 · echod")
    page.get_by_role("link", name="对话").click()
    expect(page).to_have_title("找人聊聊 · echod")
    page.get_by_role("button", name="English").click()
    expect(page).to_have_title("Talk to someone · echod")


def test_theme(visit: Visit) -> None:
    """The page is as light or dark as the system, until somebody chooses, and then stays so."""
    page = visit(color_scheme="dark").open()
    paper = "() => getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(paper)
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate(paper)
    assert light != dark
    page.reload()
    assert page.evaluate(paper) == light


def test_keyboard(visitor: Visitor) -> None:
    """A clip can be made without a mouse: every control is reached in order, and what has the focus is seen."""
    page = visitor.open()
    visitor.choose_portrait()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                const element = document.activeElement;
                const shown = element.type === "radio" ? element.nextElementSibling : element;
                return [element.id || element.name || element.textContent.trim(), getComputedStyle(shown).outlineStyle];
            }"""
        )
        reached.append(focused[0])
        assert focused[1] == "solid", f"{focused[0]} does not show that it has the focus"
        if focused[0] == "words":
            page.keyboard.type("Hello.")
        if focused[0] == "submit":
            break
    assert reached[0] == "Skip to the content"
    assert [name for name in reached if name in ("words", "voice", "submit")] == ["words", "voice", "submit"]
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/clip/*")
    expect(page.locator("#clip .chip")).to_have_text("Completed")


def test_skip_link(visitor: Visitor) -> None:
    """The way past the navigation leads to the content of the view that is open."""
    page = visitor.open("#/devices")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.evaluate("() => (location.hash = '#main')")
    expect(page).to_have_title("Devices · echod")
    expect(page.locator("#devices")).to_be_visible()


def test_told_to_screen_readers(visitor: Visitor) -> None:
    """That a clip is being made, and that it is done, is announced without moving the focus."""
    page = visitor.open()
    visitor.choose_portrait()
    page.get_by_label("Words to be spoken").fill("Hello.")
    visitor.submit()
    expect(page.locator("#news[aria-live=polite]")).to_have_text("Hello.: Completed")
