"""The first minute: a fresh daemon, the first click to a clip that plays, a role that talks, one of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.drivers.running import RunningDaemon
from tests.drivers.visitor import Visit, Visitor, faults
from tests.making.media import EXAMPLES

PORTRAIT = EXAMPLES / "portrait.png"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("fresh"), ECHOD_REPLY_MODEL="scripted") as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(daemon: RunningDaemon) -> None:
    """No clip and no role is there."""
    daemon.until_idle()
    with daemon.http() as http:
        for kind, key in (("videos", "id"), ("roles", "name")):
            for each in http.get(f"/v1/{kind}").json()["data"]:
                http.delete(f"/v1/{kind}/{each[key]}").raise_for_status()


def role(daemon: RunningDaemon, name: str) -> dict[str, Any]:
    with daemon.http() as http:
        return dict(http.get(f"/v1/roles/{name}").json())


def plays(page: Page) -> None:
    """Until the clip in view has been seen for half a second."""
    page.wait_for_function("() => document.querySelector('#clip-shown video')?.currentTime > 0.5")


def test_first_click(visitor: Visitor) -> None:
    """One click on a fresh page, and a clip plays; after that the example is not offered any more."""
    page = visitor.open()
    expect(page.get_by_role("button", name="Show me an example")).to_be_visible()
    assert faults(page) == []
    page.get_by_role("button", name="Show me an example").click()
    page.wait_for_url("**/#/clip/*")
    plays(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Hello! I am only a picture")
    page.get_by_role("link", name="Make another").click()
    expect(page.locator("#clips li")).to_have_count(1)
    expect(page.locator("#example")).to_be_hidden()


def test_first_click_in_chinese(visit: Visit) -> None:
    """The example speaks the reader's language, on a phone too, where there is a voice for it."""
    visitor = visit(locale="zh-CN", viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page = visitor.open()
    page.get_by_role("button", name="看一个示例").tap()
    page.wait_for_url("**/#/clip/*")
    expect(page.get_by_role("heading", level=1)).to_contain_text("你好！我只是一张照片")
    plays(page)


def test_first_talk(daemon: RunningDaemon, visitor: Visitor) -> None:
    """Without roles Talk offers examples: one click, and one of them greets."""
    page = visitor.open("#/talk")
    expect(page.locator("#roles-none")).to_contain_text("There are no roles yet.")
    expect(page.locator("#roles .name")).to_have_text(["Ada, flight instructor", "小林，科技馆讲解员"])
    expect(page.locator("#roles img").first).to_have_js_property("naturalWidth", 320)
    assert faults(page) == []
    page.get_by_role("button", name="Ada, flight instructor").click()
    page.wait_for_url("**/#/talk/ada")
    expect(page.locator("#transcript .role")).to_contain_text("Hello! I'm Ada.")
    assert role(daemon, "ada")["personality"].startswith("You are Ada")
    page.get_by_role("link", name="Talk to someone else").click()
    expect(page.locator("#roles .name")).to_have_text(["Ada, flight instructor"])


def test_examples_added(daemon: RunningDaemon, visitor: Visitor) -> None:
    """All examples become roles at once."""
    page = visitor.open("#/talk")
    page.get_by_role("button", name="Add the examples").click()
    expect(page.get_by_role("link", name="Change 小林，科技馆讲解员")).to_be_visible()
    expect(page.locator("#roles li")).to_have_count(2)
    expect(page.get_by_role("button", name="Add the examples")).to_be_hidden()
    assert role(daemon, "xiaolin")["language"] == "zh-CN"


def test_role_made(daemon: RunningDaemon, visitor: Visitor) -> None:
    """An admin makes a role in the page: portrait, first words, personality, voice, language; then talks to it."""
    page = visitor.open("#/talk")
    page.get_by_role("link", name="Make a role").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Make a role")
    page.get_by_label("Who it is").fill("Dr. Müller, Köln")
    expect(page.get_by_label("Short name")).to_have_value("dr-muller-koln")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#role-problem")).to_have_text("Choose a portrait first.")
    expect(page.locator("#role-choose")).to_be_focused()
    page.locator("#role-portrait").set_input_files(PORTRAIT)
    expect(page.locator("#role-picture")).to_have_js_property("naturalWidth", 512)
    page.get_by_label("Its first words").fill("Guten Tag!")
    page.get_by_label("How it thinks and talks").fill("You are a doctor.\nYou are brief.")
    page.get_by_label("Language").select_option("de")
    page.locator("#role-voice").select_option("local/espeak-ng/de")
    page.locator("#role-mode").select_option("Voice only")
    page.get_by_label("Short name").fill("muller")
    assert faults(page) == []
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/#/talk/muller")
    expect(page.get_by_role("heading", level=1)).to_have_text("Dr. Müller, Köln")
    expect(page.locator("#transcript .role")).to_have_text("Answer: Guten Tag!")
    made = role(daemon, "muller")
    assert (made["personality"], made["greeting"]) == ("You are a doctor.\nYou are brief.", "Guten Tag!")
    assert (made["language"], made["voice"], made["mode"]) == ("de", "local/espeak-ng/de", "audio")


def test_role_changed(daemon: RunningDaemon, visitor: Visitor) -> None:
    """A role is changed in the page, which leaves alone what it does not show; and removed, once that is confirmed."""
    with daemon.http() as http:
        form = {"name": "ada", "title": "Ada", "engine": "preview", "options[size]": "256x256", "options[fps]": "25"}
        http.post("/v1/roles", data=form, files={"portrait": PORTRAIT.read_bytes()}).raise_for_status()
    before = role(daemon, "ada")
    page = visitor.open("#/talk")
    page.get_by_role("link", name="Change Ada").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Change Ada")
    expect(page.locator("#role-picture")).to_have_js_property("naturalWidth", 512)
    page.get_by_label("How it thinks and talks").fill("You are Ada.")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/#/talk/ada")
    expect(page.locator("#turn-state")).to_have_text("Ready")
    after = role(daemon, "ada")
    assert {key: after[key] for key in before if before[key] != after[key]} == {"personality": "You are Ada."}
    page.goto("/#/role/ada")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#roles-none")).to_be_visible()
    assert "error" in role(daemon, "ada")


def test_refused_role(daemon: RunningDaemon, visitor: Visitor) -> None:
    """What is wrong with a role is told, and what has to be changed has the focus; what was entered stays."""
    visitor.forgive(400, "/v1/roles")
    page = visitor.open("#/role/")
    page.locator("#role-portrait").set_input_files({"name": "p.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.get_by_label("Who it is").fill("Ada")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#role-problem")).to_contain_text("This picture cannot be read.")
    expect(page.get_by_role("button", name="Choose a picture")).to_be_focused()
    page.locator("#role-portrait").set_input_files(PORTRAIT)
    page.get_by_label("Short name").fill("../ada")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#role-problem")).to_contain_text("is no name for a role")
    expect(page.get_by_label("Short name")).to_be_focused()
    expect(page.get_by_label("Who it is")).to_have_value("Ada")
    visitor.forgive(404, "/v1/roles/nobody")
    visitor.open("#/role/nobody")
    expect(page.get_by_role("alert").and_(page.locator(":visible"))).to_contain_text("This is not there any more.")


def test_role_on_a_phone(visit: Visit) -> None:
    """The form of a role fits a phone, in Chinese and dark."""
    visitor = visit(locale="zh-CN", viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = visitor.open("#/role/")
    expect(page.get_by_label("是谁")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert faults(page) == []
