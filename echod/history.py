"""What was said in a conversation, as far as it was heard."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from echod.speech.base import Message

Author: TypeAlias = Literal["system", "user", "assistant"]

WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")  # letters that are about a token each
LETTERS_PER_TOKEN = 4  # of the others
MESSAGE_TOKENS = 4  # around each message
MAX_ITEMS = 400  # whatever their length


class Part(NamedTuple):
    """A sentence of the assistant, and for how long it sounds."""

    text: str
    seconds: float


@dataclass
class Item:
    """One side's words. An assistant's `parts` let them be cut at what was heard."""

    id: str
    author: Author
    text: str = ""
    spoken: bool = False
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    parts: list[Part] = field(default_factory=list)


class History:
    """The items of one conversation, oldest first."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put an item behind another, or at the end; the id of the one before it. KeyError if `after` is not here."""
        place = len(self.items) if after is None else self.items.index(self.find(after)) + 1
        self.items.insert(place, item)
        del self.items[:-MAX_ITEMS]
        place = self.items.index(item)
        return self.items[place - 1].id if place else None

    def find(self, item_id: str) -> Item:
        for item in self.items:
            if item.id == item_id:
                return item
        raise KeyError(item_id)

    def messages(self, limit: int, before: Item | None = None) -> list[Message]:
        """The newest messages that together have at most `limit` tokens, by an estimate; those `before` an item."""
        end = self.items.index(before) if before is not None else len(self.items)
        kept: list[Message] = []
        for item in reversed([item for item in self.items[:end] if item.author != "system" and item.text.strip()]):
            limit -= tokens(item.text) + MESSAGE_TOKENS
            if limit < 0:
                break
            kept.append(Message("user" if item.author == "user" else "assistant", item.text))
        return kept[::-1]

    def truncate(self, item: Item, seconds: float) -> None:
        """Remember of an assistant's item only what sounds in its first `seconds`."""
        item.text = heard(item.parts, seconds)
        item.status = "incomplete"


def heard(parts: Sequence[Part], seconds: float) -> str:
    """The words that sound in the first `seconds`: whole sentences, and of the last one the words that were begun."""
    text = ""
    for part in parts:
        if part.seconds > seconds:
            return text + _begun(part.text, max(seconds, 0.0) / part.seconds)
        text, seconds = text + part.text, seconds - part.seconds
    return text


def _begun(text: str, share: float) -> str:
    words = re.findall(rf"{WIDE.pattern}|[^\s]+?(?={WIDE.pattern})|\S+|\s+", text)
    kept, length = "", 0.0
    for word in words:
        if length >= share * len(text):
            break
        kept += word
        length += len(word)
    return kept.rstrip() + ("…" if kept.strip() else "")


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
