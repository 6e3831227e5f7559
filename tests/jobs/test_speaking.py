"""Text jobs that wait to be spoken, and those that cannot be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from echod.config import Config
from echod.jobs.job import Job
from echod.speech.backend import Call, Failure
from tests.making.config import make_config
from tests.stand_ins.backend import VOICE, Attempt, fails, gives, silent
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import PORTRAIT, Inspector

HANG = 30.0  # seconds after which a test has failed
SECOND = b"\1\0" * 24_000


def settings(directory: Path, **changed: Any) -> Config:
    return make_config(directory, speech_calls=1, speak_timeout="0.1s", silence_timeout="1h", **changed)


async def say(daemon: Daemon, prompt: str) -> str:
    answer = await daemon.http.post("/v1/videos", data={"prompt": prompt}, files={"input_reference": PORTRAIT})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def spoken_or_failed(daemon: Daemon, job_id: str) -> Job:
    watcher = daemon.desk.feed.watch_job(await daemon.desk.find(job_id, None))
    try:
        async with asyncio.timeout(HANG):
            async for event in watcher:
                if event.job.speech is not None or event.job.terminal:
                    return event.job
    finally:
        watcher.close()
    raise AssertionError


async def test_jobs_wait_for_their_turn(tmp_path: Path) -> None:
    """A text job stays queued for as long as others are being spoken, and is spoken then."""

    async def slow(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        async for _ in text:
            pass
        await asyncio.sleep(0.4)  # four times speak_timeout; this text allows for more
        yield SECOND

    async with Daemon(settings(tmp_path), Inspector()).run() as daemon:
        daemon.backend.attempts = [slow, slow, gives(SECOND)]
        jobs = [await say(daemon, "x" * 200) for _ in range(3)]
        for job_id in jobs:
            job = await spoken_or_failed(daemon, job_id)
            assert job.speech is not None and job.error is None
        assert daemon.backend.most == 1


async def test_speech_that_outgrows_the_quota(tmp_path: Path) -> None:
    """A text job whose speech takes more than its account has left fails, and leaves no half of it."""
    async with Daemon(settings(tmp_path, disk_per_account="30KB"), Inspector()).run() as daemon:
        daemon.backend.attempts = [gives(SECOND, SECOND)]
        job = await spoken_or_failed(daemon, await say(daemon, "Good evening."))
        assert job.error is not None
        assert (job.error.code, "disk_per_account" in job.error.message) == ("quota_exceeded", True)
        assert [path.name for path in daemon.desk.directory(job.id).iterdir()] == ["portrait.png"]


async def test_a_conversation_does_not_wait_for_jobs(tmp_path: Path) -> None:
    """A live voice is heard before text jobs that came earlier."""
    heard = asyncio.Event()

    async def held(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        await heard.wait()
        yield SECOND

    def named(sound: bytes) -> Attempt:
        return gives(sound * 24_000)

    async with Daemon(settings(tmp_path), Inspector()).run() as daemon:
        daemon.settings.now = daemon.changed(speak_timeout=HANG)
        daemon.backend.attempts = [held, named(b"\1\0"), named(b"\2\0")]
        jobs = [await say(daemon, "Good evening.") for _ in range(2)]
        await daemon.backend.begun.wait()
        speech = daemon.calls.speak("Hello.", VOICE, account="a")
        live = asyncio.ensure_future(anext(speech))
        await asyncio.sleep(0)
        heard.set()
        assert (await live)[:2] == b"\1\0"
        await speech.aclose()
        for job_id in jobs:
            assert (await spoken_or_failed(daemon, job_id)).speech is not None


async def test_a_backend_that_is_gone(tmp_path: Path) -> None:
    """A job that waited through a restart, after which its backend is not set up any more, says what is missing."""
    async with Daemon(settings(tmp_path), Inspector()).run() as daemon:
        daemon.backend.attempts = [silent]
        job_id = await say(daemon, "Good evening.")
        await daemon.backend.begun.wait()
        await daemon.speaking.close()
        daemon.calls.backends = {}
        daemon.speaking.start()
        job = await spoken_or_failed(daemon, job_id)
    assert job.error is not None and job.error.code == "upstream_tts"
    assert str(VOICE) in job.error.message and "known are dashscope, openai and local" in job.error.message


async def test_a_server_that_repeats_the_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The job has what the server said; the log has that it failed, and how, in our own words."""
    caplog.set_level(logging.DEBUG, "echod")
    async with Daemon(settings(tmp_path), Inspector()).run() as daemon:
        daemon.backend.attempts = [fails(Failure("invalid", "the server answered 400", "not for the treasure"))]
        job = await spoken_or_failed(daemon, await say(daemon, "Look. A word for the treasure."))
    assert job.error is not None and "the treasure" in job.error.message
    logged = [str(vars(record)) for record in caplog.records if record.name.startswith("echod")]
    assert not [line for line in logged if "treasure" in line]
    assert [line for line in logged if job.id in line and "the server answered 400" in line]


async def test_words_in_the_log_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With log_content the log has all of it."""
    caplog.set_level(logging.DEBUG, "echod")
    async with Daemon(settings(tmp_path, log_content=True), Inspector()).run() as daemon:
        daemon.backend.attempts = [fails(Failure("invalid", "the server answered 400", "not for the treasure"))]
        await spoken_or_failed(daemon, await say(daemon, "Look. A word for the treasure."))
    logged = [vars(record) for record in caplog.records if record.name.startswith("echod")]
    assert [record for record in logged if "the treasure" in record.get("why", "")]
