"""What people are told when a call has failed: its code, and the next step."""

from __future__ import annotations

from collections.abc import Mapping

from echod.errors import EchodError
from echod.speech.backend import Function, Kind

CODES: Mapping[Function, str] = {"hear": "upstream_asr", "reply": "upstream_reply", "speak": "upstream_tts"}
NOT_INSTALLED: Mapping[Function, str] = {
    "hear": "hearing_not_installed",
    "reply": "reply_not_installed",
    "speak": "voice_not_installed",
}
MODEL_SETTINGS: Mapping[Function, str] = {"hear": "hear_model", "reply": "reply_model", "speak": "voice"}
KEYS = {
    "dashscope": "DASHSCOPE_API_KEY, dashscope_key_file or the credential dashscope-api-key; "
    "a key is good in one region, that of dashscope_url",
    "openai": "ECHOD_OPENAI_KEY, openai_key_file or the credential openai-api-key; OPENAI_API_KEY goes to OpenAI alone",
}
LACKING = {
    "dashscope": "there is no key for DashScope: set DASHSCOPE_API_KEY, dashscope_key_file or the systemd "
    "credential dashscope-api-key",
    "openai": "openai_url is not set: the base URL of the server, such as http://127.0.0.1:8000/v1",
}


class SpeechError(EchodError):
    """A call failed for good; `kind` says how. `reason` is what the log may have of the message."""

    def __init__(self, code: str, message: str, kind: Kind, reason: str | None = None) -> None:
        super().__init__(code, message)
        self.kind = kind
        self.reason = message if reason is None else reason


def code_of(kind: Kind, function: Function) -> str:
    """The code of a failure of that kind."""
    if kind == "retired":
        return "upstream_model_retired"
    return (NOT_INSTALLED if kind == "missing" else CODES)[function]


def lacking(backend: str) -> str:
    """What there has to be before a backend can be used."""
    return LACKING.get(backend, "known are dashscope, openai and local")


def advise(kind: Kind, function: Function, backend: str) -> str:
    """The next step after a failure."""
    match kind:
        case "auth" | "forbidden":
            return f"look at the key: {KEYS.get(backend, 'there is none here')}"
        case "retired":
            return f"set {MODEL_SETTINGS[function]} to a model the server has"
        case "voice":
            return "`echod voices` lists voices; name another, or set voice"
        case "throttled":
            return "lower speech_calls, or try again later"
        case "quota":
            return "look at the account's balance with the provider"
        case "moderated":
            return "say it in other words"
        case "timeout" | "connection" | "unavailable":
            return "try again later; `echod doctor` calls every backend once"
        case "invalid" | "protocol":
            return f"see {MODEL_SETTINGS[function]} and the backend's URL; `echod doctor` calls every backend once"
        case "length":
            return "raise reply_tokens, or reply_timeout"
        case "missing":
            return ""
