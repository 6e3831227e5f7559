"""What a daemon refuses, or a job failed of, in Chinese; tests/installed/test_cli_daemon.py has a running daemon."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from echod import cli, config
from echod.client.client import Client
from echod.client.connection import error_of
from echod.commands import chat, checks, devices, jobs, making, verify
from echod.commands.answer import Answer
from echod.commands.common import note
from echod.commands.progress import Progress
from echod.commands.words import explained, t
from echod.commands.zh.refusals import REFUSALS
from echod.config import Config
from echod.errors import TABLE, EchodError
from tests.stand_ins.stub import NO_VOICE, Stub, capabilities, event, refuses, says, serving, tells, video

WORDS = "ran out at window 3 of 7"  # a daemon's, of which there is no Chinese
EXPLAINED = f"{REFUSALS['out_of_memory']}（{WORDS}）"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        yield server


def test_every_code_has_a_sentence() -> None:
    """Those that daemons and jobs tell, and no others."""
    assert set(REFUSALS) == {code for code, row in TABLE.items() if row.type != "client_error"}


def commands(group: click.Group) -> Iterator[click.Command]:
    for each in group.commands.values():
        yield each
        if isinstance(each, click.Group):
            yield from commands(each)


def test_what_sentences_name_is_there() -> None:
    """They are Chinese, and the commands, options and settings in them are those that there are."""
    options = {name for each in commands(cli.echod) for option in each.params for name in option.opts}
    settings = {setting.name for setting in fields(Config)}
    for code, sentence in REFUSALS.items():
        assert re.search(r"[\u4e00-\u9fff].*。$", sentence), code
        assert set(re.findall(r"--\w+", sentence)) <= options, code
        assert set(re.findall(r"`echod (\w+)`", sentence)) <= set(cli.echod.commands), code
        assert set(re.findall(r"[a-z]+_[a-z_]+", sentence)) <= settings, code


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("code", REFUSALS)
def test_a_sentence_and_the_words(capsys: pytest.CaptureFixture[str], code: str) -> None:
    """On one line, whatever the words are, and the words as they came."""
    note(explained("voice is\nfor 小林", code))
    assert capsys.readouterr().err == f"echod: {REFUSALS[code]}（voice is\\nfor 小林）\n"


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    ("message", "code", "shown"),
    [
        ("the file is empty", "portrait_unreadable", "文件是空的"),
        ("there is no account 'bert'; `echod users list` shows them", "not_found", "没有账户 'bert'；"),
        ("too late", "response_cancelled_by_moonlight", "too late"),
        ("no space left", None, "no space left"),
    ],
)
def test_no_sentence(message: str, code: str | None, shown: str) -> None:
    """Where the words have Chinese of their own, a newer daemon's code is not known, or no daemon told of it."""
    assert explained(message, code) == message
    assert t(message).startswith(shown)


def test_english_stays() -> None:
    for code in REFUSALS:
        assert explained(WORDS, code) == WORDS


@pytest.mark.usefixtures("chinese")
def test_an_error_of_another_version() -> None:
    """It has a code that this one knows, for its exit code, and keeps the daemon's, for its sentence."""
    for code in ("internal", "made_of_moonlight"):
        error = error_of({"code": code, "message": WORDS})
        assert (error.code, error.told, error.message) == ("internal", code, WORDS)
    assert EchodError("internal", WORDS).told is None


@pytest.mark.usefixtures("chinese")
def test_a_job_that_failed(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Its error has the code, the sentence and the words; JSON has the words alone."""
    failed = video("failed") | {"error": {"code": "out_of_memory", "message": WORDS}}
    stub.on("GET /v1/videos/video_1", says(failed))
    stub.on("GET /v1/events", tells(event(1, "failed") | {"video": failed}))
    done = CliRunner().invoke(jobs.wait, ["video_1", "--json", "-q", "--url", stub.url])
    assert json.loads(done.stdout)["error"]["message"] == WORDS
    assert isinstance(done.exception, EchodError) and done.exception.exit_code == 1
    note(explained(done.exception.message, done.exception.told))
    assert capsys.readouterr().err == f"echod: video_1 失败：out_of_memory：{EXPLAINED}\n"


@pytest.mark.usefixtures("chinese")
def test_an_answer_that_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As above; a file that cannot be written is no refusal of the daemon's."""
    with Client("http://127.0.0.1:1") as client:
        answer = Answer(client, tmp_path, "ada-1", Progress(quiet=True), print)
    error = {"code": "out_of_memory", "message": WORDS}
    answer.take(
        {"type": "response.done", "response": {"status": "failed", "echod": {}, "status_details": {"error": error}}}
    )
    assert capsys.readouterr().err == f"echod: {EXPLAINED}\n"
    assert answer.report()["error"] == error
    answer.fail(EchodError("internal", "no space left"))
    assert capsys.readouterr().err == "echod: no space left\n"


@pytest.mark.usefixtures("chinese")
def test_what_goes_on(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that cannot be cancelled, a conversation without a voice, and what keeps a clip from being verified, are
    told of with the sentence in them."""
    stub.on("POST /v1/videos/video_1/cancel", refuses("disk_failed", WORDS))
    stub.on("GET /v1/capabilities", says(capabilities(NO_VOICE | {"message": WORDS})))
    queued: Any = video("queued")
    with Client(stub.url) as client:
        making._cancel(client, queued, quiet=False)
        assert chat._answers(client, "audio", None, quiet=False) == "text"
    with pytest.raises(EchodError) as kept, verify._telling():
        raise error_of({"code": "out_of_memory", "message": WORDS})
    assert t(kept.value.message) == f"无法验证：{EXPLAINED}"
    goes_on, why = capsys.readouterr().err.splitlines()
    assert goes_on == f"echod: video_1 未能取消，仍在继续：{REFUSALS['disk_failed']}（{WORDS}）"
    assert why == f"echod: 回答以文字显示，因为{REFUSALS['voice_not_installed']}（{WORDS}）"


@pytest.mark.usefixtures("chinese")
def test_doctor(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the daemon refuses is a finding, in Chinese for people alone."""
    stub.on("GET /readyz", refuses("forbidden", WORDS))
    found = checks.daemon(config.load(environ={}), stub.url)
    monkeypatch.setattr(checks, "examine", lambda url: iter([found]))
    assert f"{REFUSALS['forbidden']}（{WORDS}）\n" in CliRunner().invoke(devices.doctor, []).stdout
    told = json.loads(CliRunner().invoke(devices.doctor, ["--json"]).stdout)
    assert told == [{"name": "daemon", "ok": False, "finding": WORDS, "required": True}]
