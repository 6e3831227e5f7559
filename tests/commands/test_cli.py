"""The installed command, without a daemon."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from echod import __version__, config
from echod.client.address import DEFAULT_URL, SYSTEM_SOCKET, find
from echod.config import SECTIONS
from echod.errors import DaemonUnreachable
from tests.drivers.command import run

COMMANDS = (
    *(
        "serve",
        "submit",
        "say",
        "ps",
        "show",
        "watch",
        "wait",
        "cancel",
        "rm",
        "fetch",
        "verify",
        "devices",
        "config",
        "doctor",
    ),
    *(
        "service",
        "weights",
        "users",
        "tokens",
        "roles",
        "voices",
        "usage",
        "chat",
        "bench",
        "login",
        "logout",
        "passwd",
    ),
    *("completion", "backup", "restore", "pin", "unpin", "webhooks"),
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    portrait, speech = tmp_path / "portrait.png", tmp_path / "speech.wav"
    portrait.write_bytes(b"no picture")
    speech.write_bytes(b"no sound")
    return portrait, speech


@pytest.fixture
def nowhere() -> str:
    """The URL of a port where nobody listens, held so that nobody else takes it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


def test_importing_is_light() -> None:
    """The command line loads nothing heavy before a command runs."""
    code = "import sys, echod.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "click" in loaded
    assert not {"torch", "httpx", "zmq", "numpy", "websockets", "msgspec", "fastapi", "av", "asyncio"} & set(loaded)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path: Path, shell: str) -> None:
    """The script asks the command itself, which knows its commands and options."""
    script = run("completion", shell, home=tmp_path)
    assert script.returncode == 0 and f"_ECHOD_COMPLETE={shell}_complete" in script.stdout
    asked = {
        "_ECHOD_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "echod su",
        "COMP_CWORD": "su" if shell == "fish" else "1",
    }
    assert "submit" in run(home=tmp_path, **asked).stdout


def test_the_daemon_is_named_before_the_command_too(tmp_path: Path) -> None:
    for arguments in (["--url", "http://127.0.0.1:1", "ps"], ["ps", "--url", "http://127.0.0.1:1"]):
        done = run(*arguments, home=tmp_path)
        assert done.returncode == 3 and "127.0.0.1:1" in done.stderr


def test_interrupt_while_it_is_imported(tmp_path: Path) -> None:
    """Ctrl-C before a command has begun ends it like any later one, without a traceback."""
    (tmp_path / "click.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    code = "import sys; sys.path.insert(0, '.'); from echod.__main__ import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_help_lists_the_commands(tmp_path: Path) -> None:
    """Every command is there, with a line about it, and each has its own help."""
    listed = run("--help", home=tmp_path)
    assert listed.returncode == 0
    names = [line.split()[0] for line in listed.stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert sorted(names) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(tmp_path: Path, command: str) -> None:
    """`--help` is answered on stdout with exit code 0."""
    helped = run(command, "--help", home=tmp_path)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith(f"Usage: echod {command}")


def test_version(tmp_path: Path) -> None:
    """`--version` tells the version."""
    assert run("--version", home=tmp_path).stdout == f"echod {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "portrait.png"],
        ["submit", "nowhere.png", "speech.wav"],
        ["submit", "portrait.png", "."],
        ["submit", "-", "-"],
        ["submit", "portrait.png", "speech.wav", "--seed", "many"],
        ["submit", "portrait.png", "speech.wav", "--frames", "3"],
        ["submit", "portrait.png", "speech.wav", "--url", "gopher://localhost"],
        ["submit", "portrait.png", "speech.wav", "-o", "nowhere/clip.mp4"],
        ["say", "portrait.png"],
        ["say", "nowhere.png", "Hello."],
        ["say", "-", "-"],
        ["say", "portrait.png", " \n"],
        ["say", "portrait.png", "Hello.", "-o", "nowhere/clip.mp4"],
        ["usage", "--days", "0"],
        ["ps", "--url", "http://localhost:port"],
        ["sumbit"],
        ["rm"],
    ],
    ids=" ".join,
)
def test_usage_errors(tmp_path: Path, files: tuple[Path, Path], arguments: list[str]) -> None:
    """What cannot be meant is refused with exit code 2 and a line on stderr, without a traceback."""
    refused = run(*arguments, home=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("echod: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "portrait.png", "speech.wav"],
        ["say", "portrait.png", "Hello."],
        ["voices"],
        ["usage"],
        ["ps"],
        ["show", "video_1"],
        ["watch"],
        ["watch", "video_1", "--json"],
        ["wait", "video_1"],
        ["cancel", "video_1"],
        ["rm", "video_1"],
        ["fetch", "video_1"],
        ["devices"],
    ],
    ids=" ".join,
)
def test_no_daemon(tmp_path: Path, files: tuple[Path, Path], nowhere: str, arguments: list[str]) -> None:
    """Without a daemon a command ends at once with exit code 3, naming `echod serve`, and leaves no file."""
    before = set(tmp_path.iterdir())
    for environ, flags in (({}, ["--url", nowhere]), ({"ECHOD_URL": f"unix:{tmp_path}/none.sock"}, [])):
        unreachable = run(*arguments, *flags, home=tmp_path, **environ)
        assert (unreachable.returncode, unreachable.stdout) == (3, "")
        assert "echod serve" in unreachable.stderr
        assert unreachable.stderr.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


def test_places_where_a_daemon_is_sought(tmp_path: Path) -> None:
    """Nothing given, the session's socket comes first, then the system's, then the TCP port."""
    session = tmp_path / "echod/echod.sock"
    session.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(session))
        server.listen()
        assert find(environ={"XDG_RUNTIME_DIR": str(tmp_path)}).socket == session
        assert find(environ={"XDG_RUNTIME_DIR": str(tmp_path), "ECHOD_URL": "http://h:1"}).url == "http://h:1"
        assert find("unix:/a", {"ECHOD_URL": "http://h:1"}).socket == Path("/a")


def test_a_daemon_started_without_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a daemon without XDG_RUNTIME_DIR has its socket, it is found, with a session or without."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("echod.client.address.SYSTEM_SOCKET", tmp_path / "none.sock")
    place = config.load(environ={"HOME": str(tmp_path)}, files=[]).socket
    place.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()
        assert find(environ={}).socket == find(environ={"XDG_RUNTIME_DIR": str(tmp_path / "session")}).socket == place
        place.parent.chmod(0o770)  # now somebody else may have put the socket there
        with contextlib.suppress(DaemonUnreachable):
            assert find(environ={}).socket is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_socket_that_somebody_else_has_put_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory in the temp directory that is another user's, or a link, is passed by: passwords would go to them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = tmp_path / f"echod-{os.getuid()}"
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "echod.sock"))
        server.listen()
        with contextlib.suppress(DaemonUnreachable):
            assert find(environ={}).socket != place / "echod.sock"
        place.rename(tmp_path / "ours")
        os.chown(tmp_path / "ours", 0, 0)
        place.symlink_to(tmp_path / "ours")
        with contextlib.suppress(DaemonUnreachable):
            assert find(environ={}).socket != place / "echod.sock"


def test_a_socket_left_behind_is_passed_by(tmp_path: Path) -> None:
    """A socket file whose daemon is gone is no daemon; the message tells every place and what was wrong there."""
    session = tmp_path / "echod/echod.sock"
    session.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(session))
    try:
        found = find(environ={"XDG_RUNTIME_DIR": str(tmp_path)})
    except DaemonUnreachable as error:
        for part in (f"{session} (connection refused)", str(SYSTEM_SOCKET), DEFAULT_URL, "echod serve"):
            assert part in error.message
    else:  # a daemon of this machine's own
        assert found.socket != session


@pytest.mark.parametrize(
    ("arguments", "environ", "part"),
    [
        (["serve", "--port", "66000"], {}, "--port"),
        (["serve", "--devices", "gpu"], {}, "--devices"),
        (["serve", "--engine", "wan"], {}, "--engine"),
        (["serve"], {"ECHOD_MAX_UPLOAD": "much"}, "ECHOD_MAX_UPLOAD"),
        (["config", "show"], {"ECHOD_PORT": "x"}, "ECHOD_PORT"),
    ],
)
def test_bad_settings(tmp_path: Path, arguments: list[str], environ: dict[str, str], part: str) -> None:
    """Settings that cannot be used end with exit code 78, naming where the value came from."""
    refused = run(*arguments, home=tmp_path, **environ)
    assert (refused.returncode, refused.stdout) == (78, "")
    assert part in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("ECHOD_OPENAI_URL", "http://bob:hunter2secret@127.0.0.1:1/v1"), ("ECHOD_DASHSCOPE_URL", "sk-hunter2secret")],
)
def test_secrets_in_bad_settings(tmp_path: Path, name: str, value: str) -> None:
    """A secret where none belongs is refused without being repeated."""
    refused = run("config", "show", home=tmp_path, **{name: value})
    assert (refused.returncode, name in refused.stderr, "hunter2secret" in refused.stderr) == (78, True, False)


def test_bad_config_file(tmp_path: Path) -> None:
    """A misspelt key in the user's file ends the daemon's start with exit code 78 and the likely meaning."""
    file = tmp_path / ".config/echod/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("prot = 1\n")
    refused = run("serve", home=tmp_path)
    assert refused.returncode == 78
    assert refused.stderr == f"echod: {file}: prot is no setting; did you mean port, under [listen]?\n"


def test_config_init(tmp_path: Path) -> None:
    """The file that `config init` writes changes nothing, still does so uncommented, and is never replaced."""
    file = tmp_path / ".config/echod/config.toml"
    before = json.loads(run("config", "show", "--json", home=tmp_path).stdout)
    written = run("config", "init", home=tmp_path)
    assert (written.returncode, written.stdout) == (0, f"{file}\n")
    assert tomllib.loads(file.read_text()).keys() == set(SECTIONS)
    assert json.loads(run("config", "show", "--json", home=tmp_path).stdout) == before

    settings = [
        line.removeprefix("# ") for line in file.read_text().splitlines() if " = " in line and "_dir" not in line
    ]
    file.write_text("\n".join(settings))
    described = json.loads(run("config", "show", "--json", "--origin", home=tmp_path).stdout)
    assert {name: entry["value"] for name, entry in described.items()} == before
    assert [name for name, entry in described.items() if entry["origin"] != str(file)] == [
        "state_dir",
        "runtime_dir",
        "weights_dir",
    ]

    again = run("config", "init", home=tmp_path)
    assert (again.returncode, again.stdout) == (78, "")
    assert file.read_text() == "\n".join(settings)


def test_config_show_origin(tmp_path: Path) -> None:
    """`config show` prints a file that can be used as it is; --origin says where each value came from."""
    shown = run("config", "show", "--origin", home=tmp_path, ECHOD_MAX_UPLOAD="32MiB")
    assert 'max_upload = "32MiB"  # ECHOD_MAX_UPLOAD' in shown.stdout.splitlines()
    assert tomllib.loads(shown.stdout)["limits"]["max_upload"] == "32MiB"
