"""What goes wrong between here and DashScope: said by the server, by its SDK, or by the sockets beneath."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, ProxyError, WebSocketException

from echod.speech.backend import Call, Failure, Kind
from echod.speech.remote.failures import quotable, refusal, said_no, unreachable

# What DashScope alone says, in codes and words, the most telling first
SAYINGS: tuple[tuple[str, Kind], ...] = (
    (r"error code: 418\b", "voice"),
    (r"model not exist", "retired"),
    (r"free allocated quota|free_?tier|bill_?overdue", "quota"),
    (r"allocation_?quota|limit_(burst|requests)", "throttled"),
    (r"too_?large", "invalid"),
)
RESTARTING = (1001, 1011, 1012, 1013)  # close codes (RFC 6455, 7.4.1): going away, internal error, restart, try later


@contextmanager
def explained(call: Call, private: Sequence[str] = ()) -> Iterator[None]:
    """Whatever the SDK and the layers beneath it raise leaves as a Failure, which does not repeat what is private."""
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        call.request_id = getattr(error, "request_id", None) or call.request_id
        raise explain(error, private) from None


def explain(error: BaseException, private: Sequence[str] = ()) -> Failure:
    """The failure that an exception of any layer stands for."""
    from dashscope.v2.errors import APIConnectionError, DashScopeError

    match error:
        case APIConnectionError(__cause__=BaseException() as cause):
            return explain(cause)
        case DashScopeError() if error.code or error.status_code:
            words = error.message if isinstance(error.body, dict) else ""
            return refused(error.status_code or 200, error.code, words, error.headers, private)
        case DashScopeError():
            return _senseless(error.message.partition(":")[0])  # what follows is the answer: somebody's words
        case InvalidStatus(response=response):
            return refusal(response.status_code, bytes(response.body or b""), response.headers)
        case ConnectionClosed():
            return _closed(error)
        case InvalidMessage(__cause__=EOFError() as cause):
            return _broken(cause)
        case OSError() | ProxyError():
            return _broken(error)
        case WebSocketException():
            return _senseless(str(error))
        case httpx.TimeoutException() | httpx.NetworkError() | httpx.ProxyError() | httpx.ProtocolError():
            return unreachable(error)
        case _:
            return _senseless(f"{type(error).__name__} in reading it")


def refused(
    status: int, code: str | None, words: str, headers: Mapping[str, str], private: Sequence[str] = ()
) -> Failure:
    """The server says no: over a WebSocket and within a stream with status 200."""
    failure = said_no(status, str(code or ""), str(words or ""), headers, private=private)
    said = f"{code} {words}".lower()
    failure.kind = next((kind for saying, kind in SAYINGS if re.search(saying, said)), failure.kind)
    return failure


def _closed(error: ConnectionClosed) -> Failure:
    if error.rcvd is None and error.sent is None:
        return _broken(error.__cause__ or error)
    if error.rcvd is None or not error.rcvd_then_sent:  # closed here, because of what came
        assert error.sent is not None
        return _senseless(error.sent.reason)
    kind: Kind = "unavailable" if error.rcvd.code in RESTARTING else "protocol"
    reason = f"the server closed the WebSocket before the task was finished, with code {error.rcvd.code}"
    return Failure(kind, reason, quotable(error.rcvd.reason))


def _broken(error: BaseException) -> Failure:
    return Failure("connection", f"the connection failed: {quotable(str(error) or type(error).__name__)}")


def _senseless(reason: str) -> Failure:
    return Failure("protocol", "the server's answer makes no sense", quotable(reason))
