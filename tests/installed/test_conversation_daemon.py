"""Conversations through the installed daemon, on this box alone: Whisper hears, hibari speaks, the preview shows."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import signal
import wave
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.resources.realtime.realtime import RealtimeConnection
from websockets.exceptions import ConnectionClosed

from echod.sound.pcm import SPEAK_RATE
from echod.sound.resample import Resampler
from tests.drivers.running import RunningDaemon
from tests.drivers.talking import Talk, message, sound_of, words_of
from tests.making.media import EXAMPLES
from tests.making.playback import play
from tests.making.sounds import read_sound

WHISPER = Path(os.environ.get("ECHOD_TEST_ASSETS", "")) / "models" / "whisper-tiny.en.pt"
FPS = 24
BLOCKING = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # the way openai's client uses websockets
LONG = "".join(f"This is sentence number {number}. " for number in range(200))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, local_voice: str) -> Iterator[RunningDaemon]:
    directory = tmp_path_factory.mktemp("conversation")
    with RunningDaemon(directory, ECHOD_HEAR_MODEL=str(WHISPER), ECHOD_REPLY_MODEL="scripted") as daemon:
        with daemon.http() as http, (EXAMPLES / "portrait.png").open("rb") as portrait:
            form = {"name": "ada", "language": "en", "greeting": "Hello! I am Ada.", "options[size]": "256x256"}
            http.post("/v1/roles", data=form, files={"portrait": portrait}).raise_for_status()
        daemon.until_idle()
        yield daemon


@pytest.fixture
async def client(daemon: RunningDaemon) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{daemon.tcp}/v1", api_key="none") as client:
        yield client


@pytest.fixture
async def talk(client: AsyncOpenAI) -> AsyncIterator[Talk]:
    async with client.realtime.connect(model="role:ada") as connection:
        yield Talk(connection)


def recording(path: Path) -> bytes:
    """A mono WAV file as clients send it: pcm16, 24 kHz."""
    with wave.open(str(path)) as file:
        resampler = Resampler(file.getframerate(), SPEAK_RATE)
        return resampler.feed(file.readframes(file.getnframes())) + resampler.flush()


# The blocking client


def until(connection: RealtimeConnection, kind: str) -> list[Any]:
    """Every event up to the first of this type."""
    events = []
    for event in connection:
        assert event.type != "error", event
        events.append(event)
        if event.type == kind:
            break
    return events


@BLOCKING
def test_typed_turns(daemon: RunningDaemon) -> None:
    """The blocking client: a greeting, an answer cancelled half way, and one cut at what was heard of it."""
    with (
        OpenAI(base_url=f"{daemon.tcp}/v1", api_key="none") as client,
        client.realtime.connect(model="role:ada") as connection,
    ):
        connection.session.update(session={"type": "realtime", "output_modalities": ["audio"]})
        connection.response.create()
        events = until(connection, "response.done")
        kinds = [event.type for event in events]
        assert kinds[:2] == ["session.created", "session.updated"]
        assert kinds[2:6] == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
        ]
        assert set(kinds[6:-6]) == {"response.output_audio_transcript.delta", "response.output_audio.delta"}
        assert kinds[-6:] == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        assert words_of(events) == "Hello! I am Ada."
        assert len(sound_of(events)) > 2 * SPEAK_RATE

        connection.conversation.item.create(item=message(LONG))  # type: ignore[arg-type]
        connection.response.create()
        until(connection, "response.output_audio.delta")
        connection.response.cancel()
        events = until(connection, "response.done")
        assert events[-1].response.status == "cancelled"
        assert len(sound_of(events)) < 2 * SPEAK_RATE * 60  # of six minutes

        connection.conversation.item.create(item=message("Are you there?"))  # type: ignore[arg-type]
        connection.response.create()
        response = until(connection, "response.done")[-1].response
        assert response.status == "completed"
        item = response.output[0].id
        connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=500)
        assert until(connection, "conversation.item.truncated")[-1].item_id == item


# Video


def clips_of(daemon: RunningDaemon, events: list[Any]) -> list[Path]:
    done = [event for event in events if event.type == "response.output_video.done"]
    assert [event.index for event in done] == list(range(len(done)))
    return [daemon.state_dir / "jobs" / event.video_id / "clip.mp4" for event in done]


def samples_of(clip: Path) -> int:
    """The length of the speech that a clip was made from."""
    return int(read_sound(clip.with_name("speech.flac"))[0].size)


async def test_clips_follow_one_another(daemon: RunningDaemon, talk: Talk) -> None:
    """The clips are the sentences in order, say together what the voice says, and end where the next begins."""
    await talk.answer("Seven clouds. They are big!")
    spoken = np.frombuffer(talk.sound(), "<i2") / 2**15
    talk.events.clear()
    await talk.update(output_modalities=["video"])
    assert (await talk.answer("Seven clouds. They are big!")).status == "completed"

    added = [event for event in talk.events if event.type == "response.output_video.added"]
    assert "".join(event.sentence for event in added) == talk.words()
    assert len(added) >= 3
    clips, sound = [], []
    for path in clips_of(daemon, talk.events):
        clip = play(path)
        samples = samples_of(path)
        assert len(clip.frames) == math.ceil(FPS * samples / SPEAK_RATE)
        assert clip.rate == SPEAK_RATE
        clips.append(clip.frames.astype(int))
        sound.append(clip.sound[:samples])
    joined = np.concatenate(sound)
    assert joined.size == spoken.size
    assert np.corrcoef(joined, spoken)[0, 1] > 0.95
    moves = [abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)) for frames in clips]
    jumps = [abs(later[0] - earlier[-1]).mean() for earlier, later in pairwise(clips)]
    assert max(jumps) < np.concatenate(moves).max()


async def test_a_worker_killed_in_the_middle_of_a_sentence(daemon: RunningDaemon, talk: Talk) -> None:
    """The sentence whose worker dies is shown all the same, in its place."""
    await talk.update(output_modalities=["video"])
    await talk.ask("I would like to hear a lot about the clouds that we see in the sky over here")
    while (victim := await asyncio.to_thread(kill_worker, daemon)) is None:
        await talk.until("response.output_video.progress")
    assert (await talk.done()).status == "completed"
    attempts = {}
    with daemon.client() as client:
        for path in clips_of(daemon, talk.events):
            assert len(play(path).frames) == math.ceil(FPS * samples_of(path) / SPEAK_RATE)
            attempts[path.parent.name] = client.video(path.parent.name)["echod"]["attempt"]
    assert attempts == {**dict.fromkeys(attempts, 1), victim: 2}


def kill_worker(daemon: RunningDaemon) -> str | None:
    """Kill the worker if it is at work, and say at which job. It is stopped first, so that this is known."""
    worker = daemon.devices()[0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    jobs = {daemon.devices()[0]["job"] for _ in range(5)}  # what it said last may be on its way
    job: str | None = jobs.pop()
    os.kill(worker, signal.SIGCONT if jobs or job is None else signal.SIGKILL)
    return None if jobs else job


# Spoken


@BLOCKING
def test_a_spoken_turn_answered_in_text(daemon: RunningDaemon, assets: Path) -> None:
    """The blocking client: a recording is heard, and answered in words alone."""
    with (
        OpenAI(base_url=f"{daemon.tcp}/v1", api_key="none") as client,
        client.realtime.connect(model="auto") as connection,
    ):
        push_to_talk = {"input": {"turn_detection": None}}
        connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"], "audio": push_to_talk}  # type: ignore[typeddict-item]
        )
        connection.input_audio_buffer.append(audio=base64.b64encode(recording(EXAMPLES / "speech.wav")).decode())
        connection.input_audio_buffer.commit()
        connection.response.create()
        events = until(connection, "response.done")
    kinds = [event.type for event in events]
    heard = "conversation.item.input_audio_transcription.completed"
    assert kinds.index("input_audio_buffer.committed") < kinds.index(heard) < kinds.index("response.output_text.delta")
    transcript = events[kinds.index(heard)].transcript
    assert "portrait" in transcript
    answer = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert answer.endswith(f"You said: {transcript}")
    assert events[-1].response.status == "completed"


async def test_a_spoken_turn_shown(daemon: RunningDaemon, talk: Talk, assets: Path) -> None:
    """Everything on this box: a recording is heard, answered, spoken, and shown in clips that can be watched."""
    await talk.update(output_modalities=["video"])
    await talk.push_to_talk()
    await talk.say(recording(assets / "assets" / "echomimic_en.wav"))
    done = await talk.done()
    assert done.status == "completed"
    assert "experience" in talk.words()
    clips = [play(path) for path in clips_of(daemon, talk.events)]
    assert len(clips) >= 3
    assert all(abs(clip.sound).max() > 0.05 for clip in clips)
    stages = ("heard_ms", "reply_first_token_ms", "speak_first_audio_ms", "video_first_frame_ms", "total_ms")
    timings = [done.echod[stage] for stage in stages]
    assert timings == sorted(timings)


async def test_server_vad(daemon: RunningDaemon, talk: Talk, assets: Path) -> None:
    """A voice is noticed by the daemon, and answered when it has stopped; silence is not."""
    await talk.update(audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 700}}})
    silence = bytes(2 * SPEAK_RATE)
    await talk.append(silence + recording(assets / "assets" / "echomimic_en.wav") + silence, piece=4800)
    began = await talk.until("input_audio_buffer.speech_started")
    ended = await talk.until("input_audio_buffer.speech_stopped")
    assert 500 < began.audio_start_ms < 1500 < 5500 < ended.audio_end_ms < 7300
    assert (await talk.until("input_audio_buffer.committed")).item_id == began.item_id == ended.item_id
    assert (await talk.done()).status == "completed"
    assert "experience" in talk.words()
    assert talk.sound()
    await talk.append(silence)
    await talk.update(output_modalities=["text"])
    assert [event.type for event in talk.events].count("input_audio_buffer.speech_started") == 1


# The end


@pytest.mark.long
async def test_drained_in_the_middle_of_a_turn(daemon: RunningDaemon, client: AsyncOpenAI) -> None:
    """The socket is closed with 1012, and neither a conversation nor a job of it is left to the next daemon."""
    with pytest.raises(ConnectionClosed) as closed:
        async with client.realtime.connect(model="role:ada") as connection:
            talk = Talk(connection)
            conversation = (await talk.until("session.created")).session.id
            await talk.update(output_modalities=["video"])
            await talk.ask(LONG)
            for _ in range(3):
                await talk.until("response.output_video.added")
            daemon.send(signal.SIGTERM)
            await talk.until("nothing more")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert await asyncio.to_thread(daemon.process.wait, 60) == 0
    await asyncio.to_thread(daemon.start)
    assert list((daemon.state_dir / "cache" / "speech").iterdir()) == []
    with daemon.client() as again:
        assert {video["status"] for video in again.videos()} == {"completed", "cancelled"}
    async with (
        AsyncOpenAI(base_url=f"{daemon.tcp}/v1", api_key="none") as client,
        client.realtime.connect(model="role:ada", extra_query={"conversation": conversation}) as connection,
    ):
        assert (await connection.recv()).error.code == "not_found"  # type: ignore[union-attr]
