"""Conversations through the installed daemon, with speech backends that answer when a test lets them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed

from tests.drivers.running import LIGHT, RunningDaemon, descendants
from tests.drivers.talking import HANG, Talk
from tests.making.media import EXAMPLES
from tests.making.sounds import read_sound
from tests.stand_ins.dashscope_answers import words_in
from tests.stand_ins.loopback import Exchange, Request
from tests.stand_ins.openai_server import KEY, OpenAIServer

pytestmark = pytest.mark.asyncio(loop_scope="module")  # the server and all who talk share a loop

CONFIG = """
[speech]
openai_url = "{url}"
reply_model = "chat"
# What is not cancelled stays, and is seen to stay.
hear_timeout = "1h"
reply_timeout = "1h"
speak_timeout = "1h"
silence_timeout = "1h"
"""
SECOND = b"\1\0" * 24_000
STALLING = "openai/tts-1@stall/alloy"  # a voice that falls silent after its first piece of sound


class LastExchange(Exchange):
    """One after which the connection ends: none is kept by the daemon, where a leak would not be told from it."""

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        await super().begin(status, {**headers, "Connection": "close"})


class HeldServer(OpenAIServer):
    """With `told` set it replies what is put there, and ends at None; requests for `silent` are never answered."""

    told: asyncio.Queue[str | None] | None = None
    silent = ""

    async def answer(self, request: Request, exchange: Exchange) -> None:
        if self.silent and request.path.endswith(self.silent):
            await exchange.stall()
        else:
            await super().answer(request, LastExchange(exchange.reader, exchange.writer, exchange.waiting))
        exchange.close()

    async def _reply(self, exchange: Exchange, failure: str, asked: Any) -> None:
        if self.told is None:
            await super()._reply(exchange, failure, asked)
            return
        await exchange.begin_chunked("text/event-stream")
        gone = asyncio.create_task(exchange.stall())
        while (words := await self._next(gone)) is not None:
            await exchange.chunk(_event({"content": words}))
        gone.cancel()
        await asyncio.wait([gone])
        await exchange.chunk(_event({}, "stop"))
        await exchange.chunk(b"")

    async def _next(self, gone: asyncio.Task[None]) -> str | None:
        assert self.told is not None
        telling = asyncio.create_task(self.told.get())
        await asyncio.wait((telling, gone), return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            return telling.result()
        telling.cancel()
        return None

    def tell(self, *words: str | None) -> None:
        self.told = self.told or asyncio.Queue()
        for each in words:
            self.told.put_nowait(each)

    async def let_go(self) -> None:
        """Until nobody waits for an answer of this server any more."""
        await self.until(lambda: self.waiting == 0)


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return f"data: {json.dumps({'choices': [{'delta': delta, 'finish_reason': finish_reason}]})}\n\n".encode()


class Everything(NamedTuple):
    daemon: RunningDaemon
    server: HeldServer
    client: AsyncOpenAI


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Everything]:
    async with HeldServer() as server:
        directory = tmp_path_factory.mktemp("conversation")
        config = directory / ".config" / "echod" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(CONFIG.format(url=server.url))
        with RunningDaemon(directory, command=LIGHT, ECHOD_OPENAI_KEY=KEY) as daemon:
            with daemon.http() as http, (EXAMPLES / "portrait.png").open("rb") as portrait:
                form = {"name": "ada", "language": "en", "options[size]": "128x128"}
                http.post("/v1/roles", data=form, files={"portrait": portrait}).raise_for_status()
            await asyncio.to_thread(daemon.until_idle)
            async with AsyncOpenAI(base_url=f"{daemon.tcp}/v1", api_key="none") as client:
                yield Everything(daemon, server, client)


@pytest.fixture
def daemon(everything: Everything) -> RunningDaemon:
    return everything.daemon


@pytest.fixture
def server(everything: Everything) -> Iterator[HeldServer]:
    """Says back what it is told, until a test makes it do otherwise."""
    yield everything.server
    everything.server.told, everything.server.silent = None, ""


@pytest.fixture
def client(everything: Everything) -> AsyncOpenAI:
    return everything.client


@pytest_asyncio.fixture(loop_scope="module")
async def talk(client: AsyncOpenAI) -> AsyncIterator[Talk]:
    async with client.realtime.connect(model="role:ada") as connection:
        yield Talk(connection)


def video(daemon: RunningDaemon, video_id: str) -> dict[str, Any]:
    with daemon.client() as client:
        return dict(client.video(video_id))


async def ended(daemon: RunningDaemon, video_id: str) -> str:
    """How a job ended, once it has."""

    def follow() -> str:
        with daemon.client() as client:
            return str([event["video"]["status"] for event in client.follow(video_id)][-1])

    return await asyncio.wait_for(asyncio.to_thread(follow), HANG)


@contextmanager
def stopped_worker(daemon: RunningDaemon) -> Iterator[None]:
    """What its only worker is given stays as it is until the block ends."""
    pid = daemon.devices()[0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_words_that_wait_for_the_sound(server: HeldServer, talk: Talk) -> None:
    """Sentence k + 1 is thought of only when sentence k has been heard by the client: nothing waits for more text."""
    sentences = [f"This is sentence number {number}. " for number in range(4)]
    server.tell(sentences[0])
    await talk.ask("hi")
    for number in range(1, 5):
        while words_in(talk.sound()) != "".join(map(str.strip, sentences[:number])):
            await talk.until("response.output_audio.delta")
        assert talk.words() == "".join(sentences[:number])
        server.tell(sentences[number] if number < 4 else None)
    assert (await talk.done()).status == "completed"


async def test_the_last_sentence_waits_for_the_first_clip(
    daemon: RunningDaemon, server: HeldServer, talk: Talk
) -> None:
    """The first sentence's clip is on a worker while the last sentence is still to be thought of."""
    await talk.update(output_modalities=["video"])
    server.tell("The first sentence. ")
    await talk.ask("hi")
    first = (await talk.until("response.output_video.added")).video_id
    while video(daemon, first)["status"] == "queued":
        await talk.until("response.output_video.progress")
    server.tell("The last one.", None)
    done = await talk.done()
    assert (done.status, done.output[0].content[0].transcript) == ("completed", "The first sentence. The last one.")


# Interrupted


async def nobody_hears(server: HeldServer, talk: Talk) -> None:
    server.silent = "transcriptions"
    await talk.say(SECOND)
    await server.until(lambda: server.waiting == 1)


async def nothing_comes_to_mind(server: HeldServer, talk: Talk) -> None:
    server.silent = "completions"
    await talk.ask("hi")
    await server.until(lambda: server.waiting == 1)


async def in_the_middle_of_the_words(server: HeldServer, talk: Talk) -> None:
    server.tell("Well, ", "you ", "see")
    await talk.ask("hi")
    await talk.until("response.output_audio_transcript.delta", delta="see")


async def in_the_middle_of_the_sound(server: HeldServer, talk: Talk) -> None:
    await talk.update(audio={"output": {"voice": STALLING}})
    await talk.ask("hi")
    await talk.until("response.output_audio.delta")


STAGES = (nobody_hears, nothing_comes_to_mind, in_the_middle_of_the_words, in_the_middle_of_the_sound)


@pytest.mark.parametrize("stage", STAGES)
async def test_cancelled(server: HeldServer, talk: Talk, stage: Any) -> None:
    """Whatever an answer waits for, cancelling ends it there, and the next one is whole."""
    await stage(server, talk)
    await talk.connection.response.cancel()
    done = await talk.done()
    assert (done.status, done.status_details.reason) == ("cancelled", "client_cancelled")
    await server.let_go()
    server.told, server.silent = None, ""
    await talk.update(audio={"output": {"voice": None}})
    assert (await talk.answer("and now?")).status == "completed"
    assert talk.words().endswith("and now?")


@pytest.mark.parametrize("stage", STAGES)
async def test_the_client_vanishes(client: AsyncOpenAI, server: HeldServer, stage: Any) -> None:
    """Whatever an answer waits for, the daemon waits no longer than its client; the conversation can be taken up."""
    async with client.realtime.connect(model="role:ada") as connection:
        talk = Talk(connection)
        conversation = (await talk.until("session.created")).session.id
        await stage(server, talk)
        connection._connection.transport.abort()
        await server.let_go()
    server.told, server.silent = None, ""
    async with client.realtime.connect(model="role:ada", extra_query={"conversation": conversation}) as connection:
        talk = Talk(connection)
        await talk.update(audio={"output": {"voice": None}})
        assert (await talk.answer("are you there?")).status == "completed"


@pytest.mark.parametrize("vanishes", [False, True])
async def test_interrupted_clips(daemon: RunningDaemon, server: HeldServer, talk: Talk, vanishes: bool) -> None:
    """A clip that waits for a worker is cancelled at once, one on a worker at its next checkpoint."""
    await talk.update(output_modalities=["video"])
    with stopped_worker(daemon):
        server.tell("The first sentence. ", "The second one. ")
        await talk.ask("hi")
        running, queued = [(await talk.until("response.output_video.added")).video_id for _ in range(2)]
        while video(daemon, running)["status"] == "queued":
            await talk.until("response.output_video.progress")
        assert video(daemon, queued)["status"] == "queued"
        if vanishes:
            talk.connection._connection.transport.abort()
        else:
            await talk.connection.response.cancel()
            assert (await talk.done()).status == "cancelled"
        assert await ended(daemon, queued) == "cancelled"
        assert video(daemon, running)["status"] == "in_progress"
    assert await ended(daemon, running) == "cancelled"
    await server.let_go()


# Many


class Held(NamedTuple):
    """What the daemon's process holds, and what lies in its state directory."""

    descriptors: int
    threads: int
    children: list[int]
    files: list[Path]

    @classmethod
    def by(cls, daemon: RunningDaemon) -> Held:
        process = Path(f"/proc/{daemon.process.pid}")
        descriptors, threads = (len(list((process / name).iterdir())) for name in ("fd", "task"))
        files = sorted(daemon.state_dir.rglob("*"))
        return cls(descriptors, threads, sorted(descendants(daemon.process.pid)), files)


async def tell_a_number(daemon: RunningDaemon, client: AsyncOpenAI, number: int) -> list[str]:
    """It is told by how long one speaks, and comes back in words and in sound, of a voice and of clips: these."""
    async with client.realtime.connect(model="role:ada") as connection:
        talk = Talk(connection)
        await talk.push_to_talk()
        for turn, modality in enumerate(("audio", "video")):
            talk.events.clear()
            await talk.update(output_modalities=[modality])
            said = 4000 + 200 * number + 100 * turn
            await talk.say(bytes(2 * said * 3 // 2))
            assert (await talk.done()).status == "completed"
            heard = re.fullmatch(r"You said: (\d+) samples at 16000.", talk.words())
            assert heard
            assert abs(int(heard[1]) - said) < 50
            clips = [event.video_id for event in talk.events if event.type == "response.output_video.done"]
            speeches = [daemon.state_dir / "jobs" / clip / "speech.flac" for clip in clips]
            sound = talk.sound() or b"".join(map(pcm, speeches))
            assert words_in(sound) == talk.words()
    return clips


def pcm(path: Path) -> bytes:
    samples, _ = read_sound(path)
    return bytes((samples[0] * 2**15).astype("<i2").tobytes())


@pytest.mark.long
async def test_twenty_conversations(daemon: RunningDaemon, server: HeldServer, client: AsyncOpenAI) -> None:
    """Everybody is answered what they said themselves; with the clips removed, nothing is left behind."""
    with daemon.client() as local:
        local.readiness()
        for _ in range(4):  # the first times, pools of threads may grow to their size
            before = Held.by(daemon)
            clips = await asyncio.gather(*(tell_a_number(daemon, client, number) for number in range(20)))
            for clip in itertools.chain(*clips):
                local.remove(clip)
            for _ in range(200):  # round trips; the daemon's side of a socket ends a moment after its client's
                local.readiness()
                if Held.by(daemon) == before:
                    return
    assert Held.by(daemon) == before, "after the last twenty, and before"


# The end: after this the daemon is gone


async def test_drained(daemon: RunningDaemon, server: HeldServer, talk: Talk) -> None:
    """A daemon that is to end does not wait for a backend: the socket is closed with 1012."""
    await in_the_middle_of_the_sound(server, talk)
    daemon.send(signal.SIGTERM)
    with pytest.raises(ConnectionClosed) as closed:
        await talk.done()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    await server.let_go()
    assert await asyncio.to_thread(daemon.process.wait, HANG) == 0
