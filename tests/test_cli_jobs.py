"""Commands about jobs, at a stub; tests/test_cli_daemon.py has a real daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from echod.commands import jobs
from echod.errors import EchodError
from tests.stub import Stub, refuses, says, serving, tells, video


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        server.on("GET /v1/events", tells())
        yield server


@pytest.mark.parametrize("command", [jobs.wait, jobs.cancel], ids=["wait", "cancel"])
def test_json_of_several_of_which_one_is_refused(stub: Stub, command: click.Command) -> None:
    """What became of the jobs before it is printed all the same."""
    for name, answer in (("video_1", says(video("completed"))), ("video_2", refuses("not_found"))):
        stub.on(f"GET /v1/videos/{name}", answer)
        stub.on(f"POST /v1/videos/{name}/cancel", answer)
    done = CliRunner().invoke(command, ["video_1", "video_2", "--json", "-q", "--url", stub.url])
    assert isinstance(done.exception, EchodError) and done.exception.code == "not_found"
    assert [each["id"] for each in json.loads(done.stdout)] == ["video_1"]
