"""Roles in the running daemon, by its command line: added, changed, broken, removed, and the clips made with them."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.command import run_echod
from tests.drivers.running import RunningDaemon, wait_for_log
from tests.making.media import EXAMPLES, write_wav

ADA, XIAOLIN = EXAMPLES / "roles" / "ada", EXAMPLES / "roles" / "xiaolin"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon of this module's own, with both example roles."""
    with RunningDaemon(tmp_path_factory.mktemp("roles")) as running:
        running.until_idle()
        for role in ("ada", XIAOLIN):  # an example by its name, and a folder
            added = run_echod("roles", "add", role, url=running.url)
            assert (added.returncode, added.stdout) == (0, ""), added.stderr
        yield running


def submit(daemon: RunningDaemon, speech: Path, **fields: Any) -> str:
    with daemon.http() as http, speech.open("rb") as file:
        files = {"audio_reference": file} | fields.pop("files", {})
        answer = http.post("/v1/videos", data={"size": "512x512", **fields}, files=files)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])


def ended(daemon: RunningDaemon, job: str) -> dict[str, Any]:
    with daemon.client() as client:
        return dict([event["video"] for event in client.follow(job)][-1])


def roles(daemon: RunningDaemon) -> dict[str, dict[str, Any]]:
    listed = run_echod("roles", "list", "--json", url=daemon.url)
    return {role["name"]: role for role in json.loads(listed.stdout)}


def test_first_clip_of_a_prepared_role(daemon: RunningDaemon, tmp_path: Path) -> None:
    """It starts without face work, which a clip of a portrait nobody prepared cannot do."""
    speech = write_wav(tmp_path / "speech.wav")
    video = ended(daemon, submit(daemon, speech, model="role:ada"))
    assert (video["status"], video["echod"]["timings_ms"]["face"]) == ("completed", 0)
    with (EXAMPLES / "portrait.png").open("rb") as portrait:
        cold = ended(daemon, submit(daemon, speech, files={"input_reference": portrait}))
    assert (cold["status"], cold["echod"]["timings_ms"]["face"] > 0) == ("completed", True)


def test_list_and_show(daemon: RunningDaemon) -> None:
    """Roles are listed by name, title and language; one is shown with all that an admin may know."""
    listed = run_echod("roles", "list", url=daemon.url)
    assert listed.returncode == 0
    assert listed.stdout.splitlines()[0].split() == ["NAME", "LANGUAGE", "MODE", "TITLE"]
    assert "xiaolin  zh-CN     video  小林，科技馆讲解员" in listed.stdout
    shown = run_echod("roles", "show", "xiaolin", url=daemon.url)
    assert "greeting: 你好" in shown.stdout
    assert "options.size: 512x512" in shown.stdout
    unknown = run_echod("roles", "show", "nobody", url=daemon.url)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "echod roles list" in unknown.stderr


def test_add(daemon: RunningDaemon, tmp_path: Path) -> None:
    """A role is added once, or replaced where that is meant; what is wrong with a folder is told with file and line."""
    again = run_echod("roles", "add", ADA, url=daemon.url)
    assert (again.returncode, "there is a role 'ada' already" in again.stderr) == (2, True)
    assert run_echod("roles", "add", ADA, "--replace", url=daemon.url).returncode == 0
    folder = tmp_path / "copy"
    shutil.copytree(ADA, folder)
    assert run_echod("roles", "add", folder, "--name", "eve", "-q", url=daemon.url).stderr == ""
    assert roles(daemon)["eve"] == {
        **roles(daemon)["ada"],
        **{key: roles(daemon)["eve"][key] for key in ("id", "name", "portrait")},
    }
    removed = run_echod("roles", "rm", "eve", url=daemon.url)
    assert (removed.returncode, "eve removed" in removed.stderr, "eve" in roles(daemon)) == (0, True, False)
    assert run_echod("roles", "rm", "eve", url=daemon.url).returncode == 2
    nowhere = run_echod("roles", "add", "adda", url=daemon.url)
    assert (nowhere.returncode, "there are ada, xiaolin" in nowhere.stderr) == (2, True)
    (folder / "portrait.jpg").unlink()
    (folder / "portrait.jpg").symlink_to(ADA / "portrait.jpg")
    linked = run_echod("roles", "add", folder, url=daemon.url)
    assert (linked.returncode, f"{folder}/role.toml:5: " in linked.stderr) == (2, True)
    assert "symbolic link" in linked.stderr
    (folder / "role.toml").write_text('portrait = "../ada/portrait.jpg"')
    outside = run_echod("roles", "add", folder, url=daemon.url)
    assert (outside.returncode, "no path" in outside.stderr) == (2, True)
    bad_name = run_echod("roles", "add", ADA, "--name", "../ada", url=daemon.url)
    assert (bad_name.returncode, "is no name for a role" in bad_name.stderr) == (2, True)


def test_folders_on_disk(daemon: RunningDaemon) -> None:
    """A folder put into the state directory is a role at once; broken, it is told of and skipped; SIGHUP looks too."""
    folder = daemon.state_dir / "roles" / "bert"
    shutil.copytree(ADA, folder)
    assert roles(daemon)["bert"]["title"] == "Ada, flight instructor"
    file = folder / "role.toml"
    text = file.read_text()
    file.write_text(text.replace("Ada, flight instructor", "Bert"))
    assert roles(daemon)["bert"]["title"] == "Bert"
    file.write_text(text.replace("title", "titel"))
    daemon.send(signal.SIGHUP)
    wait_for_log(daemon, f"role bert is broken: {file}:2: there is no key 'titel'; did you mean title?")
    listed = run_echod("roles", "list", url=daemon.url)
    assert (listed.returncode, "bert" in listed.stdout, "ada" in listed.stdout) == (0, False, True)
    assert f"bert is broken: {file}:2: " in listed.stderr
    shutil.rmtree(folder)
    daemon.send(signal.SIGHUP)
    wait_for_log(daemon, "role bert is gone")
    assert "bert" not in roles(daemon)


def test_removed_while_in_use(daemon: RunningDaemon, tmp_path: Path) -> None:
    """A job whose role is removed while it waits or runs becomes a clip all the same."""
    speech = write_wav(tmp_path / "speech.wav", seconds=4.0)
    assert run_echod("roles", "add", XIAOLIN, "--name", "leaving", url=daemon.url).returncode == 0
    jobs = [submit(daemon, speech, model="role:leaving") for _ in range(2)]
    with daemon.client() as client:
        next(event for event in client.follow(jobs[0]) if event["video"]["status"] != "queued")
    assert run_echod("roles", "rm", "leaving", url=daemon.url).returncode == 0
    assert [ended(daemon, job)["status"] for job in jobs] == ["completed", "completed"]
