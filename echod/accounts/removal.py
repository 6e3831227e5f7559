"""How an account goes: first its rights, then its jobs with their clips and its files, its name last.

A daemon that ends in between goes on with it at its next start, so that nothing of it is left for whoever gets the
name next.
"""

from __future__ import annotations

import logging

from echod.accounts.store import Accounts
from echod.errors import EchodError, gone
from echod.jobs.desk import Desk
from echod.speech.usage import UsageRecords
from echod.uploads.store import FileStore

log = logging.getLogger("echod.accounts")


async def remove_account(name: str, accounts: Accounts, desk: Desk, files: FileStore, usage: UsageRecords) -> None:
    """Raises EchodError: not_found, forbidden for the last admin while there are others."""
    await accounts.begin_removal(name)
    await _clear(name, accounts, desk, files, usage)


async def finish_removals(accounts: Accounts, desk: Desk, files: FileStore, usage: UsageRecords) -> None:
    """What an earlier daemon has begun. What cannot be removed now waits for the next start, and the name with it."""
    for name in accounts.leaving():
        try:
            await _clear(name, accounts, desk, files, usage)
        except EchodError as error:
            log.error("the removal of an account is not finished: %s", error.message, extra={"account": name})


async def _clear(name: str, accounts: Accounts, desk: Desk, files: FileStore, usage: UsageRecords) -> None:
    await accounts.at_rest(name)
    jobs = await desk.rows.select(name)
    for act in (desk.cancel, desk.remove):  # all are told to end before the end of one is waited for
        for job in jobs:
            with gone():
                await act(job.id, name)
    for record in await files.rows.select(name):
        with gone():
            await files.delete(record.id, name)
    await usage.forget(name)
    await accounts.finish_removal(name)
