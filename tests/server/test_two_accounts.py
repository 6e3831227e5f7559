"""Two accounts and an admin at once, through the stock `openai` package and through /v1/events."""

from __future__ import annotations

import asyncio

import openai
import pytest
from openai import AsyncOpenAI

from tests.drivers.asking import receive, until, working
from tests.making.media import EXAMPLES
from tests.stand_ins.daemon import Daemon, Person

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]

PORTRAIT, SPEECH = EXAMPLES / "portrait.png", EXAMPLES / "speech.wav"
EACH = 5


def connect(daemon: Daemon, person: Person) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key=person.token, max_retries=0)


async def make_clips(daemon: Daemon, person: Person) -> set[str]:
    """The ids of as many clips, looking around after each."""
    made: set[str] = set()
    async with connect(daemon, person) as client:
        for _ in range(EACH):
            speech = await client.files.create(file=SPEECH, purpose="user_data")
            made.add(speech.id)
            with PORTRAIT.open("rb") as picture:
                video = await client.videos.create_and_poll(
                    prompt=person.name,
                    input_reference=picture,
                    extra_body={"audio_reference": {"file_id": speech.id}},
                    poll_interval_ms=10,
                )
            made.add(video.id)
            assert (await client.videos.download_content(video.id)).content == b"0123456789"
            assert {video.id async for video in client.videos.list()} <= made
            assert {file.id async for file in client.files.list()} <= made
    return made


async def watch(daemon: Daemon, person: Person, jobs: int) -> set[str]:
    """The ids of the jobs whose end a socket tells, of so many."""
    seen: set[str] = set()
    ended = 0
    async with daemon.events(person=person) as ws:
        while ended < jobs:
            event = await receive(ws)
            seen.add(event["video"]["id"])
            ended += event["type"] == "job.completed"
    return seen


async def test_two_accounts_at_once(daemon: Daemon) -> None:
    """Neither ever sees the other's; an admin sees both."""
    anna, bert, cleo = await daemon.person("anna", "admin"), await daemon.person("bert"), await daemon.person("cleo")
    async with working(daemon):
        watching = [
            asyncio.create_task(watch(daemon, person, jobs))
            for person, jobs in ((anna, 2 * EACH), (bert, EACH), (cleo, EACH))
        ]
        await until(lambda: len(daemon.desk.feed.watchers) == 4)  # these, and the fleet
        his, hers = await asyncio.gather(make_clips(daemon, bert), make_clips(daemon, cleo))
        all_seen, his_seen, hers_seen = await asyncio.gather(*watching)
    assert not his & hers
    assert his_seen == {id for id in his if id.startswith("video_")}
    assert hers_seen == {id for id in hers if id.startswith("video_")}
    assert all_seen == his_seen | hers_seen
    async with connect(daemon, anna) as client:
        assert {video.id async for video in client.videos.list()} == all_seen
        assert {file.id async for file in client.files.list()} == {id for id in his | hers if id.startswith("file_")}
    async with connect(daemon, bert) as client:
        for other in hers & hers_seen:
            with pytest.raises(openai.NotFoundError):
                await client.videos.retrieve(other)
            with pytest.raises(openai.NotFoundError):
                await client.videos.download_content(other)
            with pytest.raises(openai.NotFoundError):
                await client.videos.delete(other)
    async with AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.videos.list()
