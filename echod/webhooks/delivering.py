"""Delivery: one task that sends whatever is due, to several webhooks at once and to each one thing after another.

What waits is in the journal, so it outlives the daemon; an attempt whose outcome could not be committed is repeated,
under the same id.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from echod.config import Settings
from echod.errors import EchodError
from echod.journal import Journal
from echod.webhooks import message, rows
from echod.webhooks.rows import Delivery, Webhook
from echod.webhooks.sending import NotSent, Sender

log = logging.getLogger("echod.webhooks")

AT_ONCE = 8
FIRST, LONGEST = 10.0, 3600.0  # seconds to the second attempt, and at most between two
JITTER = 0.25  # of it, either way: what failed together is not tried together
GONE = 410
COMMIT_RETRY = 1.0  # seconds


def after(delivery: Delivery, answer: str, *, now: float, patience: float, chance: float) -> Delivery:
    """What becomes of it when an attempt has ended so: `answer` is a status, or why there was none.

    `chance` is from -1 to 1.
    """
    delivery = replace(delivery, attempts=delivery.attempts + 1, answer=answer)
    if len(answer) == 3 and answer.startswith("2"):
        return replace(delivery, state="delivered")
    wait = min(LONGEST, FIRST * 2.0 ** min(delivery.attempts - 1, 30)) * (1 + JITTER * chance)
    if now + wait > delivery.since + patience:
        return replace(delivery, state="failed")
    return replace(delivery, due=now + wait)


class Delivering:
    """Call `wake` when something may have become due."""

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        count: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._count = count
        self._sender = Sender(lambda: self._settings.now.webhook_private)
        self._due = asyncio.Event()
        self._sending: dict[str, asyncio.Task[None]] = {}  # by webhook

    def wake(self) -> None:
        self._due.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._due.clear()
                wait = await self._begin()
                try:
                    async with asyncio.timeout(wait):
                        await self._due.wait()
                except TimeoutError:
                    continue
        finally:
            sending = list(self._sending.values())
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def _begin(self) -> float | None:
        """Send what is due; how long until something else is, as far as is known."""
        if self._settings.now.webhooks == "off":
            return None
        try:
            waiting = await self._journal.do(rows.next_ones)
        except EchodError as error:
            log.error("what is due for webhooks cannot be read: %s", error.message)
            return COMMIT_RETRY
        now = self._clock()
        later = []
        for delivery in sorted(waiting, key=lambda each: each.due):
            due = min(delivery.due, now + LONGEST * (1 + JITTER))  # the clock may have been set back
            if delivery.webhook in self._sending:
                continue
            if due > now:
                later.append(due - now)
            elif len(self._sending) < AT_ONCE:
                task = asyncio.create_task(self._send(delivery))
                self._sending[delivery.webhook] = task
                task.add_done_callback(partial(self._sent, delivery.webhook))
        return min(later, default=None)

    def _sent(self, webhook: str, task: asyncio.Task[None]) -> None:
        del self._sending[webhook]
        if not task.cancelled() and (error := task.exception()):
            log.error("a delivery failed", exc_info=error, extra={"webhook": webhook})
        self.wake()

    async def _send(self, delivery: Delivery) -> None:
        webhook = await self._journal.do(lambda db: rows.find(db, delivery.webhook))
        if webhook is None:
            return
        answer = await self.attempt(webhook, delivery)
        tried = after(
            delivery,
            answer,
            now=self._clock(),
            patience=self._settings.now.webhook_patience,
            chance=random.uniform(-1, 1),
        )
        gone = answer == str(GONE)
        await self._commit(lambda db: _note(db, replace(tried, state="failed") if gone else tried, gone))
        self._count(
            "failed" if gone or tried.state == "failed" else "delivered" if tried.state != "waiting" else "tried"
        )
        if tried.state != "delivered":
            level = logging.ERROR if gone or tried.state == "failed" else logging.WARNING
            said = {"webhook": webhook.id, "job": delivery.job}
            log.log(level, "not delivered, attempt %d: %s", tried.attempts, answer, extra=said)

    async def attempt(self, webhook: Webhook, delivery: Delivery) -> str:
        """Send it once: the status of the answer, or why there is none."""
        content = message.body(delivery)
        try:
            headers = message.headers(webhook.secret, delivery, content, self._clock())
            return str(await self._sender.post(webhook.url, headers, content))
        except NotSent as error:
            return str(error)
        except Exception as error:  # the next attempt is to wait, whatever is wrong with this one
            log.exception("a delivery failed", extra={"webhook": webhook.id})
            return type(error).__name__

    async def _commit(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """However long that takes: what has been acknowledged is not to be sent again."""
        while True:
            try:
                return await self._journal.do(work)
            except EchodError as error:
                log.error("a delivery waits for the journal: %s", error.message)
            await asyncio.sleep(COMMIT_RETRY)


def _note(db: sqlite3.Connection, delivery: Delivery, gone: bool) -> None:
    rows.save(db, delivery)
    if gone:
        rows.disable(db, delivery.webhook, f"it answered {GONE}: gone")
