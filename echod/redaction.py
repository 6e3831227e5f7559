"""A second line of defence: an API token that strays into a message is made unreadable there."""

from __future__ import annotations

import re

TOKEN_PREFIX = "echod_"  # so that this, and scanners for leaked secrets, can tell
TOKEN = re.compile(TOKEN_PREFIX + r"[\w-]{40,}", re.ASCII)


def redact(text: str) -> str:
    return TOKEN.sub(TOKEN_PREFIX + "...", text)
