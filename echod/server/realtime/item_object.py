"""What was said as OpenAI Realtime's item: shown, and read from what a client writes."""

from __future__ import annotations

from typing import Any

from echod.conversation.history import ROOT, Item, new_item_id
from echod.errors import invalid

MAX_TEXT = 10_000  # characters of a message
MAX_OUTPUT = 20_000  # and of what a tool gave
# Where the words are in a part of a message.
PARTS = dict.fromkeys(("input_text", "output_text", "text"), "text") | dict.fromkeys(
    ("input_audio", "output_audio", "audio"), "transcript"
)
CALL, OUTPUT = "function_call", "function_call_output"


def item_object(item: Item) -> dict[str, Any]:
    """A message, a call or what came of one, as clients see it."""
    known = {"id": item.id, "object": "realtime.item", "status": item.status}
    if item.author == "tool":
        return {**known, "type": OUTPUT, "call_id": item.call_id, "output": item.text}
    if item.name is not None:
        return {**known, "type": CALL, "name": item.name, "call_id": item.call_id, "arguments": item.text}
    side = "output" if item.author == "assistant" else "input"
    content = {"type": f"{side}_text", "text": item.text}
    if item.spoken:
        content = {"type": f"{side}_audio", "transcript": item.text}
    return {
        **known,
        "type": "message",
        "role": item.author,
        "content": [] if item.status == "in_progress" else [content],
    }


def read_item(given: Any) -> Item:
    """What a client writes. EchodError invalid_request for what is none."""
    if not isinstance(given, dict) or given.get("type") not in ("message", CALL, OUTPUT):
        raise invalid(f"item must be an object of type message, {CALL} or {OUTPUT}", "item")
    item_id = given.get("id") or new_item_id()
    if not isinstance(item_id, str) or len(item_id) > 64 or item_id == ROOT:
        raise invalid(f"item.id must be text of at most 64 characters, and not {ROOT}", "item.id")
    return _message(item_id, given) if given["type"] == "message" else _of_a_call(item_id, given)


def _of_a_call(item_id: str, given: dict[str, Any]) -> Item:
    call_id = _text(given, "call_id", 128)
    if given["type"] == OUTPUT:
        return Item(item_id, "tool", _text(given, "output", MAX_OUTPUT, least=0), call_id=call_id)
    name, arguments = _text(given, "name", 128), _text(given, "arguments", MAX_OUTPUT, least=0)
    return Item(item_id, "assistant", arguments, name=name, call_id=call_id)


def _text(given: dict[str, Any], key: str, most: int, least: int = 1) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise invalid(f"item.{key} must be text of {least} to {most} characters", f"item.{key}")
    return value


def _message(item_id: str, given: dict[str, Any]) -> Item:
    author = given.get("role")
    if author not in ("user", "assistant", "system"):
        raise invalid(f"item.role = {author!r}: it must be user, assistant or system", "item.role")
    parts = given.get("content")
    if not isinstance(parts, list) or not parts:
        raise invalid("item.content must be a list of parts", "item.content")
    text = "\n".join(_part_text(part, number) for number, part in enumerate(parts))
    if not 0 < len(text) <= MAX_TEXT:
        raise invalid(f"a message has 1 to {MAX_TEXT} characters, this one {len(text)}", "item.content")
    return Item(id=item_id, author=author, text=text)


def _part_text(part: Any, number: int) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    words = part.get(PARTS[kind]) if isinstance(kind, str) and kind in PARTS else None
    if not isinstance(words, str):
        raise invalid(
            f"item.content[{number}] must be text or a transcript: sound goes into input_audio_buffer.append, "
            "pictures are not seen",
            f"item.content[{number}]",
        )
    return words
