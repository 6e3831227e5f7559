"""A daemon without workers: the real desk, journal, feed, file store and front, and a fleet that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect

from echod.accounts.grants import AccountRole
from echod.accounts.passwords import Passwords
from echod.accounts.signing import Signer
from echod.accounts.store import Accounts
from echod.config import Config, Settings
from echod.conversation.store import Conversations
from echod.errors import EchodError
from echod.inspection.facts import PortraitFacts, SpeechFacts
from echod.inspection.messages import PREPARED, Inspected
from echod.jobs import life
from echod.jobs.desk import Desk
from echod.jobs.job import Job
from echod.jobs.speaking import Speaking
from echod.journal import Journal
from echod.roles.store import Roles
from echod.server.app import Services, create_app, sockets
from echod.server.caller import caller
from echod.server.front.front import Front
from echod.server.metrics import Metrics
from echod.speech.calls import Calls
from echod.speech.plan import FUNCTIONS
from echod.speech.usage import UsageRecords
from echod.uploads.store import FileStore
from echod.workers.state import DeviceState
from tests.drivers.described import check_described
from tests.drivers.talking import Talk
from tests.making.config import make_config
from tests.stand_ins.backend import Scripted

PASSWORD = "correct horse"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

# Who calls a daemon without accounts.
local_only = partial(caller, accounts=Accounts(Journal(Path("no journal"))))

SECOND = b"\1\0" * 24_000  # of sound, as conversations have it

PORTRAIT, SPEECH = b"a picture of a face", b"some words"  # what the inspector below takes for the two


class Inspector:
    """Tells by the first bytes what a file is, and decodes nothing."""

    async def inspect(self, path: Path, into: Path, want: str, **_: object) -> Inspected:
        data = path.read_bytes()
        kind = "portrait" if data.startswith((b"a", b"\x89PNG", b"\xff\xd8")) else "speech"
        if data.startswith(b"?") or want not in ("any", kind):
            raise EchodError(f"{want}_unreadable" if want != "any" else "unsupported_media", "it cannot be read")
        prepared = into / PREPARED[kind]
        prepared.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        if kind == "portrait":
            portrait = PortraitFacts(width=640, height=480, faces=2, box=(1, 2, 3, 4), sha256=digest)
            return Inspected(kind="portrait", prepared=prepared, portrait=portrait)
        speech = SpeechFacts(seconds=1.5, rate=16000, channels=1, sha256=digest)
        return Inspected(kind="speech", prepared=prepared, speech=speech)


class Hands:
    """Stands in for the fleet behind the desk: attempts begin, grow and end when a test says so."""

    def __init__(self) -> None:
        self.desk: Desk
        self.refused: EchodError | None = None
        self.cancelled: list[str] = []

    def wake(self) -> None:
        pass

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job.id)

    def refusal(self) -> EchodError | None:
        return self.refused

    async def begin(self) -> Job:
        """Start the next attempt of the next job."""
        job = self.desk.queue.pop()
        assert job is not None
        begun = await self.desk.begin(job.id, "cpu")
        assert begun is not None
        return begun

    def growing(self, job: Job) -> Path:
        return self.desk.directory(job.id) / f"stream.{job.attempt}.mp4"

    async def grow(self, job: Job, data: bytes) -> None:
        """Add to the clip of a running attempt; the first time makes it playable."""
        first = not self.growing(job).exists()
        with self.growing(job).open("ab") as file:
            file.write(data)
        if first:
            await self.desk.apply(job.id, life.FirstFrame(job.attempt))

    async def progress(self, job: Job, share: float) -> None:
        event = life.Progressed(attempt=job.attempt, stage="decode", progress=share, windows_done=1, windows_total=4)
        await self.desk.apply(job.id, event)

    async def complete(self, job: Job, data: bytes = b"0123456789") -> None:
        directory = self.desk.directory(job.id)
        (directory / "thumbnail.jpg").write_bytes(b"small picture")
        (directory / "clip.mp4").write_bytes(data)
        self.growing(job).unlink(missing_ok=True)
        done = life.Done(attempt=job.attempt, frames=36, crop=(1, 2, 3, 4), faces=2, timings_ms={"decode": 1500})
        await self.desk.apply(job.id, done)

    async def fail(self, job: Job, code: str, transient: bool = False) -> None:
        failed = life.Failed(attempt=job.attempt, code=code, message="as told", transient=transient)
        await self.desk.apply(job.id, failed)


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
        self.app: FastAPI
        self.skew = 0.0  # seconds by which the clock goes ahead

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Daemon]:
        self.config.state_dir.mkdir(parents=True)
        self.config.runtime_dir.mkdir(parents=True)
        journal = Journal(self.config.state_dir / "echod.sqlite3")
        journal.open()
        engines, boot = ("preview", "other"), await journal.boot()
        self.desk = self.hands.desk = Desk(self.settings, journal, engines, boot=boot, clock=self.now)
        await self.desk.open(self.hands)
        self.files = FileStore(self.config.state_dir / "files", journal, self.inspector, self.settings, clock=self.now)
        self.metrics = Metrics(
            queued=lambda: len(self.desk.queue),
            watchers=lambda: len(self.desk.feed.watchers),
            devices=lambda: self.states,
        )
        self.roles = Roles(self.settings, self.inspector)
        self.accounts = Accounts(journal, Passwords(CHEAP), clock=self.now, ticks=self.now)
        await self.accounts.open()
        self.signer = Signer(b"k" * 32, clock=self.now)
        self.usage = UsageRecords(journal)
        chosen = dict.fromkeys(FUNCTIONS, "scripted")
        self.calls = Calls(self.settings, {"scripted": self.backend}, chosen, self.usage.add, self.now)
        self.speaking = Speaking(self.desk, self.calls)
        self.conversations = Conversations(self.settings)
        services = Services(
            self.desk, self.files, lambda: self.states, self.metrics, lambda: self.base,
            roles=self.roles, accounts=self.accounts, signer=self.signer,
            calls=self.calls, usage=self.usage, conversations=self.conversations,
        )  # fmt: skip
        self.budget = services.budget
        self.app = create_app(services)
        self.front = Front(self.app, sockets(services), services.caller)
        await self.front.start("127.0.0.1", 0, self.config.socket)
        self.base = self.front.tcp_url
        self.speaking.start()
        async with contextlib.AsyncExitStack() as self._stack:
            self.http = await self._stack.enter_async_context(self.client(base_url=self.base))
            yield self
        await self.front.close()
        await self.speaking.close()
        await self.desk.close()
        await journal.close()

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


@contextlib.asynccontextmanager
async def over_unix_socket(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=str(daemon.config.socket))
    async with daemon.client(transport=transport, base_url="http://localhost") as client:
        yield client


def device_state(state: Any = "idle") -> DeviceState:
    return DeviceState(
        worker=0, device="cpu", state=state, epoch=1, pid=1, job=None, suspended=None, engines=["preview"],
        restarts=3, loads=1, reason=None, cuda_visible_devices=None, torch_imported_at_hello=False,
    )  # fmt: skip


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until it holds."""
    while not condition():  # noqa: ASYNC110  (it holds whenever the other tasks have got that far)
        await asyncio.sleep(0)


async def receive(ws: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(await ws.recv()))


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and param of an error answer, whose shape is checked on the way."""
    body = answer.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert len(body["error"]["message"]) > 10
    return answer.status_code, body["error"]["code"], body["error"]["param"]


@pytest.fixture
def limits() -> dict[str, object]:
    """Settings of the daemon under test; modules override this."""
    return {}


@pytest.fixture
async def daemon(tmp_path: Path, limits: dict[str, object]) -> AsyncIterator[Daemon]:
    async with Daemon(make_config(tmp_path, **limits), Inspector()).run() as running:
        yield running


# Conversations


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key="none") as client:
        yield client


@pytest.fixture
async def talk(client: AsyncOpenAI) -> AsyncIterator[Talk]:
    async with client.realtime.connect(model="auto") as connection:
        yield Talk(connection)


@pytest.fixture
async def ada(daemon: Daemon, client: AsyncOpenAI) -> AsyncIterator[Talk]:
    """At a role that greets."""
    await make_role(daemon, personality="You are Ada.", greeting="Hello, I am Ada.", language="en")
    async with client.realtime.connect(model="role:ada") as connection:
        yield Talk(connection)


async def make_role(daemon: Daemon, **fields: str) -> None:
    answer = await daemon.http.post(
        "/v1/roles", data={"name": "ada", **fields}, files={"portrait": ("p.png", PORTRAIT)}
    )
    assert answer.status_code == 200, answer.text


def history(daemon: Daemon) -> list[tuple[str, str]]:
    """What the reply model was told was said before."""
    return [(each.author, each.text) for each in daemon.backend.turns[-1].history]
