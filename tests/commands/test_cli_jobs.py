"""Commands about jobs, at a stub; tests/installed/test_cli_daemon.py has a real daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from echod.commands import bench, jobs
from echod.errors import EchodError
from tests.making.media import EXAMPLES
from tests.stand_ins.stub import Stub, refuses, says, serving, tells, video


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


def test_bench(stub: Stub) -> None:
    """One job is timed, from handing it in to its end, and removed again; a failed one too. What cannot be known from
    another machine is said to be unknown, and why."""
    command = ["--json", "-q", "--url", stub.url]
    made = video("completed") | {"size": "512x512"}
    made["echod"] = {"frames": 100, "device": "cpu", "timings_ms": {"decode": 7}}
    failed = video("failed") | {"error": {"code": "poison", "message": "died"}}
    stub.on("POST /v1/videos", says(video("queued")))
    stub.on("GET /v1/videos/video_1/stream", lambda handler: handler.answer(b"CLIP"), refuses("not_ready"))
    stub.on("GET /v1/videos/video_1", says(made), says(made), says(failed))
    stub.on("DELETE /v1/videos/video_1", says({"object": "video.deleted"}))
    manifest = {"computed": {"device": "H100", "dtype": "float16"}, "versions": {"echod": "1", "torch": "2.13"}}
    stub.on("GET /v1/videos/video_1/manifest", says(manifest))
    done = CliRunner().invoke(bench.bench, command)
    told = json.loads(done.stdout)
    for name in ("watts", "host_memory", "card_memory", "driver", "peak"):
        assert told[name] is None and "unix socket" in told["unknown"][name]
    assert told["line"].startswith("echod 1, preview 512x512, float16, cpu (H100), torch 2.13, ")
    assert 0 < told["first_fragment_s"] <= told["total_s"]
    assert (told["frames"], told["device"], told["timings_ms"]) == (100, "cpu", {"decode": 7})
    assert (EXAMPLES / "portrait.png").read_bytes() in stub.requests("POST /v1/videos")[0][2]
    done = CliRunner().invoke(bench.bench, command)
    assert isinstance(done.exception, EchodError) and done.exception.exit_code == 1
    assert len(stub.requests("DELETE /v1/videos/video_1")) == 2
