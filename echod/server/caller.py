"""Who calls: one function of headers and socket, for HTTP requests and WebSocket handshakes alike.

Local means that nothing stands between caller and daemon: the unix socket (its file permission is the check), or
loopback to loopback with a loopback Host, which a page that rebinds its DNS name cannot send. A proxy's header or a
foreign Origin makes a caller remote on either socket, and after a proxy's header all that its connection carries is.

While there are no accounts, local callers are the admin `local`, and nobody else is served. But a proxy or a tunnel
that adds no header and sends a loopback Host lends its loopback address to strangers: whoever is local by TCP may be
one of them, and makes clips, files, roles and conversations, but no accounts. Once there are accounts, whoever shows a
token or a session is its account; without either, only a local caller of the unix socket is let in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from echod.accounts.grants import LOCAL as LOCAL_ACCOUNT
from echod.accounts.grants import Grant
from echod.accounts.store import Accounts
from echod.errors import EchodError
from echod.host.network import is_loopback

Address = tuple[str, int | None]
Pairs = list[tuple[str, str]]

COOKIE = "echod_session"
SUBPROTOCOL = "openai-insecure-api-key."  # OpenAI's name for what is as good as a header, and in no URL
PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})  # beside X-Forwarded-*
READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Caller:
    """An account at work. Admins see every account's jobs and files; a signed address is good for what it names."""

    account: str
    admin: bool
    grant: Grant | None = field(default=None, compare=False)  # what ends it; None: nothing does
    signed: bool = False

    @property
    def sees(self) -> str | None:
        """The account whose jobs and files this caller may see; None for all."""
        return None if self.admin or self.signed else self.account

    @property
    def ended(self) -> bool:
        """Whether what let this caller in has been taken back since."""
        return self.grant is not None and self.grant.ended

    @property
    def may_be_anybody(self) -> bool:
        """Whether nothing speaks for this local caller but a loopback address, which a proxy lends to strangers."""
        return self.account == LOCAL_ACCOUNT and self.grant is not None

    def must_be_for_metrics(self) -> None:
        if not (self.grant and self.grant.for_metrics):
            self.must_be_admin()

    def must_be_admin(self) -> None:
        if not self.admin:
            raise EchodError("forbidden", f"this is for admins, and {self.account or 'nobody'!r} is none")


LOCAL = Caller(LOCAL_ACCOUNT, admin=True)
NOBODY = Caller("", admin=False)
BEARER_OF_ADDRESS = Caller("", admin=False, signed=True)


def caller(
    headers: Iterable[tuple[str, str]],
    server: Address | None,
    client: Address | None,
    accounts: Accounts,
    *,
    public_url: str | None = None,
    reading: bool = False,
    metrics: bool = False,
) -> Caller:
    """Decide who sent `headers` to the socket `server`, (path, None) for a unix socket, from the peer `client`.

    `reading`: the request changes nothing, as far as its method tells. `metrics`: it is for /metrics, which some tokens
    are for alone. Raises EchodError: `unauthorized` if credentials
    are missing or no good, `forbidden` if none would help.
    """
    pairs = [(name.lower(), value.strip()) for name, value in headers]
    remote = _forwarded(pairs) or _foreign_origin(pairs) or _not_loopback(pairs, server, client)
    by_unix_socket = server is not None and server[1] is None
    if not accounts:
        if remote:
            raise EchodError(
                "forbidden",
                f"{remote}, and this daemon has no accounts: it serves local callers only. Call it on its own machine, "
                "over its unix socket or as http://127.0.0.1:<port> without a proxy in between, or add an account "
                "there with `echod users add`.",
            )
        return LOCAL if by_unix_socket else Caller(LOCAL_ACCOUNT, admin=True, grant=accounts.open_house)
    grant = _credentials(pairs, accounts, public_url, reading)
    if grant is not None:
        if grant.for_metrics and not metrics:
            raise EchodError("forbidden", "this token is of the role metrics: it reads /metrics and nothing else")
        return Caller(grant.account, grant.admin, grant)
    if by_unix_socket and not remote:
        return LOCAL
    raise EchodError("unauthorized", "who are you? Send `Authorization: Bearer <token>`, or log in and send the cookie")


def _credentials(pairs: Pairs, accounts: Accounts, public_url: str | None, reading: bool) -> Grant | None:
    """The grant behind a token or a cookie; None if neither is sent."""
    if tokens := _values(pairs, "authorization"):
        scheme, _, token = tokens[0].partition(" ")
        grant = accounts.token(token.strip()) if len(tokens) == 1 and scheme.lower() == "bearer" else None
        if grant is None:
            raise EchodError("unauthorized", "the token in Authorization is unknown, revoked or expired")
        return grant
    if tokens := _subprotocol_tokens(pairs):
        grant = accounts.token(tokens[0]) if len(tokens) == 1 else None
        if grant is None:
            raise EchodError("unauthorized", f"the token in {SUBPROTOCOL}<token> is unknown, revoked or expired")
        return grant
    if sessions := _cookies(pairs, COOKIE):
        check_origin(pairs, public_url, required=not reading)
        # Of two cookies one is not ours: a neighbouring site may have set it.
        grant = accounts.session(sessions[0]) if len(sessions) == 1 else None
        if grant is None:
            raise EchodError("unauthorized", "the session has ended; log in again")
        return grant
    return None


def _subprotocol_tokens(pairs: Pairs) -> list[str]:
    """What a browser says that can send no header with its WebSocket."""
    offered = [each.strip() for line in _values(pairs, "sec-websocket-protocol") for each in line.split(",")]
    return [each.removeprefix(SUBPROTOCOL) for each in offered if each.startswith(SUBPROTOCOL)]


def check_origin(headers: Iterable[tuple[str, str]], public_url: str | None, *, required: bool) -> None:
    """Browsers send cookies along whichever page asks: that page must be ours. Raises EchodError: forbidden."""
    pairs = [(name.lower(), value) for name, value in headers]
    origins, hosts = _values(pairs, "origin"), _values(pairs, "host")
    ours = {f"{scheme}://{host}".lower() for host in hosts for scheme in ("http", "https")}
    if public_url:
        parts = urlsplit(public_url)
        ours.add(f"{parts.scheme}://{parts.netloc}".lower())
    if not origins and not required:
        return
    if len(origins) != 1 or origins[0].lower() not in ours:
        raise EchodError(
            "forbidden",
            f"the request was made by a page of another origin ({', '.join(origins) or 'it names none'}); behind a "
            "proxy, set public_url",
        )


def by_https(headers: Iterable[tuple[str, str]], public_url: str | None) -> bool:
    """Whether the request came by an https public_url, as far as a proxy in front lets us know."""
    if not public_url or not public_url.startswith("https:"):
        return False
    pairs = [(name.lower(), value.strip()) for name, value in headers]
    return _forwarded(pairs) is not None or urlsplit(public_url).netloc in _values(pairs, "host")


def cookie_path(headers: Iterable[tuple[str, str]], public_url: str | None) -> str:
    """What a page's cookie is for: the path of public_url, as browsers spell it, if the page is there; else all."""
    parts = urlsplit(public_url or "")
    origins = [value.lower() for name, value in headers if name.lower() == "origin"]
    there = origins == [f"{parts.scheme}://{parts.netloc}".lower()]
    return quote(parts.path, safe="/%!$&'()*+,:=@") if there and parts.path else "/"


def forwards(name: str) -> bool:
    """Whether a header of this name, in small letters, is one that proxies add."""
    return name in PROXY_HEADERS or name.startswith("x-forwarded-")


def _forwarded(pairs: Pairs) -> str | None:
    for name, _ in pairs:
        if forwards(name):
            return f"the request came through a proxy (it has the header {name!r})"
    return None


def _foreign_origin(pairs: Pairs) -> str | None:
    origins, hosts = _values(pairs, "origin"), _values(pairs, "host")
    if origins and [origin.lower() for origin in origins] != [f"http://{host.lower()}" for host in hosts]:
        return f"the request was made by a page of another origin ({origins[0]!r})"
    return None


def _not_loopback(pairs: Pairs, server: Address | None, client: Address | None) -> str | None:
    if server is None:
        return "the connection has no address"
    if server[1] is None:
        return None
    if client is None or not is_loopback(client[0]):
        return f"the request came from {client[0] if client else 'an unknown address'}"
    hosts = _values(pairs, "host")
    if len(hosts) != 1 or not is_loopback(_hostname(hosts[0])):
        return f"the request was sent to the host {hosts[0] if hosts else ''!r}"
    return None


def _values(pairs: Pairs, name: str) -> list[str]:
    return [value for key, value in pairs if key == name]


def _cookies(pairs: Pairs, name: str) -> list[str]:
    """The values of a cookie (RFC 6265, 5.4), however many there are."""
    crumbs = [crumb.strip().partition("=") for line in _values(pairs, "cookie") for crumb in line.split(";")]
    return [value for key, _, value in crumbs if key == name]


def _hostname(host: str) -> str:
    """`127.0.0.1` of `127.0.0.1:8765`, `::1` of `[::1]:8765`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
