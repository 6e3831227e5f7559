from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from echod import config
from echod.errors import ConfigurationError


def load(tmp_path: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: Any) -> config.Config:
    file = tmp_path / "config.toml"
    file.write_text(toml)
    return config.load(flags, {"HOME": str(tmp_path), **(environ or {})}, [file])


def test_defaults(tmp_path: Path) -> None:
    """Without anything given, the documented defaults hold and every origin says so."""
    settings = load(tmp_path)
    assert (settings.host, settings.port, settings.queue_limit, settings.engine) == ("127.0.0.1", 8765, 256, "auto")
    assert (settings.max_upload, settings.max_seconds, settings.max_pixels) == (64 * 2**20, 1800, 50_000_000)
    assert (settings.keep_uploads, settings.keep_clips, settings.drain_timeout) == (86400, 604800, 60)
    assert settings.state_dir == tmp_path / ".local/state/echod"
    assert set(settings.origins) == set(config.SETTINGS)
    assert set(settings.origins.values()) == {"default"}


def test_later_sources_win(tmp_path: Path) -> None:
    """A flag beats the environment, which beats the user's file, which beats the system's."""
    system, user = tmp_path / "system.toml", tmp_path / "user.toml"
    system.write_text("port = 1\nqueue_limit = 1\nmax_pixels = 1\nmax_seconds = 1\n")
    user.write_text("port = 2\nqueue_limit = 2\nmax_pixels = 2\n")
    environ = {"HOME": str(tmp_path), "ECHOD_PORT": "3", "ECHOD_QUEUE_LIMIT": "3"}
    settings = config.load({"port": 4}, environ, [system, user])
    assert [settings.port, settings.queue_limit, settings.max_pixels, settings.max_seconds] == [4, 3, 2, 1]
    origins = [settings.origins[name] for name in ("port", "queue_limit", "max_pixels", "max_seconds")]
    assert origins == ["--port", "ECHOD_QUEUE_LIMIT", str(user), str(system)]


def test_the_two_files_are_read_where_documented(tmp_path: Path) -> None:
    """Without a list of files, the user's is ~/.config/echod/config.toml."""
    file = tmp_path / ".config/echod/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("port = 4321\n")
    settings = config.load({}, {"HOME": str(tmp_path)})
    assert (settings.port, settings.origins["port"]) == (4321, str(file))


def test_byte_order_mark(tmp_path: Path) -> None:
    """The mark with which some editors begin a file is none of its text."""
    assert load(tmp_path, "\ufeffport = 4321\n").port == 4321


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_upload", "1.5GiB", 1.5 * 2**30),
        ("max_upload", "20 MB", 20_000_000),
        ("max_upload", "4096", 4096),
        ("keep_uploads", "36h", 129600.0),
        ("keep_uploads", "0", 0.0),
        ("stall_timeout_first", "auto", None),
        ("stall_timeout_first", "5m", 300.0),
        ("devices", "cuda:1, cuda:0", ("cuda:1", "cuda:0")),
        ("devices", "cpu,cpu", ("cpu", "cpu")),
        ("devices", "MIG-1-a,MIG-GPU-1/0/1", ("MIG-1-a", "MIG-GPU-1/0/1")),
        ("devices", "cuda:0,cuda:1,ray:6", ("cuda:0", "cuda:1", "ray:6")),
        ("devices", "cpu,ray,ray:8/cpu", ("cpu", "ray", "ray:8/cpu")),
        ("ray_address", "ray://[fd00::1]:10001", "ray://[fd00::1]:10001"),
        ("speech_device", "cuda:1", "cuda:1"),
        ("log_json", "yes", True),
        ("public_url", "https://clips.example.org/echod/", "https://clips.example.org/echod"),
        ("host", "::1", "::1"),
        ("port", "0", 0),
        ("trusted_proxies", "10.0.0.1, 172.16.0.0/12", (ip_network("10.0.0.1/32"), ip_network("172.16.0.0/12"))),
    ],
)
def test_text_is_read(tmp_path: Path, name: str, text: str, value: object) -> None:
    """The environment's text becomes the setting's own type."""
    assert getattr(load(tmp_path, environ={f"ECHOD_{name.upper()}": text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("port", "65536", "0 to 65535"),
        ("port", "http", "whole number"),
        ("queue_limit", "0", "1 or more"),
        ("max_upload", "64 potatoes", "64MiB"),
        ("keep_clips", "1 fortnight", "7d"),
        ("devices", "gpu0", "cuda:0"),
        ("devices", "cuda:0,GPU-1", "by number or all by UUID"),
        ("devices", "ray:0", "from 1 to 1024 in ray:0"),
        ("devices", "cpu,ray:9999", "from 1 to 1024 in ray:9999"),
        ("devices", "ray:x", "ray:8 or ray:8/cpu"),
        ("devices", "ray:8/tpu", "ray:8 or ray:8/cpu"),
        ("devices", "ray,ray:2", "name ray alone"),
        ("devices", "ray/cpu,ray:2,ray/cpu", "name ray/cpu alone"),
        ("ray_address", "head", "ray://head:10001"),
        ("ray_address", "http://head:10001", "ray://head:10001"),
        ("speech_device", "auto", "cuda:1"),
        ("engine", "wan", "auto, preview"),
        ("dtype", "fp16", "auto, float32, float16, bfloat16"),
        ("log_level", "loud", "warning"),
        ("log_json", "maybe", "true or false"),
        ("host", "http://0.0.0.0", "127.0.0.1"),
        ("jobs_per_account", "0", "1 or more"),
        ("public_url", "clips.example.org", "https://"),
        ("runtime_dir", "/" + "x" * 100, "101 bytes"),
        ("state_dir", "~nosuchuser/x", "a home"),
        ("max_upload", "9" * 400, "more than"),
        ("trusted_proxies", "10.0.0.1/8", "127.0.0.0/8,172.17.0.1"),
        ("trusted_proxies", "my-proxy", "addresses and networks"),
        ("tokens_per_account", "0", "1 or more"),
    ],
)
def test_refusal_names_value_limit_and_origin(tmp_path: Path, name: str, text: str, limit: str) -> None:
    """A value that cannot be used is refused, naming it, what is allowed, and where it came from."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, environ={f"ECHOD_{name.upper()}": text})
    assert caught.value.exit_code == 78
    assert caught.value.param == name
    for part in (name, text, limit, f"ECHOD_{name.upper()}"):
        assert part in caught.value.message


@pytest.mark.parametrize(
    "toml",
    [
        *('port = "x"', "engine = 3", "port = true", f"port = {'9' * 5000}", r'state_dir = "a\u0000b"'),
        *("devices = [1]", "devices = []", "devices = 1", "voices = [1]", "voices = 1"),
    ],
    ids=lambda toml: toml[:20],
)
def test_refusal_of_wrong_toml_types(tmp_path: Path, toml: str) -> None:
    """A TOML value of the wrong type is a configuration error that names the file."""
    with pytest.raises(ConfigurationError, match=r"config\.toml") as refused:
        load(tmp_path, toml)
    assert "object" not in refused.value.message  # words of Python's own


def test_settings_under_their_section(tmp_path: Path) -> None:
    """A file may group settings under their sections."""
    settings = load(tmp_path, '[listen]\nport = 1\n[fleet]\ndevices = ["cpu", "cpu"]\n[limits]\nmax_upload = "1MiB"\n')
    assert (settings.port, settings.devices, settings.max_upload) == (1, ("cpu", "cpu"), 2**20)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("prot = 1", r"prot is no setting; did you mean port, under \[listen\]"),
        ("[limits]\nport = 1", r"\[limits\] port is no setting; did you mean port, under \[listen\]"),
        ("[weather]\nrain = 1", r"\[weather\] rain is no setting; `echod config init`"),
        ("port = 1\n[listen]\nport = 2", "set twice"),
        ("port = ", "cannot be read"),
    ],
)
def test_unknown_keys_are_errors(tmp_path: Path, toml: str, message: str) -> None:
    """A key that is no setting, or one in the wrong place, is refused with the likely meaning."""
    with pytest.raises(ConfigurationError, match=message):
        load(tmp_path, toml)


def test_unreadable_file(tmp_path: Path) -> None:
    """A config file that is not text is an error, not a missing file."""
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        config.load({}, {"HOME": str(tmp_path)}, [file])


def test_systemd_directories(tmp_path: Path) -> None:
    """Under systemd the directories are the unit's own."""
    environ = {"STATE_DIRECTORY": "/var/lib/echod", "RUNTIME_DIRECTORY": "/run/echod", "XDG_RUNTIME_DIR": "/run/user/1"}
    settings = load(tmp_path, environ=environ)
    assert (settings.state_dir, settings.runtime_dir) == (Path("/var/lib/echod"), Path("/run/echod"))
    assert settings.origins["state_dir"] == "$STATE_DIRECTORY"
    assert settings.socket == Path("/run/echod/echod.sock")


def test_runtime_directory_of_a_session(tmp_path: Path) -> None:
    """A user's daemon uses the session's runtime directory, and without one a directory of its own in the temp one."""
    settings = load(tmp_path, environ={"XDG_RUNTIME_DIR": "/run/user/1000"})
    assert settings.runtime_dir == Path("/run/user/1000/echod")
    assert load(tmp_path).runtime_dir.name == f"echod-{os.getuid()}"


def test_weights_directory(tmp_path: Path) -> None:
    """ECHOD_WEIGHTS names the weights; a source checkout's own are the default."""
    assert load(tmp_path, environ={"ECHOD_WEIGHTS": "/data/weights"}).weights_dir == Path("/data/weights")
    checkout = Path(config.__file__).parent.parent
    expected = checkout if (checkout / "pyproject.toml").exists() else tmp_path / ".local/state/echod"
    assert load(tmp_path).weights_dir == expected / "weights"


def test_shown_values_are_read_back(tmp_path: Path) -> None:
    """What a setting is shown as is what a file may say."""
    settings = load(tmp_path, environ={"ECHOD_MAX_UPLOAD": "1234567", "ECHOD_KEEP_CLIPS": "90.5s"})
    for name, setting in config.SETTINGS.items():
        kind = setting.metadata["kind"]
        assert kind.parse(kind.show(getattr(settings, name))) == getattr(settings, name), name
