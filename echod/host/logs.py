"""One line per event, with its job, device and attempt: as text, or with `log_json` as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

from echod.host.redaction import redact
from echod.host.terminal import plain, plain_json

FIELDS = ("job", "device", "attempt", "worker", "epoch", "engine", "account", "code", "why",
          "heard_ms", "reply_first_token_ms", "speak_first_audio_ms", "video_first_frame_ms", "total_ms")  # fmt: skip
SYSTEMD_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def set_up(level: str, as_json: bool) -> None:
    """Log to standard error; in a systemd unit with the level as prefix, since the journal adds the time itself."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if as_json else Text(in_unit="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("echod").setLevel(level.upper())


def fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}


class Text(logging.Formatter):
    """`2026-11-26 12:30:05 INFO completed in 12.3 s, 19.5 frames/s job=video_1a device=cpu attempt=1`."""

    def __init__(self, in_unit: bool) -> None:
        super().__init__()
        self._in_unit = in_unit

    def format(self, record: logging.LogRecord) -> str:
        details = "".join(f" {name}={_quoted(value)}" for name, value in fields(record).items())
        prefix = f"<{SYSTEMD_LEVELS.get(record.levelno, 6)}>" if self._in_unit else self.formatTime(record) + " "
        lines = [f"{prefix}{record.levelname} {record.getMessage()}{details}"]
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        return redact("\n".join(map(plain, lines)))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(plain_json(json.dumps(line, ensure_ascii=False, default=str)))


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' "=\n') else text
