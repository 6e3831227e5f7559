"""`echod users` and `echod tokens` against a running daemon, and when that may listen beyond loopback."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.command import ECHOD, run_echod
from tests.drivers.running import LIGHT, RunningDaemon

Run = Callable[..., subprocess.CompletedProcess[str]]

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def own_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("people"), command=LIGHT) as running:
        yield running


@pytest.fixture
def echod(own_daemon: RunningDaemon) -> Iterator[Run]:
    """The command, as somebody at the daemon's own machine; `url` and `token` make it somebody else."""

    def run(*arguments: str, url: str | None = None, token: str | None = None, **options: Any) -> Any:
        env = {"ECHOD_TOKEN": token} if token else {}
        return run_echod(*arguments, url=url or own_daemon.url, env=env, **options)

    yield run
    for account in sorted(
        json.loads(run("users", "list", "--json").stdout), key=lambda each: str(each["role"] == "admin")
    ):
        assert run("users", "rm", account["name"], "--yes").returncode == 0


def add(echod: Run, name: str, role: str = "user") -> None:
    added = echod("users", "add", name, "--role", role, input=PASSWORD + "\n")
    assert (added.returncode, added.stdout, added.stderr) == (0, "", f"echod: {name} added, {role}\n")


def test_the_first_account(tmp_path: Path) -> None:
    """By TCP nobody adds it and everybody is told how; by the unix socket it is added, without a session too."""
    running = RunningDaemon(tmp_path, command=LIGHT)
    session = {"XDG_RUNTIME_DIR": "", "TMPDIR": str(running.runtime_dir)}
    running.runtime_dir /= f"echod-{os.getuid()}"
    anna = "users", "add", "anna", "--role", "admin"
    with running:
        assert "no accounts: whoever reaches the TCP port" in running.log.read_text()
        told = run_echod("doctor", url=running.tcp).stdout
        assert "callers" in told and "no accounts: whoever" in told
        refused = run_echod(*anna, url=running.tcp, input=PASSWORD)
        assert (refused.returncode, refused.stdout) == (6, "")
        assert "unix socket" in refused.stderr and "--url unix:" in refused.stderr
        assert run_echod("users", "list", "--json", env=session).stdout == "[]\n"
        added = run_echod(*anna, env=session, input=PASSWORD)
        assert (added.returncode, added.stderr) == (0, "echod: anna added, admin\n")
        assert run_echod("ps", url=running.tcp).returncode == 6
        running.stop()
        running.start()
        assert running.log.read_text().count("no accounts: ") == 1


@pytest.mark.long
def test_login(echod: Run, own_daemon: RunningDaemon, tmp_path: Path) -> None:
    """A token is kept where its owner alone may read it, for this daemon; a new password renews it, logout ends it."""
    add(echod, "anna", "admin")
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "", "ECHOD_TOKEN": ""}

    def at_home(*arguments: str, **options: Any) -> Any:
        return run_echod(*arguments, url=own_daemon.tcp, env=home, **options)

    early = at_home("ps")
    assert early.returncode == 6 and "ECHOD_TOKEN" in early.stderr and "echod login" in early.stderr
    assert "Authorization" not in early.stderr
    wrong = at_home("login", "anna", input="wrong\n")
    assert (wrong.returncode, wrong.stderr) == (6, "echod: the name or the password is wrong\n")
    said = at_home("login", "anna", input=PASSWORD + "\n")
    assert (said.returncode, said.stderr) == (0, f"echod: logged in at {own_daemon.tcp} as anna\n")
    kept = tmp_path / ".config/echod/credentials.json"
    assert kept.stat().st_mode & 0o777 == 0o600 and PASSWORD not in kept.read_text()
    assert at_home("ps").returncode == 0
    changed = at_home("passwd", input=f"{PASSWORD}\nanother {PASSWORD}\n")
    assert changed.returncode == 0, changed.stderr
    assert at_home("ps").returncode == 0
    kept.chmod(0o644)
    assert "chmod 600" in at_home("ps").stderr
    kept.chmod(0o600)
    assert at_home("logout").returncode == 0
    assert (at_home("ps").returncode, json.loads(kept.read_text())) == (6, {})
    assert at_home("logout").returncode == 2
    assert echod("tokens", "list", "--json").stdout == "[]\n"


def test_users(echod: Run) -> None:
    """Accounts are added, listed, given another password and removed; refusals tell why, with their exit codes."""
    early = echod("users", "add", "bert", input=PASSWORD)
    assert (early.returncode, early.stdout) == (2, "")
    assert "the first account must be an admin" in early.stderr
    add(echod, "anna", "admin")
    add(echod, "bert")
    lines = echod("users", "list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["NAME", "ROLE"], ["anna", "admin"], ["bert", "user"]]
    listed = json.loads(echod("users", "list", "--json").stdout)
    assert [(account["name"], account["role"]) for account in listed] == [("anna", "admin"), ("bert", "user")]
    changed = echod("users", "passwd", "bert", input="another one\n")
    assert (changed.returncode, changed.stdout) == (0, "")
    for arguments, given, code, why in (
        (("add", "bert"), PASSWORD, 2, "is taken"),
        (("add", "Bert"), PASSWORD, 2, "a-z"),
        (("add", "cleo"), "short", 2, "5 characters"),
        (("add", "cleo"), "", 2, "no password"),
        (("passwd", "nobody"), PASSWORD, 2, "no account 'nobody'"),
        (("rm", "nobody", "--yes"), "", 2, "no account 'nobody'"),
        (("rm", "anna", "--yes"), "", 6, "last admin"),
        (("rm", "bert"), "n\n", 1, "with all jobs, clips, files and tokens? [y/N]: echod: nothing removed\n"),
        (("rm", "bert"), "", 2, "--yes"),
    ):
        refused = echod("users", *arguments, input=given)
        assert (refused.returncode, refused.stdout) == (code, ""), arguments
        assert why in refused.stderr
    gone = echod("users", "rm", "bert", input="y\n")
    assert gone.returncode == 0
    assert gone.stderr.endswith("echod: bert removed\n")


@pytest.mark.long
def test_tokens(own_daemon: RunningDaemon, echod: Run) -> None:
    """A token is printed alone, once; it lets its owner in by TCP with their rights, until it is revoked."""
    add(echod, "anna", "admin")
    add(echod, "bert")
    assert echod("ps", url=own_daemon.tcp).returncode == 6
    nobodys = echod("tokens", "create", "laptop")
    assert (nobodys.returncode, nobodys.stdout) == (2, "")
    assert "--user" in nobodys.stderr
    made = echod("tokens", "create", "laptop", "--user", "bert", "--expires", "30d")
    token = made.stdout.removesuffix("\n")
    assert re.fullmatch(r"echod_[\w-]{43}", token)
    assert token not in made.stderr
    assert echod("ps", url=own_daemon.tcp, token=token).returncode == 0
    assert echod("users", "list", url=own_daemon.tcp, token=token).returncode == 6
    devices = echod("devices", url=own_daemon.tcp, token=token)
    assert (devices.returncode, "admins only" in devices.stderr) == (6, True)
    second = json.loads(echod("tokens", "create", "own", "--json", url=own_daemon.tcp, token=token).stdout)
    assert second["account"] == "bert"
    assert echod("tokens", "create", "hers", "--user", "anna", url=own_daemon.tcp, token=token).returncode == 6
    listed = echod("tokens", "list")
    assert token not in listed.stdout
    head, *rows = listed.stdout.splitlines()
    assert head.split()[:3] == ["ID", "NAME", "USER"]
    assert [row.split()[1:3] for row in rows] == [["laptop", "bert"], ["own", "bert"]]
    id = rows[0].split()[0]
    assert echod("tokens", "revoke", id).returncode == 0
    assert echod("ps", url=own_daemon.tcp, token=token).returncode == 6
    again = echod("tokens", "revoke", id)
    assert (again.returncode, id in again.stderr) == (2, True)
    assert echod("tokens", "create", "x", "--user", "bert", "--expires", "soon").returncode == 2
    assert echod("tokens", "create", "", "--user", "bert").returncode == 2


def test_password_at_a_terminal(own_daemon: RunningDaemon, echod: Run) -> None:
    """At a terminal the password is asked for twice and never shown; two different ones are asked for again."""
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "r+b", buffering=0) as screen, subprocess.Popen(
        [ECHOD, "users", "add", "anna", "--role", "admin", "--url", own_daemon.url],
        stdin=end, stdout=end, stderr=end, start_new_session=True,
    ) as command:  # fmt: skip
        os.close(end)
        shown = b""
        for asked, answer in (
            (b"Password for anna: ", PASSWORD), (b"confirmation: ", "something else"),
            (b"Password for anna: ", PASSWORD), (b"confirmation: ", PASSWORD),
        ):  # fmt: skip
            seen = b""
            while not seen.endswith(asked):
                seen += screen.read(1)
            shown += seen
            screen.write(answer.encode() + b"\n")
        try:
            while block := screen.read(1024):
                shown += block
        except OSError:  # EIO: the other end is closed
            pass
        assert command.wait(30) == 0
    assert PASSWORD.encode() not in shown
    assert b"something else" not in shown
    assert b"anna added, admin" in shown


def test_listening_beyond_loopback_before_there_is_an_account(tmp_path: Path) -> None:
    """The daemon refuses to be seen from elsewhere, and says what to do first."""
    directories = "--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")
    started = run_echod("serve", "--engine", "preview", "--host", "0.0.0.0", "--port", "0", *directories)
    assert (started.returncode, started.stdout) == (78, "")
    for part in ("0.0.0.0", "echod users add", "--insecure"):
        assert part in started.stderr


@pytest.mark.long
def test_listening_beyond_loopback(tmp_path: Path) -> None:
    """The daemon is seen from elsewhere if it is told to be, and once there is an account, by that account only."""
    with RunningDaemon(tmp_path, "--host", "0.0.0.0", "--insecure") as daemon:
        assert "http://0.0.0.0:" in daemon.log.read_text()
        assert run_echod("users", "add", "anna", "--role", "admin", url=daemon.url, input=PASSWORD).returncode == 0
    with RunningDaemon(tmp_path, "--host", "0.0.0.0") as daemon:
        assert run_echod("ps", url=daemon.tcp).returncode == 6
        made = run_echod("tokens", "create", "t", "--user", "anna", url=daemon.url)
        assert run_echod("ps", url=daemon.tcp, env={"ECHOD_TOKEN": made.stdout.strip()}).returncode == 0
