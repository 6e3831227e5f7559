"""/v1/videos: a job's life as a client sees it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import httpx
import pytest

from echod.client.client import Extras
from echod.errors import EchodError
from tests.drivers.asking import receive, refusal
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import PORTRAIT, SPEECH


async def test_form_with_files(daemon: Daemon) -> None:
    """A form with both files is answered with the queued job, its inputs are stored, and nothing else is left."""
    job_id = await daemon.submit(prompt="a label", seed="7", size="256x384", **{"metadata[who]": "me"})
    video = await daemon.video(job_id)
    assert {name: video[name] for name in ("object", "status", "model", "size", "seconds", "progress", "prompt")} == {
        "object": "video", "status": "queued", "model": "preview", "size": "256x384", "seconds": "1.50", "progress": 0,
        "prompt": "a label",
    }  # fmt: skip
    assert video["metadata"] == {"who": "me"}
    extras = video["echod"]
    assert (extras["queue_position"], extras["seed"], extras["faces"], extras["spoken"]) == (0, 7, 2, False)
    assert [warning["code"] for warning in extras["warnings"]] == ["face_small"]
    assert extras["url"].partition("?")[0] == f"{daemon.base}/v1/videos/{job_id}/content"
    assert [(path.name, path.read_bytes()) for path in daemon.stored_files() if path.is_file()] == [
        ("portrait.png", PORTRAIT),
        ("speech.flac", SPEECH),
    ]


@pytest.mark.parametrize("as_json", [True, False])
async def test_file_ids(daemon: Daemon, as_json: bool) -> None:
    """Inputs uploaded before are named by id, in JSON or in brackets."""
    portrait, speech = await daemon.upload(PORTRAIT), await daemon.upload(SPEECH)
    if as_json:
        body = {"input_reference": {"file_id": portrait}, "audio_reference": {"file_id": speech}, "seed": 9}
        answer = await daemon.http.post("/v1/videos", json=body)
    else:
        fields = {"input_reference[file_id]": portrait, "audio_reference[file_id]": speech, "seed": "9"}
        answer = await daemon.http.post("/v1/videos", files={name: (None, value) for name, value in fields.items()})
    assert answer.json()["echod"]["seed"] == 9
    assert (await daemon.http.get(f"/v1/files/{portrait}")).status_code == 200


async def test_titles(daemon: Daemon) -> None:
    """A clip is called by its title, else by its label, else as its recording, else by the words it says."""

    async def title(recording: str | None = None, **fields: str) -> str | None:
        files = {"input_reference": ("p.png", PORTRAIT)} | (
            {"audio_reference": (recording, SPEECH)} if recording else {}
        )
        answer = await daemon.http.post("/v1/videos", data=fields, files=files)
        return str(answer.json()["echod"]["title"])

    assert await title("talks/Mr. Hu – 第一课.flac", **{"metadata[title]": "Lesson one"}) == "Lesson one"
    assert await title("Mr. Hu.flac", prompt="a label") == "a label"
    assert await title("talks/Mr. Hu – 第一课.flac") == "Mr. Hu – 第一课"
    assert await title(".hidden") == ".hidden"
    assert await title(prompt="Good evening.\n\nHow may I help you?") == "Good evening. How may I help you?"
    speech = await daemon.upload(SPEECH, "named before.wav")
    body = {"input_reference": {"file_id": await daemon.upload(PORTRAIT)}, "audio_reference": {"file_id": speech}}
    assert (await daemon.http.post("/v1/videos", json=body)).json()["echod"]["title"] == "named before"


async def test_saved_as_it_is_called(daemon: Daemon) -> None:
    """A browser saves a clip under its title, in any script; programs that know ASCII only, under its id."""
    job_id = await daemon.submit(**{"metadata[title]": "a/b 第一课"})
    await daemon.hands.complete(await daemon.hands.begin())
    answer = await daemon.http.get(f"/v1/videos/{job_id}/content")
    name = "b%20%E7%AC%AC%E4%B8%80%E8%AF%BE.mp4"
    assert answer.headers["content-disposition"] == f"inline; filename=\"{job_id}.mp4\"; filename*=utf-8''{name}"


async def test_what_another_job_is_made_of(daemon: Daemon) -> None:
    """Portrait and speech of a job can be had, and be those of another one, whether or not there is a clip."""
    first = await daemon.submit(**{"metadata[title]": "First"})
    for variant, kind, content in (("portrait", "image/png", PORTRAIT), ("speech", "audio/flac", SPEECH)):
        answer = await daemon.http.get(f"/v1/videos/{first}/content?variant={variant}")
        assert (answer.headers["content-type"], answer.content) == (kind, content)
    body = {"input_reference": {"video_id": first}, "audio_reference": {"video_id": first}, "seed": 7}
    again = (await daemon.http.post("/v1/videos", json=body)).json()
    assert (again["echod"]["seed"], again["echod"]["title"], again["echod"]["faces"]) == (7, "First", 2)
    assert (await daemon.http.delete(f"/v1/videos/{first}")).status_code == 200
    directory = daemon.desk.directory(again["id"])
    assert [(directory / name).read_bytes() for name in ("portrait.png", "speech.flac")] == [PORTRAIT, SPEECH]
    assert refusal(await daemon.http.post("/v1/videos", json=body)) == (404, "not_found", "input_reference")


async def test_words_not_spoken_yet(daemon: Daemon) -> None:
    """The speech of a job whose words are not spoken yet is not to be had."""
    await daemon.speaking.close()
    files = {"input_reference": ("p.png", PORTRAIT)}
    job_id = (await daemon.http.post("/v1/videos", data={"prompt": "hi"}, files=files)).json()["id"]
    answer = await daemon.http.get(f"/v1/videos/{job_id}/content?variant=speech")
    assert refusal(answer)[:2] == (409, "not_ready")
    body = {"input_reference": {"video_id": job_id}, "audio_reference": {"video_id": job_id}}
    assert refusal(await daemon.http.post("/v1/videos", json=body)) == (409, "not_ready", "audio_reference")


async def test_life_of_a_job(daemon: Daemon) -> None:
    """Progress is work done, 100 only when completed; the polling hint is there until then."""
    job_id = await daemon.submit()
    job = await daemon.hands.begin()
    await daemon.hands.progress(job, 0.5)
    answer = await daemon.http.get(f"/v1/videos/{job_id}")
    video = answer.json()
    assert int(answer.headers["openai-poll-after-ms"]) > 0
    assert (video["status"], video["progress"], video["completed_at"]) == ("in_progress", 50, None)
    assert (video["echod"]["stage"], video["echod"]["device"], video["echod"]["attempt"]) == ("decode", "cpu", 1)
    assert video["echod"]["queue_position"] is None
    assert video["echod"]["eta_s"] >= 0
    await daemon.hands.progress(job, 1.0)
    assert (await daemon.video(job_id))["progress"] == 99
    await daemon.hands.complete(job)
    answer = await daemon.http.get(f"/v1/videos/{job_id}")
    video = answer.json()
    assert (video["status"], video["progress"], video["error"]) == ("completed", 100, None)
    assert video["completed_at"] <= video["expires_at"]
    assert (video["echod"]["crop"], video["echod"]["timings_ms"]) == ([1, 2, 3, 4], {"decode": 1500})
    assert "openai-poll-after-ms" not in answer.headers


async def test_clients_know_what_is_told(daemon: Daemon) -> None:
    """Every field beyond OpenAI's has its type in the client."""
    video = (await daemon.http.get(f"/v1/videos/{await daemon.submit()}")).json()
    assert video["echod"].keys() == Extras.__annotations__.keys()


async def test_queue_position(daemon: Daemon) -> None:
    """A queued job says how many go before it: none, once its dispatch has begun but is not committed."""
    ids = [await daemon.submit() for _ in range(3)]
    assert [(await daemon.video(job_id))["echod"]["queue_position"] for job_id in ids] == [0, 1, 2]
    daemon.desk.queue.pop()
    assert [(await daemon.video(job_id))["echod"]["queue_position"] for job_id in ids] == [0, 0, 1]


async def test_failed_job(daemon: Daemon) -> None:
    """A failed job says why in its error, and has no clip."""
    job_id = await daemon.submit()
    await daemon.hands.fail(await daemon.hands.begin(), "no_face_detected")
    video = await daemon.video(job_id)
    assert (video["status"], video["error"]) == ("failed", {"code": "no_face_detected", "message": "as told"})
    for what in ("content", "stream"):
        answer = await daemon.http.get(f"/v1/videos/{job_id}/{what}")
        assert refusal(answer)[:2] == (409, "not_ready")
        assert "as told" in answer.text
        assert answer.headers["x-should-retry"] == "false"


async def test_content(daemon: Daemon) -> None:
    """The clip is served whole, in ranges, and to HEAD, with a validator and a name."""
    job_id = await daemon.submit()
    url = f"/v1/videos/{job_id}/content"
    assert refusal(await daemon.http.get(url))[:2] == (409, "not_ready")
    await daemon.hands.complete(await daemon.hands.begin())
    whole = await daemon.http.get(url, headers={"Accept": "application/binary"})
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, b"0123456789", "video/mp4")
    assert whole.headers["content-disposition"] == f"inline; filename=\"{job_id}.mp4\"; filename*=utf-8''s.mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    part = await daemon.http.get(url, headers={"Range": "bytes=2-4", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert (await daemon.http.get(url, headers={"Range": "bytes=-3"})).content == b"789"
    changed = await daemon.http.get(url, headers={"Range": "bytes=2-4", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, b"0123456789")
    head = await daemon.http.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


async def test_files_that_are_known(daemon: Daemon) -> None:
    """Clips, thumbnails and uploads are not sent again to who has them, whatever range of them is asked for."""
    file_id, job_id = await daemon.upload(PORTRAIT), await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    clip = f"/v1/videos/{job_id}/content"
    for url in (clip, f"{clip}?variant=thumbnail", f"/v1/videos/{job_id}/stream", f"/v1/files/{file_id}/content"):
        tag = (await daemon.http.get(url)).headers["etag"]
        for known in (tag, f'"another", W/{tag}', "*"):
            headers = {"If-None-Match": known, "Range": "bytes=0-1"}
            for method in ("GET", "HEAD"):
                answer = await daemon.http.request(method, url, headers=headers)
                assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
                assert answer.headers["cache-control"] == "private"
        assert (await daemon.http.get(url, headers={"If-None-Match": '"another"'})).status_code == 200


async def test_refused_ranges(daemon: Daemon) -> None:
    """A range outside the clip, and one that is no range, are answered in the error table's shape."""
    job_id = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    url = f"/v1/videos/{job_id}/content"
    beyond = await daemon.http.get(url, headers={"Range": "bytes=10-"})
    assert refusal(beyond) == (416, "range_not_satisfiable", "Range")
    assert beyond.headers["content-range"] == "bytes */10"
    assert refusal(await daemon.http.get(url, headers={"Range": "lines=1-2"})) == (400, "invalid_request", "Range")


async def test_manifest(daemon: Daemon) -> None:
    """What decided the frames of a completed job is told as JSON; before, and where it is gone, that is said."""
    url = f"/v1/videos/{await daemon.submit()}/manifest"
    assert refusal(await daemon.http.get(url))[:2] == (409, "not_ready")
    job = await daemon.hands.begin()
    await daemon.hands.complete(job)
    assert refusal(await daemon.http.get(url))[:2] == (404, "not_found")
    (daemon.desk.directory(job.id) / "manifest.json").write_text('{"seed": 1}')
    answer = await daemon.http.get(url)
    assert (answer.json(), answer.headers["content-type"]) == ({"seed": 1}, "application/json")


async def test_thumbnail(daemon: Daemon) -> None:
    """A completed job has a small picture; other variants are refused."""
    job_id = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    answer = await daemon.http.get(f"/v1/videos/{job_id}/content?variant=thumbnail")
    assert (answer.content, answer.headers["content-type"]) == (b"small picture", "image/jpeg")
    answer = await daemon.http.get(f"/v1/videos/{job_id}/content?variant=spritesheet")
    assert refusal(answer) == (400, "invalid_request", "variant")


async def test_clip_that_is_gone(daemon: Daemon) -> None:
    """A clip whose file somebody removed is not found, which is no fault of the daemon's."""
    job_id = await daemon.submit()
    await daemon.hands.complete(await daemon.hands.begin())
    (daemon.desk.directory(job_id) / "clip.mp4").unlink()
    assert refusal(await daemon.http.get(f"/v1/videos/{job_id}/content"))[:2] == (404, "not_found")


async def test_cancel(daemon: Daemon) -> None:
    """A queued job is cancelled at once, a running one is asked to end, an ended one stays as it is."""
    first, second = await daemon.submit(), await daemon.submit()
    running = await daemon.hands.begin()
    assert (await daemon.http.post(f"/v1/videos/{second}/cancel")).json()["status"] == "cancelled"
    assert (await daemon.http.post(f"/v1/videos/{first}/cancel")).json()["status"] == "in_progress"
    assert daemon.hands.cancelled == [first]
    await daemon.hands.complete(running)
    assert (await daemon.http.post(f"/v1/videos/{first}/cancel")).json()["status"] == "completed"


async def test_delete(daemon: Daemon) -> None:
    """Deleting waits for the job's end; afterwards nothing of it can be read and its files are gone."""
    job_id = await daemon.submit()
    running = await daemon.hands.begin()
    deleting = asyncio.create_task(daemon.http.delete(f"/v1/videos/{job_id}"))
    while job_id not in daemon.hands.cancelled:
        await asyncio.wait([deleting], timeout=0.01)
    assert not deleting.done()
    await daemon.hands.fail(running, "internal")
    assert (await deleting).json() == {"id": job_id, "object": "video.deleted", "deleted": True}
    for path in ("", "/content", "/stream"):
        assert refusal(await daemon.http.get(f"/v1/videos/{job_id}{path}"))[:2] == (404, "not_found")
    assert daemon.stored_files() == []


async def test_listing(daemon: Daemon) -> None:
    """Jobs are listed newest first, page by page, or the other way round."""
    ids = [await daemon.submit() for _ in range(5)]
    page = (await daemon.http.get("/v1/videos", params={"limit": 2})).json()
    assert (page["object"], page["has_more"]) == ("list", True)
    assert [video["id"] for video in page["data"]] == [ids[4], ids[3]] == [page["first_id"], page["last_id"]]
    page = (await daemon.http.get("/v1/videos", params={"limit": 3, "after": page["last_id"]})).json()
    assert ([video["id"] for video in page["data"]], page["has_more"]) == ([ids[2], ids[1], ids[0]], False)
    page = (await daemon.http.get("/v1/videos", params={"order": "asc", "limit": 100})).json()
    assert [video["id"] for video in page["data"]] == ids


async def test_empty_listing(daemon: Daemon) -> None:
    """No jobs are an empty page."""
    page = (await daemon.http.get("/v1/videos")).json()
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "invalid_request", "limit"),
        ("limit=101", "invalid_request", "limit"),
        ("limit=many", "invalid_request", "limit"),
        ("order=sideways", "invalid_request", "order"),
        ("after=video_nothing", "not_found", None),
    ],
)
async def test_refused_queries(daemon: Daemon, query: str, code: str, param: str | None) -> None:
    """Query values that cannot be used are refused by name, in the error table's shape."""
    answer = await daemon.http.get(f"/v1/videos?{query}")
    assert refusal(answer)[1:] == (code, param)


async def test_idempotency(daemon: Daemon) -> None:
    """The same request with the same key is the same job; another request with it is refused."""
    headers = {"Idempotency-Key": "key 1"}
    first = await daemon.post(data={"seed": "7"}, headers=headers)
    again = await daemon.post(data={"seed": "7"}, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    other = await daemon.post(data={"seed": "8"}, headers=headers)
    assert refusal(other)[:2] == (409, "idempotency_conflict")
    assert other.headers["x-should-retry"] == "false"
    another = await daemon.post(data={"seed": "7"}, headers={"Idempotency-Key": "key 2"})
    assert another.json()["id"] != first.json()["id"]
    assert len(daemon.desk.queue) == 2


async def test_replay_is_welcome_in_a_full_queue(daemon: Daemon) -> None:
    """A request sent again after its answer was lost gets its job, though no new one would be accepted."""
    first = await daemon.post(headers={"Idempotency-Key": "key"})
    daemon.hands.refused = EchodError("no_device", "every device has failed")
    again = await daemon.post(headers={"Idempotency-Key": "key"})
    assert again.json()["id"] == first.json()["id"]
    assert refusal(await daemon.post(headers={"Idempotency-Key": "other"}))[1] == "no_device"


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_idempotency_key_length(daemon: Daemon, key: str) -> None:
    """A key has 1 to 255 characters."""
    answer = await daemon.post(headers={"Idempotency-Key": key})
    assert refusal(answer) == (400, "invalid_request", "Idempotency-Key")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("input_reference", b"?", "portrait_unreadable"), ("audio_reference", b"?", "speech_unreadable")],
)
async def test_unusable_input(daemon: Daemon, name: str, content: bytes, code: str) -> None:
    """A file that inspection refuses is refused with its code and field, and leaves no file and no job."""
    files = {"input_reference": ("p", PORTRAIT), "audio_reference": ("s", SPEECH)} | {name: ("f", content)}
    assert refusal(await daemon.http.post("/v1/videos", files=files)) == (400, code, name)
    assert daemon.stored_files() == []
    assert len(daemon.desk.queue) == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input_reference": {"file_id": "file_none"}}, "input_reference"),
        ({"audio_reference": {"file_id": "PORTRAIT"}}, "audio_reference"),
        ({"input_reference": "a bare string"}, "input_reference"),
        ({"unknown": 1}, "unknown"),
        ({"size": "1x1"}, "size"),
        ({"model": "sora-2"}, "model"),
        ({"model": "role:teacher"}, "model"),
    ],
)
async def test_refused_json(daemon: Daemon, body: dict[str, Any], param: str) -> None:
    """Every refusal of a JSON body names the field at fault."""
    portrait, speech = await daemon.upload(PORTRAIT), await daemon.upload(SPEECH)
    asked = {"input_reference": {"file_id": portrait}, "audio_reference": {"file_id": speech}} | body
    text = json.dumps(asked).replace("PORTRAIT", portrait)
    answer = await daemon.http.post("/v1/videos", content=text, headers={"Content-Type": "application/json"})
    assert refusal(answer)[2] == param
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"7", b"", b"\xff\xfe", b'{"prompt": "\xff"}', b"[" * 100_000, b'{"a":' + b"[" * 100_000]
)
async def test_no_json_object(daemon: Daemon, body: bytes) -> None:
    """A body that is no JSON object is refused."""
    answer = await daemon.http.post("/v1/videos", content=body, headers={"Content-Type": "application/json"})
    assert refusal(answer)[:2] == (400, "invalid_request")


async def test_half_a_surrogate_pair(daemon: Daemon) -> None:
    """Text that is none is told from a body that breaks off."""
    for body, why in ((rb'{"prompt": "\ud800"}', "surrogate"), (rb'{"prompt": "\ud83d\ude00', "truncated")):
        answer = await daemon.http.post("/v1/videos", content=body, headers={"Content-Type": "application/json"})
        assert refusal(answer)[:2] == (400, "invalid_request")
        assert why in answer.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_other_content_types(daemon: Daemon, kind: str) -> None:
    """Bodies of other types are refused, naming the two that are read."""
    answer = await daemon.http.post("/v1/videos", content=b"x", headers={"Content-Type": kind})
    assert refusal(answer) == (400, "invalid_request", "Content-Type")


async def test_text_instead_of_a_file(daemon: Daemon) -> None:
    """The text of a file's bytes, as openai's client sends files of extra_body, is refused naming POST /v1/files."""
    fields = {"input_reference": ("p.png", PORTRAIT), "audio_reference": (None, b"x" * 100_000)}
    answer = await daemon.http.post("/v1/videos", files=fields)
    assert refusal(answer) == (400, "invalid_request", "audio_reference")
    assert "POST /v1/files" in answer.text


async def test_unknown_file_part(daemon: Daemon) -> None:
    """A file under another name, and a second file for one input, are refused."""
    for name in ("portrait", "input_reference"):
        fields = [("input_reference", ("p", PORTRAIT)), (name, ("p", PORTRAIT)), ("audio_reference", ("s", SPEECH))]
        assert refusal(await daemon.http.post("/v1/videos", files=fields)) == (400, "invalid_request", name)
    assert daemon.stored_files() == []


async def test_options_are_checked_before_inspection(daemon: Daemon) -> None:
    """A wrong option is refused without inspecting anything, though the files came first."""
    files = [("input_reference", ("p", b"?")), ("audio_reference", ("s", b"?")), ("fps", (None, b"99"))]
    assert refusal(await daemon.http.post("/v1/videos", files=files)) == (400, "invalid_request", "fps")


async def test_full_queue(daemon: Daemon) -> None:
    """A refusal that time will cure says when to come back."""
    daemon.hands.refused = EchodError("no_device", "every device has failed")
    answer = await daemon.post()
    assert refusal(answer)[:2] == (503, "no_device")
    assert int(answer.headers["retry-after"]) > 0


async def test_urls(daemon: Daemon) -> None:
    """URLs begin with the Host that the caller used, over the unix socket with the TCP port's, or with public_url."""
    job_id = await daemon.submit()
    port = daemon.base.rpartition(":")[2]
    video = (await daemon.http.get(f"http://localhost:{port}/v1/videos/{job_id}")).json()
    assert video["echod"]["url"].partition("?")[0] == f"http://localhost:{port}/v1/videos/{job_id}/content"
    transport = httpx.AsyncHTTPTransport(uds=str(daemon.config.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://anything") as unix:
        video = (await unix.get(f"/v1/videos/{job_id}")).json()
    assert video["echod"]["url"].partition("?")[0] == f"{daemon.base}/v1/videos/{job_id}/content"
    daemon.settings.now = dataclasses.replace(daemon.config, public_url="https://clips.example.org")
    url = f"https://clips.example.org/v1/videos/{job_id}/content"
    assert (await daemon.video(job_id))["echod"]["url"].partition("?")[0] == url
    async with daemon.events() as ws:
        assert (await receive(ws))["video"]["echod"]["url"].partition("?")[0] == url


async def test_pinning(daemon: Daemon) -> None:
    """A clip that is pinned says so and has no end; a job without a clip cannot be; another's is not found."""
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    made = await daemon.submit(bert)
    assert (await bert.http.post(f"/v1/videos/{made}/pin")).json()["error"]["code"] == "not_ready"
    await daemon.hands.complete(await daemon.hands.begin())
    pinned = (await bert.http.post(f"/v1/videos/{made}/pin")).json()
    assert (pinned["echod"]["pinned"], pinned["expires_at"]) == (True, None)
    again = (await anna.http.delete(f"/v1/videos/{made}/pin")).json()
    assert not again["echod"]["pinned"] and again["expires_at"]
    hers = await daemon.submit(anna)
    assert (await bert.http.post(f"/v1/videos/{hers}/pin")).status_code == 404
