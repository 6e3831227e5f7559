from __future__ import annotations

import asyncio
import time

import pytest

from echod.jobs import feed as feeds
from echod.jobs.feed import PROGRESS, PROGRESS_INTERVAL, Feed, FeedEvent, Watcher
from echod.jobs.job import Job
from tests.making.jobs import job


async def take(watcher: Watcher, count: int) -> list[FeedEvent]:
    return [await asyncio.wait_for(anext(watcher), 10) for _ in range(count)]


def feed_of(*live: Job, boot: int = 1) -> Feed:
    return Feed(boot, lambda: live)


async def test_starts_with_snapshots() -> None:
    """A watcher is told of every live job of its account first, then of changes, in order."""
    feed = feed_of(job(id="1"), job(id="2", account="other"))
    watcher = feed.watch("local")
    feed.publish("job.started", job(id="1"))
    feed.publish("job.started", job(id="2", account="other"))
    feed.publish("job.completed", job(id="1", status="completed"))
    events = await take(watcher, 3)
    assert [(event.type, event.job.id) for event in events] == [
        ("job.snapshot", "1"),
        ("job.started", "1"),
        ("job.completed", "1"),
    ]
    assert events[1].seq < events[2].seq


async def test_admin_sees_all() -> None:
    """Watching no account in particular shows everybody's jobs."""
    watcher = feed_of(job(id="1"), job(id="2", account="other")).watch(None)
    assert [event.job.id for event in await take(watcher, 2)] == ["1", "2"]


async def test_progress_is_coalesced_to_the_newest() -> None:
    """A reader that was away gets one progress event per job, the newest, and every other event."""
    feed = feed_of()
    watcher = feed.watch(None)
    feed.publish("job.started", job(id="1"))
    for step in range(1000):
        feed.publish(PROGRESS, job(id="1", progress=step / 1000))
        feed.publish(PROGRESS, job(id="2", progress=step / 1000))
    events = await take(watcher, 3)
    assert [event.type for event in events] == ["job.started", PROGRESS, PROGRESS]
    assert [event.job.progress for event in events[1:]] == [0.999, 0.999]


async def test_terminal_event_makes_progress_old() -> None:
    """No progress of a job is told after its end."""
    feed = feed_of()
    watcher = feed.watch(None)
    feed.publish(PROGRESS, job(id="1"))
    feed.publish("job.completed", job(id="1", status="completed"))
    watcher.close()
    assert [event.type async for event in watcher] == ["job.completed"]


async def test_progress_at_ten_a_second() -> None:
    """Two progress events of one job are told at least the interval apart."""
    feed = feed_of()
    watcher = feed.watch(None)
    feed.publish(PROGRESS, job(id="1", progress=0.1))
    await take(watcher, 1)
    before = time.monotonic()
    feed.publish(PROGRESS, job(id="1", progress=0.2))
    await take(watcher, 1)
    assert time.monotonic() - before >= PROGRESS_INTERVAL * 0.9  # a floor, not a speed


async def test_resumes_after_a_known_seq() -> None:
    """With the last seq it saw, a watcher gets exactly what it missed."""
    feed = feed_of(job(id="1"))
    first = feed.watch(None)
    feed.publish("job.started", job(id="1"))
    seen = (await take(first, 2))[-1].seq
    feed.publish("job.first_frame", job(id="1"))
    feed.publish("job.completed", job(id="1", status="completed"))
    assert [event.type for event in await take(feed.watch(None, seen), 2)] == ["job.first_frame", "job.completed"]


async def test_progress_that_was_overtaken() -> None:
    """`seq` never goes back, and resuming after progress that had to wait repeats nothing."""
    feed = feed_of()
    watcher = feed.watch(None)
    feed.publish(PROGRESS, job(id="1", progress=0.1))
    events = await take(watcher, 1)
    feed.publish(PROGRESS, job(id="1", progress=0.2))  # too soon after the other
    feed.publish("job.queued", job(id="2"))
    events += await take(watcher, 2)
    assert [event.type for event in events] == [PROGRESS, "job.queued", PROGRESS]
    assert [event.seq for event in events] == sorted(event.seq for event in events)
    again = feed.watch(None, events[-1].seq)
    again.close()
    assert [event async for event in again] == []


@pytest.mark.parametrize("seen", [1, 2, 3])
async def test_resumes_in_the_middle_of_snapshots(seen: int) -> None:
    """Who was cut off before the last snapshot is told of every live job again; after it, of changes alone."""
    feed = feed_of(job(id="1"), job(id="2"), job(id="3"))
    feed.publish("job.queued", job(id="3"))
    last = (await take(feed.watch(None), seen))[-1].seq
    feed.publish("job.started", job(id="1"))
    events = await take(feed.watch(None, last), 1 if seen == 3 else 3)
    assert [event.job.id for event in events] == (["1"] if seen == 3 else ["1", "2", "3"])


@pytest.mark.parametrize("after", [0, 5, (1 << 32) - 1, 1 << 40])
async def test_unknown_seq_gives_snapshots(after: int) -> None:
    """A seq of another start of the daemon, or none that ever was, starts over."""
    watcher = feed_of(job(id="1"), boot=2).watch(None, after)
    assert (await take(watcher, 1))[0].type == "job.snapshot"


async def test_too_old_seq_gives_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the history has forgotten cannot be resumed."""
    monkeypatch.setattr(feeds, "HISTORY", 4)
    feed = feed_of(job(id="1"))
    first = feed.watch(None)
    feed.publish("job.queued", job(id="1"))
    seen = (await take(first, 2))[-1].seq
    for _ in range(10):
        feed.publish("job.started", job(id="1"))
    assert (await take(feed.watch(None, seen), 1))[0].type == "job.snapshot"


async def test_seq_grows_across_starts() -> None:
    """A later start of the daemon numbers above every earlier one."""
    early, late = feed_of(boot=7), feed_of(boot=8)
    one, two = early.watch(None), late.watch(None)
    for _ in range(100):
        early.publish("job.queued", job())
    late.publish("job.queued", job())
    assert (await take(one, 100))[-1].seq < (await take(two, 1))[0].seq < 2**53


async def test_reader_that_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the watcher ends; the others go on."""
    monkeypatch.setattr(feeds, "MAX_PENDING", 10)
    feed = feed_of()
    lazy, keen = feed.watch(None), feed.watch(None)
    for index in range(12):
        feed.publish("job.queued", job(id=str(index)))
        await take(keen, 1)
    assert feed.watchers == {keen}
    assert len([event async for event in lazy]) == 11


async def test_watching_one_job() -> None:
    """The job's present state comes first, then its changes and no others'."""
    feed = feed_of()
    watcher = feed.watch_job(job(id="1"))
    feed.publish("job.started", job(id="2"))
    feed.publish("job.started", job(id="1"))
    assert [(event.type, event.job.id) for event in await take(watcher, 2)] == [
        ("job.snapshot", "1"),
        ("job.started", "1"),
    ]


@pytest.mark.parametrize("steps", range(5))
async def test_cancelled_as_something_happens(steps: int) -> None:
    """Who is cancelled in the moment of an event ends, and does not wait for the next one."""
    feed = feed_of()
    watcher = feed.watch(None)
    told: list[FeedEvent] = []

    async def follow() -> None:
        async for event in watcher:
            told.append(event)

    following = asyncio.create_task(follow())
    feed.publish(PROGRESS, job(id="1"))
    while not told:  # noqa: ASYNC110  (it is told at once)
        await asyncio.sleep(0)
    feed.publish(PROGRESS, job(id="1", progress=0.5))  # waits for its time, and so does the watcher
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    feed.publish("job.completed", job(id="2", status="completed"))
    for _ in range(steps):
        await asyncio.sleep(0)
    following.cancel()
    await asyncio.wait([following], timeout=10)
    assert following.cancelled()
