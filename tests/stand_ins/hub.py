"""A hub on the loopback interface that speaks what huggingface_hub needs, and misbehaves where it is told to."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class File:
    """One file of the repository, and how its delivery goes wrong.

    `status` is answered instead of the file. `break_at` ends the first `breaks` answers after that many bytes of the
    file; `hold` keeps the connection open there until the hub ends. `sent` is what is delivered in place of the
    content that was announced.
    """

    content: bytes
    status: int = 200
    break_at: int | None = None
    breaks: int = 1
    hold: bool = False
    sent: bytes | None = None
    large: bool = True  # named after its sha256, as large files are

    @property
    def etag(self) -> str:
        digest = hashlib.sha256 if self.large else hashlib.sha1
        return digest(self.content).hexdigest()


class Request(NamedTuple):
    method: str
    content: bool  # asked where the content of large files lies
    name: str
    revision: str
    start: int
    authorization: str | None


@dataclass
class Hub:
    """`with Hub(repository, files) as hub`: it listens at `hub.url` and remembers `hub.requests`."""

    repository: str
    files: dict[str, File]
    requests: list[Request] = field(default_factory=list)
    held: Event = field(default_factory=Event)  # an answer is being held
    token: str | None = None  # needed for all files, if given

    def __enter__(self) -> Self:
        self._ended = Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        self.content_url = f"http://localhost:{port}"  # to HTTP clients another host, which gets no token
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for_end(self) -> None:
        self.held.set()
        self._ended.wait()

    def fetched(self) -> list[str]:
        """Names of the files whose content was asked for, in order."""
        return [request.name for request in self.requests if request.method == "GET" and self._delivered(request)]

    def _delivered(self, request: Request) -> bool:
        file = self.files.get(request.name)
        return request.content or (file is not None and not file.large)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        match = re.fullmatch(rf"/({re.escape(self.hub.repository)}/resolve|content)/([^/]+)/(.+)", path)
        if match is None:
            return self._refuse(404, "RepoNotFound")
        place, revision, name = match.groups()
        start = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["0"])[0])
        authorization = self.headers.get("Authorization")
        self.hub.requests.append(Request(self.command, place == "content", name, revision, start, authorization))
        file = self.hub.files.get(name)
        if file is None or revision not in ("main", COMMIT):
            return self._refuse(404, "EntryNotFound")
        if file.status != 200:
            return self._refuse(file.status)
        if place != "content":
            if self.hub.token and authorization != f"Bearer {self.hub.token}":
                return self._refuse(401)
            if self.command == "HEAD" or file.large:
                return self._head(file, f"{self.hub.content_url}/content/{revision}/{name}")
        return self._deliver(file, start)

    def _refuse(self, status: int, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _head(self, file: File, location: str) -> None:
        """Large files lie elsewhere: the hub redirects there, and says their size and ETag along with it."""
        self.send_response(302 if file.large else 200)
        if file.large:
            self.send_header("Location", location)
            self.send_header("X-Linked-Size", str(len(file.content)))
            self.send_header("X-Linked-ETag", f'"{file.etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{file.etag}"')
        self.send_header("Content-Length", str(0 if file.large else len(file.content)))
        self.end_headers()

    def _deliver(self, file: File, start: int) -> None:
        content = file.content if file.sent is None else file.sent
        if start and start >= len(content):
            return self._refuse(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{file.etag}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if file.break_at is None or file.breaks == 0:
            self.wfile.write(content[start:])
            return None
        file.breaks -= 1
        self.wfile.write(content[start : max(start, file.break_at)])
        self.wfile.flush()
        if file.hold:
            self.hub.wait_for_end()
        self.close_connection = True
        return None
