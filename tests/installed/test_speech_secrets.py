"""A key and a file that nobody may get to see: planted, used in every way there is, then searched for everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from tests.drivers.command import run_echod
from tests.drivers.running import LIGHT, RunningDaemon, command_lines
from tests.drivers.talking import Talk, sound_of, words_of
from tests.making.media import EXAMPLES
from tests.stand_ins.dashscope_server import DashScopeServer

KEY = "planted-dashscope-key-5Wv2"
CANARY = "the canary sings alone"
PORTRAIT, SPEECH = EXAMPLES / "portrait.png", EXAMPLES / "speech.wav"


@pytest.fixture(scope="module")
def server() -> Iterator[DashScopeServer]:
    with DashScopeServer(key=KEY).in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def environ(server: DashScopeServer) -> dict[str, Any]:
    return {
        "DASHSCOPE_API_KEY": KEY,
        "ECHOD_DASHSCOPE_URL": server.url,
        "ECHOD_DASHSCOPE_WS_URL": server.ws_url,
        "ECHOD_LOG_LEVEL": "debug",
    }


@pytest.fixture(scope="module")
def speaking(environ: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("speaking"), command=LIGHT, **environ) as running:
        yield running


def say(daemon: RunningDaemon, directory: Path, text: str, voice: str | None = None) -> tuple[int, str]:
    named = ["--voice", voice] if voice else []
    done = run_echod("say", PORTRAIT, text, "--size", "128x128", *named, url=daemon.url, cwd=directory)
    return done.returncode, done.stdout + done.stderr


def said_of_everything(daemon: RunningDaemon, environ: dict[str, Any], directory: Path) -> Iterator[str]:
    """What a person can get told, when all goes well and when nothing does."""
    yield say(daemon, directory, "Good evening.")[1]
    for behaviour in ("echo", "throttle", "midfail"):
        code, told = say(daemon, directory, "Good evening.", f"dashscope/cosyvoice-v3-flash@{behaviour}/longanyang")
        assert code == 1 and "upstream_tts" in told
        yield told
    for command in (["ps", "--all", "--json"], ["voices"], ["usage", "--json"]):
        yield run_echod(*command, url=daemon.url).stdout
    for command in (["doctor"], ["config", "show", "--origin"]):
        done = run_echod(*command, url=daemon.url, env=environ)
        yield done.stdout + done.stderr
    with daemon.http() as http:
        for path in ("/metrics", "/readyz", "/v1/voices", "/v1/usage", "/openapi.json"):
            yield http.get(path).text


def named(http: httpx.Client, path: str) -> Iterator[tuple[httpx.Response, int]]:
    """Requests that name a file as that of an upload, and as the id of one; and what status answers each."""
    content = {"input_reference": PORTRAIT.read_bytes(), "audio_reference": SPEECH.read_bytes()}
    uploads = {field: (path, data) for field, data in content.items()}
    yield http.post("/v1/videos", data={"size": "128x128"}, files=uploads), 200
    yield http.post("/v1/files", data={"purpose": "user_data"}, files={"file": uploads["audio_reference"]}), 200
    for field, other in (("input_reference", "audio_reference"), ("audio_reference", "input_reference")):
        yield http.post("/v1/videos", data={f"{field}[file_id]": path}, files={other: content[other]}), 404
        uploaded = http.post("/v1/files", data={"purpose": "user_data"}, files={"file": content[other]}).json()["id"]
        yield http.post("/v1/videos", json={field: {"file_id": path}, other: {"file_id": uploaded}}), 404


def files(directory: Path) -> Iterator[tuple[Path, bytes]]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def test_the_key_is_nowhere(speaking: RunningDaemon, environ: dict[str, Any], tmp_path: Path) -> None:
    """Neither answers, logs, metrics, files nor command lines have the key in them, whatever the server says back."""
    told = list(said_of_everything(speaking, environ, tmp_path))
    assert not [text for text in told if KEY in text]
    assert KEY not in speaking.log.read_text()
    for path, content in files(speaking.directory):
        assert KEY.encode() not in content, path
    assert KEY.encode() not in b"".join(command_lines(speaking.process.pid))


@pytest.mark.long
async def test_the_canary_stays(speaking: RunningDaemon, server: DashScopeServer, tmp_path: Path) -> None:
    """A path is text like any other: the file behind it is neither read nor sent anywhere, whatever it stands for."""
    canary = tmp_path / "canary.wav"
    canary.write_text(CANARY)
    read_at = canary.stat().st_atime_ns
    os.utime(canary, ns=(0, canary.stat().st_mtime_ns))  # so that relatime would tell of any reading
    paths = [str(canary), f"file://{canary}", f"~/{canary.name}"]
    for path in paths:
        assert say(speaking, tmp_path, path)[0] == 0
        say(speaking, tmp_path, "Hello.", f"dashscope/cosyvoice-v3-flash/{path.replace('/', '%2F')}")
        say(speaking, tmp_path, "Hello.", path)
    client = AsyncOpenAI(base_url=f"{speaking.tcp}/v1", api_key="none")
    async with client, client.realtime.connect(model="auto") as connection:
        talk = Talk(connection)
        for path in paths:
            await talk.update(instructions=path)
            await talk.ask(path)
            await talk.until("response.done")
        await talk.push_to_talk()
        await talk.append(bytes(48_000))
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        await talk.until("response.done")
    with speaking.http() as http:
        for path in paths:
            for answer, status in named(http, path):
                assert answer.status_code == status, answer.text
    assert str(canary) in words_of(talk.events) and sound_of(talk.events)
    assert canary.stat().st_atime_ns == 0 < read_at
    assert not server.uploads
    assert all(CANARY not in str(frame) for frame in server.frames)
    sent: Any = [frame for frame in server.frames if str(canary) in str(frame.body)]
    assert sent  # the words themselves did get there


async def test_words_stay_out_of_the_log(speaking: RunningDaemon, tmp_path: Path) -> None:
    """A server that repeats some of what it was to say tells the person, in jobs and in conversation, not the log."""
    voice, words = "dashscope/cosyvoice-v3-flash@parrot/longanyang", "Go north. Look for the treasure."
    code, told = say(speaking, tmp_path, words, voice)
    assert code == 1 and "the treasure" in told
    client = AsyncOpenAI(base_url=f"{speaking.tcp}/v1", api_key="none")
    async with client, client.realtime.connect(model="auto") as connection:
        talk = Talk(connection)
        await talk.update(audio={"output": {"voice": voice}})
        response = await talk.answer(words)
    assert "Lost after" in str(response.status_details)
    log = speaking.log.read_text()
    assert "not spoken: " in log and "turn failed: " in log
    assert "treasure" not in log and "Lost after" not in log
