"""What the daemon's children inherit: none of the keys that it holds."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from openai import AsyncOpenAI

from echod.config import SETTINGS
from echod.host.secret import take_secrets, without_secrets
from echod.speech.plan import FUNCTIONS
from tests.drivers.running import LIGHT, RunningDaemon, descendants
from tests.drivers.talking import Talk
from tests.making.media import EXAMPLES

SECRETS = {
    "DASHSCOPE_API_KEY": "planted-dashscope-key-1",
    "ECHOD_OPENAI_KEY": "planted-openai-key-2",
    "OPENAI_API_KEY": "planted-openai-key-3",
    "ECHOD_TOKEN": "planted-token-4",
    "HF_TOKEN": "planted-token-5",
    "AWS_SECRET_ACCESS_KEY": "planted-key-6",
    "BACKUP_PASSWORD": "planted-password-7",
}
NEEDED = {
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "LD_PRELOAD", "OMP_NUM_THREADS",
    "TORCH_HOME", "PYTORCH_CUDA_ALLOC_CONF", "TOKENIZERS_PARALLELISM", "HF_HOME", "HF_ENDPOINT", "PATH", "HOME",
    "TMPDIR", "LANG", "XDG_RUNTIME_DIR", "TZ", "PYTHONPATH", "PYTHONHASHSEED", "SSH_AUTH_SOCK", "XAUTHORITY",
    "HTTPS_PROXY",
}  # fmt: skip

CHILDREN = {
    "worker": "multiprocessing.spawn",
    "tracker of the workers' resources": "multiprocessing.resource_tracker",
    "inspection": "echod.inspection.proc",
    "local models": "echod.speech.local.proc",
}


def test_what_is_a_secret_by_its_name() -> None:
    """No setting is one, nor what torch, CUDA and Python read, nor the path of a key's file."""
    settings = {f"ECHOD_{name.upper()}" for name in SETTINGS}
    harmless = dict.fromkeys([*settings, *NEEDED, "ACME_KEY_FILE"], "value")
    assert without_secrets(harmless) == harmless
    more = ("acme_token", "APIKEY", "ACME_CREDENTIALS", "CREDENTIALS_DIRECTORY", "OPENAI_API_KEY_2")
    environ = harmless | dict.fromkeys([*SECRETS, *more], "secret")
    whole = dict(environ)
    assert take_secrets(environ) == whole
    assert environ == harmless


def children(daemon: RunningDaemon) -> dict[str, bytes]:
    """The environment of each child, as the kernel has it from its start."""
    found = {}
    for pid in descendants(daemon.process.pid):
        process = Path(f"/proc/{pid}")
        command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
        [kind] = [kind for kind, part in CHILDREN.items() if part in command]
        found[kind] = process.joinpath("environ").read_bytes()
    return found


async def test_children_hold_no_key(tmp_path: Path) -> None:
    """Each child of a daemon with keys in its environment has what else is in it, a worker that comes later too."""
    model = tmp_path / "model"
    model.mkdir()
    model.joinpath("config.json").write_text("{}")
    settings = {f"ECHOD_{function.upper()}_BACKEND": "local" for function in FUNCTIONS}
    settings |= {"ECHOD_REPLY_MODEL": str(model), "CUDA_HOME": "/opt/cuda"}
    with RunningDaemon(tmp_path, command=LIGHT, **SECRETS, **settings) as daemon:
        async with AsyncOpenAI(base_url=f"{daemon.tcp}/v1", api_key="none") as client:
            with (EXAMPLES / "portrait.png").open("rb") as portrait:
                await client.files.create(file=portrait, purpose="user_data")
            async with client.realtime.connect(model="auto") as connection:
                await Talk(connection).answer("Who are you?")  # its model is none, but the child is there
        await asyncio.to_thread(daemon.until_idle)
        first = children(daemon)
        assert first.keys() == CHILDREN.keys()
        os.kill(daemon.devices()[0]["pid"], signal.SIGKILL)
        while (device := daemon.devices()[0])["epoch"] == 1 or device["state"] != "idle":
            daemon.notice()
        second = children(daemon)
    for kind, environ in [*first.items(), *second.items()]:
        assert b"PATH=" in environ, kind
        assert b"planted" not in environ, kind
    assert b"CUDA_HOME=/opt/cuda\0" in second["worker"]
