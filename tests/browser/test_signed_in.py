"""Accounts, API tokens and lost connections, as the page handles them."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.drivers.command import run_echod
from tests.drivers.running import RunningDaemon, wait_for_log
from tests.drivers.visitor import ELSEWHERE, Visit, Visitor, faults
from tests.making.media import EXAMPLES, write_wav
from tests.stand_ins.proxies import proxied

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon with two accounts, on one port from start to start: a page belongs to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory = tmp_path_factory.mktemp("people")
    with RunningDaemon(directory, "--port", str(port), ECHOD_REPLY_MODEL="scripted") as running:
        added = run_echod("roles", "add", EXAMPLES / "roles" / "ada", url=running.url)
        assert added.returncode == 0, added.stderr
        for name, role in (("anna", "admin"), ("bert", "user")):
            added = run_echod("users", "add", name, "--role", role, url=running.url, input=f"{PASSWORD}\n")
            assert added.returncode == 0, added.stderr
        yield running


def try_to_sign_in(visitor: Visitor, name: str, password: str) -> Page:
    page = visitor.page
    page.goto("./")
    page.locator("#sign-in").get_by_label("Name").fill(name)
    page.locator("#sign-in").get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    return page


def sign_in(visitor: Visitor, name: str, password: str = PASSWORD) -> Page:
    page = try_to_sign_in(visitor, name, password)
    expect(page.locator("#tabs")).to_be_visible()
    return page


def test_wrong_password(visitor: Visitor) -> None:
    """A wrong password is told in a sentence, and the next try may be the right one."""
    visitor.forgive(401, "/v1/account/login")
    page = try_to_sign_in(visitor, "bert", "wrong")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong. Try again.")
    page.locator("#sign-in").get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Make a picture speak")).to_be_visible()


def test_nobody_sees_anything(daemon: RunningDaemon, visitor: Visitor) -> None:
    """Before anybody has signed in there is a form and nothing else, and no view can be reached."""
    page = visitor.page
    page.goto("/#/devices")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.locator("#tabs")).to_be_hidden()
    assert page.locator(".view:visible").count() == 1
    assert faults(page) == []
    with page.expect_request("**/static/icon.svg"):  # whatever was asked for before has been
        page.get_by_role("button", name="中文").click()
        page.evaluate("() => fetch('static/icon.svg')")
    expect(page).to_have_title("登录 · echod")


def test_sign_out(visit: Visit) -> None:
    """Signing out ends the session, and nothing of a draft is left for whoever comes next."""
    visitor = visit()
    page = sign_in(visitor, "anna")
    visitor.choose_portrait()
    page.get_by_label("Words to be spoken").fill("a secret")
    page.get_by_role("link", name="Account").click()
    expect(page.locator("#whoami")).to_have_text("Signed in as anna, an admin.")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page = sign_in(visitor, "bert")
    expect(page.get_by_label("Words to be spoken")).to_have_value("")
    expect(page.locator("#portrait-facts")).to_have_text("None chosen yet")


@pytest.fixture
def public(daemon: RunningDaemon, tmp_path: Path) -> Iterator[str]:
    """Where the page is for whoever comes by https, through nginx, under a path of a site."""
    with proxied("nginx-path.conf", urlsplit(daemon.tcp).netloc, tmp_path / "proxy") as base:
        settings = daemon.directory / ".config/echod/config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'[listen]\npublic_url = "{base}"\n')  # which changes nothing for all others here
        daemon.send(signal.SIGHUP)
        wait_for_log(daemon, "settings reloaded")
        yield base


def test_under_a_path(visit: Visit, public: str, tmp_path: Path) -> None:
    """Whoever signs in there stays so, makes and watches a clip, and signs out; the rest of the site hears nothing."""
    visitor = visit(public=public, ignore_https_errors=True)
    page = sign_in(visitor, "bert")
    [cookie] = page.context.cookies()
    assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == ("/echod", True, True)
    page.reload()
    visitor.choose_portrait()
    visitor.choose_speech(write_wav(tmp_path / "speech.wav", 0.5))
    visitor.submit()
    expect(page.locator("#clip .chip")).to_have_text("Completed")
    page.get_by_role("link", name="Account").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.context.cookies() == []


def test_roles_are_for_admins(visitor: Visitor) -> None:
    """Who is no admin talks to roles, and is not offered to make or to change one."""
    page = sign_in(visitor, "bert")
    page.get_by_role("link", name="Talk", exact=True).click()
    expect(page.locator("#roles li")).to_have_count(1)
    expect(page.get_by_role("link", name="Make a role")).to_be_hidden()
    expect(page.locator("#roles .doings")).to_have_count(0)
    page.goto("/#/role/ada")
    expect(page.get_by_role("alert").and_(page.locator(":visible"))).to_have_text("This is not allowed here.")
    expect(page.locator("#role-form")).to_be_hidden()


@pytest.mark.long
def test_tokens(daemon: RunningDaemon, visitor: Visitor) -> None:
    """A token is made, shown once and good at once; revoked, it is refused."""
    page = sign_in(visitor, "bert")
    page.get_by_role("link", name="Account").click()
    page.locator("#new-token").get_by_label("Name").fill("laptop")
    page.get_by_label("Good for").select_option("30 days")
    page.get_by_role("button", name="Make a token").click()
    expect(page.get_by_label("The new token")).to_be_visible()
    token = page.get_by_label("The new token").input_value()
    assert faults(page) == []
    assert whoami(daemon, token) == (200, "bert")
    page.reload()
    expect(page.locator("#tokens")).to_contain_text("laptop")
    expect(page.get_by_label("The new token")).to_be_hidden()
    assert token not in page.content()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke laptop").click()
    expect(page.locator("#tokens li")).to_have_count(0)
    assert whoami(daemon, token) == (401, None)


def whoami(daemon: RunningDaemon, token: str) -> tuple[int, str | None]:
    answer = httpx.get(f"{daemon.tcp}/v1/account/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("name")


def test_change_of_password(daemon: RunningDaemon, visitor: Visitor) -> None:
    """A wrong current password ends nothing; with the right one everybody signs in again, with the new one."""
    added = run_echod("users", "add", "carl", url=daemon.url, input=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    visitor.forgive(401, "/v1/account/login")
    page = sign_in(visitor, "carl")
    page.get_by_role("link", name="Account").click()
    form = page.locator("#new-password")
    form.get_by_label("New password").fill(f"another {PASSWORD}")
    form.get_by_label("Current password").fill("wrong")
    form.get_by_role("button").click()
    expect(form.get_by_role("alert")).to_have_text("The current password is wrong. Try again.")
    form.get_by_label("Current password").fill(PASSWORD)
    form.get_by_role("button").click()
    expect(page.locator("#sign-in")).to_be_visible()
    expect(form.get_by_label("New password")).to_have_value("")
    sign_in(visitor, "carl", f"another {PASSWORD}")


@pytest.mark.long
def test_devices(visit: Visit) -> None:
    """An admin sees what each worker does; others see whether there is one, and are told why not more."""
    page = sign_in(visit(), "anna")
    page.get_by_role("link", name="Devices").click()
    expect(page.locator("#ready")).to_have_text("Ready for work.")
    expect(page.locator("#workers li")).to_contain_text("cpu")
    expect(page.locator("#workers .state")).to_have_text("Idle")
    expect(page.locator("#queue-none")).to_have_text("No clip is waiting.")
    expect(page.locator("#workers-hidden")).to_be_hidden()
    page = sign_in(visit(), "bert")
    page.get_by_role("link", name="Devices").click()
    expect(page.locator("#ready")).to_have_text("Ready for work.")
    expect(page.locator("#workers li")).to_have_count(0)
    expect(page.locator("#queue-none")).to_have_text("None of your clips is waiting.")
    expect(page.locator("#workers-hidden")).to_have_text("Admins see each worker here, and what it does.")


@pytest.mark.long
def test_plain_http(visit: Visit) -> None:
    """From another machine, without https, a clip can be made; for the microphone it says what is needed."""
    visitor = visit(host=ELSEWHERE)
    page = sign_in(visitor, "anna")
    assert not page.evaluate("() => isSecureContext")
    visitor.choose_portrait()
    page.get_by_role("radio", name="Record", exact=True).check()
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("alert").filter(has_text="only to pages opened by https")).to_be_visible()
    page.get_by_role("radio", name="Type words").check()
    page.get_by_label("Words to be spoken").fill("Hello.")
    visitor.submit()
    expect(page.locator("#clip .chip")).to_have_text("Completed")


@pytest.mark.long
def test_daemon_restarts(daemon: RunningDaemon, visit: Visit) -> None:
    """With the daemon killed underneath, the page says so, comes back by itself, and nothing is lost.

    A clip that was being made is followed to its end, and what is submitted meanwhile is accepted later, once. Whoever
    talks to a role is told that a new conversation begins.
    """
    making, talking = visit(), visit()
    for visitor in (making, talking):
        sign_in(visitor, "bert")
        visitor.forgive_loss()
    talk, state = talking.open("#/talk/ada"), talking.page.locator("#turn-state")
    expect(state).to_have_text("Ready")
    page = making.page
    making.choose_portrait()
    making.choose_speech()
    first = making.submit()
    expect(page.locator("#clip .chip")).to_have_text("Being made")
    daemon.kill()
    expect(page.locator("#connection")).to_contain_text("The connection to the daemon was lost")
    expect(state).to_have_text("The connection was lost. Trying to get it back…")
    page.get_by_role("link", name="Make another").click()
    page.get_by_role("button", name="Make the clip").click()
    daemon.start()
    page.wait_for_url(lambda url: "#/clip/" in url)
    second = page.url.rpartition("/")[2]
    expect(page.locator("#connection")).to_be_hidden()
    for job in (second, first):
        page.goto(f"/#/clip/{job}")
        expect(page.locator("#clip .chip")).to_have_text("Completed")
    expect(page.locator("#clips li")).to_have_count(2)
    expect(talk.locator("#transcript .note")).to_have_text("The conversation could not be continued; a new one begins.")
    talk.get_by_label("Say something").fill("Still there?")
    talk.keyboard.press("Enter")
    expect(talk.locator("#transcript .role").last).to_contain_text("Still there?")


@pytest.mark.long
def test_session_ends(daemon: RunningDaemon, visitor: Visitor) -> None:
    """When the password is changed elsewhere the page asks to sign in again, of itself.

    Whoever does so finds the draft as it was; nobody else does.
    """
    page = sign_in(visitor, "anna")
    visitor.choose_portrait()
    page.get_by_label("Words to be spoken").fill("half a")
    for name, password in (("anna", f"{PASSWORD}!"), ("bert", PASSWORD)):
        changed = run_echod("users", "passwd", "anna", url=daemon.url, input=f"{PASSWORD}!\n")
        assert changed.returncode == 0, changed.stderr
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(page.locator("#connection")).to_be_hidden()
        page.locator("#sign-in").get_by_label("Password").fill(password)
        page.locator("#sign-in").get_by_label("Name").fill(name)
        page.keyboard.press("Enter")
        expect(page.get_by_label("Words to be spoken")).to_have_value("half a" if name == "anna" else "")
        expect(page.locator("#portrait-facts")).to_contain_text("One face" if name == "anna" else "None chosen")
