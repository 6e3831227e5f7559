"""Webhooks: who is told how jobs end, and what has been told."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection

from echod.config import Settings
from echod.errors import EchodError, invalid
from echod.journal import Journal
from echod.webhooks import rows
from echod.webhooks.message import new_secret
from echod.webhooks.rows import Delivery, EventType, State, Webhook
from echod.webhooks.sending import check_url

MAX_NAME = 64
MAX_WEBHOOKS = 20  # of one account
SHOWN = 100  # deliveries of one webhook
KEEP_DELIVERED, KEEP_FAILED = 86400.0, 30 * 86400.0  # seconds


class Webhooks:
    """All of them, in the journal alone."""

    def __init__(self, journal: Journal, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._settings = settings
        self.clock = clock
        self.on_due: Callable[[], None] = lambda: None  # something may be due now

    async def add(
        self, account: str, url: str, name: str, events: Collection[EventType], *, everybody: bool = False
    ) -> Webhook:
        """Raises EchodError: invalid_request, quota_exceeded."""
        check_url(url, private=self._settings.now.webhook_private)
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise invalid(f"the name of a webhook has 1 to {MAX_NAME} printable characters", "name")
        if not events:
            raise invalid("name at least one event", "event_types")
        id, joined = f"wh_{secrets.token_hex(8)}", ",".join(dict.fromkeys(events))
        webhook = Webhook(id, account, name, url, new_secret(), joined, everybody, self.clock())

        def work(db: sqlite3.Connection) -> None:
            if (there := len(rows.webhooks(db, account))) >= MAX_WEBHOOKS:
                raise EchodError(
                    "quota_exceeded",
                    f"{account!r} has {there} webhooks, and at most {MAX_WEBHOOKS} are allowed; `echod webhooks rm` "
                    "removes one",
                )
            rows.add_webhook(db, webhook)

        await self._journal.do(work)
        return webhook

    def all(self, account: str | None) -> asyncio.Future[list[Webhook]]:
        """Of an account (None: everybody's), newest first."""
        return self._journal.do(lambda db: rows.webhooks(db, account))

    async def find(self, id: str, account: str | None) -> Webhook:
        """Raises EchodError: not_found."""
        webhook = await self._journal.do(lambda db: rows.find(db, id))
        if webhook is None or account not in (None, webhook.account):
            raise EchodError("not_found", f"there is no webhook {id[:64]!r}; `echod webhooks list` shows them")
        return webhook

    async def remove(self, id: str, account: str | None) -> None:
        """With all that waits for it. Raises EchodError: not_found."""
        await self.find(id, account)
        await self._journal.do(lambda db: rows.remove(db, id))

    async def retry(self, id: str, account: str | None) -> int:
        """Enable it and send what failed or waits; how many that are. Raises EchodError: not_found."""
        await self.find(id, account)
        again = await self._journal.do(lambda db: rows.retry(db, id, self.clock()))
        self.on_due()
        return again

    async def deliveries(self, id: str, account: str | None) -> list[Delivery]:
        """The newest. Raises EchodError: not_found."""
        await self.find(id, account)
        return await self._journal.do(lambda db: rows.deliveries(db, id, SHOWN))

    def counts(self) -> asyncio.Future[dict[tuple[str, State], int]]:
        """Deliveries by webhook and state."""
        return self._journal.do(rows.counts)

    async def sweep(self, now: float) -> None:
        """Forget what was told, and what could not be told for long."""
        await self._journal.do(lambda db: rows.sweep(db, now - KEEP_DELIVERED, now - KEEP_FAILED))
