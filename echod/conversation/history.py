"""What was said in a conversation, as far as it was heard."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple, TypeAlias

from echod.speech.backend import Message
from echod.speech.tools import ToolCall

Author: TypeAlias = Literal["system", "user", "assistant", "tool"]

WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")  # letters that are about a token each
LETTERS_PER_TOKEN = 4  # of the others
MESSAGE_TOKENS = 4  # around each message
MAX_ITEMS = 400  # whatever their length
ROOT = "root"  # the place before all items
OPENING = "Please greet me."  # what a role answers to that speaks first
GO_ON = "Please go on."  # and one that speaks again
UNSAID = "…"  # in the place of what was not heard, or is left out


class Part(NamedTuple):
    """A sentence of the assistant, and for how long it sounds."""

    text: str
    seconds: float


def new_item_id() -> str:
    return f"item_{secrets.token_hex(10)}"


@dataclass
class Item:
    """One side's words. An assistant's `parts` let them be cut at what was heard.

    One that was interrupted before anything of it was heard is not `answered`: the question is still open.
    An assistant's with a `name` is the call of a function, and its text the arguments; a tool's is what came of one.
    """

    id: str
    author: Author
    text: str = ""
    spoken: bool = False
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    parts: list[Part] = field(default_factory=list)
    answered: bool = True
    name: str | None = None
    call_id: str | None = None


class History:
    """The items of one conversation, oldest first."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put an item behind another, or at the end; the id of the one before it. ValueError if `after` is not here."""
        place = len(self.items)
        if after is not None:
            place = 0 if after == ROOT else [each.id for each in self.items].index(after) + 1
        self.items.insert(place, item)
        return self.items[place - 1].id if place else None

    def trim(self, limit: int) -> list[Item]:
        """Forget the oldest of what no reply limited to so many tokens will see; returns it.

        A reply sees a question, and as much again of what was said before. Instructions stay beside them.
        """
        instructions = _newest([item for item in self.items if item.author == "system"], limit)
        said = _newest([item for item in self.items if item.author != "system"], 2 * limit)
        kept = {item.id for item in instructions + said} & {item.id for item in self.items[-MAX_ITEMS:]}
        forgotten = [item for item in self.items if item.id not in kept]
        self.items = [item for item in self.items if item.id in kept]
        return forgotten

    def remove(self, item: Item) -> None:
        self.items.remove(item)

    def find(self, item_id: str) -> Item | None:
        return next((item for item in self.items if item.id == item_id), None)

    def messages(self, limit: int, before: Item | None = None) -> list[Message]:
        """The newest messages that together have at most `limit` tokens, by an estimate; those `before` an item.

        Users' and assistants' take turns, a user's first: many chat templates know no other order.
        """
        end = self.items.index(before) if before is not None else len(self.items)
        given = {item.call_id: item.text for item in self.items if item.author == "tool"}
        said = [item for item in self.items[:end] if item.author != "system" and _counts(item, given)]
        fitting = _fitting_with_tools(said, limit)
        messages: list[Message] = []
        for is_call, run in groupby(fitting, key=lambda item: item.name is not None):
            if is_call:
                _add_calls(messages, list(run), given)
            else:
                for item in run:
                    _add_words(messages, item)
        if messages and messages[0].author == "assistant":
            messages.insert(0, Message("user", UNSAID if len(fitting) < len(said) else OPENING))
        return messages

    def awaited(self) -> bool:
        """Whether a tool has given something that no answer has followed."""
        last = next((item for item in reversed(self.items) if item.author != "system"), None)
        return last is not None and last.author == "tool"

    def unanswered(self, author: Author = "user") -> list[Item]:
        """What the person has said since the last answer, or the one in the making; or the client as `system`."""
        items: list[Item] = []
        for item in reversed(self.items):
            if item.author == "assistant" and item.answered:
                break
            if item.author == author:
                items.insert(0, item)
        return items

    def instructions(self) -> list[str]:
        """What clients have put in as `system`."""
        return [item.text for item in self.items if item.author == "system"]

    def truncate(self, item: Item, seconds: float) -> None:
        """Remember of an assistant's item only what sounds in its first `seconds`, for good."""
        kept = heard(item.parts, seconds)
        if kept != item.parts or item.status == "in_progress":
            item.status = "incomplete"
        item.parts, item.text = kept, "".join(part.text for part in kept)


def _counts(item: Item, given: Mapping[str | None, str]) -> bool:
    """Whether a model is told of it. Of a call it is only together with what came of it."""
    if item.name is not None:
        return item.call_id in given
    answered = item.author == "assistant" and item.status != "in_progress" and item.answered
    return bool(item.text.strip()) or item.author == "tool" or answered


def _add_words(messages: list[Message], item: Item) -> None:
    if item.author == "tool":  # with its call
        return
    author: Literal["user", "assistant"] = "user" if item.author == "user" else "assistant"
    text = item.text if item.text.strip() else UNSAID
    if messages and messages[-1].author == author:
        text = f"{messages.pop().text}\n{text}"
    messages.append(Message(author, text))


def _add_calls(messages: list[Message], items: Sequence[Item], given: Mapping[str | None, str]) -> None:
    """Calls that were made together, and behind them what came of each: models know no other order."""
    text = messages.pop().text if messages and messages[-1].author == "assistant" else ""
    calls = [ToolCall(item.call_id or "", item.name or "", item.text) for item in items]
    messages.append(Message("assistant", text, calls))
    messages += [Message("tool", given[call.id], call_id=call.id) for call in calls]


def _fitting_with_tools(items: list[Item], limit: int) -> list[Item]:
    """The newest within the limit, and in any case the calls that wait to be answered, with what came of them."""
    end = len(items)
    while end and (items[end - 1].author == "tool" or items[end - 1].name is not None):
        end -= 1
    return _fitting(items[:end], limit) + items[end:]


def question(items: Sequence[Item], limit: int) -> str:
    """What was said, in at most `limit` tokens: the newest of it, and at least what was said last."""
    return "\n".join(item.text for item in _newest([item for item in items if item.text], limit))


def _newest(items: list[Item], limit: int) -> list[Item]:
    return _fitting(items, limit) or items[-1:]


def _fitting(items: list[Item], limit: int) -> list[Item]:
    """Those at the end that together have at most `limit` tokens."""
    for start in range(len(items), 0, -1):
        limit -= tokens(items[start - 1].text) + MESSAGE_TOKENS
        if limit < 0:
            return items[start:]
    return items


def heard(parts: Sequence[Part], seconds: float) -> list[Part]:
    """What sounds in the first `seconds`: whole sentences, and of the last one the words that were begun."""
    kept: list[Part] = []
    for part in parts:
        if part.seconds > seconds:
            begun = _begun(part.text, max(seconds, 0.0) / part.seconds)
            return [*kept, Part(begun, seconds)] if begun else kept
        kept.append(part)
        seconds -= part.seconds
    return kept


def _begun(text: str, share: float) -> str:
    words = re.findall(rf"{WIDE.pattern}|[^\s]+?(?={WIDE.pattern})|\S+|\s+", text)
    kept, length = "", 0.0
    for word in words:
        if length >= share * len(text):
            break
        kept += word
        length += len(word)
    return kept.rstrip().rstrip("…") + ("…" if kept.strip() else "")


def tokens(text: str) -> int:
    """About how many tokens a language model makes of a text."""
    wide = len(WIDE.findall(text))
    return wide + -(-(len(text) - wide) // LETTERS_PER_TOKEN)


class Playback:
    """How much of what was sent has been heard by now, played without delay from when it was sent. Seconds."""

    def __init__(self) -> None:
        self.sent = 0.0
        self._ends = 0.0

    def add(self, seconds: float, now: float) -> None:
        self.sent += seconds
        self._ends = max(self._ends, now) + seconds

    def heard(self, now: float) -> float:
        return self.sent - max(0.0, self._ends - now)
