"""The client against a daemon that misbehaves on cue; tests/installed/test_cli_daemon.py has the real one."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.client.client import Client
from echod.errors import DaemonUnreachable, EchodError
from tests.stand_ins.stub import Handler, Stub, breaks, capabilities, event, refuses, says, serving, tells, video


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr("echod.client.connection.PAUSE", 0.01)
    monkeypatch.setattr("echod.client.client.POLL", 0.01)
    with serving() as server:
        yield server


def form(body: bytes) -> dict[bytes, bytes]:
    """The fields of a multipart body."""
    return dict(re.findall(rb'name="(\w+)"[^\r]*\r\n(?:Content-Type[^\r]*\r\n)?\r\n(.*?)\r\n--', body, re.DOTALL))


def test_a_job_by_the_beginning_of_its_id(stub: Stub) -> None:
    """What begins one id alone means that job; what may be two is refused with both, what is none goes as it is."""
    ids = [f"video_{digits:0<32}" for digits in ("aaaa1", "aaaa2", "bbbb")]
    stub.on(
        "GET /v1/videos",
        says({"object": "list", "data": [video("queued") | {"id": each} for each in ids], "has_more": False}),
    )
    with Client(stub.url) as client:
        assert [client.find_video(name) for name in ("aaaa1", "video_bbbb", ids[0])] == [ids[0], ids[2], ids[0]]
        assert [client.find_video(name) for name in ("cccc", "bb", "../etc")] == ["cccc", "bb", "../etc"]
        with pytest.raises(EchodError, match=r"aaaa1.*aaaa2"):
            client.find_video("aaaa")


def test_submit_sends_a_form(stub: Stub, tmp_path: Path) -> None:
    """Options that were given, and both files with their names, travel as one multipart form."""
    (tmp_path / "me.png").write_bytes(b"PICTURE")
    stub.on("POST /v1/videos", says(video("queued")))
    with Client(stub.url, "secret") as client:
        client.submit(tmp_path / "me.png", io.BytesIO(b"SOUND"), engine="preview", seed=7, lossless=True)
    [(_, headers, body)] = stub.requests("POST /v1/videos")
    assert headers["Authorization"] == "Bearer secret"
    assert form(body) == {
        b"model": b"preview",
        b"seed": b"7",
        b"lossless": b"true",
        b"input_reference": b"PICTURE",
        b"audio_reference": b"SOUND",
    }
    assert b'filename="me.png"' in body


def test_submit_of_words(stub: Stub) -> None:
    """Words to be spoken travel as the prompt, with the voice, and no file stands where speech would."""
    stub.on("POST /v1/videos", says(video("queued")))
    with Client(stub.url) as client:
        client.submit(io.BytesIO(b"PICTURE"), prompt="Grüß Gott.", voice="local/espeak-ng/de")
    [(_, _, body)] = stub.requests("POST /v1/videos")
    assert form(body) == {
        b"prompt": "Grüß Gott.".encode(),
        b"voice": b"local/espeak-ng/de",
        b"input_reference": b"PICTURE",
    }


def test_submit_again_after_a_lost_answer(stub: Stub, tmp_path: Path) -> None:
    """A submit whose answer was lost is sent again, whole, under the same key; so is one that meets a drain then."""
    (tmp_path / "me.png").write_bytes(b"PICTURE")
    told: list[str] = []
    stub.on("POST /v1/videos", breaks, refuses("draining"), says(video("queued")))
    with Client(stub.url, tell=told.append) as client:
        assert client.submit(tmp_path / "me.png", io.BytesIO(b"SOUND"))["id"] == "video_1"
    sent = stub.requests("POST /v1/videos")
    assert len(sent) == 3
    assert len({headers["Idempotency-Key"] for _, headers, _ in sent}) == 1
    assert all(b"PICTURE" in body and b"SOUND" in body for _, _, body in sent)
    assert len(told) == 2
    assert "waiting up to 60 s" in told[0]
    assert "back" in told[1]


def test_each_submit_has_its_own_key(stub: Stub, tmp_path: Path) -> None:
    """Two submits are two jobs."""
    stub.on("POST /v1/videos", says(video("queued")))
    with Client(stub.url) as client:
        for _ in range(2):
            client.submit(io.BytesIO(b"PICTURE"), io.BytesIO(b"SOUND"))
    assert len({headers["Idempotency-Key"] for _, headers, _ in stub.requests("POST /v1/videos")}) == 2


def test_a_draining_daemon_is_busy(stub: Stub) -> None:
    """A daemon that drains when first asked refuses; nobody waits for it."""
    stub.on("POST /v1/videos", refuses("draining"))
    with Client(stub.url) as client, pytest.raises(EchodError) as caught:
        client.submit(io.BytesIO(b"PICTURE"), io.BytesIO(b"SOUND"))
    assert (caught.value.code, caught.value.exit_code) == ("draining", 5)
    assert len(stub.seen) == 1


def test_patience_ends(stub: Stub) -> None:
    """A daemon that does not come back is unreachable after `patience` seconds."""
    stub.on("GET /v1/videos/video_1", says(video("queued")), breaks)
    with Client(stub.url, patience=0.05) as client:
        client.video("video_1")
        with pytest.raises(DaemonUnreachable, match=r"within 0\.05 s"):
            client.video("video_1")
    assert len(stub.seen) > 2


def test_nobody_there_at_first(stub: Stub) -> None:
    """A daemon that was never there is not waited for."""
    client = Client("http://127.0.0.1:1", tell=lambda message: pytest.fail(message))
    with client, pytest.raises(DaemonUnreachable, match="echod serve"):
        next(client.events())


def test_refusal_is_raised_as_it_was(stub: Stub) -> None:
    """The daemon's error body comes out as the error it was."""
    stub.on("GET /v1/videos/video_1", refuses("unsupported_size", "too small"))
    with Client(stub.url) as client, pytest.raises(EchodError) as caught:
        client.video("video_1")
    assert (caught.value.code, caught.value.message, caught.value.param) == ("unsupported_size", "too small", "size")


@pytest.mark.parametrize(
    ("status", "code"), [(403, "forbidden"), (404, "not_found"), (413, "payload_too_large"), (502, "internal")]
)
def test_refusal_in_another_language(stub: Stub, status: int, code: str) -> None:
    """An answer of something that is no echod is told by its status, with what it said."""
    stub.on("GET /v1/videos/video_1", lambda handler: handler.answer(b"<h1>Bad</h1>", status))
    with Client(stub.url) as client, pytest.raises(EchodError, match=f"HTTP {status}: <h1>Bad") as caught:
        client.video("video_1")
    assert caught.value.code == code


@pytest.mark.parametrize("body", [b"<h1>It works!</h1>", b"[]", b'{"jobs": []}'])
def test_something_else_answers(stub: Stub, body: bytes) -> None:
    """A server that is no echod is told apart, whatever it says."""
    stub.on("GET /v1/videos", lambda handler: handler.answer(body))
    with Client(stub.url) as client, pytest.raises(EchodError, match="no echod") as caught:
        next(client.videos())
    assert (caught.value.exit_code, len(stub.seen)) == (3, 1)


@pytest.mark.parametrize("name", ["", "..", "a/b", "video_1?x", "video 1", "é"])
def test_an_id_stays_an_id(stub: Stub, name: str) -> None:
    """What would be another path is refused as an unknown id, before anything is sent."""
    with Client(stub.url) as client, pytest.raises(EchodError) as caught:
        client.remove(name)
    assert (caught.value.code, stub.seen) == ("not_found", [])


def test_all_pages(stub: Stub) -> None:
    """Listing goes on until there is no more."""
    first = {"object": "list", "data": [{"id": "video_3"}, {"id": "video_2"}], "has_more": True}
    stub.on("GET /v1/videos", says(first), says(first | {"data": [{"id": "video_1"}], "has_more": False}))
    with Client(stub.url) as client:
        assert [video["id"] for video in client.videos()] == ["video_3", "video_2", "video_1"]
    assert "after=video_2" in stub.seen[1][1]


def test_events_go_on_after_a_restart(stub: Stub) -> None:
    """After close 1012, or any other, the stream is taken up behind the last event seen."""
    stub.on(
        "GET /v1/events",
        tells(event(7, "queued"), event(8, "in_progress")),
        breaks,
        tells(event(9, "in_progress"), close=1011),
        tells(event(10, "completed")),
    )
    with Client(stub.url) as client:
        assert [told["seq"] for told in itertools.islice(client.events(), 4)] == [7, 8, 9, 10]
    paths = [path for path, _, _ in stub.requests("GET /v1/events")]
    assert paths == ["/v1/events", "/v1/events?after=8", "/v1/events?after=8", "/v1/events?after=9"]


def test_follow_ends_with_the_job(stub: Stub) -> None:
    """Following a job yields its own events and ends with its last."""
    other = event(2, "completed") | {"video": video("completed") | {"id": "video_2"}}
    stub.on("GET /v1/videos/video_1", says(video("queued")))
    stub.on("GET /v1/events", tells(event(1, "queued"), other, event(3, "in_progress", 40), event(4, "completed", 100)))
    with Client(stub.url) as client:
        assert [told["seq"] for told in client.follow("video_1")] == [1, 3, 4]


def test_follow_sees_an_end_that_was_never_told(stub: Stub) -> None:
    """A job that ended while nobody listened is seen to have ended once the stream is back."""
    stub.on("GET /v1/videos/video_1", says(video("in_progress")), says(video("failed")))
    stub.on("GET /v1/events", tells(event(1, "in_progress")), tells())
    with Client(stub.url) as client:
        told = list(client.follow("video_1"))
    assert [(one["type"], one["seq"]) for one in told] == [("job.progress", 1), ("job.failed", None)]


@pytest.mark.parametrize("status", [404, 426, 502])
def test_follow_without_websockets(stub: Stub, status: int) -> None:
    """Where something in between knows no WebSockets, the job is asked for again and again."""
    stub.on("GET /v1/events", lambda handler: handler.answer(b"what?", status))
    stub.on(
        "GET /v1/videos/video_1", says(video("queued")), says(video("in_progress", 50)), says(video("completed", 100))
    )
    with Client(stub.url) as client:
        assert [told["video"]["progress"] for told in client.follow("video_1")] == [0, 50, 100]


def test_a_download_that_breaks_off_starts_again(stub: Stub) -> None:
    """A clip is complete or an error, never cut short."""

    def breaks_off(handler: Handler) -> None:
        handler.answer(b"first ha", length=100)
        breaks(handler)

    stub.on("GET /v1/videos/video_1/content", breaks_off, lambda handler: handler.answer(b"whole"))
    file = io.BytesIO()
    with Client(stub.url) as client:
        client.content("video_1", file)
    assert file.getvalue() == b"whole"


def test_voices_and_usage(stub: Stub) -> None:
    """Lists come without their wrapping; usage says how many days."""
    stub.on("GET /v1/capabilities", says(capabilities()))
    stub.on("GET /v1/voices", says({"object": "list", "data": [{"id": "a/b/c"}]}))
    stub.on("GET /v1/usage", says({"object": "list", "data": [{"calls": 3}]}))
    with Client(stub.url) as client:
        assert client.capabilities() == capabilities()
        assert client.voices() == [{"id": "a/b/c"}]
        assert client.usage(7) == [{"calls": 3}]
    [(path, _, _)] = stub.requests("GET /v1/usage")
    assert path == "/v1/usage?days=7"


def test_a_token_with_more_around_it(stub: Stub) -> None:
    """Ends of lines are no part of a token; a character that cannot be sent is refused, naming the setting."""
    stub.on("GET /v1/voices", says({"object": "list", "data": []}))
    with Client(stub.url, "secret\r\n") as client:
        client.voices()
    assert stub.seen[0][2]["Authorization"] == "Bearer secret"
    for token in ("schlüssel", "sec\rret", "sec\udcffret"):
        with pytest.raises(EchodError, match="ECHOD_TOKEN") as refused:
            Client(stub.url, token)
        assert (refused.value.code, token in refused.value.message) == ("unauthorized", False)


def test_no_proxy_before_the_daemon(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not for the daemon."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    stub.on("GET /v1/videos/video_1", says(video("queued")))
    stub.on("GET /v1/events", tells(event(1, "completed")))
    with Client(stub.url) as client:
        assert [told["seq"] for told in client.follow("video_1")] == [1]


def test_readiness_of_a_daemon_that_is_not_ready(stub: Stub) -> None:
    """503 from /readyz is an answer; one without devices is a refusal."""
    stub.on("GET /readyz", says({"ready": False, "devices": []}, 503), refuses("forbidden"))
    with Client(stub.url) as client:
        assert client.readiness()["devices"] == []
        with pytest.raises(EchodError, match="no"):
            client.readiness()
