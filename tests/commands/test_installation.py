"""What `echod service install` would do on a machine, step by step; tests/operated.py does it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from echod import cli
from echod.commands import installation
from echod.commands.installation import System, source, unfit, unit
from echod.commands.own_installation import Own
from echod.errors import ConfigurationError
from echod.host import service
from echod.host.steps import carry_out
from tests.drivers.command import run


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """Nothing of the service is on it; programs that would change this machine write down how they were called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("useradd", "userdel", "groupadd", "systemctl", "runuser", "install"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/called\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(installation, "unfit", lambda *paths: None)
    monkeypatch.setattr(service, "ACCOUNT", "nobody-yet")
    monkeypatch.setattr(installation, "has_group", lambda name: name == "video")
    return System(
        "echomimic", None, True, tmp_path / "opt", tmp_path / "state", tmp_path / "unit", tmp_path / "link",
        tmp_path / "socket",
    )  # fmt: skip


def called(machine: System) -> list[str]:
    lines = (machine.unit.parent / "called").read_text().splitlines()
    (machine.unit.parent / "called").unlink()
    return [line for line in lines if " show " not in line and " is-" not in line]


def test_a_bare_machine(machine: System) -> None:
    """Everything is done once, in order; what is there the second time stays."""
    told: list[str] = []
    carry_out(machine.install(), told.append, dry_run=False)
    command = installation.running_command()
    state, weights = machine.state, machine.state / "weights"
    pull = f"{command} weights pull echomimic --weights {weights}"
    assert called(machine) == [
        "groupadd --system render",
        "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin --home-dir "
        f"{state} nobody-yet",
        f"install -d -o nobody-yet -g nobody-yet -m 0750 {state} {weights}",
        "systemctl daemon-reload",
        f"runuser -u nobody-yet -- env HOME={state} {pull}",
        "systemctl enable echod",
        "systemctl restart echod",
    ]  # fmt: skip
    assert machine.unit.read_text() == unit(command, user=False)
    assert machine.link.resolve() == command.resolve()
    told.clear()
    carry_out(machine.install(), told.append, dry_run=True)
    assert (
        f"# {machine.unit}: there already" in told and f"# {machine.link}, for everybody's PATH: there already" in told
    )


def test_an_environment_that_the_account_cannot_run(machine: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another is made, from where this one came; the unit and the link are of that one."""
    monkeypatch.setattr(installation, "unfit", lambda *paths: "it is shut")
    told: list[str] = []
    carry_out(machine.install(), told.append, dry_run=True)
    environment = machine.environment
    assert f"# an environment in {environment}, since it is shut" in told
    assert f"/usr/bin/python3 -m venv {environment}" in told
    assert any(line.startswith(f"{environment}/bin/pip install") and line.endswith(f"{source()}'") for line in told)
    assert f"ln -s {environment}/bin/echod {machine.link}" in told
    assert f"{environment}/bin/echod service show | tee {machine.unit}" in told


def test_uninstalling(machine: System) -> None:
    """What was put in place goes; what people made only with --purge, and an environment that was made here."""
    carry_out(machine.install(), lambda line: None, dry_run=False)
    (machine.state / "jobs").mkdir(parents=True)
    called(machine)
    carry_out(machine.uninstall(purge=False), lambda line: None, dry_run=False)
    assert called(machine) == ["systemctl disable --now echod", "systemctl daemon-reload"]
    assert not machine.unit.exists() and not machine.link.is_symlink() and machine.state.exists()
    machine.environment.mkdir()
    (machine.environment / "made-by-echod-service-install").touch()
    told: list[str] = []
    carry_out(machine.uninstall(purge=True), told.append, dry_run=True)
    assert [line for line in told if line.startswith("rm")] == [
        f"rm -r {machine.state}",
        f"rm -r {machine.environment}",
    ]


def test_no_start(machine: System) -> None:
    """As before `echod restore`: all but the start and who would be added after it."""
    told: list[str] = []
    carry_out(System("echomimic", "admin", False).install(), told.append, dry_run=True)
    assert not [line for line in told if "enable" in line or "users add" in line]


def test_whose_it_may_be(tmp_path: Path) -> None:
    """An environment is used as it is if the service's account may read it and it is there after a restart."""
    assert unfit(Path("/usr/bin")) is None
    assert "lies in /home, which the service does not see" in str(unfit(Path("/home/anna/venv")))
    assert "/tmp" in str(unfit(Path("/tmp")))
    assert "shut to other accounts" in str(unfit(Path("/etc/shadow")))


def test_for_oneself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One's own service needs no root, no account and no directory outside one's home."""
    told: list[str] = []
    carry_out(Own("echomimic", "anna", True, tmp_path).install(), told.append, dry_run=True)
    commands = [line for line in told if not line.startswith("#")]
    assert commands[0] == f"mkdir -p {tmp_path}/.config/systemd/user"
    assert "systemctl --user enable echod" in commands and "users add anna --role admin" in commands[-1]
    assert not [line for line in commands if line.startswith(("useradd", "install", "ln", "systemctl enable"))]


def test_the_command(tmp_path: Path) -> None:
    """A dry run changes nothing and needs no root; whoever is not root is told what to type."""
    dry = run("service", "install", "--dry-run", home=tmp_path)
    assert dry.returncode == 0 and "useradd --system" in dry.stdout
    assert "useradd" not in run("service", "install", "--user", "--dry-run", home=tmp_path).stdout
    assert run("service", "uninstall", "--purge", "--dry-run", home=tmp_path).returncode == 0


def test_root_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for steps in ("install", "uninstall"):  # or this test would set this machine up where it fails
        monkeypatch.setattr(System, steps, lambda *_, **__: pytest.fail("it began"))
    for command in ("install", "uninstall"):
        with pytest.raises(ConfigurationError, match=rf"`sudo .*echod service {command}`.*--user"):
            cli.echod.main(["service", command], standalone_mode=False)


def test_shell_takes_the_dry_run(tmp_path: Path) -> None:
    """Its lines are a script."""
    dry = run("service", "install", "--dry-run", "--engine", "echomimic", home=tmp_path)
    assert subprocess.run(["bash", "-n"], input=dry.stdout, text=True).returncode == 0
