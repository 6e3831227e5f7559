"""Settings: defaults < /etc/echod/config.toml < ~/.config/echod/config.toml < ECHOD_* < flags.

Each setting is one line of `Config`: its type, its default as a user would write it, how it is read and shown, and
what it means. A config file may set it at the top level or under its section; the environment as ECHOD_<NAME>.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from echod.errors import ConfigurationError
from echod.host import service
from echod.inference import limits, registry
from echod.kinds import (
    COUNT,
    DEVICE,
    DEVICES,
    DURATION,
    DURATION_OR_AUTO,
    ENGINE,
    HOST,
    NETWORKS,
    PATH,
    PATH_OR_NONE,
    PORT,
    RAY_ADDRESS,
    RUNTIME_DIR,
    SERVER,
    SIDE,
    SIZE,
    SWITCH,
    TEXT,
    URL,
    VOICE,
    VOICES,
    Kind,
    Networks,
    choice,
)  # fmt: skip

ENGINES = f"{', '.join(('auto', *registry.BUILT_IN))}, or one of a package"
DTYPES = limits.DTYPES
COMPILE = ("auto", "off")
BACKENDS = ("auto", "dashscope", "openai", "local")
UNDERSTANDING = ("asr+reply", "omni")
Sounds: TypeAlias = Literal["base64", "data_uri", "none"]
SOUNDS = get_args(Sounds)
DASHSCOPE_URL = "https://dashscope.aliyuncs.com/compatible-mode/v1"
WEBHOOKS = ("admins", "all", "off")
LOG_LEVELS = ("debug", "info", "warning", "error")
SYSTEM_FILE = Path("/etc/echod/config.toml")


def _setting(section: str, kind: Kind, about: str, *default: Any) -> Any:
    metadata = {"section": section, "kind": kind, "about": about}
    return field(default=kind.parse(default[0]), metadata=metadata) if default else field(metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting, checked. Sizes are bytes, durations seconds; `origins` says where each came from."""

    state_dir: Path = _setting("storage", PATH, "journal, uploads, jobs and their clips")  # noqa: RUF009
    runtime_dir: Path = _setting("storage", RUNTIME_DIR, "the unix socket and the workers' sockets")  # noqa: RUF009
    weights_dir: Path = _setting("storage", PATH, "model files")  # noqa: RUF009
    keep_uploads: float = _setting("storage", DURATION, "how long an upload is kept", "24h")
    keep_clips: float = _setting("storage", DURATION, "how long a finished job and its clip are kept", "7d")
    clips_cap: int = _setting("storage", SIZE, "if all clips are larger, who has most loses the oldest", "20GiB")
    pins_per_account: int = _setting("storage", SIZE, "what pinned clips of one account may take", "2GiB")
    disk_per_account: int = _setting("storage", SIZE, "what uploads and clips of one account may take", "10GiB")
    min_free: int = _setting("storage", SIZE, "with less free disk space nothing is accepted", "512MiB")

    host: str = _setting("listen", HOST, "address of the TCP port", "127.0.0.1")
    port: int = _setting("listen", PORT, "TCP port; 0 takes any free one", 8765)
    public_url: str | None = _setting("listen", URL, "base of the URLs in answers, behind a proxy", "")
    trusted_proxies: Networks = _setting("listen", NETWORKS, "whose X-Forwarded-For counts", ["127.0.0.0/8", "::1"])  # noqa: RUF009
    insecure: bool = _setting("listen", SWITCH, "listen beyond loopback though there is no account yet", False)
    url_lifetime: float = _setting("listen", DURATION, "how long the signed URLs in answers are good", "24h")

    devices: tuple[str, ...] = _setting(
        "fleet", DEVICES, "auto, or one worker for each: cuda:0,cuda:1; of a Ray cluster: ray, ray:8", ["auto"]
    )
    ray_address: str = _setting(
        "fleet", RAY_ADDRESS, "Ray cluster of such devices: local starts one here, auto, ray://head:10001", "local"
    )
    ray_pull_weights: bool = _setting("fleet", SWITCH, "its nodes fetch the weights that they lack", False)
    engine: str = _setting("fleet", ENGINE, f"what makes the frames: {ENGINES}", "auto")
    dtype: str = _setting(
        "fleet", choice(*DTYPES), "what echomimic computes in; auto: what the device does best", "auto"
    )
    decoder: str = _setting(
        "fleet", choice(*limits.DECODERS), "what makes echomimic's pictures; taesd: an approximation, and faster", "vae"
    )
    compile: str = _setting(
        "fleet",
        choice(*COMPILE),
        "auto: kernels are compiled at the start, for cards that gain by it; off: none",
        "auto",
    )
    drain_timeout: float = _setting("fleet", DURATION, "how long running jobs may go on after SIGTERM", "60s")
    stall_timeout: float = _setting("fleet", DURATION, "least time without progress that ends a worker", "60s")
    stall_timeout_first: float | None = _setting(
        "fleet", DURATION_OR_AUTO, "the same until a device has timed one step; auto: 30m on CPU, 5m on CUDA", "auto"
    )

    queue_limit: int = _setting("limits", COUNT, "jobs that may wait", 256)
    jobs_per_account: int = _setting("limits", COUNT, "jobs of one account that may wait", 64)
    tokens_per_account: int = _setting("limits", COUNT, "API tokens that one account may have", 100)
    sessions_per_account: int = _setting("limits", COUNT, "sessions of one account; a further one ends the oldest", 100)
    max_seconds: float = _setting("limits", DURATION, "longest speech", 1800)
    max_upload: int = _setting("limits", SIZE, "largest request body", "64MiB")
    receive_memory: int = _setting("limits", SIZE, "memory for requests on their way, a quarter for each", "128MiB")
    max_pixels: int = _setting("limits", COUNT, "largest portrait, width x height", 50_000_000)
    max_picture: int = _setting(
        "limits", SIDE, "longest side of a clip that shows the whole portrait", limits.MAX_PICTURE
    )
    inspect_timeout: float = _setting("limits", DURATION, "time to inspect one file", "20s")
    inspect_memory: int = _setting("limits", SIZE, "memory to inspect one file", "1.5GiB")

    hear_backend: str = _setting("speech", choice(*BACKENDS), f"who hears: {', '.join(BACKENDS)}", "auto")
    reply_backend: str = _setting("speech", choice(*BACKENDS), "who replies", "auto")
    speak_backend: str = _setting("speech", choice(*BACKENDS), "who speaks where no voice is named", "auto")
    hear_model: str = _setting("speech", TEXT, "model that hears; empty: the backend's default", "")
    reply_model: str = _setting("speech", TEXT, "model that replies; empty: the backend's default", "")
    voice: str = _setting("speech", VOICE, "voice where none is named, as backend/model/name", "")
    voices: tuple[str, ...] = _setting("speech", VOICES, "further voices that `echod voices` lists", [])
    dashscope_url: str = _setting("speech", SERVER, "DashScope's compatible-mode URL", DASHSCOPE_URL)
    dashscope_ws_url: str = _setting("speech", SERVER, "its WebSocket; empty: on the same host, if Alibaba's", "")
    dashscope_workspace: str = _setting("speech", TEXT, "DashScope workspace, where a key needs one", "")
    dashscope_key_file: Path | None = _setting("speech", PATH_OR_NONE, "file with the key", "")  # noqa: RUF009
    openai_url: str = _setting("speech", SERVER, "base URL of an OpenAI-compatible server, ending in /v1", "")
    openai_key_file: Path | None = _setting("speech", PATH_OR_NONE, "file with its key, if it wants one", "")  # noqa: RUF009
    openai_rate: int = _setting("speech", COUNT, "samples per second of the speech it sends as pcm", 24000)
    openai_sound: Sounds = _setting(  # noqa: RUF009
        "speech", choice(*SOUNDS), "how its chat model takes sound", "base64"
    )
    speech_device: str = _setting("speech", DEVICE, "what this box's hearing and chat models run on", "cpu")
    hear_timeout: float = _setting("speech", DURATION, "longest wait for a transcript", "20s")
    reply_tokens: int = _setting("speech", COUNT, "most tokens of a reply, a model's thoughts among them", 1024)
    reply_timeout: float = _setting("speech", DURATION, "longest time for a whole reply", "60s")
    speak_timeout: float = _setting("speech", DURATION, "the same for speech, beside half a second a character", "30s")
    first_timeout: float = _setting("speech", DURATION, "longest wait for a server's first sign of life, live", "8s")
    silence_timeout: float = _setting("speech", DURATION, "longest wait for the first or next piece of either", "10s")
    speech_calls: int = _setting("speech", COUNT, "calls at once to each of hear, reply and speak", 8)
    keep_usage: float = _setting("speech", DURATION, "how long usage records are kept", "400d")
    log_content: bool = _setting("speech", SWITCH, "log what is heard, replied and spoken", False)

    understanding: str = _setting(
        "conversation", choice(*UNDERSTANDING), "asr+reply: hear, then reply; omni: the reply model hears", "asr+reply"
    )
    history_tokens: int = _setting("conversation", COUNT, "most tokens of earlier turns that a reply sees", 4000)
    max_utterance: float = _setting("conversation", DURATION, "longest speech of one turn", "60s")
    keep_conversations: float = _setting("conversation", DURATION, "how long one waits for its person", "30m")

    c2pa: bool = _setting("provenance", SWITCH, "sign clips with Content Credentials", True)
    c2pa_certificate: Path | None = _setting("provenance", PATH_OR_NONE, "PEM chain; empty: the box's own", "")  # noqa: RUF009
    c2pa_key: Path | None = _setting("provenance", PATH_OR_NONE, "its private key, PEM", "")  # noqa: RUF009
    label: str = _setting("provenance", choice(*limits.LABELS), "the visible label, where a job asks for none", "none")
    label_language: str = _setting("provenance", choice(*limits.LABEL_LANGUAGES), "its language, alike", "en")
    content_producer: str = _setting("provenance", TEXT, "who makes clips, in their AIGC label", "echod")

    webhooks: str = _setting(
        "webhooks", choice(*WEBHOOKS), "whose URLs may be told how jobs end: admins, all or off", "admins"
    )
    webhook_private: bool = _setting("webhooks", SWITCH, "also URLs of private addresses, and by plain http", False)
    webhook_patience: float = _setting("webhooks", DURATION, "how long an event is tried to be delivered", "1d")

    log_level: str = _setting("log", choice(*LOG_LEVELS), f"least level: {', '.join(LOG_LEVELS)}", "info")
    otlp_endpoint: str = _setting("log", SERVER, "base URL of an OpenTelemetry collector; empty: no traces", "")
    log_json: bool = _setting("log", SWITCH, "one JSON object a line", False)

    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def socket(self) -> Path:
        """The unix socket the daemon listens on."""
        return self.runtime_dir / "echod.sock"


@dataclass
class Settings:
    """The settings in force, for all that lives as long as the daemon: a reload replaces `now`."""

    now: Config


SETTINGS: dict[str, Field[Any]] = {item.name: item for item in fields(Config) if item.metadata}
SECTIONS = tuple(dict.fromkeys(item.metadata["section"] for item in SETTINGS.values()))
FLAG_NAMES = {"weights_dir": "--weights"}  # the others are spelled like their setting


class _Given(NamedTuple):
    """A value somebody gave, and where."""

    name: str
    value: Any
    origin: str


def user_file(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get("HOME") or Path.home(), ".config/echod/config.toml")


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    files: Sequence[Path] | None = None,
) -> Config:
    """The settings in force. `flags` are by setting name, None where not given; `files` replaces the two files.

    Raises ConfigurationError naming the value, what is allowed, and where the value came from.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(SETTINGS, "default")
    for given in _given(flags or {}, environ, [SYSTEM_FILE, user_file(environ)] if files is None else files):
        values[given.name] = _parse(given)
        origins[given.name] = given.origin
    for given in _directories(values, environ):
        values[given.name] = _parse(given)
        origins[given.name] = given.origin
    return Config(**values, origins=origins)


def _given(flags: Mapping[str, Any], environ: Mapping[str, str], files: Sequence[Path]) -> Iterator[_Given]:
    """Everything given, weakest first."""
    for file in files:
        yield from _from_file(file)
    for name in SETTINGS:
        for variable in ("ECHOD_WEIGHTS",) * (name == "weights_dir") + (f"ECHOD_{name.upper()}",):
            if environ.get(variable):
                yield _Given(name, environ[variable], variable)
    for name, value in flags.items():
        if value is not None:
            yield _Given(name, value, FLAG_NAMES.get(name, "--" + name.replace("_", "-")))


def _from_file(path: Path) -> Iterator[_Given]:
    import tomllib  # most commands read no settings

    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))  # Windows editors begin a file with a mark
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no TOML, or thousands of digits
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    seen: set[str] = set()
    for section, name, value in _flat(table):
        where = f"[{section}] " if section else ""
        if name not in SETTINGS or (section and section != SETTINGS[name].metadata["section"]):
            raise ConfigurationError(f"{path}: {where}{name} is no setting{_meant(name)}", param=name)
        if name in seen:
            raise ConfigurationError(f"{path}: {name} is set twice, at the top and under its section", param=name)
        seen.add(name)
        yield _Given(name, value, str(path))


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from ((name, inner, deep) for inner, deep in value.items())
        else:
            yield "", name, value


def _meant(name: str) -> str:
    close = [name] if name in SETTINGS else difflib.get_close_matches(name, SETTINGS, 1, 0.5)
    if not close:
        return "; `echod config init` writes a file with all of them"
    return f"; did you mean {close[0]}, under [{SETTINGS[close[0]].metadata['section']}]?"


def _parse(given: _Given) -> Any:
    try:
        return SETTINGS[given.name].metadata["kind"].parse(given.value)
    except ValueError as error:
        message = f"{given.name} = {given.value!r} (from {given.origin}) {error}"
        raise ConfigurationError(message, param=given.name) from None


def _directories(values: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[_Given]:
    """Directories nobody named. systemd separates several in one variable by colons; ours has one."""
    state = values.get("state_dir")
    if state is None:
        given = environ.get("STATE_DIRECTORY", "").split(":")[0]
        home = Path(environ.get("HOME") or Path.home())
        # The service's account has its state where its home is, so that its commands mean what its unit does.
        state = given or (home if home == service.STATE else home / ".local/state/echod")
        yield _Given("state_dir", state, "$STATE_DIRECTORY" if given else "default")
    if "runtime_dir" not in values:
        if given := environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
            yield _Given("runtime_dir", given, "$RUNTIME_DIRECTORY")
        elif given := environ.get("XDG_RUNTIME_DIR", ""):
            yield _Given("runtime_dir", Path(given, "echod"), "$XDG_RUNTIME_DIR")
        else:
            yield _Given("runtime_dir", Path(tempfile.gettempdir(), f"echod-{os.getuid()}"), "default")
    if "weights_dir" not in values:
        checkout = Path(__file__).parent.parent
        inside = (checkout / "pyproject.toml").exists() and (checkout / "weights").is_dir()
        yield _Given("weights_dir", (checkout if inside else Path(state)) / "weights", "default")
