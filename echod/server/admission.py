"""What is decided before the first byte of a body is read, what every answer carries, and how every error is answered.

Pure ASGI: a framework's dependency runs only after the whole body has been read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from echod.config import Config
from echod.errors import EchodError
from echod.server import page
from echod.server.budget import Share
from echod.server.caller import BEARER_OF_ADDRESS, NOBODY, READING, Caller
from echod.server.refusals import DISCARD, LINGER, error_response
from echod.server.services import Services
from echod.uploads.store import BLOCK

log = logging.getLogger("echod.server")

FRAMING = 1 << 20  # bytes of a body beside the files in it: fields, boundaries
MAX_SUBMISSION = 256 * 1024  # bytes of JSON for a clip: a prompt and metadata, each character an escaped surrogate pair
MAX_LOGIN = 8 * 1024  # bytes; anybody may send these
MAX_OTHER = 32 * 1024  # bytes of any other body: two passwords at most
BODY_STALL = 120.0  # seconds without a byte of a body that is expected
BODY_PATIENCE, BODY_RATE = 120.0, 2048  # seconds for a body, and bytes a second beyond them: an old modem's
UNFINISHED = 96 * 1024  # bytes that a request takes until its body is whole, beside what is kept of that

# Answered whoever asks, and if need be without telling anything.
OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/v1/account/login")}

UPLOADS = ("/v1/files", "/v1/videos")

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Admission:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        try:
            who = await self._admit(scope, exchange)
            with _ended_with(who, scope):
                await self.app(scope, exchange.receive, exchange.send)
        except EchodError as error:
            await exchange.refuse(error)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:  # the front closes
            await exchange.refuse(EchodError("draining", "this daemon shut down before it had an answer; try again"))
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            await exchange.refuse(EchodError("internal", "something failed inside the daemon; its log says what"))
        finally:
            exchange.close()
            self.services.metrics.requests.labels(scope["method"], str(exchange.status or "gone")).inc()

    async def _admit(self, scope: Scope, exchange: Exchange) -> Caller:
        headers = Headers(scope=scope)
        who = scope["state"]["caller"] = exchange.caller = self._caller(scope, headers)
        if (scope["method"], scope["path"]) == ("POST", "/v1/videos"):
            desk, key = self.services.desk, headers.get("idempotency-key")
            if not (key and await desk.knows(who.account, key)):
                desk.check_open(who.account)
        exchange.announce(*body_limit(scope, headers, self.services.config))
        exchange.share = scope["state"]["share"] = self._share(who, scope, headers)
        return who

    def _share(self, who: Caller, scope: Scope, headers: Headers) -> Share:
        if who.account:
            return self.services.budget.share(who.account)
        return self.services.budget.share("", self.services.peer(scope["client"], headers))

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        method, path = scope["method"], scope["path"]
        asked = "GET" if method == "HEAD" else method
        if asked == "GET" and self._signed(path, scope["query_string"]):
            return BEARER_OF_ADDRESS
        try:
            return self.services.caller(
                headers.items(),
                scope["server"],
                scope["client"],
                reading=method in READING,
                metrics=(asked, path) == ("GET", "/metrics"),
            )
        except EchodError:
            if (asked, path) in OPEN or page.open_to_all(asked, path):
                return NOBODY
            raise

    def _signed(self, path: str, query_string: bytes) -> bool:
        """Whether the address is one that we have signed, and still good."""
        query = parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
        signature, expires = query.get("signature", []), query.get("expires", [])
        if len(signature) != 1 or len(expires) != 1:
            return False
        variant = query.get("variant", [])
        resource = f"{path}?variant={','.join(variant)}" if variant else path
        return self.services.signer.opens(resource, expires[0], signature[0])


def _ended_with(who: Caller, scope: Scope) -> contextlib.AbstractContextManager[None]:
    """Break what may take long off when what let its caller in is taken back: answers, and uploads on their way.

    Other requests go to their end: one of them may be what takes it back.
    """
    if who.grant is None or not (scope["method"] in READING or scope["path"] in UPLOADS):
        return contextlib.nullcontext()
    return who.grant.telling(scope["state"]["abort"])


def body_limit(scope: Scope, headers: Headers, config: Config) -> tuple[int, str]:
    """How many bytes the body of a request may have, and how that follows from the settings."""
    multipart = headers.get("content-type", "").startswith("multipart/form-data")
    method, path = scope["method"], scope["path"]
    of_a_role = method == "PUT" and path.startswith("/v1/roles/")
    if multipart and (of_a_role or (method == "POST" and path in ("/v1/files", "/v1/roles"))):
        return config.max_upload + FRAMING, "max_upload"
    if multipart and (method, path) == ("POST", "/v1/videos"):  # it may carry both a portrait and speech
        return 2 * config.max_upload + FRAMING, "max_upload"
    if path == "/v1/account/login":
        return MAX_LOGIN, ""
    return (MAX_SUBMISSION if (method, path) == ("POST", "/v1/videos") else MAX_OTHER), ""


class Exchange:
    """One request and its answer, as the app sees them."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self.status = 0
        self.caller = NOBODY
        self.limit = 0
        self.setting = ""
        self._scope, self._receive, self._send = scope, receive, send
        self.share: Share | None = None
        self._reserved = 0  # of it
        self._announced = self._received = 0
        self._waited = 0.0  # seconds for what was received
        self._unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    def announce(self, limit: int, setting: str) -> None:
        """How large the body may be, by which setting. EchodError payload_too_large if it says that it is larger."""
        self.limit, self.setting = limit, setting
        self._announced = int(Headers(scope=self._scope).get("content-length", limit))
        self.count(self._announced)

    def count(self, size: int) -> None:
        """EchodError payload_too_large if a body of `size` bytes is over the limit."""
        if size > self.limit:
            advice = f"raise {self.setting}, or send a smaller file" if self.setting else "files go to POST /v1/files"
            raise EchodError(
                "payload_too_large",
                f"the body of this request has {size} bytes or more; at most {self.limit} are accepted: {advice}",
            )

    async def receive(self) -> Message:
        message = await self._receive_in_time()
        self.count(self._received)
        self._reserve()
        if self.caller.ended:
            raise EchodError("unauthorized", "the credentials of this request ended while its body was on its way")
        return message

    def _reserve(self) -> None:
        """Take memory for a body while it is on its way: a body that came with its head needs none.

        All that it may need is taken at once, so that what has begun is not refused later. Of what streams to disk a
        block is kept; whoever reads it takes more for the fields beside it.
        """
        if self.share is None:
            return
        needed = UNFINISHED + (BLOCK if self.setting else self._announced) if self._unread else 0
        self.share.resize(self.share.size - self._reserved + needed)
        self._reserved = needed

    async def _receive_in_time(self) -> Message:
        time = asyncio.get_running_loop().time
        began, left = time(), BODY_PATIENCE + self._received / BODY_RATE - self._waited
        try:
            async with asyncio.timeout(min(BODY_STALL, left) if self._unread else None):
                return await self._receive_some()
        except TimeoutError:
            raise EchodError("invalid_request", self._too_slow(left < BODY_STALL)) from None
        finally:
            self._waited += time() - began

    def _too_slow(self, on_its_way: bool) -> str:
        if on_its_way:
            return (
                f"only {self._received} bytes of the body came in {self._waited:.0f} s; it may take "
                f"{BODY_PATIENCE:g} s, and a second more for each {BODY_RATE} bytes"
            )
        return f"nothing of the body came for {BODY_STALL:g} s, and {self._received} bytes before"

    async def _receive_some(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self.caller.signed:
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"  # pages elsewhere may show it
            if self._unread:
                headers["Connection"] = "close"
        elif self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _discard(self) -> None:
        """Read on for a while: closing with bytes unread would reset the connection under the answer."""
        enough = self._received + DISCARD
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while self._unread and self._received < enough:
                    await self._receive_some()

    def close(self) -> None:
        if self.share is not None:
            self.share.resize(0)

    async def refuse(self, error: EchodError) -> None:
        """Answer with the error; if an answer is under way already, break it off."""
        if self.status:
            await abort(self._scope, self._receive)
        else:
            await error_response(error)(self._scope, self.receive, self.send)


async def abort(scope: Scope, receive: Receive) -> None:
    """Cut the connection, so that the client cannot take what it has for a whole answer."""
    scope["state"]["abort"]()
    await disconnected(receive)


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
