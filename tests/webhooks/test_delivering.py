"""Each event is acknowledged once, however often its receiver fails and whatever dies in between."""

from __future__ import annotations

import sqlite3
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from echod.jobs import life
from echod.jobs.job import CONVERSATION
from echod.jobs.rows import JobRows
from echod.webhooks import rows
from echod.webhooks.delivering import FIRST, LONGEST, after
from echod.webhooks.rows import Delivery
from tests.drivers.asking import until
from tests.drivers.running import RunningDaemon
from tests.making.jobs import job
from tests.making.media import EXAMPLES, write_wav
from tests.making.rows import opened
from tests.stand_ins.daemon import Daemon, Person
from tests.stand_ins.receiver import Receiver

NEW = Delivery("evt_1", "wh_1", "video_1", "video.completed", 0.0, "waiting", 0, 0.0, 0.0)
DAY = 86400.0
EVENTS = ["video.completed", "video.failed", "video.cancelled"]


def hook(receiver: Receiver, path: str = "/hook", **more: Any) -> dict[str, Any]:
    return {"url": f"http://{receiver.address}{path}", "name": "test", "event_types": EVENTS, **more}


async def add(person: Person, receiver: Receiver, path: str = "/hook", **more: Any) -> dict[str, Any]:
    answer = await person.http.post("/v1/webhook_endpoints", json=hook(receiver, path, **more))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def deliveries(person: Person, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    return list((await person.http.get(f"/v1/webhook_endpoints/{webhook['id']}/deliveries")).json()["data"])


async def settled(person: Person, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    """Deliveries, once none waits to be tried for the first time."""
    while not (found := await deliveries(person, webhook)) or any(not each["attempts"] for each in found):
        pass
    return found


def test_backoff() -> None:
    """Twice as long after each failure, up to an hour, for a day; a receiver may fail ten times in three hours."""
    delivery, now, waits = NEW, 0.0, []
    while delivery.state == "waiting":
        now = delivery.due
        delivery = after(delivery, "503", now=now, patience=DAY, chance=0.0)
        waits.append(delivery.due - now)
    assert waits[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert sum(waits[:10]) < 3 * 3600
    assert max(waits) == LONGEST and now > DAY - LONGEST
    assert (delivery.state, delivery.answer) == ("failed", "503")


@pytest.mark.parametrize(
    ("answer", "state"),
    [("200", "delivered"), ("204", "delivered"), ("302", "waiting"), ("404", "waiting"), ("200 words", "waiting")],
)
def test_what_acknowledges(answer: str, state: str) -> None:
    """Only 2xx does."""
    assert after(NEW, answer, now=0.0, patience=DAY, chance=0.0).state == state


def test_jitter() -> None:
    """What failed together is not tried together."""
    dues = [after(NEW, "503", now=0.0, patience=DAY, chance=chance).due for chance in (-1.0, 0.0, 1.0)]
    assert dues == [0.75 * FIRST, FIRST, 1.25 * FIRST]


async def test_ten_failures(daemon: Daemon, anna: Person) -> None:
    """A receiver that fails ten times hears of each job once in the end; the daemon's clock is set, nobody waits."""
    async with Receiver(fails=10) as receiver:
        await add(anna, receiver)
        for end in ("complete", "fail"):
            await daemon.submit(anna)
            begun = await daemon.hands.begin()
            await (daemon.hands.complete(begun) if end == "complete" else daemon.hands.fail(begun, "poison"))
        for attempts in range(1, 12):
            await receiver.until(partial(lambda most: len(receiver.requests) == 2 * most, attempts))
            await counted(daemon, attempts)
            daemon.skew += 1.25 * LONGEST
            daemon.delivering.wake()
        counts = await daemon.webhooks.counts()
    assert list(counts.values()) == [2]
    assert [state for _, state in counts] == ["delivered"]
    assert sorted(receiver.acknowledged) == sorted(receiver.tried)
    assert set(receiver.tried.values()) == {11}
    told = [(event["type"], event["data"]) for event in (request.json for request in receiver.requests[:2])]
    assert sorted(type for type, _ in told) == ["video.completed", "video.failed"]
    assert len({request.body for request in receiver.requests}) == 2
    assert daemon.metrics.registry.get_sample_value("echod_webhook_attempts_total", {"outcome": "tried"}) == 20


async def counted(daemon: Daemon, attempts: int) -> None:
    """Until so many of each are in the journal."""
    fewer = "SELECT 1 FROM deliveries WHERE attempts < ?"
    while await daemon.journal.do(lambda db: db.execute(fewer, (attempts,)).fetchone()):
        pass


@pytest.mark.timeout(120)
def test_killed_in_between(tmp_path: Path) -> None:
    """The daemon is killed while a receiver fails, and started again: each event is acknowledged, and none twice."""
    impatient = (sys.executable, "-m", "tests.stand_ins.impatient")
    speech = write_wav(tmp_path / "speech.wav", seconds=0.5)
    pause = threading.Event()
    with (
        Receiver(fails=10).in_thread() as receiver,
        RunningDaemon(tmp_path, command=impatient, ECHOD_WEBHOOK_PRIVATE="true") as daemon,
    ):
        with daemon.client() as client:
            webhook = client.add_webhook(f"http://{receiver.address}/hook", "test", ["video.completed"])
            jobs = [client.submit(EXAMPLES / "portrait.png", speech, size="128x128")["id"] for _ in range(3)]
            for id in jobs:
                assert [event["type"] for event in client.follow(id)][-1] == "job.completed"
        while len(receiver.tried) < 1 or max(receiver.tried.values()) < 4:
            pause.wait(0.001)
        daemon.kill()
        assert len(receiver.acknowledged) < 3
        daemon.start()
        while len(receiver.acknowledged) < 3:
            pause.wait(0.001)
        with daemon.client() as client:
            while any(row["state"] == "waiting" for row in client.deliveries(webhook["id"])):
                pause.wait(0.001)
            told = client.deliveries(webhook["id"])
    assert sorted(row["video_id"] for row in told) == sorted(jobs)
    assert sorted(receiver.acknowledged) == sorted(row["id"] for row in told)
    assert min(receiver.tried.values()) >= 11


async def test_the_end_and_its_event_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are committed together or not at all, and an end that is saved again is told once."""
    running = job(status="in_progress", attempt=1)
    done = life.Done(attempt=1, frames=1, crop=(0, 0, 1, 1), faces=1, timings_ms={})
    ended = life.advance(running, done, 5.0)
    add_delivery = rows.add_delivery

    def broken(db: sqlite3.Connection, delivery: Delivery) -> None:
        add_delivery(db, delivery)
        raise ValueError

    async with opened(tmp_path / "j") as jobs:
        await jobs.add(running)
        webhook = rows.Webhook("wh_1", "local", "n", "http://x", "whsec_", "video.completed", False, 1.0)
        await jobs.journal.do(lambda db: rows.add_webhook(db, webhook))
        monkeypatch.setattr(rows, "add_delivery", broken)
        with pytest.raises(ValueError):
            await jobs.save(ended)
        assert [found.status for found in await jobs.select()] == ["in_progress"]
        assert await told(jobs) == []
        monkeypatch.undo()
        for _ in range(2):
            await jobs.save(ended)
        assert await told(jobs) == [("video_1", "video.completed", 100.0)]


async def told(jobs: JobRows) -> list[tuple[object, ...]]:
    return await jobs.journal.do(lambda db: db.execute("SELECT job, type, created_at FROM deliveries").fetchall())


async def test_whose_jobs(daemon: Daemon, anna: Person) -> None:
    """A webhook is told of its account's jobs, or of everybody's, of the events it named, and of no conversation's."""
    bert = await daemon.person("bert")
    async with Receiver() as receiver:
        own = await add(anna, receiver)
        every = await add(anna, receiver, everybody=True, event_types=["video.cancelled"])
        for person in (anna, bert):
            id = await daemon.submit(person)
            await daemon.desk.cancel(id, None)
        await daemon.submit(anna)
        talk = replace(await daemon.hands.begin(), priority=CONVERSATION)
        daemon.desk._live[talk.id].job = talk
        await daemon.hands.complete(talk)
        assert len(await settled(anna, own)) == 1
        assert len(await settled(anna, every)) == 2
        await receiver.until(lambda: len(receiver.acknowledged) == 3)


async def test_gone(daemon: Daemon, anna: Person) -> None:
    """410 disables a webhook: what waits has failed, what ends afterwards is not kept, until it is enabled again."""
    async with Receiver(answers={"/hook": (410, {})}) as receiver:
        webhook = await add(anna, receiver)
        for _ in range(2):
            await daemon.desk.cancel(await daemon.submit(anna), None)
            await settled(anna, webhook)
        [only] = await deliveries(anna, webhook)
        assert only["state"] == "failed" and "410" in only["answer"]
        failed = daemon.metrics.registry.get_sample_value("echod_webhook_attempts_total", {"outcome": "failed"})
        assert failed == 1
        shown = (await anna.http.get(f"/v1/webhook_endpoints/{webhook['id']}")).json()["echod"]
        assert (shown["failed"], shown["disabled"]) == (1, "it answered 410: gone")
        receiver.answers.clear()
        again = await anna.http.post(f"/v1/webhook_endpoints/{webhook['id']}/retry")
        assert again.json()["deliveries"] == 1
        await receiver.until(lambda: receiver.acknowledged == [only["id"]])


async def test_one_does_not_hold_up_another(daemon: Daemon, anna: Person) -> None:
    """While one receiver does not answer, another is told."""
    async with Hanging() as hanging, Receiver() as receiver:
        await add(anna, hanging)
        await add(anna, receiver)
        for _ in range(2):
            await daemon.desk.cancel(await daemon.submit(anna), None)
        await hanging.until(lambda: hanging.waiting == 1)
        await receiver.until(lambda: len(receiver.acknowledged) == 2)
        assert len(hanging.requests) == 1


class Hanging(Receiver):
    async def answer(self, request: Any, exchange: Any) -> None:
        await exchange.stall()


async def test_off(daemon: Daemon, anna: Person) -> None:
    """With the setting off nothing is sent; what waited is when it is on again."""
    async with Receiver() as receiver:
        await add(anna, receiver)
        daemon.settings.now = daemon.changed(webhooks="off")
        await daemon.desk.cancel(await daemon.submit(anna), None)
        assert list(await daemon.webhooks.counts()) != []
        daemon.settings.now = daemon.config
        assert not receiver.requests
        daemon.delivering.wake()
        await until(lambda: len(receiver.acknowledged) == 1)
