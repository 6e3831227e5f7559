"""The installed command against a running daemon: every verb, every exit code."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import tempfile
import wave
from pathlib import Path

import av
import pytest

from echod import __version__
from echod.commands.zh.refusals import REFUSALS
from echod.errors import EchodError
from tests.drivers.command import ECHOD, run_echod
from tests.drivers.running import RunningDaemon
from tests.drivers.terminal import PORTRAIT, Cli, accepted, duration, until
from tests.making.media import EXAMPLES, write_picture, write_wav

TERMINAL = {"completed", "failed", "cancelled"}
TITLED = ("--title", "Lesson one")


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Half a second: a clip of twelve frames."""
    return write_wav(tmp_path / "hello.wav")


@pytest.fixture
def long_speech(tmp_path: Path) -> Path:
    """Minutes of speech: a job that runs until somebody ends it."""
    path = tmp_path / "long.wav"
    with wave.open(str(EXAMPLES / "speech.wav")) as example, wave.open(str(path), "wb") as file:
        file.setparams(example.getparams())
        file.writeframes(example.readframes(example.getnframes()) * 20)
    return path


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return Cli(daemon.url, tmp_path / "cwd")


def test_bench(cli: Cli, speech: Path) -> None:
    """What a preview took, with the worker's memory; it has no FLOP, and no card to ask, and the last line says all."""
    done = cli("bench", PORTRAIT, speech, "--size", "128x128")
    lines = done.stdout.splitlines()
    rows = {line[:12].strip(): line[13:].strip() for line in lines}
    assert done.returncode == 0
    assert float(rows["host memory"].removesuffix(" GiB")) > 0.01
    assert "not counted" in rows["of the peak"]
    assert rows["watts"] == rows["card memory"] == "not known: the device is no card"
    assert lines[-1].startswith(f"echod {__version__}, preview 128x128, no dtype, cpu (")
    assert lines[-1].endswith(" frames/s")
    assert "weights pull echomimic" in done.stderr


def test_submit(cli: Cli, speech: Path) -> None:
    """`submit` waits, saves a clip that plays, prints its path alone, and calls a preview a preview."""
    done = cli("submit", PORTRAIT, speech, "--view", "face")
    assert (done.returncode, done.stdout) == (0, "hello.mp4\n")
    assert duration(cli.directory / "hello.mp4") == pytest.approx(0.5, abs=1 / 24)
    assert all(line.startswith("echod: ") for line in done.stderr.splitlines())
    assert "seed 420" in done.stderr
    assert "preview, not EchoMimic" in done.stderr
    assert "echod: warning: the face is " in done.stderr
    assert "\r" not in done.stderr
    assert cli.files() == {"hello.mp4"}


def test_submit_never_overwrites(cli: Cli, speech: Path) -> None:
    """Without -o a name that is taken is left alone; with -o the file is replaced; -o DIR is a place."""
    (cli.directory / "hello.mp4").write_text("mine")
    (cli.directory / "other.mp4").write_text("old")
    (cli.directory / "clips").mkdir()
    saved = [cli("submit", PORTRAIT, speech, "-q", *more) for more in ([], ["-o", "other.mp4"], ["-o", "clips"])]
    assert [one.stdout for one in saved] == ["hello-1.mp4\n", "other.mp4\n", "clips/hello.mp4\n"]
    assert [one.stderr for one in saved] == ["", "", ""]
    assert (cli.directory / "hello.mp4").read_text() == "mine"
    assert all(duration(cli.directory / one.stdout.strip()) > 0.4 for one in saved)


def test_submit_json(cli: Cli, speech: Path) -> None:
    """`submit --json` prints the finished job, with the path of its clip and the options that were asked for."""
    options = ["--seed", "7", "--size", "256x384", "--fps", "12", "--engine", "preview", "--lossless"]
    video = cli.json("submit", PORTRAIT, speech, *options, "-o", "x.mp4")
    assert (video["status"], video["path"], video["size"], video["model"]) == (
        "completed",
        "x.mp4",
        "256x384",
        "preview",
    )
    assert (video["echod"]["seed"], video["echod"]["fps"], video["echod"]["lossless"]) == (7, 12, True)
    with av.open(str(cli.directory / "x.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (256, 384)


def test_submit_shows_the_whole_picture(cli: Cli, speech: Path) -> None:
    """Unless a size is asked for; crop and face can be chosen."""
    framing = ["--face", "0", "--dilation", "0.8"]
    whole = cli.json("submit", PORTRAIT, speech, *framing, "-o", "whole.mp4")
    assert (whole["size"], whole["echod"]["view"]) == ("512x512", "picture")
    assert whole["echod"]["framing"] == {"crop": None, "dilation": 0.8, "face": 0}
    sized = cli.json("submit", PORTRAIT, speech, "--size", "128x128", "--crop", "120,20,330,230", "--detach")
    assert (sized["size"], sized["echod"]["view"], sized["echod"]["framing"]["crop"]) == (
        "128x128",
        "face",
        [120, 20, 330, 230],
    )


def test_titles(cli: Cli, speech: Path) -> None:
    """A clip is called as its recording, or by its title."""
    submit, say = ("submit", PORTRAIT, speech), ("say", PORTRAIT, "Hello.")
    made = [cli.json(*command, "--detach") for command in (submit, (*submit, *TITLED), say, (*say, *TITLED))]
    assert [video["echod"]["title"] for video in made] == ["hello", "Lesson one", "Hello.", "Lesson one"]


@pytest.mark.parametrize("stdin", ["portrait", "speech"])
def test_submit_from_stdin(cli: Cli, speech: Path, stdin: str) -> None:
    """Either file may come through a pipe."""
    piped, arguments = (PORTRAIT, ["-", str(speech)]) if stdin == "portrait" else (speech, [str(PORTRAIT), "-"])
    done = subprocess.run(
        f"cat {piped} | {ECHOD} submit -q {' '.join(arguments)}",
        shell=True,
        cwd=cli.directory,
        env={**os.environ, "ECHOD_URL": cli.url},
        capture_output=True,
        text=True,
    )
    name = "hello.mp4" if stdin == "portrait" else "speech.mp4"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
    assert duration(cli.directory / name) == pytest.approx(0.5, abs=1 / 24)


@pytest.mark.parametrize(
    ("portrait", "recording"),
    [
        pytest.param("b.png", "echomimic_en.wav", marks=pytest.mark.long),
        pytest.param("a.png", "chunwang.wav", marks=pytest.mark.long),
        pytest.param("a.png", "echomimic_en.wav", marks=pytest.mark.long),
        pytest.param("b.png", "chunwang.wav", marks=pytest.mark.long),
        pytest.param("c.png", "chunwang.wav", marks=pytest.mark.long),
        pytest.param("c.png", "echomimic_en.wav", marks=pytest.mark.long),
    ],
)
def test_submit_of_real_material(cli: Cli, assets: Path, portrait: str, recording: str) -> None:
    """Each portrait speaks each recording."""
    done = cli("submit", assets / "assets" / portrait, assets / "assets" / recording, "-q", "-o", "clip.mp4")
    assert (done.returncode, done.stderr) == (0, "")
    with wave.open(str(assets / "assets" / recording)) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    assert duration(cli.directory / "clip.mp4") == pytest.approx(seconds, abs=1 / 24)


def test_submit_of_bad_input(cli: Cli, speech: Path, tmp_path: Path) -> None:
    """A refusal is one line on stderr and exit code 2; no job and no file comes of it."""
    before = cli.json("ps", "--all")
    faceless = write_picture(tmp_path / "faceless.png")
    for arguments, reason in (
        ([faceless, speech], "face"),
        ([PORTRAIT, PORTRAIT], "recording"),
        ([PORTRAIT, speech, "--size", "7x7"], "size"),
        ([PORTRAIT, speech, "--crop", "0,0,100,100"], "all of the face"),
        ([PORTRAIT, speech, "--face", "1"], "the portrait shows 1"),
        ([PORTRAIT, speech, "--engine", "echomimic"], "preview"),
    ):
        refused = cli("submit", *arguments)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert reason in refused.stderr
    assert cli.json("ps", "--all") == before
    assert cli.files() == set()


def test_a_job_from_detach_to_rm(cli: Cli, speech: Path) -> None:
    """A detached job is waited for, shown, listed, fetched and removed by its id."""
    job = cli.detach(speech)
    assert job.startswith("video_")
    assert cli.files() == set()

    waited = cli("wait", job, "-q")
    assert (waited.returncode, waited.stdout, waited.stderr) == (0, f"{job} completed\n", "")
    assert cli.json("wait", job)["status"] == "completed"
    assert cli.json("show", job)["progress"] == 100
    assert {f"id: {job}", "status: completed", "model: preview"} <= set(cli("show", job).stdout.splitlines())

    assert job in [video["id"] for video in cli.json("ps", "--all")]
    assert job not in [video["id"] for video in cli.json("ps")]
    lines = [line.split() for line in cli("ps", "-a").stdout.splitlines()]
    assert any((line[0], line[-1]) == (job, "completed") for line in lines)

    fetched = cli("fetch", job)
    assert (fetched.returncode, fetched.stdout) == (0, f"{job}.mp4\n")
    assert cli("fetch", job, "-o", "again.mp4").stdout == "again.mp4\n"
    assert (cli.directory / "again.mp4").read_bytes() == (cli.directory / f"{job}.mp4").read_bytes()

    assert (cli("rm", job).returncode, cli("rm", job).returncode) == (0, 2)
    for verb in ("show", "wait", "watch", "cancel", "fetch"):
        unknown = cli(verb, job)
        assert (unknown.returncode, unknown.stdout) == (2, "")
        assert job in unknown.stderr


def test_watch(cli: Cli, speech: Path) -> None:
    """`watch ID --json` prints events one a line, ends with the job, and afterwards shows how it ended."""
    job = cli.detach(speech)
    for _ in range(2):
        watched = cli("watch", job, "--json")
        events = [json.loads(line) for line in watched.stdout.splitlines()]
        assert watched.returncode == 0
        assert all(set(event) == {"type", "seq", "ts", "video"} and event["video"]["id"] == job for event in events)
        assert [event["type"] for event in events if event["video"]["status"] in TERMINAL] == ["job.completed"]
        told = [event["seq"] for event in events if event["seq"] is not None]
        assert told == sorted(told)
    assert f"{job} job.completed completed\n" in cli("watch", job).stdout


def test_watch_everything(cli: Cli, speech: Path) -> None:
    """`watch` tells of every job until Ctrl-C, which is exit code 130."""
    with cli.running("watch", "--json") as watching:
        assert watching.stdout is not None
        first = cli.detach(speech)
        jobs = {json.loads(watching.stdout.readline())["video"]["id"]}
        second = cli.detach(speech)
        while not {first, second} <= jobs:
            jobs.add(json.loads(watching.stdout.readline())["video"]["id"])
        watching.send_signal(signal.SIGINT)
    assert watching.returncode == 130


def test_interrupt_in_submit(cli: Cli, long_speech: Path) -> None:
    """Ctrl-C in `submit` cancels the job, leaves no file, and is exit code 130."""
    with cli.running("submit", PORTRAIT, long_speech) as submitting:
        job = accepted(submitting)
        cli.until_started(job)
        submitting.send_signal(signal.SIGINT)
        assert f"cancelled {job}" in until(submitting, "cancelled")
    assert submitting.returncode == 130
    assert cli("wait", job, "-q").returncode == 4
    assert cli.files() == set()


@pytest.mark.parametrize("verb", ["wait", pytest.param("watch", marks=pytest.mark.long)])
def test_interrupt_in_wait(cli: Cli, long_speech: Path, verb: str) -> None:
    """Ctrl-C in `wait` and `watch` leaves the job as it is."""
    job = cli.detach(long_speech)
    with cli.running(verb, job) as waiting:
        pipe = waiting.stderr if verb == "wait" else waiting.stdout
        assert pipe is not None
        assert job in pipe.readline()
        waiting.send_signal(signal.SIGINT)
    assert waiting.returncode == 130
    assert cli.json("show", job)["status"] in ("queued", "in_progress")
    cli("rm", job)


def test_cancelled_by_somebody_else(cli: Cli, long_speech: Path) -> None:
    """A job that another command cancels ends `submit`, `wait` and `watch` with exit code 4."""
    with cli.running("submit", PORTRAIT, long_speech) as submitting:
        job = accepted(submitting)
        with cli.running("wait", job) as waiting, cli.running("watch", job) as watching:
            until(waiting, job)
            assert watching.stdout is not None
            watching.stdout.readline()
            cancelled = cli("cancel", job)
            assert (cancelled.returncode, cancelled.stdout) == (0, "")
        assert f"{job} was cancelled" in until(submitting, "was cancelled")
    assert (submitting.returncode, waiting.returncode, watching.returncode) == (4, 4, 4)
    assert cli.files() == set()
    assert cli.json("cancel", job)["status"] == "cancelled"


def test_fetch_before_the_end(cli: Cli, long_speech: Path) -> None:
    """A clip that is not finished cannot be fetched: exit code 2, and no file."""
    job = cli.detach(long_speech)
    early = cli("fetch", job, "-o", "early.mp4")
    assert (early.returncode, early.stdout) == (2, "")
    assert cli.files() == set()
    assert cli("rm", job).returncode == 0
    assert cli("show", job).returncode == 2


def test_progress_bar(cli: Cli, speech: Path) -> None:
    """On a terminal there is a bar that redraws itself, without colours or any other escape code."""
    terminal, end = pty.openpty()
    command = [str(ECHOD), "submit", str(PORTRAIT), str(speech)]
    environ = {**os.environ, "ECHOD_URL": cli.url, "TERM": "xterm"}
    with subprocess.Popen(command, cwd=cli.directory, env=environ, stdout=subprocess.PIPE, stderr=end) as process:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while block := os.read(terminal, 4096):
                shown += block
        os.close(terminal)
        assert process.stdout is not None
        assert process.stdout.read() == b"hello.mp4\n"
    assert process.returncode == 0
    assert b"\r[" in shown
    assert b"\x1b" not in shown
    assert shown.endswith(b"\r")  # the bar is gone, and the prompt starts where it stood


def test_devices(daemon: RunningDaemon, cli: Cli) -> None:
    """`devices` shows each worker, its device and what it does."""
    [device] = cli.json("devices")
    assert (device["device"], device["engines"]) == ("cpu", ["preview"])
    head, row = cli("devices").stdout.splitlines()
    assert head.split()[:2] == ["DEVICE", "STATE"]
    assert row.split()[0] == "cpu"
    assert str(device["pid"]) in row


@pytest.mark.long
def test_doctor(daemon: RunningDaemon, cli: Cli, tmp_path: Path) -> None:
    """`doctor` finds what is there, a running daemon too, and exits with 1 if something required is missing."""
    environ = {"HOME": str(tmp_path)}
    checks = {check["name"]: check for check in json.loads(cli("doctor", "--json", env=environ).stdout)}
    assert all(check["ok"] for check in checks.values() if check["required"])
    assert checks.keys() >= {"python", "packages", "torch", "devices", "libx264", "aac", "disk", "daemon", "weights"}
    assert checks.keys() >= {"speak", "hear", "reply"}
    assert "1 of 1 workers ready" in checks["daemon"]["finding"]

    wrong = cli("doctor", env=environ | {"ECHOD_STATE_DIR": "/proc/echod", "ECHOD_URL": f"unix:{tmp_path}/none"})
    assert wrong.returncode == 1
    lines = {line.split()[1]: line.split()[0] for line in wrong.stdout.splitlines()[1:]}
    assert {name for name, mark in lines.items() if mark == "MISSING"} == {"disk", "daemon"}


def test_not_allowed(daemon: RunningDaemon, cli: Cli, speech: Path) -> None:
    """A caller whom the daemon does not know gets exit code 6, from every verb."""
    stranger = daemon.tcp.replace("127.0.0.1", "0.0.0.0")  # loopback, by a name that is not
    for arguments in (["ps"], ["submit", PORTRAIT, speech], ["wait", "video_1"], ["watch"]):
        refused = cli(*arguments, "--url", stranger)
        assert (refused.returncode, refused.stdout) == (6, "")
        assert refused.stderr.startswith("echod: ")


def test_a_refusal_in_chinese(daemon: RunningDaemon, cli: Cli) -> None:
    """A sentence for its code and the daemon's own words, on one line."""
    with daemon.client() as client, pytest.raises(EchodError) as refused:
        client.add_webhook("http://example.org", "", ["video.completed"])
    told = cli("webhooks", "add", "http://example.org", env={"ECHOD_LANG": "zh"})
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == f"echod: {REFUSALS['invalid_request']}（{refused.value.message}）\n"


def test_over_tcp(daemon: RunningDaemon, cli: Cli, speech: Path) -> None:
    """The TCP port serves the command line like the unix socket."""
    done = cli("submit", PORTRAIT, speech, "-q", "--url", daemon.tcp)
    assert (done.returncode, done.stdout) == (0, "hello.mp4\n")


def test_a_session_finds_its_daemon(daemon: RunningDaemon, speech: Path, tmp_path: Path) -> None:
    """The socket in the session's runtime directory is found without being named."""
    with tempfile.TemporaryDirectory(prefix="echod-") as runtime:
        Path(runtime, "echod").symlink_to(daemon.runtime_dir)
        found = run_echod("ps", "--json", env={"XDG_RUNTIME_DIR": runtime})
    assert found.returncode == 0


@pytest.mark.long
def test_a_restart_in_the_middle(tmp_path: Path, long_speech: Path, speech: Path) -> None:
    """`submit`, `wait` and `watch` go on when the daemon dies and comes back, and give up when it does not."""
    with RunningDaemon(tmp_path) as daemon:
        cli = Cli(daemon.url, tmp_path / "cwd")
        with cli.running("submit", PORTRAIT, EXAMPLES / "speech.wav", "-o", "clip.mp4") as submitting:
            job = accepted(submitting)
            with cli.running("wait", job) as waiting, cli.running("watch", job, "--json") as watching:
                cli.until_started(job)
                daemon.kill()
                assert "waiting up to 60 s" in until(submitting, "lost the daemon")
                daemon.start()
                until(submitting, "the daemon is back")
                assert watching.stdout is not None
                events = [json.loads(line) for line in watching.stdout]
        assert (submitting.returncode, waiting.returncode, watching.returncode) == (0, 0, 0)
        assert events[-1]["video"]["status"] == "completed"
        assert events[-1]["video"]["echod"]["attempt"] == 2
        assert duration(cli.directory / "clip.mp4") > 7
        assert [video["id"] for video in cli.json("ps", "--all")] == [job]

        with cli.running("submit", PORTRAIT, long_speech, "--reconnect", "0.2") as submitting:
            cli.until_started(accepted(submitting))
            daemon.kill()
            assert "did not come back within 0.2 s" in until(submitting, "did not come back")
        assert submitting.returncode == 3
        assert cli.files() == {"clip.mp4"}


@pytest.mark.long
def test_a_job_that_fails(tmp_path: Path, long_speech: Path) -> None:
    """A job under which two workers died ends `submit` and `wait` with exit code 1 and its error."""
    with RunningDaemon(tmp_path) as daemon:
        cli = Cli(daemon.url, tmp_path / "cwd")
        with cli.running("submit", PORTRAIT, long_speech) as submitting:
            job = accepted(submitting)
            for attempt in (1, 2):
                with daemon.client() as client:
                    for event in client.follow(job):
                        extras = event["video"]["echod"]
                        if extras["stage"] and extras["attempt"] == attempt:
                            break
                [device] = daemon.devices()
                os.kill(device["pid"], signal.SIGKILL)
            assert f"{job} failed: poison: " in until(submitting, "failed: ")
        assert submitting.returncode == 1
        waited = cli("wait", job)
        assert (waited.returncode, waited.stdout) == (1, f"{job} failed\n")
        assert cli.files() == set()


@pytest.mark.long
def test_a_busy_daemon(tmp_path: Path, long_speech: Path, speech: Path) -> None:
    """A full queue and a daemon that drains refuse with exit code 5, naming the limit."""
    with RunningDaemon(tmp_path, ECHOD_QUEUE_LIMIT="1", ECHOD_DRAIN_TIMEOUT="60s") as daemon:
        cli = Cli(daemon.url, tmp_path / "cwd")
        running = cli.detach(long_speech)
        cli.until_started(running)
        waiting = cli.detach(speech)
        full = cli("submit", PORTRAIT, speech)
        assert (full.returncode, full.stdout) == (5, "")
        assert "queue_limit" in full.stderr
        cli("rm", waiting)
        daemon.send(signal.SIGTERM)
        daemon.until("STOPPING")
        draining = cli("submit", PORTRAIT, speech)
        assert (draining.returncode, draining.stdout) == (5, "")
        cli("cancel", running)
        assert daemon.process.wait(60) == 0


def test_a_port_in_use(tmp_path: Path) -> None:
    """`serve` on a port that is taken says so, and how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken, tempfile.TemporaryDirectory(prefix="echod-") as runtime:
        port = str(taken.getsockname()[1])
        refused = run_echod("serve", "--port", port, "--state-dir", tmp_path / "state", "--runtime-dir", runtime)
    assert (refused.returncode, refused.stdout) == (78, "")
    assert port in refused.stderr
    assert "Traceback" not in refused.stderr
