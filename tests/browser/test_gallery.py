"""One's clips as cards: what they are called, finding one, and what can be done with each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.drivers.running import RunningDaemon
from tests.drivers.visitor import Visit, Visitor, held
from tests.making.media import EXAMPLES, write_wav

WORDS, TONE = "Good evening, and welcome to the show.", "A tone, 第一课"


@pytest.fixture
def made(daemon: RunningDaemon, tmp_path: Path) -> list[str]:
    """Three clips: of words, of a recording, and one that was cancelled."""
    daemon.until_idle()
    with daemon.http() as http:
        for video in http.get("/v1/videos", params={"limit": 100}).json()["data"]:
            http.delete(f"/v1/videos/{video['id']}").raise_for_status()
    tone = write_wav(tmp_path / "A tone, 第一课.wav")
    with held(daemon), daemon.http() as http:
        recording, cancelled = submit(daemon, audio_reference=tone), submit(daemon, audio_reference=tone)
        http.post(f"/v1/videos/{cancelled}/cancel").raise_for_status()
        words = submit(daemon, prompt=WORDS, voice="local/espeak-ng/en-us", seed="7")
    with daemon.client() as client:
        for job in (recording, words):
            assert list(client.follow(job))[-1]["video"]["status"] == "completed"
    return [words, recording, cancelled]


def submit(daemon: RunningDaemon, audio_reference: Path | None = None, **fields: str) -> str:
    files = {"input_reference": ("portrait.png", (EXAMPLES / "portrait.png").read_bytes())}
    if audio_reference:
        files["audio_reference"] = audio_reference.name, audio_reference.read_bytes()
    with daemon.http() as http:
        answer = http.post("/v1/videos", data={"size": "256x384", **fields}, files=files)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])


def names(page: Page) -> list[str]:
    return page.locator("#clips .name").all_text_contents()


def do(page: Page, title: str, what: str) -> Locator:
    """What a card offers, by its name to a screen reader."""
    return page.get_by_role("list", name="Your clips").get_by_label(f"{what}: {title}")


def test_cards(visitor: Visitor, made: list[str]) -> None:
    """A card says what its clip is called, when it was made, how long it is, by which engine and in whose voice."""
    page = visitor.open()
    expect(page.locator("#clips .name")).to_have_text([WORDS, TONE])
    lines = page.locator("#clips li a .soft")
    expect(lines.first).to_contain_text(" · preview · en-us")
    day = page.evaluate("() => new Date().toLocaleTimeString('en-GB', {timeStyle: 'short'})").partition(":")[0]
    assert (lines.first.text_content() or "").startswith(f"{day}:")
    expect(lines.nth(1)).to_contain_text(" · 0:01 · preview")


def test_came_to_nothing(daemon: RunningDaemon, visitor: Visitor, made: list[str]) -> None:
    """What failed or was cancelled is folded away below, and all of it is deleted at once."""
    page = visitor.open()
    expect(page.locator("#clips li")).to_have_count(2)
    expect(page.locator("#failed-clips li")).to_be_hidden()
    page.get_by_text("Failed and cancelled: 1").click()
    expect(page.locator("#failed-clips li")).to_contain_text("Cancelled")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete all of these").click()
    expect(page.locator("#failed")).to_be_hidden()
    with daemon.http() as http:
        assert [video["id"] for video in http.get("/v1/videos").json()["data"]] == made[:2]


def test_searched(visitor: Visitor, made: list[str]) -> None:
    """Clips are found by any words of what is known of them, in any order, also those not loaded yet."""
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    page = visitor.open()
    seek = page.get_by_role("searchbox", name="Search your clips")
    for typed, found in (("show GOOD", [WORDS]), ("en-us", [WORDS]), ("第一", [TONE]), ("0:01 preview", [TONE])):
        seek.fill(typed)
        expect(page.locator("#clips .name")).to_have_text(found)
    seek.fill("nobody")
    expect(page.locator("#clips li")).to_have_count(0)
    expect(page.locator("#found")).to_have_text("Nothing is called so.")
    seek.fill("")
    expect(page.locator("#clips li")).to_have_count(2)
    expect(page.locator("#found")).to_be_hidden()


def test_searched_to_the_end(daemon: RunningDaemon, visitor: Visitor, made: list[str]) -> None:
    """An old clip is found behind hundreds of others."""
    with daemon.http() as http:
        like = http.get(f"/v1/videos/{made[1]}").json()
    rows = [numbered(like, number) for number in range(230)]

    def answer(route: Any) -> None:
        asked = httpx.URL(route.request.url).params
        first = next((i + 1 for i, row in enumerate(rows) if row["id"] == asked.get("after")), 0)
        page = rows[first : first + int(asked["limit"])]
        more = first + len(page) < len(rows)
        route.fulfill(json={"object": "list", "data": page, "last_id": page[-1]["id"], "has_more": more})

    visitor.page.route("**/v1/videos?*", answer)
    page = visitor.open()
    expect(page.get_by_role("button", name="Show older clips")).to_be_visible()
    page.get_by_role("searchbox", name="Search your clips").fill("number 228")
    expect(page.locator("#clips .name")).to_have_text("number 228")
    expect(page.get_by_role("button", name="Show older clips")).to_be_hidden()


def numbered(video: dict[str, Any], number: int) -> dict[str, Any]:
    extras = video["echod"] | {"title": f"number {number}"}
    return video | {"id": f"video_{number}", "created_at": 10_000 - number, "status": "in_progress", "echod": extras}


def test_download(daemon: RunningDaemon, visitor: Visitor, made: list[str]) -> None:
    """A clip is saved from its card, under its title."""
    page = visitor.open()
    with page.expect_download() as download:
        do(page, TONE, "Download").click()
    assert download.value.suggested_filename == f"{TONE}.mp4"
    with daemon.http() as http:
        assert download.value.path().read_bytes() == http.get(f"/v1/videos/{made[1]}/content").content


def test_link(daemon: RunningDaemon, visit: Visit, made: list[str]) -> None:
    """A link that is copied from a card opens the clip, and the page says how long it will."""
    page = visit(permissions=["clipboard-read", "clipboard-write"]).open()
    do(page, TONE, "Copy link").click()
    expect(page.locator("#news.seen")).to_contain_text("Link copied. It opens without signing in until ")
    link = page.evaluate("() => navigator.clipboard.readText()")
    assert "signature=" in link
    with daemon.http() as http:
        assert httpx.get(link).content == http.get(f"/v1/videos/{made[1]}/content").content


def test_deleted(daemon: RunningDaemon, visitor: Visitor, made: list[str]) -> None:
    """A clip is deleted from its card once that is confirmed; by the keyboard one goes on at the next card."""
    page = visitor.open()
    page.once("dialog", lambda dialog: dialog.dismiss())
    do(page, WORDS, "Delete").press("Enter")
    page.once("dialog", lambda dialog: dialog.accept())
    do(page, WORDS, "Delete").press("Enter")
    expect(page.locator("#clips .name")).to_have_text([TONE])
    expect(do(page, TONE, "Delete")).to_be_focused()
    with daemon.http() as http:
        assert http.get(f"/v1/videos/{made[0]}").status_code == 404


def test_deleted_in_view(visitor: Visitor, made: list[str]) -> None:
    """Whoever deletes the clip in view from its card is left with none in view."""
    page = visitor.open(f"#/clip/{made[1]}")
    expect(page.locator("#clip .chip")).to_have_text("Completed")
    page.once("dialog", lambda dialog: dialog.accept())
    do(page, TONE, "Delete").click()
    page.wait_for_url("**/#/make")
    expect(page.locator("#clips .name")).to_have_text([WORDS])


def test_again(daemon: RunningDaemon, visitor: Visitor, made: list[str]) -> None:
    """A clip is made again with changes: its portrait, its words or recording and its options are in the draft."""
    page = visitor.open()
    do(page, WORDS, "Again, with changes").click()
    expect(page.locator("#portrait-facts")).to_have_text("One face found. 512 × 512")
    expect(page.get_by_label("Words to be spoken")).to_have_value(WORDS)
    expect(page.locator("#voice")).to_have_value("local/espeak-ng/en-us")
    expect(page.locator("#options-summary")).to_have_text("preview · 256 × 384 · seed 7")
    page.get_by_label("Words to be spoken").fill("Good night.")
    second = visitor.submit()
    expect(page.locator("#clip .chip")).to_have_text("Completed")
    page.get_by_role("link", name="Make another").click()
    do(page, TONE, "Again, with changes").click()
    expect(page.locator("#speech-facts")).to_have_text(f"{TONE} · 0:01")
    page.reload()
    expect(page.locator("#speech-facts")).to_have_text(f"{TONE} · 0:01")
    third = visitor.submit()
    expect(page.locator("#clip .chip")).to_have_text("Completed")
    with daemon.http() as http:
        first, again, other = (http.get(f"/v1/videos/{job}").json() for job in (made[1], second, third))
    assert (again["prompt"], again["echod"]["voice"]) == ("Good night.", "local/espeak-ng/en-us")
    assert (again["size"], again["echod"]["seed"]) == ("256x384", 7)
    assert (other["echod"]["title"], other["seconds"], other["size"]) == (TONE, first["seconds"], "256x384")


def test_again_too_late(daemon: RunningDaemon, visitor: Visitor, made: list[str]) -> None:
    """What was deleted meanwhile cannot be made again, and the page says so."""
    page = visitor.open()
    expect(page.locator("#clips li")).to_have_count(2)
    with daemon.http() as http:
        http.delete(f"/v1/videos/{made[1]}").raise_for_status()
    visitor.forgive(404, "/v1/videos/.*")
    do(page, TONE, "Again, with changes").click()
    expect(page.locator("#submit-problem")).to_contain_text("This is not there any more.")
