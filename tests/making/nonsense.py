"""Requests and messages that nobody would send, as hypothesis strategies."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import strategies as st

from tests.stand_ins.hands import PORTRAIT, SPEECH

INTEGERS = st.sampled_from([0, 1, -1, 24, 512, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400]) | st.integers()
WORDS = st.text(max_size=20) | st.sampled_from(
    [
        "", " ", "\0", "null", "true", "1e999", "-1", "0.5", "¹", "٣", "\u202e", "9" * 5000, "x" * 11_000,
        "preview", "auto", "role:ada", "512x512", "0x0", "en", "server_vad", "scripted/model-s/anna", "audio", "user",
        "../../etc/passwd", "file:///etc/passwd", "bytes=0-", "message", "input_text", "realtime", "desc", "audio/pcm",
    ]
)  # fmt: skip
ATOMS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=5
)

# HTTP. "a portrait", "a speech" and "a job" stand for ids of such things that exist.

REFERENCES = st.fixed_dictionaries({"file_id": st.sampled_from(["a portrait", "a speech"]) | WORDS})
OPTIONS = ("model", "view", "size", "crop", "dilation", "face", "seed", "fps", "steps", "guidance", "voice", "seconds",
           "lossless", "live", "metadata")  # fmt: skip
SUBMISSIONS = st.fixed_dictionaries(
    {"input_reference": REFERENCES | VALUES},
    optional={"audio_reference": REFERENCES | VALUES, "prompt": WORDS} | dict.fromkeys(OPTIONS, VALUES),
)
FIELDS = st.text(max_size=8) | st.sampled_from(
    [
        *OPTIONS, "input_reference", "audio_reference", "input_reference[file_id]", "audio_reference[file_id]",
        "prompt", "options[size]", "metadata[a]", "metadata[", "file", "purpose", "name", "password", "role", "title",
        "expires_in_days", "current_password", "personality", "language", "greeting", "portrait", "engine", "mode",
        "options",
    ]
)  # fmt: skip
CONTENTS = st.sampled_from([PORTRAIT, SPEECH, b"", b"?"]) | st.binary(max_size=64)
PARTS = st.lists(st.tuples(FIELDS, st.tuples(st.none() | st.text(max_size=10), CONTENTS)), min_size=1, max_size=5)
BODIES = st.one_of(
    SUBMISSIONS.map(lambda body: {"json": body}),
    st.dictionaries(FIELDS, VALUES, max_size=5).map(lambda body: {"json": body}),
    VALUES.map(lambda body: {"json": body}),
    PARTS.map(lambda parts: {"files": parts}),
    st.binary(max_size=100).map(lambda body: {"content": body}),
    st.sampled_from([b"[" * 100_000, b'{"prompt": "\\ud800"}', b'{"seed": NaN}']).map(lambda body: {"content": body}),
    st.just({}),
)
QUERIES = st.dictionaries(
    st.sampled_from(["after", "limit", "order", "variant", "days", "expires", "signature", "purpose", "x"]),
    ATOMS.map(str),
    max_size=3,
)
HEADER_VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=300)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Idempotency-Key", "Range", "If-Range", "If-None-Match", "Content-Type", "Accept", "Content-Encoding",
            "X-Forwarded-For", "Authorization", "Cookie", "Origin",
        ]
    ),
    HEADER_VALUES.map(lambda text: text.encode("latin-1"))
    | st.sampled_from([b"bytes=0-", b"bytes=9-1", b"application/json", b"multipart/form-data; boundary=x"]),
    max_size=2,
)  # fmt: skip
REQUESTS = st.builds(
    lambda number, id, params, headers, body: {
        "number": number,
        "id": id,
        "params": params,
        "headers": headers,
        **body,
    },
    st.integers(0, 1000),  # the route's
    st.sampled_from(["a job", "a portrait"]) | WORDS,
    QUERIES,
    HEADERS,
    BODIES,
)

# WebSockets

PATHS = st.tuples(
    st.sampled_from(["", "/v1/events", "//", "//[", "http://", "http://[", "http://localhost", "*"]),
    st.text("/[]:@#;%?.0a", max_size=8),
    st.sampled_from(["", "/v1/events", "/v1/realtime"]),
).map(lambda parts: "".join(parts) or "/")
SOUNDS = st.binary(max_size=3000) | st.sampled_from([bytes(48_000), b"\x00\x40\x00\xc0" * 12_000, bytes(4799)])
AUDIO = SOUNDS.map(lambda sound: base64.b64encode(sound).decode())
NUMBERS = st.sampled_from([0, 0.5, 1, 100, 100.1, 300.5, 5000, -1]) | st.floats(0, 10_000)
DETECTIONS = st.dictionaries(
    st.sampled_from(["threshold", "prefix_padding_ms", "silence_duration_ms"]), NUMBERS, max_size=3
) | st.dictionaries(st.sampled_from(["type", "threshold", "create_response", "eagerness", "x"]), VALUES, max_size=3)
HEARD = st.fixed_dictionaries(
    {},
    optional={"turn_detection": DETECTIONS, "transcription": VALUES, "format": VALUES, "noise_reduction": VALUES},
)
SPOKEN = st.dictionaries(st.sampled_from(["voice", "speed", "format", "x"]), VALUES, max_size=2)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("function") | VALUES, "name": st.just("weather") | VALUES},
        optional={"description": VALUES, "parameters": VALUES},
    ),
    max_size=2,
)
CHOICES = st.sampled_from(["auto", "none", "required", {"type": "function", "name": "weather"}])
OF_TOOLS = {
    "tools": TOOLS | VALUES, "tool_choice": CHOICES | VALUES, "parallel_tool_calls": VALUES,
    "max_output_tokens": INTEGERS | VALUES,
}  # fmt: skip
SESSIONS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("realtime") | VALUES,
        "output_modalities": st.sampled_from([["audio"], ["text"], ["video"]]) | VALUES,
        "instructions": VALUES,
        "audio": st.fixed_dictionaries({}, optional={"input": HEARD | VALUES, "output": SPOKEN | VALUES}),
        **OF_TOOLS,
        "x": VALUES,
    },
)
CALLS = st.fixed_dictionaries(
    {"type": st.sampled_from(["function_call", "function_call_output"])},
    optional=dict.fromkeys(("id", "call_id", "name", "arguments", "output"), st.sampled_from(["one", "two"]) | VALUES),
)
ITEMS = (
    VALUES
    | CALLS
    | st.fixed_dictionaries(
        {"type": st.just("message"), "role": st.sampled_from(["user", "assistant", "system"]) | VALUES},
        optional={
            "id": st.sampled_from(["one", "two"]) | VALUES,
            "content": VALUES
            | st.lists(
                st.fixed_dictionaries(
                    {"type": st.sampled_from(["input_text", "output_text", "input_audio"]) | VALUES},
                    optional={"text": VALUES, "audio": VALUES, "transcript": VALUES},
                ),
                max_size=3,
            ),
        },
    )
)
EVENT_TYPES = (
    "session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear",
    "conversation.item.create", "conversation.item.truncate", "conversation.item.retrieve",
    "conversation.item.delete", "response.create", "response.cancel",
)  # fmt: skip
ITEM_IDS = st.sampled_from(["an answer", "one", "two"])  # "an answer" stands for the id of one
EVENTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("session.update"), "session": SESSIONS | VALUES}),
    st.fixed_dictionaries({"type": st.just("input_audio_buffer.append"), "audio": AUDIO | VALUES}),
    st.fixed_dictionaries(
        {"type": st.just("conversation.item.truncate"), "item_id": ITEM_IDS | VALUES, "audio_end_ms": INTEGERS | VALUES}
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["conversation.item.retrieve", "conversation.item.delete"]),
            "item_id": ITEM_IDS | VALUES,
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("conversation.item.create"), "item": ITEMS},
        optional={"previous_item_id": ITEM_IDS | VALUES, "event_id": VALUES},
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(EVENT_TYPES) | VALUES},
        optional={
            "response": VALUES
            | st.dictionaries(
                st.sampled_from(["output_modalities", "instructions", "metadata", "input", *OF_TOOLS, "x"]),
                VALUES,
                max_size=3,
            ),
            "event_id": VALUES,
            "x": VALUES,
        },
    ),
)


def frame(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One WebSocket frame of at most 125 bytes, whether or not it may be sent like this."""
    head = bytes([final << 7 | reserved << 4 | opcode, masked << 7 | len(payload)])
    return head + (bytes(4) if masked else b"") + payload  # masked with zeros


FRAMES = st.binary(min_size=1, max_size=200) | st.builds(
    frame,
    st.integers(0, 15),
    st.binary(max_size=125),
    final=st.booleans(),
    reserved=st.integers(0, 7),
    masked=st.booleans(),
)


STARTS = st.fixed_dictionaries(
    {
        "type": st.just("start") | VALUES,
        "rate": st.sampled_from([8000, 24_000]) | INTEGERS | VALUES,
        "portrait": st.sampled_from(["a portrait", "a speech"]) | VALUES,
    },
    optional={
        "video": st.sampled_from(["h264", "rgb24"]) | VALUES,
        "size": st.sampled_from(["128x128", "128x129"]) | VALUES,
        **dict.fromkeys(("role", "fps", "view", "seed", "steps", "guidance", "model", "x"), INTEGERS | VALUES),
    },
)


def with_ids(value: Any, ids: dict[str, str]) -> Any:
    """`value` with every word that stands for an id replaced by it."""
    match value:
        case str():
            return ids.get(value, value)
        case list():
            return [with_ids(each, ids) for each in value]
        case dict():
            return {name: with_ids(each, ids) for name, each in value.items()}
    return value
