"""Nothing that others have written is obeyed by a terminal: every command, at a daemon whose every word is hostile."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import click
import pytest

from echod import cli
from echod.client import client
from echod.client.address import Address
from echod.commands import checks as doctor
from echod.commands import playing
from echod.commands.overview import Overview
from echod.commands.progress import Progress
from echod.errors import EchodError
from echod.host.logs import Json, Text
from echod.host.terminal import OBEYED, plain, plain_json
from echod.inference.echomimic import hub, layout, weights
from echod.provenance import credentials
from tests.making.media import EXAMPLES

EVIL = "\x1b]0;owned\x07\x9b31m\r\x1b[2J\n\u2028ok \u202elive\u2066\x7f\ud800\x85end"
RAW = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xed[\xa0-\xbf]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ada, 你好, é 👩‍👩‍👧 ‏שלום", "Ada, 你好, é 👩‍👩‍👧 ‏שלום"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\x9b31mb", r"a\x9b31mb"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("a\u202eb\u2069\u2028", r"a\u202eb\u2069\u2028"),
        ("\udcff\x00\x7f", r"\udcff\x00\x7f"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    """What a terminal would obey is spelled out; letters of all scripts stay, and what was spelled out before."""
    assert plain(text) == plain(plain(text)) == shown


def test_plain_json() -> None:
    """JSON keeps its meaning and its lines, and holds nothing that a terminal obeys."""
    value = {EVIL: [EVIL, {"deep": EVIL}], "plain": "你好"}
    text = plain_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(text) == value
    assert OBEYED.sub("", text.replace("\n", "")) == text.replace("\n", "")
    assert "你好" in text and text.count("\n") == 8


# A daemon whose every word is hostile


def video(status: str = "completed") -> dict[str, Any]:
    return {
        "id": f"video_1{EVIL}", "object": "video", "status": status, "progress": 40, "model": EVIL, "size": EVIL,
        "seconds": "3", "created_at": 1, "completed_at": None, "expires_at": None, "prompt": EVIL,
        "error": {"code": "internal", "message": EVIL} if status == "failed" else None,
        "echod": {
            "title": EVIL, "account": EVIL, "stage": EVIL, "device": EVIL, "voice": EVIL, "engine": EVIL, "attempt": 2,
            "queue_position": 1, "eta_s": 3.0, "seed": EVIL, "url": EVIL, "frames": 3, "faces": EVIL,
            "timings_ms": {EVIL: 3}, "metadata": {EVIL: EVIL}, "crop": [EVIL, EVIL],
        },
    }  # fmt: skip


ROLE = {
    "name": EVIL, "title": EVIL, "language": EVIL, "mode": EVIL, "greeting": EVIL, "personality": EVIL, "error": None,
    "options": {EVIL: EVIL},
}  # fmt: skip
TOKEN = {
    "id": EVIL, "name": EVIL, "account": EVIL, "token": EVIL, "created_at": 1.0, "expires_at": 2.0,
    "last_used_at": None,
}  # fmt: skip
WEBHOOK = {
    "id": EVIL, "name": EVIL, "url": EVIL, "event_types": [EVIL], "signing_secret": EVIL,
    "echod": {"account": EVIL, "everybody": False, "waiting": 1, "failed": 1, "disabled": EVIL},
}  # fmt: skip
DELIVERY = {
    "id": EVIL, "type": EVIL, "video_id": EVIL, "created_at": 1.0, "state": EVIL, "attempts": 1, "answer": EVIL,
}  # fmt: skip
DEVICE = {
    "device": EVIL, "state": EVIL, "pid": 1, "engines": [EVIL], "job": EVIL, "restarts": 0, "reason": EVIL,
    "helping": EVIL, "helps": [EVIL], "numbers": {EVIL: EVIL}, "computed": {EVIL: {"dtype": EVIL}},
    "doing": EVIL, "kernels": EVIL,
}  # fmt: skip
SUM = {
    "day": EVIL, "account": EVIL, "function": EVIL, "backend": EVIL, "model": EVIL, "voice": EVIL, "calls": EVIL,
    "failed": EVIL,
    "input_tokens": 1, "output_tokens": 1, "characters": 1, "seconds": 1.0,
}  # fmt: skip


class Talk:
    """A conversation with somebody who writes for terminals."""

    id = EVIL
    connected = True

    def ask(self, text: str) -> None:
        pass

    greet = cancel = lambda self: None

    def answer(self) -> Iterator[dict[str, Any]]:
        yield {"type": "response.output_audio_transcript.delta", "delta": f"{EVIL}. {EVIL}."}
        yield {"type": "response.output_video.progress", "progress": 3, "stage": EVIL, "index": 0}
        yield {"type": "response.output_video.done", "index": 0, "video_id": EVIL}
        failed = {"error": {"message": EVIL, "code": "internal", "param": None, "type": EVIL}}
        yield {"type": "response.done", "response": {"status": EVIL, "status_details": failed, "echod": {EVIL: 1}}}


class Daemon:
    """In the place of `Client`."""

    status = "completed"

    def __init__(self, address: str, token: str | None, *, patience: float = 0, tell: Any = None) -> None:
        self.address = Address(EVIL)
        self.patience = patience
        self.tell = tell
        tell(EVIL)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        """Whatever a command asks for that is not below: an object of all that is asked of any."""
        return lambda *_, **__: {**ROLE, **TOKEN, "role": EVIL}

    def videos(self) -> list[dict[str, Any]]:
        return [video(status) for status in ("queued", "in_progress", "failed", "completed")]

    def find_video(self, name: str) -> str:
        return str(video()["id"])

    def video(self, name: str) -> dict[str, Any]:
        return video(self.status)

    submit = cancel = pin = unpin = lambda self, *_, **__: video(self.status)

    def events(self) -> Iterator[dict[str, Any]]:
        for status in ("queued", "in_progress", "completed"):
            yield {"type": EVIL, "seq": 1, "ts": 0.0, "video": video(status)}
        yield {"type": EVIL, "seq": 1, "ts": 0.0, "video": video(self.status)}

    def follow(self, name: str) -> Iterator[dict[str, Any]]:
        return self.events()

    def content(self, name: str, file: BinaryIO) -> None:
        file.write(b"clip")

    def stream(self, name: str) -> Iterator[bytes]:
        yield b"clip"

    def _list(self, *found: dict[str, Any]) -> list[dict[str, Any]]:
        return list(found)

    accounts = lambda self: [{**TOKEN, "role": EVIL}]  # noqa: E731
    tokens = lambda self: [TOKEN]  # noqa: E731
    webhooks = lambda self: [WEBHOOK]  # noqa: E731
    add_webhook = lambda self, *_, **__: WEBHOOK  # noqa: E731
    deliveries = lambda self, _: [DELIVERY]  # noqa: E731
    usage = lambda self, days: [SUM]  # noqa: E731
    voices = lambda self: [{"id": EVIL, "default": True}]  # noqa: E731
    roles = lambda self: [ROLE, {**ROLE, "error": EVIL}]  # noqa: E731
    capabilities = lambda self: {"speaks": {"reason": None}}  # noqa: E731
    health = lambda self: {"sign_in": True}  # noqa: E731
    readiness = lambda self: {"devices": [DEVICE]}  # noqa: E731
    manifest = lambda self, _: {"computed": {"device": EVIL}, "versions": {"torch": EVIL}}  # noqa: E731

    @contextlib.contextmanager
    def talk(self, *_: object, **__: object) -> Iterator[Talk]:
        yield Talk()


class Failing(Daemon):
    status = "failed"


class Refusing(Daemon):
    """It refuses everything, in words that are hostile too."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in ("tell", "patience", "address"):
            return super().__getattribute__(name)

        def refuse(*_: object, **__: object) -> Any:
            raise EchodError("invalid_request", EVIL, param=EVIL)

        return refuse


# Every command, by its name, and arguments to run it with
PORTRAIT, SPEECH = str(EXAMPLES / "portrait.png"), str(EXAMPLES / "speech.wav")
AT_A_DAEMON = {
    "submit": [PORTRAIT, SPEECH],
    "say": [PORTRAIT, "Hello."],
    "chat": ["--role", "ada"],
    "ps": ["--all"],
    "show": ["1"],
    "watch": ["1"],
    "wait": ["1", "2"],
    "cancel": ["1"],
    "rm": ["1"],
    "pin": ["1"],
    "unpin": ["1"],
    "fetch": ["1"],
    "voices": [],
    "roles list": [],
    "roles show": ["ada"],
    "roles add": [str(EXAMPLES / "roles" / "ada")],
    "roles rm": ["-y", EVIL.replace("\ud800", "")],
    "login": ["anna"],
    "logout": [],
    "passwd": [],
    "users add": ["anna"],
    "users list": [],
    "users passwd": ["anna"],
    "users rm": ["-y", "anna"],
    "tokens create": ["laptop"],
    "tokens list": [],
    "tokens revoke": ["1"],
    "webhooks add": ["https://example.org/"],
    "webhooks list": [],
    "webhooks show": ["1"],
    "webhooks retry": ["1"],
    "webhooks test": ["1"],
    "webhooks rm": ["1"],
    "usage": [],
    "devices": [],
    "bench": [PORTRAIT, SPEECH],
}
ON_THIS_MACHINE = {
    "doctor": [],
    "weights pull": [],
    "weights list": [],
    "weights verify": [],
    "config show": ["--origin"],
    "verify": [SPEECH],
    "backup": ["backup"],
    "restore": ["backup"],
    "service install": ["--user", "--dry-run", "--admin", EVIL.replace("\ud800", "")],
    "service uninstall": ["--user", "--dry-run", "--purge"],
}
OWN_TEXT = {"serve", "service show", "completion", "config init", "weights init"}  # nothing that came from elsewhere


def leaves(command: click.Command, *before: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(inner, *before, name)
    else:
        yield " ".join(before)


def test_every_command_is_tried() -> None:
    """A new command has to stand in one of the tables above."""
    assert set(leaves(cli.echod)) == {*AT_A_DAEMON, *ON_THIS_MACHINE, *OWN_TEXT}


def test_one_way_to_the_terminal() -> None:
    """Commands print by the functions of common.py; what they print otherwise holds no value but their own."""
    literal = re.compile(r"click\.echo\((err=True|\"[^\"{}]*\"[^)]*|PROMPT[^)]*)\)")
    for path in Path(cli.__file__).parent.joinpath("commands").glob("*.py"):
        source = re.sub(r"\s+", " ", path.read_text())
        calls = len(re.findall(r"click\.(?:echo|secho|style)\(|\bprint\(|std(?:out|err)\.(?:buffer\.)?write\(", source))
        allowed = {
            "common.py": 4,
            "checks.py": 1,
            "ray.py": 1,
            "service.py": 1,
            "completion.py": 1,
            "progress.py": 1,
            "overview.py": 1,
        }
        assert calls - len(literal.findall(source)) <= allowed.get(path.name, 0), path.name


class Outcome:
    def __init__(self, stdout: bytes, stderr: bytes, code: object) -> None:
        self.stdout, self.stderr, self.code = stdout, stderr, code


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Any]:
    """Run a command line in this process as the installed command runs it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ECHOD_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(playing, "player", lambda suffix: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments: str, daemon: type[Daemon] = Daemon) -> Outcome:
        monkeypatch.setattr(client, "Client", daemon)
        monkeypatch.setattr(sys, "argv", ["echod", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"password one\npassword two\n" * 3)))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Outcome(*capfdbinary.readouterr(), ended.value.code)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def check(outcome: Outcome, *, says: bool = True) -> None:
    for stream in (outcome.stdout, outcome.stderr):
        assert not (found := RAW.search(stream)), stream[max(0, found.start() - 60) : found.end() + 60]
        assert b"Traceback" not in stream
    assert not says or b"owned" in outcome.stdout + outcome.stderr, (outcome.stdout, outcome.stderr)


def strings(value: Any) -> Iterator[str]:
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from [inner] if isinstance(inner, str) else strings(inner)


@pytest.mark.parametrize("name", AT_A_DAEMON)
def test_at_a_hostile_daemon(run: Any, name: str) -> None:
    """Text and JSON of every command, and its refusals, hold nothing that a terminal obeys."""
    for daemon in (Daemon, Failing, Refusing):
        outcome = run(*name.split(), *AT_A_DAEMON[name], daemon=daemon)
        check(outcome)
        assert daemon is not Refusing or outcome.code, (outcome.code, outcome.stderr)
    command: Any = cli.echod
    for word in name.split():
        command = command.commands[word]
    if any("--json" in option.opts for option in command.params):
        outcome = run(*name.split(), *AT_A_DAEMON[name], "--json")
        check(outcome, says=False)
        for line in outcome.stdout.splitlines() if name in ("watch", "chat") else [outcome.stdout]:
            assert EVIL in list(strings(json.loads(line)))


@pytest.mark.parametrize("name", ON_THIS_MACHINE)
def test_on_a_hostile_machine(run: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What programs, files and settings of this machine say is no more obeyed."""
    found = doctor.Check(EVIL, False, EVIL)
    monkeypatch.setattr(doctor, "examine", lambda url: iter([found]))
    monkeypatch.setattr(
        layout, "inventory", lambda where: [SimpleNamespace(engine=EVIL, file=EVIL, size=1, state=EVIL)]
    )
    monkeypatch.setattr(weights, "verify", lambda where, engine: [SimpleNamespace(file=EVIL, problems=[EVIL])])
    monkeypatch.setattr(hub, "pull", lambda where, engine, tell: tell(EVIL))
    said = {"job": EVIL, "engine": EVIL, "frames": EVIL, "inputs": {EVIL: EVIL}}
    signed = credentials.Credentials("untrusted", EVIL, EVIL, EVIL, False, (), said)
    monkeypatch.setattr(credentials, "read", lambda clip, trusted: signed)
    monkeypatch.setenv("ECHOD_VOICE", EVIL.replace("\ud800", "\udcff"))
    check(run(*name.split(), *ON_THIS_MACHINE[name]))


def test_usage_errors(run: Any) -> None:
    """What was typed, or pasted, is not obeyed either."""
    evil = EVIL.replace("\ud800", "")
    for arguments in (
        [evil],
        ["ps", f"--{evil}"],
        ["submit", evil, evil],
        ["ps", "--url", evil],
        ["roles", "add", evil],
    ):
        check(run(*arguments))


def test_lines_that_are_drawn_again(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A bar and an overview move the cursor themselves; the words in them do not."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(quiet=False) as progress:
        for status in ("queued", "in_progress"):
            progress.show(video(status))  # type: ignore[arg-type]
        progress.show_bar(3, EVIL)
        progress.note(EVIL)
    overview = Overview()
    for status in ("queued", "in_progress", "failed"):
        overview.show(video(status))  # type: ignore[arg-type]
    overview.note(EVIL)
    drawn = b"".join(capfdbinary.readouterr())
    own = re.sub(rb"\r(?!\x1b)|\x1b\[\d+A\x1b\[J", b"", drawn)
    assert b"owned" in own
    assert not RAW.search(own), own


@pytest.mark.parametrize("formatter", [Text(in_unit=False), Text(in_unit=True), Json()])
def test_log_lines(formatter: logging.Formatter) -> None:
    """A line of the log is one line, whoever wrote what stands in it; so is each of a traceback."""
    try:
        raise ValueError(EVIL)
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord("echod", logging.ERROR, __file__, 1, "it says %s", (EVIL,), failure)
    record.why = record.account = EVIL
    text = formatter.format(record)
    assert not OBEYED.search(text.replace("\n", ""))
    assert all("owned" not in line or line.strip() for line in text.split("\n"))
    forged = [line for line in text.split("\n") if line.startswith(("ok", "end", "\u2028"))]
    assert not forged


def test_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that the daemon made up leads out of no directory."""
    from echod.commands.saving import Target

    monkeypatch.chdir(tmp_path)
    path = Target(None, "../../etc/x\0y\ud800").write(b"clip")
    assert path.resolve().parent == tmp_path
