"""What was said as OpenAI Realtime's item: shown, and read from what a client writes."""

from __future__ import annotations

from typing import Any

from echod.conversation.history import ROOT, Item, new_item_id
from echod.errors import invalid

MAX_TEXT = 10_000  # characters of a message


def item_object(item: Item) -> dict[str, Any]:
    """A message as clients see it."""
    side = "output" if item.author == "assistant" else "input"
    content = {"type": f"{side}_text", "text": item.text}
    if item.spoken:
        content = {"type": f"{side}_audio", "transcript": item.text}
    return {
        "id": item.id,
        "object": "realtime.item",
        "type": "message",
        "role": item.author,
        "status": item.status,
        "content": [] if item.status == "in_progress" else [content],
    }


def read_item(given: Any) -> Item:
    """A message that a client writes. EchodError invalid_request for what is none."""
    if not isinstance(given, dict) or given.get("type") != "message":
        raise invalid("item must be an object of type message", "item")
    author = given.get("role")
    if author not in ("user", "assistant", "system"):
        raise invalid(f"item.role = {author!r}: it must be user, assistant or system", "item.role")
    parts = given.get("content")
    if not isinstance(parts, list) or not parts:
        raise invalid("item.content must be a list of parts", "item.content")
    text = "\n".join(_part_text(part, number) for number, part in enumerate(parts))
    if not 0 < len(text) <= MAX_TEXT:
        raise invalid(f"a message has 1 to {MAX_TEXT} characters, this one {len(text)}", "item.content")
    item_id = given.get("id") or new_item_id()
    if not isinstance(item_id, str) or len(item_id) > 64 or item_id == ROOT:
        raise invalid(f"item.id must be text of at most 64 characters, and not {ROOT}", "item.id")
    return Item(id=item_id, author=author, text=text)


def _part_text(part: Any, number: int) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("input_text", "output_text", "text") or not isinstance(part.get("text"), str):
        raise invalid(
            f"item.content[{number}] must be text: sound goes into input_audio_buffer.append, pictures are not seen",
            f"item.content[{number}]",
        )
    return str(part["text"])
