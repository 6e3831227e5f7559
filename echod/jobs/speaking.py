"""Text jobs: their words are spoken before they can be dispatched, and never twice.

Finished speech is put in place in one step and then committed; a daemon that ends in between finds the file at its next
start and only commits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing

from echod.errors import WAYS_OUT, EchodError
from echod.host.directories import unstorable
from echod.inference.room import NoRoom, Room
from echod.inspection.facts import SpeechFacts
from echod.jobs import folder as job_files
from echod.jobs import life
from echod.jobs.desk import Desk
from echod.jobs.job import Job
from echod.sound import flac
from echod.sound.flac import SpeechFile
from echod.speech.backend import Voice
from echod.speech.calls import Calls, SpeechError

log = logging.getLogger("echod.speaking")

MIN_SECONDS = 0.1  # of speech, as for recordings


class Speaking:
    """Speaks every text job of the desk, each in a task of its own; `calls` decides how many at once, and which."""

    def __init__(self, desk: Desk, calls: Calls) -> None:
        self._desk = desk
        self._calls = calls
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Take up what an earlier daemon left, and whatever comes from now on."""
        self._desk.on_text = self._take
        for job in self._desk.unspoken():
            self._take(job)

    async def close(self) -> None:
        """Break off; those jobs stay queued, for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job) -> None:
        """Speak until that is done or the job has ended otherwise."""
        work = [asyncio.create_task(self._speak(job)), asyncio.create_task(self._desk.ended(job.id))]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _speak(self, job: Job) -> None:
        began = time.monotonic()
        try:
            event: life.Event = life.Spoken(await self._speech(job), round(1000 * (time.monotonic() - began)))
        except EchodError as error:
            if isinstance(error, SpeechError):
                log.warning("not spoken: %s", error.reason, extra={"job": job.id})
            event = life.Unspoken(error.code, error.message)
        except NoRoom as error:
            event = life.Unspoken(error.code, f"the speech cannot be stored: {error}; {WAYS_OUT[error.code]}")
        except OSError as error:
            failure = unstorable("the speech", error)
            event = life.Unspoken(failure.code, failure.message)
        except Exception as error:
            log.exception("speaking failed", extra={"job": job.id})
            event = life.Unspoken("internal", f"{type(error).__name__} while speaking; see the log")
        await self._desk.apply(job.id, event)

    async def _speech(self, job: Job) -> SpeechFacts:
        path = self._desk.directory(job.id) / job_files.SPEECH
        if path.exists():
            return await asyncio.to_thread(flac.read, path)
        assert job.prompt is not None and job.voice is not None
        voice, limit = Voice.parse(job.voice), self._desk.settings.now.max_seconds
        room = Room(path.parent, *self._desk.quota.allowance(job.account))
        with SpeechFile(path) as file:
            speech = self._calls.speak(job.prompt, voice, account=job.account, batch=True, begin_again=file.begin_again)
            async with aclosing(speech) as pieces:
                async for piece in pieces:
                    room.take(len(piece))
                    file.write(piece)
                    if file.seconds > limit:
                        raise EchodError(
                            "speech_too_long",
                            f"speaking the text takes longer than {limit:g} s (setting max_seconds); send it in parts",
                        )
            if file.seconds < MIN_SECONDS:
                raise EchodError("upstream_tts", f"{voice} has nothing to say to this text; write words, or a sentence")
        return await asyncio.to_thread(flac.publish, path)
