"""Words instead of a recording: text jobs, voices, usage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from echod.jobs.job import Job
from echod.speech.backend import Call, Failure
from tests.drivers.asking import refusal
from tests.stand_ins.backend import VOICE, fails, gives
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import PORTRAIT

HANG = 30.0  # seconds after which a test has failed
SECOND = b"\1\0" * 24000


async def say(daemon: Daemon, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return await daemon.http.post(
        "/v1/videos", data=fields, files={"input_reference": ("p.png", PORTRAIT)}, headers=headers
    )


async def until(daemon: Daemon, job_id: str, *types: str) -> Job:
    """The job, as the first event of one of these types shows it."""
    watcher = daemon.desk.feed.watch_job(await daemon.desk.find(job_id, None))
    try:
        async for event in watcher:
            if event.type in types:
                return event.job
    finally:
        watcher.close()
    raise AssertionError


async def spoken(daemon: Daemon, job_id: str) -> Job:
    """The job once its words are speech."""
    watcher = daemon.desk.feed.watch_job(await daemon.desk.find(job_id, None))
    try:
        async for event in watcher:
            if event.job.speech is not None:
                return event.job
    finally:
        watcher.close()
    raise AssertionError


class Held:
    """An attempt to speak that goes on when told."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.ended = 0

    async def __call__(self, call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        self.begun.set()
        try:
            yield SECOND
            await self.go.wait()
            yield SECOND
        finally:
            self.ended += 1


async def test_a_text_job(daemon: Daemon) -> None:
    """A prompt without a recording is accepted at once, spoken, and only then dispatched."""
    held = Held()
    daemon.backend.attempts = [held]
    video = (await say(daemon, prompt="Good evening.")).json()
    assert video["status"] == "queued" and video["seconds"] is None
    assert video["echod"]["stage"] == "speak" and video["echod"]["spoken"] is True
    assert video["echod"]["voice"] == str(VOICE)
    await held.begun.wait()
    assert daemon.desk.queue.pop() is None
    held.go.set()
    job = await spoken(daemon, video["id"])
    assert job.speech is not None and (job.speech.seconds, job.speech.rate, job.speech.channels) == (2.0, 24000, 1)
    begun = await daemon.hands.begin()
    assert begun.id == video["id"] and (daemon.desk.directory(begun.id) / "speech.flac").exists()
    await daemon.hands.complete(begun)
    ended = await daemon.video(begun.id)
    assert ended["status"] == "completed" and ended["seconds"] == "2.00" and "speak" in ended["echod"]["timings_ms"]


async def test_a_recording_wins_over_the_prompt(daemon: Daemon) -> None:
    """With a recording the prompt is a label, and nothing is spoken."""
    video = await daemon.video(await daemon.submit(prompt="a label"))
    assert video["prompt"] == "a label" and video["echod"]["spoken"] is False and video["echod"]["voice"] is None
    assert not daemon.backend.calls


async def test_what_is_refused(daemon: Daemon) -> None:
    """No words, no such voice, a voice beside a recording, too many words: each is told apart."""
    assert refusal(await say(daemon, prompt=" \n")) == (400, "invalid_request", "audio_reference")
    assert refusal(await say(daemon, prompt="hi", voice="nobody")) == (400, "invalid_request", "voice")
    assert refusal(await say(daemon, prompt="hi", voice="elsewhere/model/anna")) == (400, "invalid_request", "voice")
    long = await say(daemon, prompt="x" * 10_001)
    assert refusal(long) == (400, "invalid_request", "prompt") and "it has 10001" in long.text
    assert refusal(await daemon.post(data={"voice": str(VOICE)})) == (400, "invalid_request", "voice")
    daemon.backend.missing = "apt install espeak-ng"
    answer = await say(daemon, prompt="hi")
    assert refusal(answer) == (400, "voice_not_installed", "voice")
    assert "apt install espeak-ng" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["anna", "scripted/model-s/anna", "scripted/other/model/eve"])
async def test_naming_a_voice(daemon: Daemon, name: str) -> None:
    """A voice goes by its name where that is enough, and in full also if only its server knows it."""
    daemon.backend.attempts = [gives(SECOND)]
    video = (await say(daemon, prompt="hi", voice=name)).json()
    assert video["echod"]["voice"] == (str(VOICE) if name == "anna" else name)
    await spoken(daemon, video["id"])


@pytest.mark.parametrize(
    ("attempt", "code", "why"),
    [
        (fails(Failure("auth", "the key is wrong")), "upstream_tts", "the key is wrong"),
        (fails(Failure("retired", "no such model")), "upstream_model_retired", "set voice"),
        (fails(Failure("connection", "broken off"), SECOND), "upstream_tts", "broken off"),
        (gives(), "upstream_tts", "nothing to say"),
    ],
)
async def test_a_voice_that_fails(daemon: Daemon, attempt: Any, code: str, why: str) -> None:
    """The job fails with the reason, and leaves no half speech behind."""
    daemon.backend.attempts = [attempt] * 3
    video = (await say(daemon, prompt="hi")).json()
    job = await until(daemon, video["id"], "job.failed")
    assert job.error is not None and job.error.code == code and why in job.error.message
    assert job.speech is None
    assert {path.name for path in daemon.desk.directory(job.id).iterdir()} == {"portrait.png"}


async def test_a_voice_that_breaks_off(daemon: Daemon) -> None:
    """What nobody has heard yet is spoken again, and the speech has nothing twice."""
    daemon.backend.attempts = [fails(Failure("connection", "broken off"), SECOND), gives(SECOND[::-1])]
    job_id = (await say(daemon, prompt="hi")).json()["id"]
    async with asyncio.timeout(HANG):
        job = await spoken(daemon, job_id)
    assert job.speech is not None and job.speech.seconds == 1.0


async def test_too_long_when_spoken(daemon: Daemon) -> None:
    """Words that take longer than max_seconds end the job with the setting named."""
    daemon.settings.now = daemon.changed(max_seconds=1.5)
    daemon.backend.attempts = [gives(SECOND, SECOND)]
    job = await until(daemon, (await say(daemon, prompt="hi")).json()["id"], "job.failed")
    assert job.error is not None and job.error.code == "speech_too_long" and "max_seconds" in job.error.message


async def test_cancelled_while_speaking(daemon: Daemon) -> None:
    """Cancelling ends the voice at once and leaves nothing half spoken."""
    held = Held()
    daemon.backend.attempts = [held]
    video = (await say(daemon, prompt="hi")).json()
    await held.begun.wait()
    answer = await daemon.http.post(f"/v1/videos/{video['id']}/cancel")
    assert answer.json()["status"] == "cancelled"
    await daemon.speaking.close()  # returns when every task has ended
    assert held.ended == 1
    await daemon.http.delete(f"/v1/videos/{video['id']}")
    assert not daemon.desk.directory(video["id"]).exists()


async def test_text_jobs_count_as_waiting(daemon: Daemon) -> None:
    """What is still to be spoken fills the queue like everything else that waits."""
    daemon.settings.now = daemon.changed(queue_limit=2)
    daemon.backend.attempts = [Held(), Held()]
    for _ in range(2):
        assert (await say(daemon, prompt="hi")).status_code == 200
    assert refusal(await say(daemon, prompt="hi"))[:2] == (429, "queue_full")


async def test_idempotency(daemon: Daemon) -> None:
    """The same words under the same key are one job; other words, or another voice, are a conflict."""
    daemon.backend.attempts = [gives(SECOND)]
    key = {"Idempotency-Key": "k"}
    first, again = [(await say(daemon, key, prompt="hi")).json()["id"] for _ in range(2)]
    assert first == again
    assert refusal(await say(daemon, key, prompt="ho"))[1] == "idempotency_conflict"
    assert refusal(await say(daemon, key, prompt="hi", voice="anna"))[1] == "idempotency_conflict"


async def test_voices(daemon: Daemon) -> None:
    """The voices known by name, and which one speaks when none is named."""
    body = (await daemon.http.get("/v1/voices")).json()
    assert body["object"] == "list"
    assert body["data"] == [
        {
            "id": "scripted/model-s/anna",
            "object": "voice",
            "backend": "scripted",
            "model": "model-s",
            "name": "anna",
            "default": True,
        }
    ]


async def test_usage(daemon: Daemon) -> None:
    """Everybody sees their own usage, admins everybody's, summed by day."""
    admin, ada, bob = await daemon.person("root", "admin"), await daemon.person("ada"), await daemon.person("bob")
    daemon.backend.attempts = [gives(SECOND), gives(SECOND), fails(Failure("quota", "used up"))]
    for person in (ada, ada, bob):
        answer = await person.http.post("/v1/videos", data={"prompt": "words"}, files={"input_reference": PORTRAIT})
        job = await daemon.desk.find(answer.json()["id"], None)
        await (until(daemon, job.id, "job.failed") if person is bob else spoken(daemon, job.id))
    rows = (await ada.http.get("/v1/usage")).json()["data"]
    assert [(row["account"], row["calls"], row["failed"], row["characters"], row["seconds"]) for row in rows] == [
        ("ada", 2, 0, 10, 2.0)
    ]
    everybody = (await admin.http.get("/v1/usage?days=2")).json()["data"]
    assert {(row["account"], row["calls"], row["failed"]) for row in everybody} == {("ada", 2, 0), ("bob", 1, 1)}
    assert refusal(await ada.http.get("/v1/usage?days=0"))[2] == "days"


async def test_usage_goes_with_its_account(daemon: Daemon) -> None:
    """Whoever gets the name next does not see what the one before has used."""
    admin, ada = await daemon.person("root", "admin"), await daemon.person("ada")
    daemon.backend.attempts = [gives(SECOND)]
    answer = await ada.http.post("/v1/videos", data={"prompt": "words"}, files={"input_reference": PORTRAIT})
    await spoken(daemon, answer.json()["id"])
    assert (await admin.http.get("/v1/usage")).json()["data"]
    assert (await admin.http.delete("/v1/accounts/ada")).status_code == 200
    assert (await admin.http.get("/v1/usage")).json()["data"] == []


async def test_spoken_once(daemon: Daemon) -> None:
    """Speech that was in place before its daemon ended is taken up by the next one and not spoken again."""
    daemon.backend.attempts = [gives(SECOND)]
    video = (await say(daemon, prompt="hi")).json()
    job = await spoken(daemon, video["id"])
    # As a daemon leaves it that ends between the file and the commit.
    await daemon.desk.rows.save(msgspec.structs.replace(job, speech=None, stage="speak"))
    daemon.desk._live.clear()
    daemon.desk.queue.discard(job.id)
    await daemon.desk.open(daemon.hands)
    again = await spoken(daemon, job.id)
    assert again.speech == job.speech and len(daemon.backend.calls) == 1
