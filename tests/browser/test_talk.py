"""Talking to a role on the page: Whisper hears, espeak-ng speaks, the preview shows, all of it on this machine."""

from __future__ import annotations

import json
import os
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocket, WebSocketRoute, expect

from tests.drivers.running import RunningDaemon
from tests.drivers.visitor import SPEECH, TRACKS, Visit, Visitor, faults
from tests.making.media import EXAMPLES

WHISPER = Path(os.environ.get("ECHOD_TEST_ASSETS", "")) / "models" / "whisper-tiny.en.pt"
LONG = "".join(f"This is sentence number {number}. " for number in range(20))

HOLD = "Hold to talk, or tap to start and stop"

# Notes what is seen at every animation frame: which sentence, and whether there was any moment without a picture; and
# in which order videos begin and end.
WATCH = """() => {
    window.shown = [];
    window.gaps = 0;
    window.order = [];
    for (const type of ["play", "ended"]) document.addEventListener(type, () => window.order.push(type), true);
    const caption = document.querySelector("#caption");
    const look = () => {
        const text = caption.hidden ? "" : caption.textContent.trim();
        if (text && window.shown.at(-1) !== text) window.shown.push(text);
        const front = document.querySelector("#scene video.front");
        if (text && !(front && front.readyState >= 2)) window.gaps += 1;
        requestAnimationFrame(look);
    };
    look();
}"""

# Counts the seconds of sound that are played by Web Audio, and notes how loud it is and when it began.
LISTEN = """
    window.played = 0;
    window.loudest = 0;
    const start = AudioBufferSourceNode.prototype.start;
    AudioBufferSourceNode.prototype.start = function (...when) {
        window.clock = this.context;
        window.began ??= this.context.currentTime;
        window.played += this.buffer.duration;
        window.loudest = Math.max(window.loudest, ...this.buffer.getChannelData(0));
        return start.apply(this, when);
    };
"""

# Whether the bars that are drawn rise above those of silence.
LOUD = """() => {
    const canvas = document.querySelector("#hearing");
    const { data } = canvas.getContext("2d").getImageData(0, canvas.height / 3, canvas.width, 1);
    return !canvas.hidden && data.some((value) => value > 0);
}"""

# Whether the last answer repeats what was said last, as the scripted reply does.
ANSWERED = """() => {
    const [said, answer] = ["you", "role"].map((who) => [...document.querySelectorAll(`#transcript .${who} p`)].at(-1));
    return answer.textContent.includes(said.textContent.trim());
}"""


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example speech, and then nobody says anything for a minute."""
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    with wave.open(str(SPEECH)) as given, wave.open(str(path), "wb") as made:
        made.setparams(given.getparams())
        made.writeframes(given.readframes(given.getnframes()) + bytes(60 * 2 * given.getframerate()))
    return path


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, assets: Path, local_voice: str) -> Iterator[RunningDaemon]:
    """A daemon that hears, with a role."""
    directory = tmp_path_factory.mktemp("talk")
    with RunningDaemon(directory, ECHOD_HEAR_MODEL=str(WHISPER), ECHOD_REPLY_MODEL="scripted") as running:
        with running.http() as http, (EXAMPLES / "portrait.png").open("rb") as portrait:
            form = {"name": "ada", "title": "Ada", "language": "en", "greeting": "Hello!", "options[size]": "256x256"}
            http.post("/v1/roles", data=form, files={"portrait": portrait}).raise_for_status()
        yield running


class Talking:
    """A visitor who talks to Ada. `frames` are the events that went over the wire, either way."""

    def __init__(self, visitor: Visitor) -> None:
        self.page: Page = visitor.page
        self.sockets: list[WebSocket] = []
        self.frames: list[dict[str, Any]] = []
        self.page.on("websocket", self._opened)
        self.page.add_init_script(LISTEN + TRACKS)
        visitor.open("#/talk")
        self.page.locator('#roles a[href="#/talk/ada"]').click()
        expect(self.page.locator("#transcript .role")).to_have_text("Answer: Hello!")
        self.ready()
        expect(self.page.locator("#caption")).to_be_hidden()  # nothing has been said yet
        expect(self.page.locator("#rest")).to_be_visible()
        assert self.page.locator("#rest").evaluate("canvas => [canvas.width, canvas.height]") == [256, 256]

    def _opened(self, socket: WebSocket) -> None:
        if "/v1/realtime" in socket.url:
            self.sockets.append(socket)
            socket.on("framesent", lambda frame: self.frames.append(json.loads(frame)))
            socket.on("framereceived", lambda frame: self.frames.append(json.loads(frame)))

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.frames if event["type"] == kind]

    def type(self, words: str) -> None:
        self.page.get_by_label("Say something").fill(words)
        self.page.keyboard.press("Enter")

    def says(self, tenths: int) -> None:
        """Until the microphone has been heard for so many tenths of a second."""
        expect(self.page.locator("#turn-state")).to_have_text("Listening")
        while len(self.events("input_audio_buffer.append")) < tenths:
            self.sockets[-1].wait_for_event("framesent")

    def ready(self) -> None:
        expect(self.page.locator("#turn-state")).to_have_text("Ready")

    def speaking(self) -> None:
        expect(self.page.locator("#turn-state")).to_have_text("Speaking")

    def answer(self) -> str:
        """The last line of the role."""
        return (self.page.locator("#transcript .role").last.text_content() or "").removeprefix("Answer: ")


@pytest.fixture
def talking(visitor: Visitor) -> Talking:
    return Talking(visitor)


def test_seen(talking: Talking) -> None:
    """The answer to typed words comes as clips of its sentences, one after the other, with no moment between."""
    talking.page.evaluate(WATCH)
    talking.type("Seven clouds. They are big!")
    talking.speaking()
    assert faults(talking.page) == []
    talking.ready()
    expect(talking.page.locator("#transcript .you")).to_have_text("You: Seven clouds. They are big!")
    assert "Seven clouds. They are big!" in talking.answer()
    added = [event["sentence"].strip() for event in talking.events("response.output_video.added")]
    shown = talking.page.evaluate("() => window.shown")
    assert len(shown) > 2
    assert shown == added[-len(shown) :] and " ".join(shown) == talking.answer().strip()
    assert talking.page.evaluate("() => window.gaps") == 0
    assert "play play ended" in " ".join(talking.page.evaluate("() => window.order"))  # the next did not wait
    assert talking.page.evaluate("() => window.played") == 0  # the sound is the clips'


def test_heard_only(talking: Talking) -> None:
    """In voice only the answer is sound as it comes, with its words, and no clip is made."""
    talking.page.get_by_label("Voice only").check()
    talking.type("Seven clouds.")
    talking.speaking()
    before = len(talking.events("response.output_video.added"))
    talking.ready()
    assert "Seven clouds." in talking.answer()
    assert talking.page.evaluate("() => window.played") > 1
    assert talking.page.evaluate("() => window.loudest") > 0.1
    assert len(talking.events("response.output_video.added")) == before


def test_microphone(talking: Talking) -> None:
    """What is said while the microphone is held is understood, shown and answered."""
    page = talking.page
    page.get_by_label("Voice only").check()
    page.get_by_role("button", name=HOLD).focus()
    page.keyboard.down(" ")
    talking.says(tenths=30)
    page.keyboard.up(" ")
    said = page.locator("#transcript .you")
    expect(said).to_contain_text("I am a preview")
    talking.ready()
    assert (said.text_content() or "").removeprefix("You: ").strip() in talking.answer()


@pytest.mark.long
def test_tapped(talking: Talking) -> None:
    """Whoever cannot hold the microphone taps it: once to begin, once more to be answered."""
    hold = talking.page.get_by_role("button", name=HOLD)
    hold.click()
    talking.says(tenths=3)
    hold.click()
    expect(talking.page.locator("#transcript .you")).to_be_visible()
    assert len(talking.events("input_audio_buffer.commit")) == 1


@pytest.mark.long
def test_stopped(talking: Talking) -> None:
    """The answer stops at once by its button; the daemon hears how much of it was heard, and the talk goes on."""
    talking.type(LONG)
    expect(talking.page.locator("#caption")).to_contain_text("number 0.")
    talking.page.get_by_role("button", name="Stop the answer").click()
    talking.ready()
    expect(talking.page.locator("#scene video")).to_have_count(0)
    talking.type("Are you there?")
    talking.speaking()
    talking.ready()
    assert "Are you there?" in talking.answer()
    statuses = [event["response"]["status"] for event in talking.events("response.done")]
    assert statuses == ["completed", "cancelled", "completed"]
    cut = talking.events("conversation.item.truncated")
    assert [event["item_id"] for event in cut] == [talking.events("response.output_item.added")[1]["item"]["id"]]


def test_interrupted(talking: Talking) -> None:
    """Whoever says something while the role speaks is heard, and the role stops."""
    talking.page.get_by_label("Voice only").check()
    talking.type(LONG)
    talking.page.wait_for_function("() => window.clock?.currentTime > window.began + 1.5")
    expect(talking.page.get_by_role("button", name="Send")).to_be_hidden()
    talking.page.get_by_label("Say something").fill("Wait!")
    talking.page.get_by_role("button", name="Send").click()
    expect(talking.page.locator("#transcript .you").last).to_have_text("You: Wait!")
    expect(talking.page.locator("#transcript .role").last).to_contain_text("Wait!")
    expect(talking.page.locator("#transcript .cut")).to_have_count(1)
    talking.ready()
    (cut,) = talking.events("conversation.item.truncated")
    assert 1000 < cut["audio_end_ms"] < 20_000  # of a minute


def test_hands_free(talking: Talking) -> None:
    """Hands-free one just speaks: while the role speaks, it stops, and only what was heard of it stays written.

    How loud one is heard is seen meanwhile; what was said is understood and answered, and the microphone stays open.
    """
    page, state = talking.page, talking.page.locator("#turn-state")
    page.get_by_label("Voice only").check()
    talking.type(LONG)
    page.wait_for_function("() => window.clock?.currentTime > window.began + 3")
    answer = page.locator("#transcript .role").nth(1)
    page.get_by_role("button", name="Hands-free").click()
    expect(state).to_have_text("Hearing you")
    expect(page.locator("#transcript .cut")).not_to_contain_text("number 19")
    page.wait_for_function(LOUD)
    (cut,) = talking.events("conversation.item.truncated")
    assert 1000 < cut["audio_end_ms"] < 20_000  # of a minute
    assert cut["transcript"] and (answer.text_content() or "") == f"Answer: {cut['transcript'].removesuffix('…')}"
    expect(page.locator("#transcript .you").filter(has_text="I am a preview")).to_be_visible()
    page.wait_for_function(ANSWERED)
    expect(state).to_have_text("Listening")
    page.get_by_role("button", name="Hands-free").click()
    talking.ready()
    page.wait_for_function(
        "() => tracks.every((track) => track.readyState === 'ended')"
    )  # once the last piece is heard


def test_reloaded(talking: Talking) -> None:
    """After a reload amid an answer the words of both are there, and the daemon remembers the conversation."""
    talking.page.get_by_label("Voice only").check()
    talking.type(f"Seven clouds. {LONG}")
    talking.speaking()
    expect(talking.page.locator("#transcript .role").last).to_contain_text("Seven")
    talking.page.reload()
    expect(talking.page.locator("#transcript .you")).to_contain_text("You: Seven clouds.")
    expect(talking.page.locator("#transcript .role").last).to_contain_text("Seven")
    talking.ready()
    first, second = talking.events("session.created")
    assert first["session"]["id"] == second["session"]["id"]
    assert len(talking.events("response.created")) == 2  # no second greeting


class Scripted:
    """A visitor who talks to a daemon that says what a test lets it: `answers` has the events of each turn.

    `heard` are the events that the page sent, but for sound.
    """

    def __init__(self, visitor: Visitor, *answers: list[dict[str, Any]]) -> None:
        self.page = visitor.page
        self._answers = iter(answers)
        self.heard: list[dict[str, Any]] = []
        self._socket: WebSocketRoute
        self.page.route_web_socket("**/v1/realtime*", self._opened)
        visitor.open("#/talk")
        self.page.evaluate(
            "sessionStorage.setItem('talk:ada', JSON.stringify({conversation: 'sess_1'}))"
        )  # was greeted
        self.page.locator('#roles a[href="#/talk/ada"]').click()
        expect(self.page.locator("#turn-state")).to_have_text("Ready")

    def _opened(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        socket.on_message(self._heard)
        self.says({"type": "session.created", "session": {"id": "sess_1"}})

    def _heard(self, message: str | bytes) -> None:
        event = json.loads(message)
        if event["type"] != "input_audio_buffer.append":
            self.heard.append(event)
        if event["type"] == "response.create":
            self.says({"type": "response.created", "response": {"id": "resp_1"}}, *next(self._answers))

    def close(self) -> None:
        self._socket.close()

    def says(self, *events: dict[str, Any]) -> None:
        for event in events:
            self._socket.send(json.dumps(event))

    def type(self, words: str) -> None:
        self.page.get_by_label("Say something").fill(words)
        self.page.keyboard.press("Enter")


def failed(code: str) -> dict[str, Any]:
    details = {"type": "failed", "error": {"code": code, "message": "the server answered 500"}}
    return {"type": "response.done", "response": {"id": "resp_1", "status": "failed", "status_details": details}}


def test_failed_turn(visitor: Visitor) -> None:
    """A turn that fails ends with a sentence about it, said once, and the next one may be better."""
    error = {"code": "upstream_asr", "message": "nothing can hear"}
    unheard = {"type": "conversation.item.input_audio_transcription.failed", "item_id": "item_1", "error": error}
    after = {"type": "conversation.item.added", "item": {"id": "item_2", "role": "user", "content": [{"text": "Bye."}]}}
    talking = Scripted(visitor, [failed("upstream_reply")], [unheard, failed("upstream_asr"), after])
    page, problem, notes = (
        talking.page,
        talking.page.locator("#talk-problem"),
        talking.page.locator("#transcript .note"),
    )
    page.get_by_label("Say something").focus()
    page.keyboard.insert_text("x" * 10_001)
    page.keyboard.press("Enter")
    expect(problem).to_contain_text("These are 10001 characters")
    expect(page.get_by_label("Say something")).to_have_value("x" * 10_001)
    talking.type("Hello?")
    expect(problem).to_be_hidden()
    expect(notes).to_have_text("The language model failed to answer. Try again.")
    expect(page.locator("#turn-state")).to_have_text("Ready")
    talking.type("Hello?")
    expect(page.locator("#transcript .you").last).to_have_text("You: Bye.")
    expect(problem).to_contain_text("What you said could not be understood")
    expect(notes).to_have_count(1)
    page.get_by_role("button", name="中文").click()
    expect(notes).to_have_text("语言模型没有回答成功，请重试。")
    expect(problem).to_contain_text("语音识别失败")


def test_missing_voice(visitor: Visitor) -> None:
    """A voice that is missed only by an answer is told of with what brings it, and not as a fault of anybody's."""
    missing = failed("voice_not_installed")
    missing["response"]["status_details"]["error"]["message"] = (
        "voice = 'x': there is none: run `apt install espeak-ng`"
    )
    talking = Scripted(visitor, [missing])
    talking.type("Hello?")
    problem = talking.page.locator("#talk-problem")
    expect(problem).to_contain_text("No voice for these words is installed on the daemon's machine.")
    expect(problem.locator("code")).to_have_text("apt install espeak-ng")
    expect(talking.page.locator("#transcript .note")).to_have_count(0)


def words(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "response_id": "resp_1", "item_id": "item_1", "delta": text}


def test_nothing_heard(visitor: Visitor) -> None:
    """Of an answer that is interrupted before anything of it was heard, nothing stays written."""
    item = {"type": "response.output_item.added", "response_id": "resp_1", "item": {"id": "item_1"}}
    talking = Scripted(visitor, [item, words("Seven clouds.")])
    talking.type("Go on.")
    expect(talking.page.locator("#transcript .role")).to_contain_text("Seven clouds.")
    talking.says({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "item_2"})
    expect(talking.page.locator("#transcript .cut")).to_have_count(1)
    cut = next(event for event in talking.heard if event["type"] == "conversation.item.truncate")
    assert (cut["item_id"], cut["audio_end_ms"]) == ("item_1", 0)
    talking.says({"type": "conversation.item.truncated", "item_id": "item_1", "audio_end_ms": 0, "transcript": ""})
    expect(talking.page.locator("#transcript .role")).to_be_hidden()


def test_too_long(visitor: Visitor) -> None:
    """An answer that reaches the limit of its length is seen to have been cut."""
    item = {"type": "response.output_item.added", "response_id": "resp_1", "item": {"id": "item_1"}}
    done = {
        "id": "resp_1",
        "status": "incomplete",
        "output": [{"id": "item_1"}],
        "status_details": {"type": "incomplete"},
    }
    talking = Scripted(visitor, [item, words("Seven clouds and"), {"type": "response.done", "response": done}])
    talking.type("Go on.")
    expect(talking.page.locator("#transcript .cut")).to_have_text("Answer: Seven clouds and")


def test_hands_free_is_of_the_session(visitor: Visitor) -> None:
    """The daemon is told who decides when somebody has said all, also after a connection that was lost meanwhile."""
    talking = Scripted(visitor)
    page, button = talking.page, talking.page.get_by_role("button", name="Hands-free")

    def told() -> list[Any]:
        updates = [event["session"] for event in talking.heard if event["type"] == "session.update"]
        return [session["audio"]["input"]["turn_detection"] for session in updates]

    button.click()
    expect(page.locator("#turn-state")).to_have_text("Listening")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name=HOLD)).to_be_hidden()
    assert faults(page) == []
    talking.close()
    expect(page.locator("#turn-state")).to_have_text("The connection was lost. Trying to get it back…")
    expect(page.locator("#turn-state")).to_have_text("Listening")
    page.get_by_label("Voice only").check()
    button.click()
    expect(page.locator("#turn-state")).to_have_text("Ready")
    assert told() == [None, *[{"type": "server_vad"}] * 3, None]


def test_log_follows(visitor: Visitor) -> None:
    """The end of what was said is in view while more is said; whoever scrolls up to read is left there."""
    talking = Scripted(visitor, [words(LONG)])
    page, log = talking.page, talking.page.locator(".log")
    at_end = "() => { const log = document.querySelector('.log');"
    at_end += " return log.scrollTop > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 2; }"
    drawn = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    talking.type("Go on.")
    page.wait_for_function(at_end)
    talking.says(words(LONG))
    expect(page.locator("#transcript .role")).to_have_text(re.compile(r"(.*number 19){2}"))
    page.wait_for_function(at_end)
    page.set_viewport_size({"width": 700, "height": 700})
    page.wait_for_function(at_end)
    log.evaluate("log => { log.scrollTop = 50 }")
    page.evaluate(drawn)
    talking.says(words(LONG))
    expect(page.locator("#transcript .role")).to_have_text(re.compile(r"(.*number 19){3}"))
    page.evaluate(drawn)
    assert log.evaluate("log => log.scrollTop") == 50
    log.evaluate("log => { log.scrollTop = log.scrollHeight }")
    page.evaluate(drawn)
    talking.says(words(LONG))
    expect(page.locator("#transcript .role")).to_have_text(re.compile(r"(.*number 19){4}"))
    page.wait_for_function(at_end)


# Of each selector, whether all of what it names is in view with nothing over its middle.
IN_VIEW = """names => names.filter((name) => {
    const part = document.querySelector(name);
    const { left, right, top, bottom } = part.getBoundingClientRect();
    const there = document.elementFromPoint((left + right) / 2, bottom - 2);
    return top < 0 || bottom > innerHeight || right > innerWidth || !(part.contains(there) || there?.contains(part));
})"""


def test_fits(visitor: Visitor) -> None:
    """Picture, state, words and what to press are in view together, on small screens, and on a phone on its side."""
    talking = Scripted(visitor, [words(LONG)])
    page = talking.page
    page.evaluate(
        """() => { window.redrawn = 0;
        const drawn = new MutationObserver(() => (window.redrawn += 1));
        drawn.observe(document.querySelector("#hold use"), {attributes: true}); }"""
    )
    talking.type("Go on.")
    expect(page.get_by_role("button", name="Stop the answer")).to_be_visible()
    for width, height in ((1280, 720), (1366, 768), (1024, 600), (390, 844), (360, 640), (844, 390), (667, 375)):
        page.set_viewport_size({"width": width, "height": height})
        hidden = page.evaluate(
            IN_VIEW, ["#scene", "#turn-state", "#modes", ".log", "#say", "#hold", "#interrupt", "#tabs"]
        )
        assert hidden == [], (width, height)
        assert page.locator("#scene").evaluate("scene => scene.clientHeight") > 190
        assert page.locator(".log").evaluate("log => log.clientHeight") > 100
    page.get_by_role("button", name="Stop the answer").press("Enter")
    expect(page.get_by_role("button", name="Send")).to_be_focused()
    assert page.evaluate("() => window.redrawn") == 0  # without the daemon a picture that is set again is lost


@pytest.mark.long
def test_phone(visit: Visit) -> None:
    """On a phone one talks too: while the role answers it, its words and what to press are in view together."""
    visitor = visit(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True, color_scheme="dark")
    talking = Talking(visitor)
    page, parts = talking.page, ("#scene", "#transcript li:last-child", "#say", "#hold")
    expect(page).to_have_title("Ada · echod")
    page.get_by_label("Say something").fill("Hello, Ada.")
    page.get_by_role("button", name="Send").tap()
    talking.speaking()
    expect(page.get_by_role("button", name="Stop the answer")).to_be_in_viewport()
    for part in parts:
        expect(page.locator(part)).to_be_in_viewport()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert faults(page) == []
    talking.ready()
    assert "Hello, Ada." in talking.answer()
    page.get_by_role("link", name="Talk to someone else").click()
    expect(page).to_have_title("Talk to someone · echod")


def test_refused_for_now(visit: Visit) -> None:
    """A conversation is given up only if the daemon knows it no more, not if it cannot be gone on with for now."""
    visitor = visit()
    asked: list[str] = []
    answers = iter(
        (
            {"type": "error", "error": {"code": "draining", "message": "this daemon is shutting down"}},
            {"type": "session.created", "session": {"id": "sess_1"}},
        )
    )

    def daemon_side(socket: WebSocketRoute) -> None:
        asked.append(socket.url.partition("conversation=")[2])
        answer = next(answers)
        socket.send(json.dumps(answer))
        if answer["type"] == "error":
            socket.close()

    visitor.page.route_web_socket("**/v1/realtime*", daemon_side)
    page = visitor.open("#/talk")
    page.evaluate("() => sessionStorage.setItem('talk:ada', JSON.stringify({conversation: 'sess_1'}))")
    page.locator('#roles a[href="#/talk/ada"]').click()
    expect(page.locator("#turn-state")).to_have_text("Ready")
    assert asked == ["sess_1", "sess_1"]
    expect(page.locator("#transcript .note")).to_have_count(0)
    expect(page.locator("#talk-problem")).to_be_hidden()
