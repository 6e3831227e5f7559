"""Kinds of settings: how each is read, from text or from a TOML value, and shown."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from echod.host.cards import UUID
from echod.host.cluster import ADDRESS, MOST, expand, is_far
from echod.inference import limits, registry

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

# Linux takes socket paths of up to 107 bytes; the names inside the runtime directory need the rest.
MAX_RUNTIME_DIR = 80

SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
DURATIONS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Kind(NamedTuple):
    """How a setting is read, from text or from a TOML value (ValueError says what is allowed), and shown."""

    parse: Callable[[Any], Any]
    show: Callable[[Any], Any] = lambda value: value


def _quantity(value: Any, units: Mapping[str, float], example: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(value))
    if isinstance(value, bool) or match is None or match[2] not in units:
        raise ValueError(f"must be a number, or a number with a unit, such as {example}")
    if math.isinf(number := float(match[1]) * units[match[2]]):
        raise ValueError("is more than can be counted")
    return number


def _size(value: Any) -> int:
    text = value.upper() if isinstance(value, str) else value
    return _at_least(1, int(_quantity(text, SIZES, "64MiB or 20GB")))


def _duration(value: Any) -> float:
    return _quantity(value, DURATIONS, "90s, 24h or 7d")


def _at_least(low: int, number: int) -> int:
    if number < low:
        raise ValueError(f"must be {low} or more")
    return number


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", str(value).replace("_", "")):
        raise ValueError("must be a whole number")
    return int(value)


def _port(value: Any) -> int:
    number = _whole(value)
    if not 0 <= number <= 65535:
        raise ValueError("must be 0 to 65535 (0: any free port)")
    return number


def _switch(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if str(value).lower() not in words:
        raise ValueError("must be true or false")
    return words[str(value).lower()]


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise ValueError("must be a path")
    try:
        return Path(os.path.abspath(Path(value).expanduser()))  # noqa: PTH100  (Path.absolute keeps "..")
    except RuntimeError:
        raise ValueError("must be a path, and ~ in it somebody who has a home") from None


def _runtime_dir(value: Any) -> Path:
    path = _path(value)
    if (length := len(os.fsencode(path))) > MAX_RUNTIME_DIR:
        raise ValueError(f"is {length} bytes long; socket paths leave room for {MAX_RUNTIME_DIR}")
    return path


def _names(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
        raise ValueError("must be names: a list, or joined by commas")
    return tuple(name.strip() for name in names if name.strip())


def _devices(value: Any) -> tuple[str, ...]:
    names = _names(value)
    if names == ("auto",):
        return names
    far, near = [name for name in names if is_far(name)], [name for name in names if not is_far(name)]
    ways = {re.split("[-:]", name)[0] for name in near} - {"cpu"}
    if not (names and all(map(_is_device, near)) and len(ways) <= 1):
        raise ValueError(
            "must be auto, or devices such as cuda:0,cuda:1 or cpu,cpu (one worker each), cards by number or all by "
            "UUID: GPU-... or MIG-...; on a Ray cluster ray (every GPU), ray:8 or ray:8/cpu"
        )
    _check_far(far)
    return names


def _check_far(names: list[str]) -> None:
    for name in names:
        if ":" in name and not 1 <= len(expand(name)) <= MOST:
            raise ValueError(f"must have a number from 1 to {MOST} in {name}")
    for kind in ("", "/cpu"):
        if f"ray{kind}" in names and sum(name.endswith("/cpu") == bool(kind) for name in names) > 1:
            raise ValueError(f"must name ray{kind} alone, or a number: it is all that the cluster has")


def _ray_address(value: Any) -> str:
    if not re.fullmatch(ADDRESS, str(value)):
        raise ValueError(
            "must be local (a cluster of this machine alone, started and ended with the daemon), auto (the one that "
            "this machine is a node of), or an address such as ray://head:10001"
        )
    return str(value)


def _is_device(name: str) -> bool:
    return re.fullmatch(rf"cpu|cuda:\d+|{UUID}", name) is not None


def _device(value: Any) -> str:
    if not (isinstance(value, str) and _is_device(value)):
        raise ValueError("must be cpu, or a card such as cuda:1, GPU-... or MIG-...")
    return value


def _networks(value: Any) -> Networks:
    names = _names(value)
    try:
        return tuple(ip_network(name) for name in names)
    except ValueError as error:
        raise ValueError(f"must be addresses and networks, such as 127.0.0.0/8,172.17.0.1: {error}") from None


def _host(value: Any) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:_-]+(%\w+)?", str(value)):
        raise ValueError("must be an address such as 127.0.0.1, ::1 or 0.0.0.0, or the name of one")
    return str(value)


def _url(value: Any) -> str | None:
    if value in ("", None):
        return None
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", str(value)):
        raise ValueError("must be a URL such as https://clips.example.org")
    return str(value).rstrip("/")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("must be a line of text")
    return value.strip()


def _server(value: Any) -> str:
    if value and not re.fullmatch(r"(https?|wss?)://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[^\s?#]*)?", str(value)):
        raise ValueError("must be a URL such as https://api.example.org/v1")
    if value and not 0 < (urlsplit(value).port or 1) <= 65535:
        raise ValueError("must have a port from 1 to 65535")
    return str(value).rstrip("/")


def _voice(value: Any) -> str:
    if value and not re.fullmatch(r"[^/\s]+/.*[^/\s]", _text(value)):
        raise ValueError("must be a voice in full, such as local/espeak-ng/en-us: backend/model/name")
    return _text(value)


def _voices(value: Any) -> tuple[str, ...]:
    return tuple(_voice(name) for name in _names(value))


def _engine(value: Any) -> str:
    if value != "auto" and value not in tuple(registry.BUILT_IN) and value not in tuple(registry.installed()):
        raise ValueError(f"must be one of {', '.join(('auto', *registry.installed()))}, which are installed")
    return str(value)


def choice(*words: str) -> Kind:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(value)

    return Kind(parse)


def _show_quantity(value: float, units: Sequence[tuple[str, float]]) -> Any:
    for unit, amount in units:
        if value >= amount and value / amount == round(value / amount, 1):
            return f"{value / amount:g}{unit}"
    return value


SIZE = Kind(_size, lambda value: _show_quantity(value, [("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)]))
DURATION = Kind(_duration, lambda value: _show_quantity(value, [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)]))
COUNT = Kind(lambda value: _at_least(1, _whole(value)))
SIDE = Kind(lambda value: _at_least(limits.MIN_SIDE, _whole(value)))
PATH = Kind(_path, str)
RUNTIME_DIR = Kind(_runtime_dir, str)
TEXT, SERVER, VOICE, VOICES = Kind(_text), Kind(_server), Kind(_voice), Kind(_voices, list)
PATH_OR_NONE = Kind(lambda value: _path(value) if value else None, lambda value: str(value) if value else "")
RAY_ADDRESS = Kind(_ray_address)
PORT, HOST, SWITCH, DEVICES, DEVICE = Kind(_port), Kind(_host), Kind(_switch), Kind(_devices, list), Kind(_device)
ENGINE = Kind(_engine)
NETWORKS = Kind(_networks, lambda value: [str(network) for network in value])
URL = Kind(_url, lambda value: value or "")
DURATION_OR_AUTO = Kind(
    lambda value: None if value == "auto" else _duration(value),
    lambda value: "auto" if value is None else DURATION.show(value),
)
