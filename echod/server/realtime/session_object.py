"""A conversation's settings as OpenAI Realtime's session object: shown, and changed by `session.update`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from echod.conversation.ear import INPUT_RATE, SILENCE, TurnDetection
from echod.conversation.store import Conversation, SessionSettings
from echod.errors import invalid
from echod.jobs.options import check_view
from echod.server.realtime.tools import OF_TOOLS
from echod.sound.pcm import SPEAK_RATE

MAX_INSTRUCTIONS = 20_000  # characters
CONVERSATION, TRANSCRIPTION = "realtime", "transcription"  # types of sessions
MODALITIES = ("text", "audio", "video")

# What stock clients may send along and what changes nothing here.
IGNORED = ("type", "object", "id", "model", "include", "tracing",
           "truncation", "prompt", "reasoning", "expires_at", "client_secret")  # fmt: skip


# OpenAI's voices, which its clients name by default.
PRESETS = ("alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse")


def session_object(conversation: Conversation, model: str, voice: str | None) -> dict[str, Any]:
    """The session as clients see it; `voice` speaks where it names none. A role's personality is not part of it."""
    settings = conversation.settings
    heard = {
        "format": {"type": "audio/pcm", "rate": INPUT_RATE},
        "transcription": {"language": settings.language} if settings.transcribe else None,
        "turn_detection": settings.detection and _detection_object(settings.detection),
    }
    known = {"object": "realtime.session", "id": conversation.id}
    if not settings.answers:
        return {"type": TRANSCRIPTION, **known, "audio": {"input": heard}}
    return {
        "type": CONVERSATION,
        **known,
        "model": model,
        "output_modalities": [settings.modality],
        "instructions": settings.instructions,
        "audio": {
            "input": heard,
            "output": {"format": {"type": "audio/pcm", "rate": SPEAK_RATE}, "voice": settings.voice or voice},
        },
        "video": {"view": settings.view},
        "tools": [{"type": "function", **msgspec.structs.asdict(tool)} for tool in settings.tools.tools],
        "tool_choice": _shown_choice(settings.tools.choice),
        "max_output_tokens": settings.max_tokens or "inf",
    }


def _detection_object(detection: TurnDetection) -> dict[str, Any]:
    shown = {name: value for name, value in vars(detection).items() if value is not None}
    if detection.eagerness is None:
        return {"type": "server_vad", **shown}
    return {"type": "semantic_vad", **{name: shown[name] for name in FIELDS["semantic_vad"]}}


def changed(settings: SessionSettings, session: Any) -> SessionSettings:
    """The settings after a session.update. EchodError invalid_request naming the field."""
    session = _object(session, "session")
    kind = CONVERSATION if settings.answers else TRANSCRIPTION
    if session.get("type", kind) != kind:
        told = f"it must be {kind}; a session that hears and does not answer is had with ?intent={TRANSCRIPTION}"
        raise invalid(f"session.type = {session['type']!r}: {told}", "session.type")
    return _apply(settings, session, "session", {
        "output_modalities": _modalities, "instructions": _instructions, "audio": _audio, "video": _video,
        **OF_TOOLS,
    })  # fmt: skip


def of_response(settings: SessionSettings, response: Any) -> SessionSettings:
    """The settings for one response, as far as a response.create asks for others; its instructions come on top."""
    return _apply(settings, response, "response", {
        "output_modalities": _modalities, "instructions": _more_instructions, "audio": _audio, "video": _video,
        **OF_TOOLS, "conversation": _in_this_conversation, "input": _no_input,
        "metadata": lambda settings, value, name: settings,
    })  # fmt: skip


def _shown_choice(choice: str | Mapping[str, Any]) -> Any:
    return choice if isinstance(choice, str) else {"type": "function", **choice["function"]}


Change = Callable[[SessionSettings, Any, str], SessionSettings]


def _apply(settings: SessionSettings, given: Any, name: str, changes: Mapping[str, Change]) -> SessionSettings:
    for key, value in _object(given, name).items():
        if key in changes:
            settings = changes[key](settings, value, f"{name}.{key}")
        elif name not in ("session", "response") or key not in IGNORED:
            raise invalid(f"there is no field {name}.{key}; known are {', '.join(changes)}", f"{name}.{key}")
    return settings


def _modalities(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    if not (isinstance(value, list) and len(value) == 1 and value[0] in MODALITIES):
        raise invalid(f"{name} = {value!r}: it must be a list of one of {', '.join(MODALITIES)}", name)
    return replace(settings, modality=value[0])


def _instructions(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    value = value or ""
    if not isinstance(value, str) or len(value) > MAX_INSTRUCTIONS:
        raise invalid(f"{name} must be text of at most {MAX_INSTRUCTIONS} characters", name)
    return replace(settings, instructions=value)


def _more_instructions(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    """On top of the session's, which clients repeat that know them to be replaced."""
    given = _instructions(settings, value, name).instructions
    return replace(settings, once=given.removeprefix(settings.instructions).strip())


def _in_this_conversation(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    if value not in (None, "auto"):
        raise invalid(f"{name} = {value!r}: every response here is part of the conversation; leave it out", name)
    return settings


def _no_input(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    if value is not None:
        raise invalid(f"{name} is not supported here: create items first, and leave it out", name)
    return settings


def _audio(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    return _apply(settings, value, name, {"input": _input, "output": _output})


def _input(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    return _apply(settings, value, name, {
        "format": _format(INPUT_RATE), "transcription": _transcription, "turn_detection": _detection,
        "noise_reduction": lambda settings, value, name: settings,
    })  # fmt: skip


def _output(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    return _apply(settings, value, name, {
        "format": _format(SPEAK_RATE), "voice": _voice, "speed": lambda settings, value, name: settings,
    })  # fmt: skip


def _video(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    return _apply(settings, value, name, {"view": _view})


def _view(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    return replace(settings, view=None if value is None else check_view(value, name))


def _format(rate: int) -> Change:
    def change(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
        given = _object(value, name)
        if given.get("type", "audio/pcm") != "audio/pcm" or given.get("rate", rate) != rate:
            raise invalid(f'{name} = {value!r}: it must be {{"type": "audio/pcm", "rate": {rate}}}', name)
        return settings

    return change


def _transcription(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    if value is None:
        return replace(settings, transcribe=False, language=None)
    language = _object(value, name).get("language")
    if language is not None and not (isinstance(language, str) and 2 <= len(language) <= 35):
        raise invalid(f"{name}.language = {language!r}: it must be a language tag such as en or zh", f"{name}.language")
    return replace(settings, transcribe=True, language=language)


def _voice(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    if isinstance(value, dict):
        value = value.get("id", "")
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= 128):
        raise invalid(f"{name} must be the name of a voice; GET /v1/voices lists them", name)
    return replace(settings, voice=value)


RANGES = {"threshold": (0.0, 1.0), "prefix_padding_ms": (0, 5000), "silence_duration_ms": (100, 10_000)}
BOTH = ("create_response", "interrupt_response")
FIELDS = {"server_vad": (*RANGES, *BOTH), "semantic_vad": ("eagerness", *BOTH)}


def _detection(settings: SessionSettings, value: Any, name: str) -> SessionSettings:
    if value is None:
        return replace(settings, detection=None)
    given, before = dict(_object(value, name)), settings.detection or TurnDetection()
    was = "semantic_vad" if before.eagerness else "server_vad"
    kind = given.pop("type", was)
    if not isinstance(kind, str) or kind not in FIELDS:
        raise invalid(f"{name}.type = {kind!r}: {' and '.join(FIELDS)} are known, null is push-to-talk", f"{name}.type")
    given.pop("idle_timeout_ms", None)
    given = {key: each for key, each in given.items() if each is not None}
    for key, each in given.items():
        if key not in FIELDS[kind]:
            raise invalid(f"there is no field {name}.{key}; {kind} has {', '.join(FIELDS[kind])}", f"{name}.{key}")
        _check_detection(key, each, f"{name}.{key}")
    if kind != was:
        before = TurnDetection(eagerness="auto" if kind == "semantic_vad" else None)
    return replace(settings, detection=replace(before, **given))


def _check_detection(key: str, value: Any, name: str) -> None:
    if key in BOTH:
        if not isinstance(value, bool):
            raise invalid(f"{name} = {value!r}: it must be true or false", name)
    elif key == "eagerness":
        if not isinstance(value, str) or value not in SILENCE:
            raise invalid(f"{name} = {value!r}: it must be one of {', '.join(SILENCE)}", name)
    else:
        low, high = RANGES[key]
        number, kinds = ("a number", int | float) if isinstance(low, float) else ("a whole number", int)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise invalid(f"{name} = {value!r}: it must be {number} from {low} to {high}", name)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"{name} must be an object", name)
    return value
