"""Text on its way to a terminal, which obeys what it is told: titles, messages and answers come from anybody."""

from __future__ import annotations

import re

# C0, DEL and C1 with ESC, CSI and line breaks among them; Unicode's own line breaks; what turns the order of letters
# round; halves of surrogate pairs, which no terminal takes.
OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def plain(text: str) -> str:
    """One line that a terminal shows and does not obey: what it would obey is spelled out, as in `\\x1b`."""
    return OBEYED.sub(lambda match: SHORT.get(match[0]) or _spelled(match[0]), text)


def _spelled(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def plain_json(text: str) -> str:
    """The same for JSON, whose meaning stays; line breaks between its parts do too."""
    return OBEYED.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)
