"""The stock `openai` package against the server."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Video

from echod.config import Settings
from echod.inspection.inspector import Inspector
from tests.drivers.asking import make_role, working
from tests.making.config import make_config
from tests.making.media import EXAMPLES
from tests.stand_ins.daemon import Daemon

pytestmark = [
    pytest.mark.timeout(180),
    # OpenAI closed its own Videos in 2026 and marked the client's methods; here they speak to a server that goes on.
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]

PORTRAIT, SPEECH = EXAMPLES / "portrait.png", EXAMPLES / "speech.wav"


@contextlib.asynccontextmanager
async def inspecting(directory: Path) -> AsyncIterator[Daemon]:
    """A daemon with the real inspection child."""
    config = make_config(directory)
    inspector = Inspector(Settings(config))
    async with Daemon(config, inspector).run() as running:
        yield running
    await inspector.close()


def connect(daemon: Daemon, max_retries: int = 0) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key="none needed", max_retries=max_retries)


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[AsyncOpenAI]:
    async with connect(daemon) as client:
        yield client


async def test_everything_a_client_does(tmp_path: Path) -> None:
    """Files, models and videos work from upload to deletion."""
    async with inspecting(tmp_path) as daemon, connect(daemon) as client:
        models = (await client.models.list()).data
        assert [model.id for model in models] == ["preview", "other"]
        assert [await client.models.retrieve(model.id) for model in models] == models
        portrait = await client.files.create(file=PORTRAIT, purpose="vision")
        speech = await client.files.create(file=SPEECH, purpose="user_data")
        assert (portrait.filename, portrait.bytes) == ("portrait.png", PORTRAIT.stat().st_size)
        assert (await client.files.content(speech.id)).content == SPEECH.read_bytes()
        assert (await client.files.retrieve(speech.id)).model_extra["echod"]["kind"] == "speech"  # type: ignore[index]
        assert [file.id async for file in client.files.list(limit=1)] == [speech.id, portrait.id]

        async with working(daemon):
            with PORTRAIT.open("rb") as picture:
                video = await client.videos.create_and_poll(
                    prompt="a label", input_reference=picture, extra_body={"audio_reference": {"file_id": speech.id}}
                )
        assert (video.status, video.progress, video.prompt, video.size) == ("completed", 100, "a label", "512x512")
        assert video.model_extra["echod"]["spoken"] is False  # type: ignore[index]

        content = await client.videos.download_content(video.id)
        assert content.content == b"0123456789"
        part = await client.videos.download_content(video.id, extra_headers={"Range": "bytes=2-4"})
        assert (part.response.status_code, part.content) == (206, b"234")
        assert (await client.videos.download_content(video.id, variant="thumbnail")).content == b"small picture"
        assert (await client.videos.delete(video.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.videos.retrieve(video.id)
        assert (await client.files.delete(portrait.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(portrait.id)


async def test_options_and_paging(daemon: Daemon, client: AsyncOpenAI) -> None:
    """Nested and typed extras arrive as they were meant, and listing pages through all jobs."""
    portrait = await client.files.create(file=PORTRAIT, purpose="vision")
    speech = await client.files.create(file=SPEECH, purpose="user_data")
    made: list[Video] = []
    for seed in range(3):
        extras = {
            "input_reference": {"file_id": portrait.id},
            "audio_reference": {"file_id": speech.id},
            "seed": seed,
            "lossless": True,
            "metadata": {"n": str(seed)},
        }
        made.append(await client.videos.create(prompt="x", seconds="4", size="512x768", extra_body=extras))  # type: ignore[arg-type]
    echoed = [video.model_extra["echod"] for video in made]  # type: ignore[index]
    assert [(extras["seed"], extras["lossless"]) for extras in echoed] == [(0, True), (1, True), (2, True)]
    assert [video.model_extra["metadata"] for video in made] == [{"n": "0"}, {"n": "1"}, {"n": "2"}]  # type: ignore[index]
    assert {video.size for video in made} == {"512x768"}
    assert [video.id async for video in client.videos.list(limit=1)] == [video.id for video in reversed(made)]
    assert [video.id async for video in client.videos.list(limit=2, order="asc")] == [video.id for video in made]
    cancelled = await client.post(f"/videos/{made[0].id}/cancel", cast_to=Video)
    assert (await client.videos.poll(made[0].id)).status == str(cancelled.status) == "cancelled"


async def test_a_role_is_a_model(daemon: Daemon, client: AsyncOpenAI) -> None:
    """One is looked up by the name that it is talked to by; what is not there is said not to be."""
    await make_role(daemon)
    assert (await client.models.retrieve("role:ada")).owned_by == "echod"
    for nobody in ("role:nobody", "gpt-realtime", "a/b"):
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve(nobody)


async def test_files_that_expire(daemon: Daemon, client: AsyncOpenAI) -> None:
    """A client says how long a file is kept, but for no longer than uploads are."""
    for asked, kept in ((3600, 3600), (30 * 86400, daemon.config.keep_uploads)):
        expiry: Any = {"anchor": "created_at", "seconds": asked}
        file = await client.files.create(file=PORTRAIT, purpose="vision", expires_after=expiry)
        assert file.expires_at and file.expires_at - file.created_at == kept
    for anchor, seconds in (("last_active_at", 3600), ("created_at", 0), ("created_at", 30 * 86400 + 1)):
        expiry = {"anchor": anchor, "seconds": seconds}
        with pytest.raises(openai.BadRequestError) as refused:
            await client.files.create(file=PORTRAIT, purpose="vision", expires_after=expiry)
        assert str(refused.value.param).startswith("expires_after[")
    daemon.skew = 3601
    assert [file.id async for file in client.files.list()] == [file.id]


async def test_cleaning_up(daemon: Daemon, client: AsyncOpenAI) -> None:
    """What is deleted while it is listed does not keep the list from going on."""
    portrait = await client.files.create(file=PORTRAIT, purpose="vision")
    speech = await client.files.create(file=SPEECH, purpose="user_data")
    extras = {"input_reference": {"file_id": portrait.id}, "audio_reference": {"file_id": speech.id}}
    for _ in range(3):
        await client.videos.create(prompt="x", extra_body=extras)
    async for video in client.videos.list(limit=1):
        await client.videos.delete(video.id)
    async for file in client.files.list(limit=1):
        await client.files.delete(file.id)
    assert not (await client.videos.list()).data and not (await client.files.list()).data


async def test_typed_errors(daemon: Daemon, client: AsyncOpenAI) -> None:
    """An error becomes the client's own type, with code and param."""
    with pytest.raises(openai.BadRequestError) as refused:
        await client.videos.create(
            prompt="x", input_reference=PORTRAIT, extra_body={"audio_reference": SPEECH.read_bytes()}
        )
    assert (refused.value.code, refused.value.param) == ("invalid_request", "audio_reference")
    assert "POST /v1/files" in refused.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        await client.files.create(file=("words.txt", b"?"), purpose="user_data")
    assert refused.value.code == "unsupported_media"
    with pytest.raises(openai.BadRequestError) as refused:
        await client.videos.create(prompt=" ", model="sora-2", input_reference=PORTRAIT)
    assert refused.value.param == "audio_reference"
    with pytest.raises(openai.NotFoundError) as missing:
        await client.videos.retrieve("video_none")
    assert missing.value.code == "not_found"
    daemon.desk.draining = True
    with pytest.raises(openai.InternalServerError) as busy:
        await client.videos.create(prompt="x", input_reference=PORTRAIT)
    assert (busy.value.status_code, busy.value.code) == (503, "draining")


async def test_refusals_that_stay(daemon: Daemon) -> None:
    """A client that tries again by default does not repeat what cannot succeed."""
    async with connect(daemon, max_retries=5) as client:
        speech = await client.files.create(file=SPEECH, purpose="user_data")
        extras = {"audio_reference": {"file_id": speech.id}}
        video = await client.videos.create(prompt="x", input_reference=PORTRAIT, extra_body=extras)
        before = daemon.front.state.total_requests
        with pytest.raises(openai.ConflictError) as early:
            await client.videos.download_content(video.id)
    assert early.value.code == "not_ready"
    assert daemon.front.state.total_requests == before + 1


async def test_synchronous_client(daemon: Daemon) -> None:
    """The blocking client works the same from a thread."""

    def use() -> str:
        # Filters of another thread's test do not reach here in every Python.
        with warnings.catch_warnings(), OpenAI(base_url=f"{daemon.base}/v1", api_key="none", max_retries=0) as client:
            warnings.filterwarnings("ignore", "The Sora API is scheduled", DeprecationWarning)
            with SPEECH.open("rb") as recording:
                speech = client.files.create(file=recording, purpose="user_data")
            with PORTRAIT.open("rb") as picture:
                video = client.videos.create_and_poll(
                    prompt="x", input_reference=picture, extra_body={"audio_reference": {"file_id": speech.id}}
                )
            return video.status

    async with working(daemon):
        assert await asyncio.to_thread(use) == "completed"
