"""Tools that a model may ask for, and its calls of them, in the shapes of chat completions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec


class Tool(msgspec.Struct, frozen=True):
    """A function of the client's. `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def chat(self) -> dict[str, Any]:
        told = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": {name: value for name, value in told.items() if value}}


class Toolbox(msgspec.Struct, frozen=True):
    """The tools of one reply. `choice` is auto, none, required, or the function to call as chat completions name it."""

    tools: Sequence[Tool] = ()
    choice: str | Mapping[str, Any] = "auto"
    parallel: bool | None = None

    def __bool__(self) -> bool:
        return bool(self.tools) and self.choice != "none"

    def chat(self) -> dict[str, Any]:
        """What a request has of it."""
        if not self:
            return {}
        asked: dict[str, Any] = {"tools": [tool.chat() for tool in self.tools], "tool_choice": self.choice}
        return asked if self.parallel is None else {**asked, "parallel_tool_calls": self.parallel}


class ToolCall(msgspec.Struct, frozen=True):
    """A call as a model has made it; `arguments` are JSON, as far as the model can write that."""

    id: str
    name: str
    arguments: str = ""

    def chat(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


class CallPiece(msgspec.Struct, frozen=True):
    """More of the call with this number in its reply. A name is whole in the first piece; not every server has ids."""

    number: int
    arguments: str = ""
    name: str = ""
    id: str = ""


def pieces_of(calls: Sequence[Mapping[str, Any]] | None, begun: int) -> Iterator[CallPiece]:
    """What a chunk of a chat completion has of calls, of which so many have `begun` before."""
    for call in calls or ():
        function = call.get("function") or {}
        number = call.get("index")
        if not isinstance(number, int):  # some servers send each whole, and do not count
            number = begun if function.get("name") else begun - 1
        begun = max(begun, number + 1)
        yield CallPiece(number, function.get("arguments") or "", function.get("name") or "", call.get("id") or "")


BEGIN, END = "<tool_call>", "</tool_call>"
WHOLE = re.compile(rf"{BEGIN}\s*(\{{.*?\}})\s*{END}", re.DOTALL)


class TaggedCalls:
    """Fed with a reply as it comes, gives its words, and the calls that stand in it between two tags, as JSON.

    So write models whose chat templates were made after Hermes's and Qwen's.
    """

    def __init__(self) -> None:
        self._held = ""  # what may be the beginning of a call, or is in one
        self._number = 0

    def feed(self, piece: str) -> Iterator[str | CallPiece]:
        self._held += piece
        while found := WHOLE.search(self._held):
            yield from self._words(self._held[: found.start()])
            self._held = self._held[found.end() :]
            yield self._call(found)
        begins = self._held.find(BEGIN)
        if begins < 0:  # perhaps it has begun
            begins = self._held.rfind("<")
            begins = begins if begins >= 0 and BEGIN.startswith(self._held[begins:]) else len(self._held)
        yield from self._words(self._held[:begins])
        self._held = self._held[begins:]

    def finish(self) -> Iterator[str | CallPiece]:
        """What was held and is no call."""
        held, self._held = self._held, ""
        yield from self._words(held)

    def _words(self, words: str) -> Iterator[str]:
        if words.strip() or (words and not self._number):
            yield words

    def _call(self, found: re.Match[str]) -> str | CallPiece:
        try:
            called = json.loads(found[1])
            name, arguments = str(called["name"]), called.get("arguments", {})
        except (ValueError, KeyError, AttributeError):
            return found[0]
        self._number += 1
        return CallPiece(self._number - 1, arguments if isinstance(arguments, str) else json.dumps(arguments), name)
