"""Making clips with the page: from files, words and the microphone; watching, cancelling, coming back."""

from __future__ import annotations

import base64
import json
import re
import wave
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.drivers.running import RunningDaemon
from tests.drivers.visitor import SPEECH, TRACKS, Visit, Visitor, held
from tests.making.media import EXAMPLES, write_wav

UNTIL = """video => new Promise((done) => {{
    const look = () => {{ if ({state}) done(); }};
    video.addEventListener("{event}", look);
    look();
}})"""
STATE_OF_VIDEO = (
    "video => ({src: video.currentSrc, at: video.currentTime, seconds: video.duration, paused: video.paused})"
)


@pytest.fixture(scope="module")
def long_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LONG seconds: some seconds of work."""
    path = tmp_path_factory.mktemp("speech") / "long.wav"
    with wave.open(str(SPEECH)) as given, wave.open(str(path), "wb") as made:
        made.setparams(given.getparams())
        made.writeframes(given.readframes(given.getnframes()) * 2)
    return path


@pytest.fixture(scope="module")
def short_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of it."""
    path = tmp_path_factory.mktemp("speech") / "short.wav"
    with wave.open(str(SPEECH)) as given, wave.open(str(path), "wb") as made:
        made.setparams(given.getparams())
        made.writeframes(given.readframes(given.getframerate()))
    return path


LONG = 2 * 7.71  # seconds

UNUSABLE = "A portrait must be a picture, such as PNG or JPEG, speech a recording, such as WAV or MP3."


def video(daemon: RunningDaemon, job: str) -> dict[str, Any]:
    with daemon.http() as http:
        return dict(http.get(f"/v1/videos/{job}").json())


def player_of(page: Page) -> Locator:
    return page.locator("#clip-shown video")


def player(page: Page) -> dict[str, Any]:
    return dict(player_of(page).evaluate(STATE_OF_VIDEO))


def completed(page: Page) -> None:
    expect(page.locator("#clip .chip")).to_have_text("Completed")


def test_clip_from_files(daemon: RunningDaemon, visitor: Visitor) -> None:
    """Files become a clip whose progress moves up to its end, with a thumbnail, and a download that is the clip."""
    page = visitor.open()
    visitor.choose_portrait()
    visitor.choose_speech()
    page.evaluate(
        """() => { window.seen = [];
        new MutationObserver(() => {
            const bar = document.querySelector("#clip progress");
            if (bar && window.seen.at(-1) !== bar.value) window.seen.push(bar.value);
        }).observe(document.querySelector("#clip"), {subtree: true, childList: true, characterData: true}) }"""
    )
    job = visitor.submit()
    completed(page)
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen) and len(seen) > 3
    card = page.locator(f'#clips a[href="#/clip/{job}"]')
    expect(card).to_contain_text("speech")
    expect(card.locator("img")).to_have_js_property("naturalWidth", 512)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    with daemon.http() as http:
        assert download.value.path().read_bytes() == http.get(f"/v1/videos/{job}/content").content


@pytest.mark.long
@pytest.mark.parametrize("size", ["576x768", "768x576"])
def test_crop_is_the_clips(daemon: RunningDaemon, visitor: Visitor, short_speech: Path, size: str) -> None:
    """The part of the portrait that is left bright is what the clip shows, also in another shape."""
    page = visitor.open()
    visitor.choose_portrait()
    visitor.choose_speech(short_speech)
    page.locator("#options summary").click()
    page.get_by_label("Face only").check()
    page.get_by_label("Size").select_option(size)
    drawn = page.locator(".marks .outside").get_attribute("d")
    job = visitor.submit()
    completed(page)
    left, top, right, bottom = video(daemon, job)["echod"]["crop"]
    assert drawn is not None and drawn.endswith(f"M{left} {top}V{bottom}H{right}V{top}Z")


def test_clip_plays_while_it_grows(daemon: RunningDaemon, visitor: Visitor, long_speech: Path) -> None:
    """With the worker held half way the clip plays as far as it has come; later its file is played, and sought in."""
    page = visitor.open()
    visitor.choose_portrait()
    visitor.choose_speech(long_speech)
    job = visitor.submit()
    player_of(page).evaluate(UNTIL.format(event="progress", state="video.buffered.length && video.buffered.end(0) > 2"))
    with held(daemon):
        assert video(daemon, job)["status"] == "in_progress"
        player_of(page).evaluate(UNTIL.format(event="timeupdate", state="video.currentTime > 1"))
        growing = player(page)
        assert growing["src"].startswith("blob:")
        assert growing["seconds"] == pytest.approx(LONG, abs=0.1)  # it shows how long it will be
    completed(page)
    player_of(page).evaluate("video => video.pause()")
    expect(player_of(page)).to_have_attribute("src", f"v1/videos/{job}/content")
    player_of(page).evaluate("video => new Promise((done) => { video.onseeked = done; video.currentTime = 15 })")
    final = player(page)
    assert (final["at"], final["paused"]) == (15, True)
    assert final["seconds"] == pytest.approx(LONG, abs=0.1)


@pytest.mark.usefixtures("espeak")
def test_clip_from_words(daemon: RunningDaemon, visitor: Visitor) -> None:
    """Typed words are spoken with the chosen voice, then shown."""
    page = visitor.open()
    visitor.choose_portrait()
    page.get_by_label("Words to be spoken").fill("Good morning. Nice to meet you.")
    page.locator("#voice").select_option("local/espeak-ng/en-us")
    job = visitor.submit()
    completed(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Good morning. Nice to meet you.")
    expect(page).to_have_title("Good morning. Nice to meet you. · echod")
    made = video(daemon, job)
    assert made["echod"]["spoken"] and made["echod"]["voice"] == "local/espeak-ng/en-us"


def test_clip_from_microphone(daemon: RunningDaemon, visitor: Visitor) -> None:
    """What the microphone hears is recorded, can be listened to, and becomes a clip as long as that."""
    page = visitor.open()
    visitor.choose_portrait()
    page.get_by_role("radio", name="Record", exact=True).check()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#record-time")).to_have_text("0:02")
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator("#speech-facts")).to_have_text(re.compile(r"recording \d{4}-\d\d-\d\d \d\d\.\d\d\.wav · 0:02"))
    kept = page.evaluate("() => JSON.parse(sessionStorage.draft).sounds.record.file_id")
    with daemon.http() as http:
        assert likeness(http.get(f"/v1/files/{kept}/content").content) > 0.5  # the browser reduces noise
    job = visitor.submit()
    completed(page)
    assert 2 <= float(video(daemon, job)["seconds"]) < 4


@pytest.mark.long
def test_microphone_is_left(visitor: Visitor) -> None:
    """Nothing is recorded once another way is chosen or the view is left; what was said until then is there."""
    visitor.page.add_init_script(TRACKS)
    page = visitor.open()
    record = page.get_by_role("radio", name="Record", exact=True)

    def begin() -> None:
        page.get_by_role("button", name="Record", exact=True).click()
        expect(page.locator("#record use")).to_have_attribute("href", "static/glyphs.svg#stop")
        expect(page.locator("#record-time")).to_have_text("0:02")  # in one second there may be a pause

    def ended(recordings: int) -> None:
        page.wait_for_function(
            "many => tracks.length === many && tracks.every((track) => track.readyState === 'ended')", arg=recordings
        )

    record.check()
    begin()
    page.get_by_label("Type words").check()
    ended(1)
    record.check()
    expect(page.locator("#speech-facts")).to_contain_text("recording 2")
    begin()
    page.get_by_role("link", name="Devices").click()
    ended(2)


def likeness(recording: bytes) -> float:
    """How much a recording at 24 kHz is like the part of the example speech that fits best: 1 for the very same."""
    heard = samples(BytesIO(recording), 24_000)
    played = samples(str(SPEECH), 16_000)
    played = np.interp(np.arange(0, len(played) - 1, 16 / 24), np.arange(len(played)), played)
    played = np.concatenate([played, played])  # the microphone plays it again and again
    size = len(played) + len(heard)
    products = np.fft.irfft(np.fft.rfft(played, size) * np.conj(np.fft.rfft(heard, size)))[: len(played) - len(heard)]
    energy = np.cumsum(np.concatenate([[0], played**2]))
    energies = energy[len(heard) :] - energy[: -len(heard)]
    return float(np.max(products / np.sqrt(np.maximum(energies[: len(products)], 1) * np.sum(heard**2))))


def samples(source: str | BytesIO, rate: int) -> NDArray[np.float64]:
    with wave.open(source) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, rate)
        return np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float64)


def test_dropped_files(visitor: Visitor) -> None:
    """Files dropped anywhere on the view find their place: a picture is the portrait, a recording the speech."""
    page = visitor.open()
    for path, kind in ((EXAMPLES / "portrait.png", "image/png"), (SPEECH, "audio/wav")):
        dropped = page.evaluate_handle(
            """([letters, name, type]) => {
                const transfer = new DataTransfer();
                const bytes = Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name, {type}));
                return transfer;
            }""",
            [base64.b64encode(path.read_bytes()).decode(), path.name, kind],
        )
        page.dispatch_event("#make", "drop", {"dataTransfer": dropped})
        for kind in ("dragover", "drop"):
            prevented = page.evaluate(
                """([dataTransfer, kind]) => {
                    const event = new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true});
                    return !document.querySelector("header").dispatchEvent(event);
                }""",
                [dropped, kind],
            )
            assert prevented, "a file dropped beside the view would be opened in the place of the page"
    expect(page.locator("#portrait-facts")).to_contain_text("One face found")
    expect(page.locator("#speech-facts")).to_contain_text("speech.wav · 0:07")


def test_cancel(daemon: RunningDaemon, visitor: Visitor, long_speech: Path) -> None:
    """A clip that is being made is cancelled by its button, and says so once."""
    page = visitor.open()
    visitor.choose_portrait()
    visitor.choose_speech(long_speech)
    job = visitor.submit()
    expect(page.locator("#clip .chip")).to_have_text("Being made")
    expect(page.locator("#clip")).not_to_contain_text("false")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#clip .chip")).to_have_text("Cancelled")
    assert video(daemon, job)["status"] == "cancelled"
    expect(page.get_by_role("alert").and_(page.locator(":visible"))).to_have_count(0)
    page.reload()
    page.locator("#failed-title").click()
    expect(page.locator(f'#failed-clips a[href="#/clip/{job}"] .thumb .glyph')).to_be_visible()  # there is no picture


@pytest.mark.usefixtures("espeak")
def test_reload_half_way(daemon: RunningDaemon, visitor: Visitor, short_speech: Path) -> None:
    """After a reload the clip in view is in view, its progress goes on, and the draft is as it was."""
    page = visitor.open()
    visitor.choose_portrait()
    visitor.choose_speech(short_speech)
    page.locator("#options summary").click()
    page.get_by_label("Seed", exact=True).fill("77")
    page.get_by_label("Engine").select_option("preview")
    page.get_by_label("Type words").check()
    page.locator("#voice").select_option("local/espeak-ng/en-us")
    page.get_by_label("Use a recording").check()
    daemon.until_idle()
    with held(daemon):
        job = visitor.submit()
        expect(page.locator("#clip .chip")).to_have_text("Being made")
        page.reload()
        expect(page.locator("#clip .chip")).to_have_text("Being made")
        expect(page.locator(f'#clips a[href="#/clip/{job}"] .ring')).to_be_visible()
    completed(page)
    page.get_by_role("link", name="Make another").click()
    expect(page.locator("#portrait-facts")).to_contain_text("One face found")
    expect(page.locator("#speech-facts")).to_contain_text("short.wav")
    expect(page.locator("#options-summary")).to_have_text("preview · whole picture · seed 77")
    page.reload()
    expect(page.locator("#options-summary")).to_have_text("preview · whole picture · seed 77")
    page.get_by_label("Type words").check()
    expect(page.locator("#voice")).to_have_value("local/espeak-ng/en-us")


def test_clips_among_sentences(daemon: RunningDaemon, visitor: Visitor, short_speech: Path) -> None:
    """Clips are found behind all that was said in conversations, and more of them when asked for."""
    with daemon.http() as http, (EXAMPLES / "portrait.png").open("rb") as portrait, short_speech.open("rb") as speech:
        files = {"input_reference": portrait, "audio_reference": speech}
        made = http.post("/v1/videos", files=files).raise_for_status().json()
    daemon.until_idle()
    kinds = [True] * 70 + [False] * 20 + [True] * 120 + [False] * 60  # whether it is a sentence
    rows = [
        made | {"id": f"video_{i}", "created_at": 10_000 - i, "status": "in_progress", "echod": made["echod"]}
        for i in range(len(kinds))
    ]
    rows = [row | {"echod": row["echod"] | {"conversation": kind}} for row, kind in zip(rows, kinds, strict=True)]

    def answer(route: Route) -> None:
        asked = {name: value[0] for name, value in parse_qs(urlsplit(route.request.url).query).items()}
        first = next((i + 1 for i, row in enumerate(rows) if row["id"] == asked.get("after")), 0)
        page = rows[first : first + int(asked["limit"])]
        more = first + len(page) < len(rows)
        body = {"object": "list", "data": page, "first_id": page[0]["id"], "last_id": page[-1]["id"], "has_more": more}
        route.fulfill(body=json.dumps(body), content_type="application/json")

    visitor.page.route("**/v1/videos?*", answer)
    page = visitor.open()
    cards = page.locator("#clips li")
    expect(cards.nth(23)).to_be_visible()
    expect(page.locator("#clips-none")).to_be_hidden()
    while cards.count() < kinds.count(False):
        shown = cards.count()
        page.get_by_role("button", name="Show older clips").click()
        expect(cards.nth(shown)).to_be_visible()
    expect(page.get_by_role("button", name="Show older clips")).to_be_hidden()


def test_delete(daemon: RunningDaemon, visitor: Visitor, short_speech: Path) -> None:
    """A clip is kept when one says so, and no longer; deleted, it is gone from list and daemon, once one has agreed."""
    page = visitor.open()
    visitor.choose_portrait()
    visitor.choose_speech(short_speech)
    job = visitor.submit()
    completed(page)
    for button, kept in (("Keep", True), ("Keep no longer", False)):
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_role("button", name="Keep no longer" if kept else "Keep", exact=True)).to_be_focused()
        until = page.locator("#clip .facts div", has_text="Kept until").locator("dd")
        (expect(until).to_have_text if kept else expect(until).not_to_have_text)("it is deleted")
        assert video(daemon, job)["echod"]["pinned"] == kept
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete", exact=True).click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(f'#clips a[href="#/clip/{job}"]')).to_have_count(0)
    assert "error" in video(daemon, job)


@pytest.mark.long
def test_delete_while_it_loads(visitor: Visitor, short_speech: Path) -> None:
    """Nothing of a clip is asked for once it is deleted, however slowly it came."""
    page = visitor.open()
    held: list[Route] = []
    page.route("**/v1/videos/*/content", lambda route: held.append(route))
    visitor.choose_portrait()
    visitor.choose_speech(short_speech)
    with page.expect_request("**/v1/videos/*/content"):
        job = visitor.submit()
        completed(page)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(f'#clips a[href="#/clip/{job}"]')).to_have_count(0)
    for route in held:
        route.continue_()
    page.evaluate("async () => { await fetch('healthz'); await fetch('healthz'); }")


def test_failed(visit: Visit) -> None:
    """On a phone the reason of a failure stands below the status, in view."""
    visitor = visit(viewport={"width": 360, "height": 740})
    error = {"code": "upstream_tts", "message": "nothing in this can be spoken"}
    extras = {"title": "...", "engine": "preview", "seed": 1, "frames": 0, "timings_ms": None}
    job = {"id": "video_1", "status": "failed", "progress": 0, "created_at": 1, "prompt": "...", "size": "512x512"}
    visitor.page.route(
        "**/v1/videos/video_1", lambda route: route.fulfill(json=job | {"error": error, "echod": extras})
    )
    page = visitor.open("#/clip/video_1")
    expect(page.locator("#clip p:has(.chip) + .problem")).to_contain_text("These words could not be spoken.")
    expect(page.locator("#clip .problem small")).to_have_text("nothing in this can be spoken")
    expect(page.locator("#clip .problem")).to_be_in_viewport(ratio=1)


def test_no_such_clip(visitor: Visitor) -> None:
    """The address of a clip or role that is not there says so, and leads on."""
    visitor.forgive(404, "/v1/videos/video_0123")
    page = visitor.open("#/clip/video_0123")
    expect(page.get_by_role("alert")).to_contain_text("This is not there any more.")
    page.get_by_role("link", name="Make another").click()
    expect(page.get_by_role("button", name="Choose a picture")).to_be_visible()
    visitor.forgive(404, "/v1/videos/%25E0%25A4%25A")
    visitor.open("#/clip/%E0%A4%A")
    expect(page.get_by_role("alert")).to_contain_text("This is not there any more.")
    visitor.open("#/talk/nobody")
    expect(page.get_by_role("alert").and_(page.locator(":visible"))).to_have_text("There is no role called nobody.")


@pytest.mark.parametrize(
    ("where", "content"),
    [
        ("#portrait-file", b"no picture"),
        ("#portrait-file", SPEECH.read_bytes()),
        ("#speech-file", b"RIFF....WAVE"),
        ("#speech-file", (EXAMPLES / "portrait.png").read_bytes()),
    ],
)
def test_unusable_files(visitor: Visitor, where: str, content: bytes) -> None:
    """A file that cannot be used is answered with a sentence that says which ones can."""
    visitor.forgive(400, "/v1/files")
    page = visitor.open()
    page.get_by_label("Use a recording").check()
    page.locator(where).set_input_files({"name": "file", "mimeType": "", "buffer": content})
    expect(page.get_by_role("alert").filter(has_text=UNUSABLE)).to_be_visible()


def test_silence(visitor: Visitor, tmp_path: Path) -> None:
    """A recording in which nothing is said is refused with advice."""
    visitor.forgive(400, "/v1/files")
    page = visitor.open()
    page.get_by_label("Use a recording").check()
    page.locator("#speech-file").set_input_files(write_wav(tmp_path / "silence.wav", hertz=0))
    expect(page.get_by_role("alert").filter(has_text="Nothing can be heard in this recording.")).to_be_visible()


def test_small_face(visitor: Visitor, short_speech: Path, tmp_path: Path) -> None:
    """A face that is too small for a sharp clip is told of as soon as it is found, and with the clip."""
    with Image.open(EXAMPLES / "portrait.png") as picture:
        picture.crop((120, 0, 340, 220)).resize((800, 800)).save(tmp_path / "close.png")
    page = visitor.open()
    visitor.choose_portrait()
    advice = page.locator("#portrait-advice")
    expect(advice).to_be_empty()
    page.get_by_label("Face only").check()
    expect(advice).to_contain_text("The face is only 86 pixels wide, so that the clip is soft.")
    page.get_by_role("button", name="中文").click()
    expect(advice).to_contain_text("照片里的脸只有 86 像素宽")
    page.get_by_role("button", name="English").click()
    visitor.choose_speech(short_speech)
    visitor.submit()
    completed(page)
    expect(page.locator("#clip .advice")).to_contain_text("The face is only 86 pixels wide")
    page.get_by_role("link", name="Make another").click()
    visitor.choose_portrait(tmp_path / "close.png")
    expect(page.locator("#portrait-facts")).to_contain_text("800 × 800")
    expect(advice).to_be_empty()


def test_what_is_missing(visitor: Visitor) -> None:
    """Submitting too early says what is missing, or too much, and goes there."""
    page = visitor.open()
    page.get_by_role("button", name="Make the clip").click()
    expect(page.get_by_role("alert").filter(has_text="Choose a portrait first.")).to_be_visible()
    expect(page.get_by_role("button", name="Choose a picture")).to_be_focused()
    visitor.choose_portrait()
    expect(page.locator("#submit-problem")).to_be_hidden()
    page.get_by_role("button", name="Make the clip").click()
    expect(page.locator("#submit-problem")).to_have_text("Type the words to be spoken first.")
    expect(page.get_by_label("Words to be spoken")).to_be_focused()
    page.keyboard.insert_text("👋" * 10_001)  # as if it were pasted
    page.get_by_role("button", name="Make the clip").click()
    expect(page.locator("#submit-problem")).to_have_text("These are 10001 characters, and at most 10000 are taken.")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("#submit-problem")).to_have_text("共 10001 个字符，最多 10000 个。")


def test_made_when_ready(daemon: RunningDaemon, visitor: Visitor) -> None:
    """Who asks for a clip while picture and recording are still looked at gets it, once; a bad picture ends that."""
    page = visitor.open()
    held: list[Route] = []
    page.route("**/v1/files", lambda route: held.append(route))
    submit, wait = page.get_by_role("button", name="Make the clip"), page.locator("#submit-wait")
    page.locator("#portrait-file").set_input_files(EXAMPLES / "portrait.png")
    page.get_by_role("radio", name="Record", exact=True).check()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#record-time")).to_have_text("0:02")
    submit.click()
    expect(wait).to_have_text("Still looking at the picture. The clip is made right after.")
    expect(submit).to_be_disabled()
    assert page.url.endswith("#/make")
    held.pop(0).continue_()
    expect(wait).to_have_text("Still listening to the recording. The clip is made right after.")
    held.pop(0).continue_()
    page.wait_for_url("**/#/clip/*")
    assert 2 <= float(video(daemon, page.url.rpartition("/")[2])["seconds"]) < 6
    completed(page)
    page.get_by_role("link", name="Make another").click()
    visitor.forgive(400, "/v1/files")
    page.locator("#portrait-file").set_input_files({"name": "file", "mimeType": "", "buffer": b"no picture"})
    submit.click()
    expect(wait).to_be_visible()
    held.pop(0).continue_()
    expect(page.locator("#portrait-problem")).to_contain_text(UNUSABLE)
    expect(page.get_by_role("button", name="Choose a picture")).to_be_focused()
    expect(submit).to_be_enabled()
    assert page.url.endswith("#/make")


def test_made_while_the_draft_comes_back(visitor: Visitor, short_speech: Path) -> None:
    """Clicks that are too early for a page that was reloaded make one clip once everything is there."""
    page = visitor.open()
    visitor.choose_portrait()
    visitor.choose_speech(short_speech)
    held: list[Route] = []
    page.route("**/v1/models", lambda route: held.append(route))
    with page.expect_request("**/v1/models"):
        page.reload()
    expect(page.locator("#speech-facts")).to_contain_text(short_speech.name)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {urlsplit(request.url).path}"))
    page.get_by_role("button", name="Make the clip").dblclick()
    assert page.url.endswith("#/make")
    held.pop().continue_()
    page.wait_for_url("**/#/clip/*")
    completed(page)
    assert asked.count("POST /v1/videos") == 1


def test_refused(daemon: RunningDaemon, visitor: Visitor) -> None:
    """What is wrong with a request is told in a sentence; what has to be changed is unfolded and has the focus."""
    page = visitor.open()
    visitor.choose_portrait()
    page.get_by_label("Words to be spoken").fill("Hello.")
    page.locator("#options summary").click()
    seed = page.get_by_label("Seed", exact=True)
    seed.fill("abc")
    page.locator("#options summary").click()
    page.get_by_role("button", name="Make the clip").click()
    problem = page.locator("#submit-problem")
    expect(problem).to_have_text("The seed must be a whole number, such as 420.")
    expect(seed).to_be_focused()
    expect(page.locator("#seed:invalid")).to_be_visible()
    seed.fill("7")
    page.locator("#options summary").click()
    page.get_by_label("Face only").check()
    refusal = {"code": "invalid_request", "message": "size = 'x': it must be another", "param": "size"}
    page.route("**/v1/videos", lambda route: route.fulfill(status=400, json={"error": refusal}))
    visitor.forgive(400, "/v1/videos")
    page.get_by_role("button", name="Make the clip").click()
    expect(problem).to_contain_text("Something that was entered is not possible. Change it and try again.")
    expect(page.get_by_label("Size")).to_be_focused()
    page.unroute("**/v1/videos")
    kept = page.evaluate("() => JSON.parse(sessionStorage.draft).portrait.file_id")
    with daemon.http() as http:
        http.delete(f"/v1/files/{kept}").raise_for_status()
    visitor.forgive(404, "/v1/videos")
    page.get_by_role("button", name="Make the clip").click()
    expect(problem).to_contain_text("The portrait is not there any more")
    expect(page.get_by_role("button", name="Choose a picture")).to_be_focused()


def test_label(daemon: RunningDaemon, visitor: Visitor, short_speech: Path) -> None:
    """A visible label can be asked for, in the page's language; the choice outlives a reload."""
    page = visitor.open()
    page.locator("#options summary").click()
    page.locator("#label").select_option("corner")
    page.reload()
    expect(page.locator("#label")).to_have_value("corner")
    visitor.choose_portrait()
    visitor.choose_speech(short_speech)
    told = video(daemon, visitor.submit())["echod"]
    assert (told["label"], told["label_language"]) == ("corner", "en")
