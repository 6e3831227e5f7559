"""The composition root: config -> journal -> desk -> fleet -> server, and the way back down.

SIGTERM or SIGINT drains: submits are refused, running jobs may finish for `drain_timeout`, then they are queued for the
next start. A second signal ends the wait. SIGHUP reads the settings again and gives failed devices another chance.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from echod import __version__, journal_file
from echod.accounts.removal import finish_removals
from echod.accounts.signing import Signer, load_key
from echod.accounts.store import Accounts
from echod.config import Config, Settings
from echod.conversation.store import Conversations
from echod.errors import ConfigurationError, EchodError
from echod.host import heap, logs
from echod.host.clock import TrustedTime
from echod.host.cluster import follows, is_far
from echod.host.descriptors import raise_limit
from echod.host.directories import create_directory, owned
from echod.host.network import is_loopback
from echod.host.redaction import redact
from echod.host.service import pull_command
from echod.host.systemd import notify, watchdog_interval
from echod.host.terminal import plain
from echod.inference.echomimic import layout
from echod.inference.registry import find
from echod.inspection.inspector import Inspector
from echod.jobs.desk import Desk
from echod.jobs.rows import JobRows
from echod.jobs.speaking import Speaking
from echod.jobs.steps import Watch
from echod.jobs.sweep import sweep
from echod.journal import Journal
from echod.provenance import certificate
from echod.roles.role import Role
from echod.roles.store import Roles
from echod.server.app import Services, create_app, sockets
from echod.server.front.front import Front
from echod.server.metrics import Metrics
from echod.server.present import Present
from echod.server.tracing import Traces, open_traces
from echod.speech.plan import open_calls, reloaded
from echod.speech.usage import Usage, UsageRecords
from echod.uploads.quota import Quota
from echod.uploads.rows import FileRows
from echod.uploads.store import FileStore
from echod.webhooks.delivering import Delivering
from echod.webhooks.store import Webhooks
from echod.workers.devices import find_devices
from echod.workers.fleet import Fleet
from echod.workers.messages import Prepare

log = logging.getLogger("echod")

NO_ACCOUNTS = (
    "no accounts: whoever reaches the TCP port from this machine, and whoever a proxy or a tunnel on it lets through, "
    "makes clips, files, roles and conversations and sees all of them; `echod users add NAME --role admin` ends that"
)

TRIM_INTERVAL = 15.0  # seconds; it takes a few milliseconds of a thread
NAMED = 8  # devices that systemd is told of one by one; of more, how many are in which state
SWEEP_INTERVAL = 600.0  # seconds between two looks for what has expired


def run(config: Config, reload: Callable[[], Config] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal; returns the exit code. `reload` reads the settings again, for SIGHUP.

    Keys are in `environ`; children inherit the environment of the process.
    """
    logs.set_up(config.log_level, config.log_json)
    faulthandler.enable()  # systemd's watchdog ends a blocked daemon with SIGABRT: say where it hung
    raise_limit()
    os.umask(0o077)  # whatever is made here, by libraries and workers too, is nobody else's business
    try:
        with owned(config.state_dir):
            asyncio.run(Daemon(config, reload or (lambda: config), environ=environ).serve())
    except EchodError as error:
        print(f"echod: {plain(redact(error.message))}", file=sys.stderr)
        return error.exit_code
    return 0


def check_bind(config: Config, accounts: Accounts) -> None:
    """Refuse to be seen from other machines before there is anybody who could log in."""
    if not (accounts or config.insecure or is_loopback(config.host)):
        raise ConfigurationError(
            f"host {config.host} can be reached from other machines, and there is no account yet. Start on 127.0.0.1, "
            "add an admin with `echod users add`, then start like this; or give --insecure (ECHOD_INSECURE=1)",
            param="host",
        )


def choose_engines(config: Config, devices: tuple[str, ...]) -> tuple[str, ...]:
    """What every worker loads, the main engine first. ConfigurationError if its weights are not there.

    What an engine of another package needs is known to nobody but its code, which only workers import; what the nodes
    of a cluster have, to them.
    """
    main = config.engine
    if main == "auto":
        main = "echomimic" if any(device.startswith("cuda") or device == "ray" for device in devices) else "preview"
        if main == "preview":
            log.info("engine auto: no CUDA device, so preview; --engine echomimic is the real one, slow on a CPU")
    here = not all(map(is_far, devices))
    if config.decoder != "vae":
        _check_decoder(config, main, here)
    if main == "preview":
        return ("preview",)
    if here and find(main).built_in and (lacking := layout.missing(config.weights_dir, main)):
        raise ConfigurationError(
            f"engine {main} needs weights that {config.weights_dir} lacks: {', '.join(lacking)}. "
            f"`{pull_command(main, config.weights_dir)}` fetches them; --engine preview needs none.",
            param="engine",
        )
    return (main, "preview")


def _check_decoder(config: Config, engine: str, here: bool) -> None:
    decoder = config.decoder
    if engine == "preview" or not find(engine).built_in:
        problem = f"is for EchoMimic's engines, and {engine} is none: choose one with --engine, or --decoder vae"
    elif here and (lacking := layout.missing(config.weights_dir, decoder)):
        problem = (
            f"needs {', '.join(lacking)}, which {config.weights_dir} lacks. "
            f"`{pull_command(decoder, config.weights_dir)}` fetches it; --decoder vae needs nothing"
        )
    else:
        return
    raise ConfigurationError(f"decoder {decoder} {problem}.", param="decoder")


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have these run in the background while the block does."""
    tasks = [asyncio.create_task(each) for each in work]
    for task in tasks:
        task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a background task ended: the daemon goes on without it", exc_info=error)


class Daemon:
    """One run of `echod serve`. `clock` is what everything in it takes the time of day from."""

    def __init__(
        self,
        config: Config,
        reload: Callable[[], Config],
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.settings = Settings(config)
        self._environ = environ
        self.clock = clock
        self._reload = reload
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._draining_since: float | None = None
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        create_directory(self.settings.now.runtime_dir)
        certificate.prepare(self.settings.now)
        async with AsyncExitStack() as stack:
            journal = await self._open_journal(stack)
            await self._open_desk(stack, journal)
            services = await self._open_services(stack, journal)
            self.front = Front(create_app(services), sockets(services), services.caller)
            await self.front.start(self.settings.now.host, self.settings.now.port, self.settings.now.socket)
            stack.push_async_callback(self.front.close)
            # Before systemd hears READY and may send one.
            loop.add_signal_handler(signal.SIGHUP, self._reload_settings)
            self.speaking.start()
            self._announce()
            async with running(
                self._keep_systemd_informed(),
                self._sweep(),
                self._trim(),
                self.inspector.start(shared=bool(self.accounts)),
                services.metrics.follow(self.desk.feed),
                self.delivering.run(),
                self.roles.watch(),
            ):
                await self._until_stopped()

    async def _open_journal(self, stack: AsyncExitStack) -> Journal:
        self.journal = journal = Journal(self.settings.now.state_dir / journal_file.NAME, JobRows, FileRows)
        journal.open()
        stack.push_async_callback(journal.close)
        self.accounts = Accounts(journal, clock=self.clock)
        await self.accounts.open()
        self.trusted = TrustedTime(self.clock, known=await journal.counters())
        check_bind(self.settings.now, self.accounts)
        self.usage = UsageRecords(journal)
        return journal

    async def _open_desk(self, stack: AsyncExitStack, journal: Journal) -> None:
        config, settings = self.settings.now, self.settings
        devices = find_devices(config.devices)
        following = tuple(filter(follows, config.devices))
        engines = choose_engines(config, (*devices, *following))
        quota = Quota(settings)
        self.desk = Desk(
            settings,
            journal,
            engines,
            boot=await journal.boot(),
            quota=quota,
            clock=self.clock,
            trusted=self.trusted,
        )
        self.fleet = Fleet(settings, self.desk, devices, following=following)
        self.fleet.on_change = self._changed.set
        self.inspector = Inspector(settings)
        stack.push_async_callback(self.inspector.close)
        self.files = FileStore(
            config.state_dir / "files",
            journal,
            self.inspector,
            settings,
            quota=quota,
            clock=self.clock,
            trusted=self.trusted,
        )
        await self.files.open()
        await self.desk.open(self.fleet)
        stack.push_async_callback(self.desk.close)
        await finish_removals(self.accounts, self.desk, self.files, self.usage)

    async def _open_services(self, stack: AsyncExitStack, journal: Journal) -> Services:
        desk = self.desk
        metrics = Metrics(lambda: Present.of(desk, self.fleet.devices(), self.fleet.cluster))

        def record(called: Usage) -> None:
            self.usage.add(called)
            metrics.called(called)

        self.roles = Roles(self.settings, self.inspector, self._warm_roles)
        self.webhooks = Webhooks(journal, self.settings, self.clock)
        self.delivering = Delivering(
            journal,
            self.settings,
            clock=self.clock,
            count=lambda outcome: metrics.deliveries.labels(outcome).inc(),
        )
        self.webhooks.on_due = self.delivering.wake
        desk.on_end = lambda job: self.delivering.wake()
        self.calls = await stack.enter_async_context(
            open_calls(self.settings, self._environ, record=record, clock=self.clock)
        )
        self.speaking = Speaking(desk, self.calls)
        stack.push_async_callback(self.speaking.close)
        signer = Signer(load_key(self.settings.now.state_dir / journal_file.KEY), self.clock)
        return Services(
            desk, self.files, self.fleet.devices, metrics, lambda: self.front.tcp_url,
            roles=self.roles, accounts=self.accounts, signer=signer,
            calls=self.calls, usage=self.usage, conversations=Conversations(self.settings), webhooks=self.webhooks,
            delivering=self.delivering, traces=self._open_traces(stack), cluster=lambda: self.fleet.cluster,
        )  # fmt: skip

    def _open_traces(self, stack: AsyncExitStack) -> Traces | None:
        if not (endpoint := self.settings.now.otlp_endpoint):
            return None
        traces = open_traces(endpoint)
        stack.push_async_callback(asyncio.to_thread, traces.close)
        self.desk.feed.listeners.append(Watch(traces.job))
        return traces

    async def _until_stopped(self) -> None:
        await self.fleet.start()
        await self._stop.wait()
        self.desk.draining = True
        self._draining_since = time.monotonic()
        notify(STOPPING=1, STATUS="draining")
        log.info(
            "draining: running jobs may finish for %.0f s; a second signal ends them at once",
            self.settings.now.drain_timeout,
        )
        await self.fleet.drain(self.settings.now.drain_timeout, self._hurry)

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _reload_settings(self) -> None:
        self.roles.reload()
        try:
            config, waiting = reloaded(self._reload(), self.settings.now)
            certificate.prepare(config)
        except EchodError as error:
            log.error("settings not reloaded: %s", error.message)
            return
        self.settings.now = config
        self.delivering.wake()  # they may be told again
        logs.set_up(config.log_level, config.log_json)
        log.info("settings reloaded%s", f"; after a restart also {', '.join(waiting)}" if waiting else "")
        self.fleet.revive()

    def _warm_roles(self) -> None:
        """Have workers prepare the portraits of roles, each for its own engine and size."""
        engines = self.desk.engines
        wanted = [(role, role.file.engine or engines[0]) for role in self.roles.loaded]
        self.fleet.portraits.prepare(
            portrait_of(role, engine, self.settings.now.max_picture) for role, engine in wanted if engine in engines
        )

    def _announce(self) -> None:
        all_of_it = (f"{device} as the cluster has them" for device in self.fleet.roster.following)
        devices = ", ".join([*(worker.name for worker in self.fleet.workers), *all_of_it])
        chosen = ", ".join(f"{function} by {backend}" for function, backend in self.calls.chosen.items())
        lines = [
            f"echod {__version__} listens on {', '.join(self.front.addresses)}",
            f"devices {devices}; engines {', '.join(self.desk.engines)}",
            f"speech: {chosen}",
            f"state in {self.settings.now.state_dir}",
        ]
        for line in lines if self.accounts else [*lines, NO_ACCOUNTS]:
            log.info(line)
        notify(READY=1, STATUS=self._status())

    def _status(self) -> str:
        workers = self.fleet.workers
        named = [f"{worker.name} {worker.state}" for worker in workers]
        counted = [f"{count} {state}" for state, count in Counter(worker.state for worker in workers).items()]
        return f"{', '.join(named if len(named) <= NAMED else counted)}; {len(self.desk.queue)} queued"

    async def _keep_systemd_informed(self) -> None:
        """Runs in the event loop on purpose: if the loop is blocked, systemd hears nothing and acts."""
        interval = watchdog_interval()
        while True:
            if interval is not None:
                notify(WATCHDOG=1)
            if self._draining_since is not None:
                notify(EXTEND_TIMEOUT_USEC=int(2e6 * (interval or 5.0)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._changed.wait()
            if self._changed.is_set():
                self._changed.clear()
                notify(STATUS=self._status())

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(TRIM_INTERVAL)
            await asyncio.to_thread(heap.trim)

    async def _sweep(self) -> None:
        sweeps: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: self.files.sweep(self.trusted()),  # what frees bytes first: a full disk has no room for the others
            lambda: sweep(self.desk),
            lambda: self.accounts.sweep(self.trusted()),
            lambda: self.usage.sweep(self.trusted() - self.settings.now.keep_usage),
            lambda: self.webhooks.sweep(self.trusted()),
            lambda: self.journal.set_counters(self.trusted.counters()),
        )
        while True:
            for remove in sweeps:
                try:
                    await remove()
                except Exception:
                    log.exception("what has expired could not be removed")
            await asyncio.sleep(SWEEP_INTERVAL)


def portrait_of(role: Role, engine: str, max_picture: int) -> Prepare:
    """What a worker needs to have the role's portrait warm for its clips."""
    return Prepare(
        engine=engine,
        portrait=str(role.picture),
        portrait_sha256=role.portrait.sha256,
        box=role.portrait.box,
        options=msgspec.structs.replace(role.clip_options, max_picture=max_picture),
    )
