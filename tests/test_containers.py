"""deploy/Containerfile and compose.yaml name what there is; neither is built here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from echod import config

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_what_is_copied_is_there() -> None:
    for line in re.findall(r"^COPY (.+)$", CONTAINERFILE, re.MULTILINE):
        *sources, _ = line.split()
        assert [source for source in sources if not (ROOT / source).exists()] == []
        assert {"pyproject.toml", "README.md", "LICENSE"} <= {*sources} or sources == ["echod"]


def test_the_image_is_nobodys_root() -> None:
    """It runs as the account whose directories are its volumes, and these are what its settings name."""
    assert re.findall(r"^USER (\w+)$", CONTAINERFILE, re.MULTILINE)[-1] == "echod"
    [volumes] = re.findall(r"^VOLUME (.+)$", CONTAINERFILE, re.MULTILINE)
    environ = environment()
    settings = config.load({}, environ, [])
    assert [str(settings.state_dir), str(settings.weights_dir)] == volumes.split()
    assert f"-o echod -g echod -m 0750 {volumes} {settings.runtime_dir}" in CONTAINERFILE
    assert (settings.host, settings.port) == ("0.0.0.0", 8765)
    assert "HEALTHCHECK" in CONTAINERFILE and "/healthz" in CONTAINERFILE


def environment() -> dict[str, str]:
    [block] = re.findall(r"^ENV ((?:.*\\\n)*.*)$", CONTAINERFILE, re.MULTILINE)
    return dict(word.split("=", 1) for word in shlex.split(block.replace("\\\n", " ")))


def test_compose_mounts_what_there_is() -> None:
    """Files of deploy/, but for the token, which is made; volumes and networks that are declared."""
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_file() or source == "./echod.token", name
            else:
                assert source in COMPOSE["volumes"], name
        assert {*service.get("networks", [])} <= {*COMPOSE["networks"]}
    assert (DEPLOY / COMPOSE["services"]["echod"]["build"]["context"] / "deploy/Containerfile").exists()


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]["echod"]["environment"]))
def test_compose_sets_settings(name: str) -> None:
    value = COMPOSE["services"]["echod"]["environment"][name]
    value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
    settings = config.load({}, {"HOME": "/", name: value}, [])
    assert name.removeprefix("ECHOD_").lower() in [key for key, origin in settings.origins.items() if origin == name]


def test_drain_fits() -> None:
    """Compose waits longer for the end than the daemon for its jobs."""
    assert (
        float(COMPOSE["services"]["echod"]["stop_grace_period"].removesuffix("s"))
        > config.load({}, {}, []).drain_timeout
    )
