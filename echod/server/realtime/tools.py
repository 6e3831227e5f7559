"""Tools as a session has them, read from what a client writes, and how long an answer may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from echod.conversation.store import SessionSettings
from echod.errors import invalid
from echod.speech.tools import Tool

MAX_TOOLS = 128
NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
CHOICES = ("auto", "none", "required")


def _tools(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    value = [] if value is None else value
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        raise invalid(f"{name} must be a list of at most {MAX_TOOLS} functions", name)
    tools = tuple(_tool(each, f"{name}[{number}]") for number, each in enumerate(value))
    return replace(settings, tools=msgspec.structs.replace(settings.tools, tools=tools))


def _tool(given: Any, name: str) -> Tool:
    if not isinstance(given, dict) or given.get("type", "function") != "function":
        raise invalid(f"{name} must be of type function: nothing is called from here", name)
    function, description, parameters = (given.get(key) for key in ("name", "description", "parameters"))
    if not (isinstance(function, str) and NAME.fullmatch(function)):
        raise invalid(f"{name}.name = {function!r}: it must be 1 to 64 letters, digits, _, - and .", f"{name}.name")
    if not isinstance(description, str | None):
        raise invalid(f"{name}.description must be text", f"{name}.description")
    if not isinstance(parameters, dict | None):
        raise invalid(f"{name}.parameters must be a JSON schema, which is an object", f"{name}.parameters")
    return Tool(function, description or "", parameters or {})


def _choice(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    choice: str | Mapping[str, Any]
    if value is None or value in CHOICES:
        choice = value or "auto"
    elif isinstance(value, dict) and value.get("type") == "function" and isinstance(value.get("name"), str):
        choice = {"type": "function", "function": {"name": value["name"]}}
    else:
        told = f'one of {", ".join(CHOICES)}, or {{"type": "function", "name": ...}}'
        raise invalid(f"{name} = {value!r}: it must be {told}", name)
    return replace(settings, tools=msgspec.structs.replace(settings.tools, choice=choice))


def _parallel(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    if not isinstance(value, bool | None):
        raise invalid(f"{name} = {value!r}: it must be true or false", name)
    return replace(settings, tools=msgspec.structs.replace(settings.tools, parallel=value))


def _most_tokens(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    if value in (None, "inf"):
        return replace(settings, max_tokens=None)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(f"{name} = {value!r}: it must be a whole number from 1 on, or inf", name)
    return replace(settings, max_tokens=value)


OF_TOOLS: Mapping[str, Callable[[SessionSettings, Any, str], SessionSettings]] = {
    "tools": _tools,
    "tool_choice": _choice,
    "parallel_tool_calls": _parallel,
    "max_output_tokens": _most_tokens,
}
