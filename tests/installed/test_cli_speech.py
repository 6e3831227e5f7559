"""`echod say`, `voices` and `usage`: at a stub where the words matter, then at daemons that really speak."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from echod.commands.say import say
from echod.commands.submit import submit
from tests.drivers.running import LIGHT, RunningDaemon
from tests.drivers.terminal import PORTRAIT, Cli, accepted, duration, until
from tests.stand_ins.stub import NO_VOICE, Handler, Stub, capabilities, refuses, says, serving, tells, video


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A daemon that makes every clip at once."""
    with serving() as server:
        server.on("GET /v1/capabilities", says(capabilities()))
        server.on("POST /v1/videos", says(video("queued")))
        server.on("GET /v1/events", tells())
        server.on("GET /v1/videos/video_1", says(video("completed", 100)))
        server.on("GET /v1/videos/video_1/content", lambda handler: handler.answer(b"CLIP"))
        yield server


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Hello there, how are you?", "hello-there-how-are-you"),
        ("Don't panic!", "dont-panic"),
        ("你好，世界。", "你好-世界"),
        ("../../etc/passwd", "etc-passwd"),
        ("One two three four five six seven eight nine ten.", "one-two-three-four-five-six-seven-eight"),
        ("a" * 50, "a" * 40),
        ("?!", "speech"),
    ],
)
def test_the_name_of_a_clip(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    """The first words of the text name the clip; nothing in them leads to another directory."""
    monkeypatch.chdir(tmp_path)
    command = [str(PORTRAIT), text, "-q", "--url", stub.url]
    assert [CliRunner().invoke(say, command).stdout for _ in range(2)] == [f"{name}.mp4\n", f"{name}-1.mp4\n"]
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.mp4", f"{name}-1.mp4"}


def test_names_that_are_no_text(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording may have a name that is not UTF-8, and so has its clip; in JSON too."""
    monkeypatch.chdir(tmp_path)
    speech = tmp_path / os.fsdecode(b"caf\xe9.wav")
    speech.write_bytes(b"SOUND")
    command = [str(PORTRAIT), str(speech), "-q", "--url", stub.url]
    assert CliRunner().invoke(submit, command).stdout_bytes == b"caf\xe9.mp4\n"
    shown = json.loads(CliRunner().invoke(submit, [*command, "--json"]).stdout)
    assert os.fsencode(shown["path"]) == b"caf\xe9-1.mp4"
    assert 'filename="caf\N{REPLACEMENT CHARACTER}.wav"'.encode() in stub.requests("POST /v1/videos")[0][2]


def test_text_from_stdin(stub: Stub, tmp_path: Path) -> None:
    """`-` reads the text from stdin, without the white space around it; the portrait may come from there instead."""
    cli = Cli(stub.url, tmp_path / "cwd")
    assert cli("say", PORTRAIT, "-", "-q", input="\ufeffFrom\na pipe.\n\n").stdout == "from-a-pipe.mp4\n"
    assert cli("say", "-", "Me?", "-q", "--voice", "a/b/c", input="PICTURE").stdout == "me.mp4\n"
    (_, _, words), (_, _, picture) = stub.requests("POST /v1/videos")
    assert b"\r\n\r\nFrom\na pipe.\r\n--" in words
    assert b'name="voice"' not in words
    assert b"\r\n\r\nPICTURE\r\n--" in picture
    assert b'name="voice"\r\n\r\na/b/c\r\n--' in picture


@pytest.mark.parametrize(("text", "given", "reason"), [("a\udcff", "", "UTF-8; byte 1"), ("-", " \n", "empty")])
def test_text_that_is_none(stub: Stub, tmp_path: Path, text: str, given: str, reason: str) -> None:
    """What cannot be spoken is refused before the daemon is asked."""
    refused = Cli(stub.url, tmp_path / "cwd")("say", PORTRAIT, text, input=given)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert reason in refused.stderr
    assert stub.seen == []


def test_what_is_told_of_a_text_job(stub: Stub, tmp_path: Path) -> None:
    """The voice is told beside seed and engine; `--detach` prints the id alone."""
    spoken = video("queued") | {"echod": {"seed": 420, "stage": "speak", "voice": "local/espeak-ng/en-us"}}
    stub.on("POST /v1/videos", says(spoken))
    cli = Cli(stub.url, tmp_path / "cwd")
    said = cli("say", PORTRAIT, "Hello.").stderr
    assert "accepted, seed 420, engine preview: a quick preview, not EchoMimic, voice local/espeak-ng/en-us\n" in said
    assert "video_1: queued, speak\n" in said
    assert cli("say", PORTRAIT, "Hello.", "--detach").stdout == "video_1\n"


def test_no_voice(stub: Stub, tmp_path: Path) -> None:
    """Where nobody can speak, `say` refuses with the command that helps and sends nothing; a named voice is tried."""
    stub.on("GET /v1/capabilities", says(capabilities(NO_VOICE)))
    cli = Cli(stub.url, tmp_path / "cwd")
    refused = cli("say", PORTRAIT, "Hello.")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "echod: no voice is installed: run `apt install espeak-ng`\n"
    assert stub.requests("POST /v1/videos") == []
    assert cli("say", PORTRAIT, "Hello.", "--voice", "openai/kokoro/af_heart", "-q").returncode == 0
    assert cli("submit", PORTRAIT, PORTRAIT, "-q").returncode == 0


def test_tables(stub: Stub, tmp_path: Path) -> None:
    """Voices and usage are tables for people, JSON for programs."""
    voices = [
        {"id": "local/espeak-ng/en-us", "default": True},
        {"id": "dashscope/cosyvoice-v3-flash/longanyang", "default": False},
    ]
    sums = {
        "account": "anna", "day": "2026-11-25", "function": "reply", "backend": "dashscope", "model": "qwen",
        "voice": None, "calls": 12, "failed": 1, "input_tokens": 34567, "output_tokens": 89, "characters": 0,
        "seconds": 4.6,
    }  # fmt: skip
    stub.on("GET /v1/voices", says({"object": "list", "data": []}), says({"object": "list", "data": voices}))
    spoken = sums | {"function": "speak", "backend": "local", "model": "hibari", "voice": "heart"}
    stub.on("GET /v1/usage", says({"object": "list", "data": [sums, spoken]}))
    cli = Cli(stub.url, tmp_path)
    assert "echod doctor" in cli("voices").stderr
    assert [line.split() for line in cli("voices").stdout.splitlines()] == [
        ["VOICE", "DEFAULT"],
        ["local/espeak-ng/en-us", "yes"],
        ["dashscope/cosyvoice-v3-flash/longanyang"],
    ]
    assert cli.json("voices") == voices
    head, row, other = cli("usage", "--days", "7").stdout.splitlines()
    assert len(head.replace("TOKENS IN", "TOKENS_IN").split()) == len(row.split())
    assert row.split()[2:] == ["reply", "dashscope", "qwen", "12", "1", "34,567", "89", "0", "5"]
    assert other.split()[2:5] == ["speak", "local", "hibari/heart"]
    assert cli.json("usage") == [sums, spoken]
    assert [path.partition("?")[2] for path, _, _ in stub.requests("GET /v1/usage")] == ["days=7", "days=30"]


@pytest.mark.parametrize("command", ["voices", "usage"])
def test_refusals(stub: Stub, tmp_path: Path, command: str) -> None:
    """A refusal of the daemon is one line, and its exit code."""
    stub.on(f"GET /v1/{command}", refuses("unauthorized", "who are you?"))
    refused = Cli(stub.url, tmp_path)(command)
    assert (refused.returncode, refused.stdout, refused.stderr) == (6, "", "echod: who are you?\n")


# -- a daemon that speaks with what is installed


@pytest.fixture
def cli(daemon: RunningDaemon, local_voice: str, tmp_path: Path) -> Cli:
    return Cli(daemon.url, tmp_path / "cwd")


def test_say(cli: Cli) -> None:
    """`say` speaks with a local voice, without a key and without a network, and saves a clip that plays."""
    done = cli("say", PORTRAIT, "Good evening, and welcome.")
    assert (done.returncode, done.stdout) == (0, "good-evening-and-welcome.mp4\n")
    assert duration(cli.directory / "good-evening-and-welcome.mp4") > 1
    assert ", voice local/" in done.stderr
    assert cli.files() == {"good-evening-and-welcome.mp4"}


@pytest.mark.usefixtures("espeak")
def test_say_with_a_voice(cli: Cli) -> None:
    """`--voice` takes what `voices` lists, in full or by a name that only one has; one of them is the default."""
    voices = cli.json("voices")
    assert [voice["default"] for voice in voices].count(True) == 1
    assert {"local/espeak-ng/de", "local/espeak-ng/en-us"} <= {voice["id"] for voice in voices}
    for named in ("local/espeak-ng/de", "de"):
        job = cli.json("say", PORTRAIT, "Guten Abend.", "--voice", named)
        assert (job["echod"]["voice"], job["echod"]["spoken"], job["prompt"]) == (
            "local/espeak-ng/de",
            True,
            "Guten Abend.",
        )
        assert float(job["seconds"]) == pytest.approx(duration(cli.directory / job["path"]), abs=1 / 24)
    for unknown, next_step in (
        ("nobody", "echod voices"),
        ("a/b", "backend/model/name"),
        ("local/espeak-ng/nobody", "echod voices"),
        ("elsewhere/a/b", "local"),
    ):
        refused = cli("say", PORTRAIT, "Hello.", "--voice", unknown)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), unknown
        assert unknown in refused.stderr
        assert next_step in refused.stderr


def test_usage(cli: Cli) -> None:
    """What was spoken is summed up."""
    said = cli("say", PORTRAIT, "One, two, three.", "-q")
    assert (said.returncode, said.stderr) == (0, "")
    days = "2"  # midnight, UTC, may lie between
    spoken = [each for each in cli.json("usage", "--days", days) if each["function"] == "speak"]
    assert {(each["account"], each["backend"]) for each in spoken} == {("local", "local")}
    assert sum(each["characters"] for each in spoken) >= len("One, two, three.")
    assert all(each["seconds"] > 0 and each["failed"] == 0 for each in spoken)
    assert len(cli("usage").stdout.splitlines()) == 1 + len(cli.json("usage"))


def test_nothing_to_speak_with(tmp_path: Path) -> None:
    """Where no voice is installed, `say` says what to install or set, and `chat` answers in writing."""
    (tmp_path / "hibari.py").touch()  # found before the package of that name
    bare = {"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path), "ECHOD_REPLY_MODEL": "scripted"}
    with RunningDaemon(tmp_path, command=LIGHT, **bare) as daemon:
        cli = Cli(daemon.url, tmp_path / "cwd")
        refused = cli("say", PORTRAIT, "Hello.")
        named = cli("say", PORTRAIT, "Hello.", "--voice", "en-us")
        written = cli("chat", input="Hello.\n")
        assert cli.files() == set()
    assert (named.returncode, "apt install espeak-ng" in named.stderr) == (2, True)
    assert (written.returncode, written.stdout.splitlines()[-1]) == (0, "You said: Hello.")
    assert "answers come as text, for no voice is installed: run `" in written.stderr
    assert (refused.returncode, refused.stdout) == (2, "")
    for remedy in ("pip install 'hibari-tts", "apt install espeak-ng", "piper", "DASHSCOPE_API_KEY", "openai_url"):
        assert remedy in refused.stderr


# -- a daemon that speaks with a server


@pytest.fixture(scope="module")
def server() -> Iterator[Stub]:
    """An OpenAI-compatible server; what it does when it is to speak, each test says."""
    with serving() as running:
        running.on("GET /v1/audio/voices", says({"voices": ["nova"]}))
        yield running


@pytest.fixture(scope="module")
def client_of_server(server: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(
        tmp_path_factory.mktemp("remote"),
        command=LIGHT,
        ECHOD_OPENAI_URL=f"{server.url}/v1",
        ECHOD_VOICE="openai/kokoro/alloy",
    ) as running:
        yield running


@pytest.fixture
def remote(client_of_server: RunningDaemon, tmp_path: Path) -> Cli:
    return Cli(client_of_server.url, tmp_path / "cwd")


def sings(handler: Handler) -> None:
    """A second of sound, pcm16 at 24 kHz."""
    handler.answer(bytes(range(0, 200, 4)) * 960)


@pytest.mark.long
def test_say_with_a_server(server: Stub, remote: Cli) -> None:
    """The configured voice speaks; its sound, as long as it came, is the clip's."""
    server.on("POST /v1/audio/speech", sings)
    done = remote("say", PORTRAIT, "Hello.", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello.mp4\n", "")
    assert duration(remote.directory / "hello.mp4") == pytest.approx(1.0, abs=1 / 24)
    assert {"openai/kokoro/alloy", "openai/kokoro/nova"} <= {voice["id"] for voice in remote.json("voices")}


def test_a_server_that_cannot_speak(server: Stub, remote: Cli) -> None:
    """A text that cannot be spoken is a failed job: exit code 1, who failed and why, no file; usage counts it."""
    server.on("POST /v1/audio/speech", says({"error": {"message": "wrong key", "code": "invalid_api_key"}}, 401))
    failed = remote("say", PORTRAIT, "Hello.")
    assert (failed.returncode, failed.stdout) == (1, "")
    for part in ("upstream_tts", "openai/kokoro/alloy", "wrong key", "ECHOD_OPENAI_KEY"):
        assert part in failed.stderr
    assert remote.files() == set()
    assert [each["failed"] for each in remote.json("usage") if each["model"] == "kokoro"] == [1]


def test_interrupt_while_it_is_spoken(server: Stub, remote: Cli) -> None:
    """Ctrl-C while the voice speaks cancels the job and is exit code 130."""
    asked, ended = threading.Event(), threading.Event()

    def stalls(handler: Handler) -> None:
        asked.set()
        ended.wait(60)

    server.on("POST /v1/audio/speech", stalls)
    with remote.running("say", PORTRAIT, "Hello.") as saying:
        job = accepted(saying)
        assert asked.wait(60)
        assert remote.json("show", job)["echod"]["stage"] == "speak"
        saying.send_signal(signal.SIGINT)
        assert f"cancelled {job}" in until(saying, "cancelled")
    ended.set()
    assert saying.returncode == 130
    assert remote("wait", job, "-q").returncode == 4
    assert remote.files() == set()


@pytest.mark.long
def test_a_daemon_killed_while_it_speaks(server: Stub, tmp_path: Path) -> None:
    """A text job outlives its daemon: the next one speaks it, and it ends as a clip."""
    asked, ended = threading.Event(), threading.Event()

    def stalls(handler: Handler) -> None:
        asked.set()
        ended.wait(60)

    server.on("POST /v1/audio/speech", stalls)
    url, voice = f"{server.url}/v1", "openai/kokoro/alloy"
    with RunningDaemon(tmp_path, ECHOD_OPENAI_URL=url, ECHOD_VOICE=voice) as daemon:
        cli = Cli(daemon.url, tmp_path / "cwd")
        job = cli("say", PORTRAIT, "Hello.", "--size", "128x128", "--detach").stdout.strip()
        assert asked.wait(60)
        daemon.kill()
        ended.set()
        server.on("POST /v1/audio/speech", sings)
        daemon.start()
        assert cli("wait", job, "-q").returncode == 0
        assert cli.json("show", job)["echod"]["timings_ms"]["speak"] >= 0
