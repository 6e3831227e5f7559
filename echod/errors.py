"""Everything that can go wrong, once: code, HTTP status, exit code.

    EchodError                  code, message, param; knows its status and its exit code
    +-- ConfigurationError      the settings cannot be used              exit 78
    +-- DaemonUnreachable       the command line finds no daemon         exit 3

An error is raised with a code from `TABLE`; its message says what was wrong, the value, the limit, and the setting
that changes it. HTTP bodies, events, the journal and the command line all speak these codes and no others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple


class Row(NamedTuple):
    """One error code: the HTTP status it answers with (0: never an answer) and the exit code of the command line."""

    status: int
    exit_code: int
    type: str


REFUSED = Row(400, 2, "invalid_request_error")
JOB_FAILED = Row(0, 1, "job_error")

TABLE: dict[str, Row] = {
    # refused input
    "invalid_request": REFUSED,
    "portrait_unreadable": REFUSED,
    "no_face_detected": REFUSED,
    "speech_unreadable": REFUSED,
    "speech_silent": REFUSED,
    "speech_too_short": REFUSED,
    "speech_too_long": REFUSED,
    "unsupported_size": REFUSED,
    "unsupported_media": REFUSED,
    "model_not_loaded": REFUSED,
    # what a client of a conversation asks for at the wrong moment, as OpenAI Realtime calls it
    "response_cancel_not_active": REFUSED,
    "input_audio_buffer_commit_empty": REFUSED,
    "conversation_already_has_active_response": REFUSED,
    "item_retrieve_invalid_item_id": REFUSED,
    # what would have to be installed or set up on the daemon's machine first; not 409, which OpenAI's clients try again
    "voice_not_installed": REFUSED,
    "hearing_not_installed": REFUSED,
    "reply_not_installed": REFUSED,
    "not_found": Row(404, 2, "not_found_error"),
    "method_not_allowed": Row(405, 2, "invalid_request_error"),
    "idempotency_conflict": Row(409, 2, "conflict_error"),
    "not_ready": Row(409, 2, "conflict_error"),
    "payload_too_large": Row(413, 2, "invalid_request_error"),
    "range_not_satisfiable": Row(416, 2, "invalid_request_error"),
    # who asks
    "unauthorized": Row(401, 6, "authentication_error"),
    "forbidden": Row(403, 6, "permission_error"),
    # busy
    "queue_full": Row(429, 5, "rate_limit_error"),
    "quota_exceeded": Row(429, 5, "rate_limit_error"),
    "rate_limited": Row(429, 5, "rate_limit_error"),
    "draining": Row(503, 5, "server_error"),
    "no_device": Row(503, 5, "server_error"),
    "disk_full": Row(507, 5, "server_error"),
    "disk_failed": Row(507, 5, "server_error"),
    # the daemon's own fault
    "internal": Row(500, 1, "server_error"),
    # how a job ends
    "poison": JOB_FAILED,
    "stalled": JOB_FAILED,
    "out_of_memory": JOB_FAILED,
    "not_finite": JOB_FAILED,
    "cancelled": Row(0, 4, "job_error"),
    "upstream_asr": JOB_FAILED,
    "upstream_reply": JOB_FAILED,
    "upstream_tts": JOB_FAILED,
    "upstream_model_retired": JOB_FAILED,
    # the command line's own
    "unreachable": Row(0, 3, "client_error"),
    "configuration": Row(0, 78, "client_error"),
}

# What to do where something under way finds no room on the disk.
WAYS_OUT = {
    "quota_exceeded": "remove clips (`echod rm`) or uploads of this account, or have disk_per_account raised",
    "disk_full": "free some space, remove clips (`echod rm`), or lower min_free, of which half stays for the journal",
}


class EchodError(Exception):
    """An error with a code from `TABLE`. `param` names the field or flag at fault, where there is one.

    `retry_after` is when to try again, in seconds, where that is known. `told` is the code of a daemon whose words the
    message is; a newer one may have some that are not in `TABLE`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        told: str | None = None,
    ) -> None:
        assert code in TABLE, code
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.told = told

    @property
    def status(self) -> int:
        return TABLE[self.code].status or 500

    @property
    def exit_code(self) -> int:
        return TABLE[self.code].exit_code

    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON body of an HTTP answer, in the shape OpenAI clients read."""
        kind = TABLE[self.code].type
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class ConfigurationError(EchodError):
    """The settings cannot be used; the process ends with exit code 78."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__("configuration", message, param=param)


class DaemonUnreachable(EchodError):
    """No daemon answers where the command line looked."""

    def __init__(self, message: str) -> None:
        super().__init__("unreachable", message)


def invalid(message: str, param: str | None = None) -> EchodError:
    return EchodError("invalid_request", message, param=param)


@contextlib.contextmanager
def gone() -> Iterator[None]:
    """Whatever is not found has been removed meanwhile, or has expired and is swept: that is as well."""
    try:
        yield
    except EchodError as error:
        if error.code != "not_found":
            raise
