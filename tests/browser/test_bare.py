"""The page on a machine where nothing speaks, or nothing hears: it says so before it offers anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.drivers.command import run_echod
from tests.drivers.running import LIGHT, RunningDaemon
from tests.drivers.visitor import SPEECH, Visit, Visitor, faults
from tests.making.media import EXAMPLES

HOLD = "Hold to talk, or tap to start and stop"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon that finds no program and no package that speaks, and no model that hears; with a role."""
    directory = tmp_path_factory.mktemp("bare")
    (directory / "hibari.py").touch()  # found before the package of that name
    environ = {
        "PATH": str(directory),
        "PYTHONPATH": str(directory),
        "ECHOD_WEIGHTS": str(directory),
        "ECHOD_REPLY_MODEL": "scripted",
    }
    with RunningDaemon(directory, command=LIGHT, **environ) as running:
        added = run_echod("roles", "add", EXAMPLES / "roles" / "ada", url=running.url)
        assert added.returncode == 0, added.stderr
        yield running


def test_no_voice(visitor: Visitor) -> None:
    """Where nothing speaks one is offered to record first; who wants words spoken is told what to install."""
    page = visitor.open()
    expect(page.locator("#ways label")).to_have_text(["Record", "Use a recording", "Type words"])
    expect(page.get_by_role("radio", name="Record", exact=True)).to_be_checked()
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()
    page.get_by_label("Type words").check()
    expect(page.get_by_label("Words to be spoken")).to_be_hidden()
    advice = page.locator("#voice-advice")
    expect(advice).to_contain_text("No voice is installed on the daemon's machine, so words cannot be spoken.")
    expect(advice.locator("code").filter(has_text="apt install espeak-ng")).to_be_visible()
    assert faults(page) == []
    visitor.choose_portrait()
    page.get_by_role("button", name="Make the clip").click()
    expect(page.locator("#submit-problem")).to_contain_text("so words cannot be spoken.")
    page.get_by_role("button", name="中文").click()
    expect(advice).to_contain_text("无法朗读文字")
    expect(advice.locator("code").filter(has_text="apt install espeak-ng")).to_be_visible()
    page.get_by_role("button", name="English").click()
    page.get_by_label("Use a recording").check()
    page.locator("#speech-file").set_input_files(SPEECH)
    expect(page.locator("#speech-facts")).to_contain_text("speech.wav")
    visitor.submit()
    expect(page.locator("#clip .chip")).to_have_text("Completed")


def test_first_click(daemon: RunningDaemon, visitor: Visitor) -> None:
    """Where nothing speaks the example is one of a recording."""
    with daemon.http() as http:
        for video in http.get("/v1/videos").json()["data"]:
            http.delete(f"/v1/videos/{video['id']}").raise_for_status()
    page = visitor.open()
    page.get_by_role("button", name="Show me an example").click()
    page.wait_for_url("**/#/clip/*")
    expect(page.locator("#clip .chip")).to_have_text("Completed")
    expect(page.get_by_role("heading", level=1)).to_have_text("Example")


def test_talk_in_writing(visitor: Visitor) -> None:
    """A role answers in writing where nothing speaks; no microphone is offered where nothing hears; both say why."""
    page = visitor.open("#/talk/ada")
    expect(page.locator("#turn-state")).to_have_text("Ready")
    for absent in (page.get_by_role("button", name=HOLD), page.get_by_role("button", name="Hands-free")):
        expect(absent).to_be_hidden()
    expect(page.get_by_label("Voice only")).to_be_hidden()
    advice = page.locator("#talk-advice .advice")
    expect(advice.filter(has_text="the answers come as text")).to_contain_text("apt install espeak-ng")
    expect(advice.filter(has_text="please type")).to_contain_text("echod weights pull whisper:base")
    assert faults(page) == []
    page.get_by_label("Say something").fill("Are you there?")
    page.keyboard.press("Enter")
    expect(page.locator("#transcript .role").last).to_contain_text("Are you there?")
    expect(page.locator("#turn-state")).to_have_text("Ready")
    expect(page.locator("#transcript .note")).to_have_count(0)
    expect(page.locator("#talk-problem")).to_be_hidden()
    page.get_by_role("button", name="中文").click()
    expect(advice.filter(has_text="请打字")).to_contain_text("echod weights pull whisper:base")


def test_phone_in_writing(visit: Visit) -> None:
    """What is missing and what helps fits a phone."""
    page = visit(viewport={"width": 360, "height": 740}).open("#/talk/ada")
    expect(page.locator("#talk-advice .advice")).to_have_count(2)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    expect(page.get_by_label("Say something")).to_be_in_viewport()


def test_missing_for_these_words(visitor: Visitor) -> None:
    """A voice that is missed only when it is asked for is told of by what brings it, in the reader's language."""
    message = "voice = 'de': no voice here speaks German: run `apt install espeak-ng`, or set another"
    refusal = {"code": "voice_not_installed", "message": message, "param": "voice"}
    there = {"available": True, "reason": None}
    able = {"hears": there, "replies": there, "speaks": there}
    visitor.page.route("**/v1/capabilities", lambda route: route.fulfill(json=able))
    visitor.page.route("**/v1/videos", lambda route: route.fulfill(status=400, json={"error": refusal}))
    visitor.forgive(400, "/v1/videos")
    page = visitor.open()
    expect(page.locator("#ways label")).to_have_text(["Type words", "Record", "Use a recording"])
    visitor.choose_portrait()
    page.get_by_label("Words to be spoken").fill("Guten Abend.")
    page.get_by_role("button", name="Make the clip").click()
    problem = page.locator("#submit-problem")
    expect(problem).to_contain_text("No voice for these words is installed")
    expect(problem.locator("code")).to_have_text("apt install espeak-ng")
    expect(problem).not_to_contain_text("German")
