"""What echod needs on this machine, looked at one by one. Torch is only imported in a child, which may hang or die."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, NamedTuple

from echod import config
from echod.commands import ray
from echod.errors import ConfigurationError, DaemonUnreachable, EchodError
from echod.host.secret import without_secrets
from echod.host.service import as_service, pull_command

TORCH_TIMEOUT = 120.0  # seconds; the first import from a cold disk is slow

TORCH_PROBE = """
import json, torch
cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda,
    "cards": [f"cuda:{index} {card.name}, {card.total_memory / 2**30:.0f} GiB" for index, card in enumerate(cards)],
}))
"""


class Check(NamedTuple):
    """One finding. What is not `required` may be missing."""

    name: str
    ok: bool
    finding: str
    required: bool = True
    told: str | None = None  # the code, where a daemon told of it

    def as_object(self) -> dict[str, Any]:
        found = self._asdict()
        del found["told"]
        return found

    @property
    def mark(self) -> str:
        return "ok" if self.ok else "MISSING" if self.required else "-"


def examine(url: str | None = None) -> Iterator[Check]:
    """Every check, in the order in which a newcomer meets them."""
    yield python()
    yield packages()
    yield from torch_and_devices()
    yield codec("libx264", _encode_picture)
    yield codec("aac", _encode_sound)
    try:
        settings = config.load(environ=as_service())
    except ConfigurationError as error:
        yield Check("settings", False, error.message)
        return
    changed = sum(origin != "default" for origin in settings.origins.values())
    yield Check("settings", True, f"{changed} given; `echod config show --origin` shows them")
    yield from (Check("ray", *finding) for finding in ray.findings(settings))
    yield disk(settings)
    yield daemon(settings, url)
    yield from callers(url)
    yield weights(settings)
    yield from keys(settings)
    yield from speech(settings)
    yield from neighbours(settings)


def python() -> Check:
    return Check("python", sys.version_info >= (3, 11), f"{platform.python_version()} at {sys.executable}, needs 3.11")


def packages() -> Check:
    """The packages echod was installed with, and their versions."""
    required = [line for line in metadata.requires("echod") or [] if "extra ==" not in line]
    names = [match[0] for line in required if (match := re.match(r"[\w.-]+", line))]
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return Check("packages", False, f"not installed: {', '.join(missing)}; `pip install echod` installs them")
    return Check("packages", True, ", ".join(f"{name} {version}" for name, version in versions.items()))


def torch_and_devices(probe: str = TORCH_PROBE, timeout: float = TORCH_TIMEOUT) -> Iterator[Check]:
    try:
        child = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, timeout=timeout,
            env=without_secrets(os.environ),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        yield Check("torch", False, f"did not answer within {timeout:g} s; a GPU or its driver may hang")
        return
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or [f"ended with {child.returncode}"])[-1]
        yield Check("torch", False, f"cannot be used: {reason}")
        return
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    version = found["version"]
    yield Check("torch", True, f"{version}, for CUDA {found['cuda']}" if found["cuda"] else f"{version}, for CPU only")
    cores = f"cpu, {len(os.sched_getaffinity(0))} cores"
    if found["cards"]:
        yield Check("devices", True, "; ".join([*found["cards"], cores]))
    else:
        yield Check("devices", False, f"{cores}; no GPU that torch can use", required=False)


def codec(name: str, encode: Callable[[Any, Any], None]) -> Check:
    """Encodes a moment with the codec, into memory: being listed does not mean that it works."""
    try:
        import av

        with av.open(io.BytesIO(), "w", format="mp4") as container:
            encode(av, container)
    except Exception as error:  # whatever a build of FFmpeg raises is the finding
        return Check(name, False, f"cannot encode: {error}; the `av` wheels from PyPI can")
    return Check(name, True, f"encodes, with PyAV {av.__version__}")


def _encode_picture(av: Any, container: Any) -> None:
    stream = container.add_stream("libx264", rate=24)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
    container.mux(stream.encode())


def _encode_sound(av: Any, container: Any) -> None:
    stream = container.add_stream("aac", rate=16000, layout="mono")
    frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    frame.rate = 16000
    for plane in frame.planes:  # a new frame holds whatever was in memory, and the encoder refuses NaN
        plane.update(bytes(plane.buffer_size))
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def disk(settings: config.Config) -> Check:
    """The state directory, or what of its path is there, can be written and has room."""
    place = next(path for path in (settings.state_dir, *settings.state_dir.parents) if path.exists())
    free = shutil.disk_usage(place).free
    room = f"{free / 2**30:.1f} GiB free at {settings.state_dir}"
    if not os.access(place, os.W_OK):
        return Check("disk", False, f"{place} cannot be written; name another with --state-dir")
    if free < settings.min_free:
        return Check("disk", False, f"{room}; nothing is accepted below {settings.min_free / 2**30:.1f} GiB (min_free)")
    return Check("disk", True, room)


def daemon(settings: config.Config, url: str | None) -> Check:
    """A daemon answers, or the port is free for one."""
    from echod.client.client import Client

    try:
        with Client(url, os.environ.get("ECHOD_TOKEN"), patience=0) as client:
            report = client.readiness()
            states = report["devices"]
            ready = sum(state["state"] in ("idle", "busy") for state in states)
            cluster = report.get("cluster")
            far = f"; {cluster['problem']}" if cluster and cluster["problem"] else ""
            shared = "".join(
                f"; {state['device']} shares its card with {', '.join(others)}"
                for state in states
                if (others := state.get("shares"))
            )
            return Check(
                "daemon", True, f"answers at {client.address}, {ready} of {len(states)} workers ready{shared}{far}"
            )
    except DaemonUnreachable as error:
        if url or os.environ.get("ECHOD_URL"):
            return Check("daemon", False, error.message)
    except EchodError as error:
        return Check("daemon", False, error.message, told=error.told)
    if _free(settings.host, settings.port):
        return Check("daemon", True, f"none runs; port {settings.port} is free for `echod serve`")
    return Check("daemon", False, f"none runs, and something else has port {settings.port}; choose another with --port")


def callers(url: str | None) -> Iterator[Check]:
    """Whom the daemon that answers, if one does, lets in."""
    from echod.client.client import Client

    try:
        with Client(url, patience=0) as client:
            accounts = client.health().get("sign_in", True)
    except EchodError:  # told by the check before
        return
    if accounts:
        yield Check("callers", True, "by TCP who has an account; by the unix socket who may open it")
    else:
        yield Check(
            "callers", False,
            "no accounts: whoever comes from this machine, or through a proxy or a tunnel on it, is let in; "
            "`echod users add NAME --role admin` ends that",
            required=False,
        )  # fmt: skip


def _free(host: str, port: int) -> bool:
    family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError:
            return False
    return True


def weights(settings: config.Config) -> Check:
    """Model files, which the preview engine does without."""
    found = [path.name for path in settings.weights_dir.glob("[!.]*") if path.name != "README.md"]
    if found:
        return Check("weights", True, f"in {settings.weights_dir}: {', '.join(sorted(found))}", required=False)
    way = f"`{pull_command('echomimic', settings.weights_dir)}` fetches them; engine preview needs none"
    return Check("weights", False, f"none in {settings.weights_dir}: {way}", required=False)


def keys(settings: config.Config) -> Iterator[Check]:
    """Which key is sent to whom, if there is any."""
    try:
        from echod.speech.plan import keys

        told = keys(settings)
    except ConfigurationError:  # told by what needs it
        return
    if told:
        yield Check("keys", True, "; ".join(told))


def speech(settings: config.Config) -> Iterator[Check]:
    """Whatever speaks, hears and replies is called once; clips of recordings do without all three."""
    try:
        from echod.speech.trial import try_speech

        trials = asyncio.run(try_speech(settings))
    except ConfigurationError as error:  # the daemon would not start
        yield Check("speech", False, error.message)
    except ImportError as error:
        yield Check("speech", False, f"cannot be tried: {error}", required=False)
    else:
        yield from (Check(*trial, required=False) for trial in trials)


def neighbours(settings: config.Config) -> Iterator[Check]:
    """Servers on this machine that could hear, reply or speak, and what to set for that. None is used unasked."""
    try:
        from echod.speech.openai.neighbours import find
        from echod.speech.plan import plan

        dashscope = "dashscope" in plan(settings).usable
    except ConfigurationError:  # told by what needs it
        return
    for neighbour in [] if settings.openai_url else asyncio.run(find()):
        put = f"{neighbour.url} speaks OpenAI's protocol and is not used; to use it, put into {config.user_file()}:"
        yield Check("server", True, f"{put}\n{neighbour.toml(dashscope=dashscope)}", required=False)
