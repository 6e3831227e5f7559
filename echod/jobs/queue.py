"""Who is dispatched next: conversation jobs first, then round robin over accounts, oldest first within one."""

from __future__ import annotations

import bisect
from collections.abc import Callable

from echod.jobs.job import CONVERSATION, Job


class Lane:
    """Queued jobs of one priority. The account that was served the longest ago is next."""

    def __init__(self, place: Callable[[Job], float]) -> None:
        self._place = place
        self.accounts: dict[str, list[Job]] = {}
        self._served: dict[str, int] = {}  # the number of each account's last turn; kept when it has no jobs left
        self._turn = 0

    def __len__(self) -> int:
        return sum(map(len, self.accounts.values()))

    def waiting(self, account: str) -> int:
        """How many jobs of an account are queued."""
        return len(self.accounts.get(account, ()))

    def push(self, job: Job) -> None:
        # Sorted, so that a job that comes back takes the place it had.
        bisect.insort(self.accounts.setdefault(job.account, []), job, key=self._place)

    def pop(self, suits: Callable[[Job], bool]) -> Job | None:
        for account in self._in_turn():
            job = next(filter(suits, self.accounts[account]), None)
            if job is not None:
                self.discard(job.id)
                self._turn += 1
                self._served[account] = self._turn
                return job
        return None

    def _in_turn(self) -> list[str]:
        return sorted(self.accounts, key=lambda account: self._served.get(account, 0))

    def discard(self, job_id: str) -> Job | None:
        for account, jobs in self.accounts.items():
            for job in jobs:
                if job.id == job_id:
                    jobs.remove(job)
                    if not jobs:
                        del self.accounts[account]
                    return job
        return None

    def ahead_of(self, job_id: str) -> int | None:
        """How many jobs of this lane go before this one; None if it is not here."""
        lines = [self.accounts[account] for account in self._in_turn()]
        for turn, jobs in enumerate(lines):
            for index, job in enumerate(jobs):
                if job.id == job_id:
                    # Earlier accounts have had index + 1 turns by then, later ones index.
                    return sum(min(len(others), index + (position < turn)) for position, others in enumerate(lines))
        return None


class JobQueue:
    """Every accepted job that no worker holds. `place` is where a job stands in the order of acceptance."""

    def __init__(self, place: Callable[[Job], float]) -> None:
        self.conversation = Lane(place)
        self.batch = Lane(place)

    def __len__(self) -> int:
        return len(self.conversation) + len(self.batch)

    def waiting(self, account: str) -> int:
        """How many jobs of an account are queued."""
        return self.conversation.waiting(account) + self.batch.waiting(account)

    def push(self, job: Job) -> None:
        (self.conversation if job.priority >= CONVERSATION else self.batch).push(job)

    def pop(self, suits: Callable[[Job], bool] = lambda job: True, *, conversation_only: bool = False) -> Job | None:
        job = self.conversation.pop(suits)
        return job if job or conversation_only else self.batch.pop(suits)

    def discard(self, job_id: str) -> Job | None:
        return self.conversation.discard(job_id) or self.batch.discard(job_id)

    def position(self, job_id: str) -> int | None:
        """0 for the next job to be dispatched; None for a job that is not queued."""
        ahead = self.conversation.ahead_of(job_id)
        if ahead is not None:
            return ahead
        ahead = self.batch.ahead_of(job_id)
        return None if ahead is None else ahead + len(self.conversation)
