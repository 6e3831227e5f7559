"""A daemon without workers: the real desk, journal, feed, file store and front, and a fleet that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI
from websockets.asyncio.client import connect

from echod.accounts.grants import AccountRole
from echod.accounts.passwords import Passwords
from echod.accounts.signing import Signer
from echod.accounts.store import Accounts
from echod.config import Config, Settings
from echod.conversation.store import Conversations
from echod.jobs.desk import Desk
from echod.jobs.speaking import Speaking
from echod.jobs.steps import Watch
from echod.journal import Journal
from echod.roles.store import Roles
from echod.server.app import Services, create_app, sockets
from echod.server.front.front import Front
from echod.server.metrics import Metrics
from echod.server.present import Present
from echod.server.tracing import open_traces
from echod.speech.calls import Calls
from echod.speech.plan import FUNCTIONS
from echod.speech.usage import Usage, UsageRecords
from echod.uploads.store import FileStore
from echod.webhooks.delivering import Delivering
from echod.webhooks.store import Webhooks
from echod.workers.state import Cluster, DeviceState
from tests.drivers.described import check_described, watching
from tests.stand_ins.backend import Scripted
from tests.stand_ins.hands import PORTRAIT, SPEECH, Hands

PASSWORD = "correct horse"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Person:
    """An account with an API token, and a client that sends it."""

    name: str
    token: str
    http: httpx.AsyncClient

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Daemon:
    """What tests talk to, and `hands` to make things happen behind it."""

    def __init__(self, config: Config, inspector: Any) -> None:
        self.config, self.settings = config, Settings(config)
        self.inspector = inspector
        self.hands = Hands()
        self.backend = Scripted()  # hears, replies and speaks
        self.states: list[DeviceState] = [device_state()]
        self.cluster: Cluster | None = None
        self.app: FastAPI
        self.undescribed: list[str] = []  # what clients were told that is not as described
        self.skew = 0.0  # seconds by which the clock goes ahead

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Daemon]:
        self.config.state_dir.mkdir(parents=True)
        self.config.runtime_dir.mkdir(parents=True)
        self.journal = journal = Journal(self.config.state_dir / "echod.sqlite3")
        journal.open()
        engines, boot = ("preview", "other"), await journal.boot()
        self.desk = self.hands.desk = Desk(self.settings, journal, engines, boot=boot, clock=self.now)
        await self.desk.open(self.hands)
        self.files = FileStore(self.config.state_dir / "files", journal, self.inspector, self.settings, clock=self.now)
        self.metrics = Metrics(lambda: Present.of(self.desk, self.states, self.cluster))
        self.roles = Roles(self.settings, self.inspector)
        self.accounts = Accounts(journal, Passwords(CHEAP), clock=self.now, ticks=self.now)
        await self.accounts.open()
        self.signer = Signer(b"k" * 32, clock=self.now)
        self.usage = UsageRecords(journal)
        chosen = dict.fromkeys(FUNCTIONS, "scripted")

        def record(called: Usage) -> None:
            self.usage.add(called)
            self.metrics.called(called)

        self.calls = Calls(self.settings, {"scripted": self.backend}, chosen, record, self.now)
        self.speaking = Speaking(self.desk, self.calls)
        self.conversations = Conversations(self.settings)
        self.webhooks = Webhooks(journal, self.settings, self.now)
        self.delivering = Delivering(
            journal, self.settings, clock=self.now, count=lambda outcome: self.metrics.deliveries.labels(outcome).inc()
        )
        self.webhooks.on_due = self.delivering.wake
        self.desk.on_end = lambda job: self.delivering.wake()
        self.traces = open_traces(self.config.otlp_endpoint) if self.config.otlp_endpoint else None
        if self.traces:
            self.desk.feed.listeners.append(Watch(self.traces.job))
        services = Services(
            self.desk, self.files, lambda: self.states, self.metrics, lambda: self.base,
            roles=self.roles, accounts=self.accounts, signer=self.signer,
            calls=self.calls, usage=self.usage, conversations=self.conversations, webhooks=self.webhooks,
            delivering=self.delivering, traces=self.traces, cluster=lambda: self.cluster,
        )  # fmt: skip
        self.budget, self.said = services.budget, services.said
        self.app = create_app(services)
        watched = {path: watching(path, serve, self.undescribed) for path, serve in sockets(services).items()}
        self.front = Front(self.app, watched, services.caller)
        await self.front.start("127.0.0.1", 0, self.config.socket)
        self.base = self.front.tcp_url
        self.speaking.start()
        self.desk.feed.listeners.append(self.metrics.happened)  # no watcher, of which tests count their own
        delivering = asyncio.create_task(self.delivering.run())
        async with contextlib.AsyncExitStack() as self._stack:
            self.http = await self._stack.enter_async_context(self.client(base_url=self.base))
            yield self
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        await self.front.close()
        if self.traces:
            await asyncio.to_thread(self.traces.close)
        await self.speaking.close()
        await self.desk.close()
        await journal.close()
        assert not self.undescribed

    def changed(self, **settings: Any) -> Config:
        """The settings, some of them changed."""
        return replace(self.config, **settings)

    def clock(self) -> float:
        return time.time() + self.skew

    def now(self) -> float:
        """What everything here asks for the time of day; a test may put another `clock` in place."""
        return self.clock()

    def client(self, **options: Any) -> httpx.AsyncClient:
        """One that looks whether answers are as the daemon describes them."""

        async def check(answer: httpx.Response) -> None:
            await check_described(self.app.openapi(), answer)

        return httpx.AsyncClient(timeout=20, event_hooks={"response": [check]}, **options)

    async def person(self, name: str, role: AccountRole = "user") -> Person:
        """A new account; from the first one on, `http` without a token is nobody."""
        await self.accounts.add(name, role, PASSWORD)
        _, token = await self.accounts.create_token(name, "test", None)
        headers = {"Authorization": f"Bearer {token}"}
        http = self.client(base_url=self.base, headers=headers)
        return Person(name, token, await self._stack.enter_async_context(http))

    async def submit(self, person: Person | None = None, /, **data: Any) -> str:
        """Have a job accepted; its id."""
        answer = await self.post(person, data=data)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def post(
        self,
        person: Person | None = None,
        *,
        data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """POST /v1/videos with both inputs as file parts."""
        files = {"input_reference": ("p.png", PORTRAIT), "audio_reference": ("s.wav", SPEECH)}
        http = person.http if person else self.http
        return await http.post("/v1/videos", data=data, files=files, headers=headers)

    async def upload(self, content: bytes, name: str = "name", person: Person | None = None) -> str:
        http = person.http if person else self.http
        answer = await http.post("/v1/files", files={"file": (name, content)}, data={"purpose": "user_data"})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def video(self, job_id: str) -> dict[str, Any]:
        return dict((await self.http.get(f"/v1/videos/{job_id}")).json())

    def events(self, query: str = "", person: Person | None = None, **options: Any) -> connect:
        if person:
            options["additional_headers"] = person.bearer
        return connect(f"{self.base.replace('http', 'ws')}/v1/events{query}", **options)

    def stored_files(self) -> list[Path]:
        """Whatever lies under files/ and jobs/."""
        return sorted(path for root in ("files", "jobs") for path in (self.config.state_dir / root).rglob("*"))


def device_state(state: Any = "idle") -> DeviceState:
    return DeviceState(
        worker=0, device="cpu", state=state, epoch=1, pid=1, job=None, suspended=None, helping=None, helped=0,
        helps=[], shares=[], numbers={}, computed={}, engines=["preview"], exact={"preview": False},
        restarts=3, loads=1, reason=None, cuda_visible_devices=None, torch_imported_at_hello=False,
    )  # fmt: skip
