"""`echod config`: show the settings in force, write a file of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from echod.commands.common import as_json, print_json, print_line, print_path
from echod.config import SECTIONS, SETTINGS, Config, load, user_file
from echod.errors import ConfigurationError
from echod.host.terminal import plain_json

DIRECTORIES = ("state_dir", "runtime_dir", "weights_dir")  # their defaults depend on who runs the daemon


@click.group()
def config() -> None:
    """Show the settings, or write a file of them."""


@config.command("show")
@click.option("--origin", is_flag=True, help="Say where each value came from.")
@as_json
def show(origin: bool, as_json: bool) -> None:
    """Print every setting that `echod serve` would use now, without flags."""
    settings = load()
    if as_json:
        print_json({name: _described(settings, name, origin) for name in SETTINGS})
        return
    for line in _sections(lambda name: _line(settings, name, origin)):
        for each in line.split("\n"):
            print_line(each)


@config.command("init")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), required=False)
def init(path: Path | None) -> None:
    """Write a config file with every setting as a comment, and print its path. Never replaces a file.

    PATH is ~/.config/echod/config.toml unless given; the system's file is /etc/echod/config.toml.
    """
    path = path or user_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in template())
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already; it was left as it is") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    print_path(path)


def template() -> Iterator[str]:
    """A config file that changes nothing: every setting, explained, as a comment with its default."""
    yield "# Settings of `echod serve`. ECHOD_<NAME> in the environment and flags go before this file."
    yield "# Sizes: 64MiB, 20GB. Durations: 90s, 5m, 24h, 7d."
    yield from _sections(_commented)


def _sections(lines: Any) -> Iterator[str]:
    for section in SECTIONS:
        yield f"\n[{section}]"
        for name, setting in SETTINGS.items():
            if setting.metadata["section"] == section:
                yield lines(name)


def _commented(name: str) -> str:
    metadata = SETTINGS[name].metadata
    value = f'"/path/to/{name}"' if name in DIRECTORIES else _toml(metadata["kind"].show(SETTINGS[name].default))
    return f"# {metadata['about']}\n# {name} = {value}"


def _line(settings: Config, name: str, origin: bool) -> str:
    line = f"{name} = {_toml(SETTINGS[name].metadata['kind'].show(getattr(settings, name)))}"
    return f"{line}  # {settings.origins[name]}" if origin else line


def _described(settings: Config, name: str, origin: bool) -> Any:
    value = getattr(settings, name)
    plain = SETTINGS[name].metadata["kind"].show(value) if isinstance(value, Path | tuple) else value
    return {"value": plain, "origin": settings.origins[name]} if origin else plain


def _toml(value: Any) -> str:
    """JSON's strings, numbers, booleans and lists are TOML's too."""
    return plain_json(json.dumps(value, ensure_ascii=False))
