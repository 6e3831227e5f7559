"""A role on disk: a folder with role.toml and the portrait it names.

    title = "Ada, flight instructor"    # what people see; all keys but portrait may be left out
    personality = "..."                 # how the role thinks and talks: for the language model, and for admins
    language = "en"                     # a language tag
    greeting = "Hello!"                 # its first words
    portrait = "portrait.jpg"           # a file beside role.toml
    voice = "..."                       # a voice of `echod voices`
    engine = "preview"                  # auto, or an engine that is installed
    mode = "video"                      # how it answers: audio or video
    [options]                           # view, size, fps, steps, guidance, seed of its clips

A folder may come from anybody: `folder` follows no symbolic link, and no name leads out of it.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from echod.errors import EchodError, invalid
from echod.inference import registry
from echod.jobs.options import check_options

MAX_TITLE, MAX_PERSONALITY, MAX_GREETING, MAX_VOICE, MAX_PORTRAIT = 128, 20_000, 2_000, 128, 128  # characters

MAX_LOOKS = 50  # lines that are tried before an error is blamed on no line in particular

Mode: TypeAlias = Literal["audio", "video"]
MODES: tuple[Mode, ...] = get_args(Mode)
OPTIONS = ("view", "size", "fps", "steps", "guidance", "seed")

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")


class RoleFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a role.toml says. `options` holds only those given, `portrait` is the name of a file beside it."""

    title: str = ""
    personality: str = ""
    language: str | None = None
    greeting: str = ""
    portrait: str
    voice: str | None = None
    engine: str | None = None
    mode: Mode = "video"
    options: dict[str, Any] = {}


FIELDS = RoleFile.__struct_fields__


def check_name(name: str) -> str:
    """EchodError invalid_request for what cannot be a role's name."""
    if not NAME.fullmatch(name):
        raise invalid(
            f"{name!r} is no name for a role: 1 to 32 of a-z 0-9 . _ - are allowed, the first a letter or a digit",
            "name",
        )
    return name


def check_role(table: Mapping[str, Any]) -> RoleFile:
    """A role from what a file or a form says. EchodError invalid_request or unsupported_size; `param` is the key."""
    _check_keys(table, FIELDS, "")
    return RoleFile(
        title=_text(table, "title", MAX_TITLE, lines=False),
        personality=_text(table, "personality", MAX_PERSONALITY),
        language=_language(table),
        greeting=_text(table, "greeting", MAX_GREETING),
        portrait=_portrait(table),
        voice=_text(table, "voice", MAX_VOICE, lines=False) or None,
        engine=_word(table, "engine", ("auto", *registry.installed()), "auto"),
        mode=_word(table, "mode", MODES, "video"),
        options=_options(table.get("options", {})),
    )


def dump(role: RoleFile) -> str:
    """The text of a role.toml; what is left to its default is left out."""
    said = {name: value for name, value in msgspec.structs.asdict(role).items() if name != "options" and value}
    lines = [f"{name} = {_toml(value)}" for name, value in said.items()]
    options = [f"{name} = {_toml(value)}" for name, value in role.options.items()]
    return "\n".join([*lines, *(["", "[options]", *options] if options else [])]) + "\n"


# Reading


def read(data: bytes, path: Path) -> RoleFile:
    """The role that the bytes of the file `path` describe. Raises as `check_role`, naming the file and the line."""
    line, text = 1, ""
    try:
        text = data.decode("utf-8-sig")  # Windows editors begin a file with a mark
        return check_role(tomllib.loads(text))
    except UnicodeDecodeError as error:
        line, failure = data[: error.start].count(b"\n") + 1, invalid("the file is not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line, failure = int(found[1]) if found else text.count("\n") + 1, invalid(message)
    except EchodError as error:
        line, failure = line_of(text, (error.param or "").split(".")), error
    except RecursionError:
        failure = invalid("its tables or lists are too deep")
    except ValueError as error:  # a number of thousands of digits
        failure = invalid(str(error))
    raise EchodError(failure.code, f"{path}:{line}: {failure.message}", param=failure.param)


def line_of(text: str, keys: list[str]) -> int:
    """The line that sets a key; that of its table where it cannot be told; 1 for a key that is not there."""
    lines = text.split("\n")
    setting, table = rf"\s*[\"']?{re.escape(keys[-1])}[\"']?\s*=", rf"\s*\[?\s*{re.escape(keys[0])}\b"
    settings = [number for number, line in enumerate(lines) if re.match(setting, line)]
    for number in settings[:MAX_LOOKS]:
        if _sets(lines[:number], keys):
            return number + 1
    return next((number for number, line in enumerate(lines, 1) if keys[0] and re.match(table, line)), 1)


def _sets(before: list[str], keys: list[str]) -> bool:
    """Whether a line `key = ...` after these sets the key, and is not in the middle of a text or in another table."""
    try:
        place: Any = tomllib.loads("\n".join([*before, f"{keys[-1]} = 'here'"]))
    except (ValueError, RecursionError):
        return False
    for key in keys:
        place = place.get(key) if isinstance(place, dict) else None
    return bool(place == "here")


# Checking


def _check_keys(table: Mapping[str, Any], known: Collection[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1, 0.5)
            meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise invalid(f"there is no key {key!r}; {meant}", prefix + key)


def _text(table: Mapping[str, Any], key: str, limit: int, *, lines: bool = True) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or len(value) > limit:
        raise invalid(f"{key} must be text of at most {limit} characters", key)
    value = value.replace("\r\n", "\n")  # as forms in a browser send it
    allowed = "\n\t" if lines else ""
    if any(unicodedata.category(letter) == "Cc" and letter not in allowed for letter in value):
        raise invalid(f"{key} = {value!r} has control characters in it", key)
    return value.strip()


def _language(table: Mapping[str, Any]) -> str | None:
    value = _text(table, "language", 35, lines=False)
    if value and not LANGUAGE.fullmatch(value):
        raise invalid(f"language = {value!r}: it must be a language tag such as en or zh-CN", "language")
    return value or None


def _portrait(table: Mapping[str, Any]) -> str:
    value = _text(table, "portrait", MAX_PORTRAIT, lines=False)
    if not value:
        raise invalid("portrait is missing: the name of a picture beside role.toml", "portrait")
    if re.search(r"[/\\]", value) or value.startswith("."):
        raise invalid(f"portrait = {value!r}: it must be the name of a file beside role.toml, no path", "portrait")
    return value


def _word(table: Mapping[str, Any], key: str, words: Collection[str], default: Any) -> Any:
    value = table.get(key) or default
    if value not in words:
        raise invalid(f"{key} = {value!r}: it must be one of {', '.join(words)}", key)
    return None if value == "auto" else value


def _options(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise invalid(f"options must be a table of {', '.join(OPTIONS)}", "options")
    _check_keys(given, OPTIONS, "options.")
    try:
        checked = check_options(given)
    except EchodError as error:
        error.param = f"options.{error.param}"
        raise
    size = f"{checked.width}x{checked.height}"
    return {name: size if name == "size" else getattr(checked, name) for name in OPTIONS if name in given}


# Writing


def _toml(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    # What JSON escapes, TOML escapes the same way, and DEL beside.
    lines = [json.dumps(line, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f") for line in value.split("\n")]
    return f'"{lines[0]}"' if len(lines) == 1 else '"""\n' + "\n".join(lines) + '"""'
