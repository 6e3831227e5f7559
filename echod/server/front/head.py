"""What the head of a request may say: what two readers of HTTP could take for two things is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence

from echod.errors import invalid

Fields = Sequence[tuple[bytes, bytes]]  # names in small letters, values without space around them

LINE = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/1\.[01]")  # parsers take more space, and other versions
HOST = re.compile(rb"(\[[\da-fA-F:.]+\]|[\w.~%!$&'()*+,;=-]*)(:\d*)?", re.ASCII)
ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)")


def target(line: bytes, fields: Fields) -> bytes:
    """Path and query that a request asks for, whichever way it names them (RFC 9112, 3.2).

    EchodError invalid_request for a head that says something twice, or not as HTTP/1.1 has it.
    """
    if not LINE.fullmatch(line):
        raise invalid("a request begins with a method, an address and HTTP/1.0 or HTTP/1.1, one space between them")
    method, address, version = line.split(b" ")
    host = _host(fields, required=version == b"HTTP/1.1")
    _check_framing(fields, version)
    if method == b"CONNECT":
        raise invalid("CONNECT is for proxies, and this daemon is none")
    if b"#" in address:
        raise invalid("the address of a request has no fragment (#)")
    if address.startswith(b"/") or (method, address) == (b"OPTIONS", b"*"):
        return address
    if not (match := ABSOLUTE.fullmatch(address)):
        raise invalid("the address of a request begins with / or http://")
    if match[1].lower() != host.lower():
        raise invalid("the address of this request names one host, and its Host header another")
    return match[2] if match[2].startswith(b"/") else b"/" + match[2]


def _host(fields: Fields, *, required: bool) -> bytes:
    hosts = values(fields, b"host")
    if len(hosts) > 1 or (required and not hosts):
        raise invalid(f"a request has one Host header; this one has {len(hosts)}")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise invalid("the Host header of this request names no host")
    return hosts[0] if hosts else b""


def _check_framing(fields: Fields, version: bytes) -> None:
    codings = [value.lower() for value in values(fields, b"transfer-encoding")]
    if codings and (codings != [b"chunked"] or version == b"HTTP/1.0"):
        raise invalid("of Transfer-Encoding there is chunked, once, and in HTTP/1.1")


def values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]


def tokens(fields: Fields, name: bytes) -> list[bytes]:
    """What the lists in all headers of a name hold, in small letters."""
    return [token.strip(b" \t").lower() for value in values(fields, name) for token in value.split(b",")]
