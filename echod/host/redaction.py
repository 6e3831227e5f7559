"""A second line of defence: a token or key that strays into a message is made unreadable there."""

from __future__ import annotations

import re

TOKEN_PREFIX = "echod_"  # so that this, and scanners for leaked secrets, can tell
TOKEN = re.compile(TOKEN_PREFIX + r"[\w-]{40,}", re.ASCII)
KEY = re.compile(r"\bsk-[\w-]{6,}", re.ASCII)  # DashScope's, OpenAI's and those made after their pattern
USERINFO = re.compile(r"(?<=://)[^\s/]+(?=@)")  # a name, or a name and a password, in a URL

MIN_HIDDEN = 8  # characters

_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Never show this text from now on. What is as short as a word is none: servers without keys take any."""
    if len(secret) >= MIN_HIDDEN:
        _hidden.add(secret)


def redact(text: str) -> str:
    for secret in _hidden:
        text = text.replace(secret, "...")
    return USERINFO.sub("...", KEY.sub("sk-...", TOKEN.sub(TOKEN_PREFIX + "...", text)))
