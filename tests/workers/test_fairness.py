"""Workers are shared out over accounts."""

from __future__ import annotations

from pathlib import Path

from tests.drivers.bench import bench
from tests.stand_ins import engine as scripted


async def test_an_account_with_fifty_jobs(tmp_path: Path) -> None:
    """One account queues fifty jobs, then another queues one: that one runs next, and after it they alternate."""
    async with bench(tmp_path) as work:
        await work.ready()
        running = await work.accept(scripted.GATED, account="anna")
        await work.file(running, "waiting")
        hers = [await work.accept(account="anna") for _ in range(50)]
        his = [await work.accept(account="bert") for _ in range(2)]
        assert [work.desk.queue.position(job.id) for job in (his[0], hers[0], his[1], hers[1])] == [0, 1, 2, 3]
        watcher = work.desk.feed.watch(None, after=0)
        work.open_gate(running)
        started = []
        async for event in watcher:
            if event.type == "job.started":
                started.append(event.job.id)
            if len(started) == 5:
                break
        watcher.close()
        assert started == [his[0].id, hers[0].id, his[1].id, hers[1].id, hers[2].id]
