"""A client of the daemon: HTTP and the event stream, over TCP or the unix socket.

    with Client() as client:
        video = client.submit("portrait.png", "speech.wav", seed=7)
        for event in client.follow(video["id"]):
            print(event["type"], event["video"]["progress"])
        with open("clip.mp4", "wb") as file:
            client.content(video["id"], file)

A connection that breaks, or a daemon that restarts, is waited out for `patience` seconds. Every refusal is raised as
the EchodError the daemon answered with; no daemon at all is DaemonUnreachable.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO, Literal, NotRequired, TypeAlias, TypedDict, cast

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from echod.client.connection import json_object, pause
from echod.client.people import People
from echod.client.talk import Talk
from echod.errors import DaemonUnreachable, EchodError

TERMINAL = frozenset({"completed", "failed", "cancelled"})

POLL = 0.5  # seconds between two looks at a job where no event stream can be had
PAGE = 100  # jobs asked for at once

Source: TypeAlias = str | Path | BinaryIO  # a file object must be seekable, so that it can be sent again


class Failure(TypedDict):
    code: str
    message: str


class Warned(TypedDict):
    """What will show in a clip, of a code such as face_small."""

    code: str
    message: str


class Extras(TypedDict, total=False):
    """What the daemon tells beyond the OpenAI shape."""

    title: str | None
    created_at: float  # to the fraction
    account: str
    queue_position: int | None
    eta_s: float | None
    stage: str | None
    windows_done: int
    windows_total: int
    windows_resumed: int
    view: str
    seed: int
    fps: int
    steps: int | None
    guidance: float | None
    lossless: bool
    live: bool
    label: str | None
    label_language: str | None
    device: str | None
    devices: list[str]
    helpers: list[str]
    dtype: str | None
    approximation: str | None
    attempt: int
    engine: str
    spoken: bool
    conversation: bool
    pinned: bool
    voice: str | None
    faces: int | None
    portrait: dict[str, Any]
    crop: list[int] | None
    framing: dict[str, Any]
    warnings: list[Warned]
    frames: int
    unsigned: str | None
    url: str | None
    thumbnail_url: str | None
    stream_url: str | None
    timings_ms: dict[str, int]


class Video(TypedDict):
    """A job as the daemon shows it: the OpenAI video object, with `echod` beside it."""

    id: str
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"]
    model: str
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    size: str
    seconds: str | None
    error: Failure | None
    prompt: NotRequired[str | None]
    echod: Extras


class Event(TypedDict):
    """One change of a job; `seq` is None for a state that was asked for rather than told."""

    type: str
    seq: int | None
    ts: float
    video: Video


class Client(People):
    """Calls one daemon. `tell` hears, in a sentence, of connections lost and found again."""

    # -- jobs

    def submit(
        self,
        portrait: Source,
        speech: Source | None = None,
        *,
        prompt: str | None = None,
        voice: str | None = None,
        title: str | None = None,
        engine: str | None = None,
        seed: int | None = None,
        size: str | None = None,
        view: str | None = None,
        crop: str | None = None,
        dilation: float | None = None,
        face: int | None = None,
        fps: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        lossless: bool = False,
        live: bool = False,
        label: str | None = None,
        label_language: str | None = None,
    ) -> Video:
        """Hand in a job: a portrait and speech, or a `prompt` to be spoken, in a `voice` of `voices()`.

        Without a `title` the clip is called as the recording, or by the first words.
        It goes under an idempotency key, so that sending it again never makes a second one.
        """
        fields: dict[str, Any] = {
            "prompt": prompt,
            "voice": voice,
            "metadata[title]": title,
            "model": engine,
            "seed": seed,
            "size": size,
            "view": view,
            "crop": crop,
            "dilation": dilation,
            "face": face,
            "fps": fps,
            "steps": steps,
            "guidance": guidance,
            "label": label,
            "label_language": label_language,
        }
        fields |= {name: "true" for name, wanted in {"lossless": lossless, "live": live}.items() if wanted}
        with ExitStack() as stack:
            files = {"input_reference": _part(stack, portrait, "portrait")}
            if speech is not None:
                files["audio_reference"] = _part(stack, speech, "speech")
            return self._video(
                "POST",
                "/v1/videos",
                data={name: str(value) for name, value in fields.items() if value is not None},
                files=files,
                headers={"Idempotency-Key": secrets.token_hex(16)},
            )

    def video(self, video_id: str) -> Video:
        return self._video("GET", f"/v1/videos/{_segment(video_id)}")

    def videos(self, order: Literal["asc", "desc"] = "desc") -> Iterator[Video]:
        """Every job there is, newest first unless asked otherwise."""
        after: dict[str, str] = {}
        while True:
            page = self._call("GET", "/v1/videos", params={"limit": PAGE, "order": order, **after})
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"after": page["data"][-1]["id"]}

    def find_video(self, name: str) -> str:
        """The id of the job that `name` is, or alone begins with it, with or without `video_`."""
        digits = name.removeprefix("video_")
        if not re.fullmatch(r"[0-9a-f]{4,31}", digits):
            return name
        found = [video["id"] for video in self.videos() if video["id"].startswith(f"video_{digits}")]
        if len(found) > 1:
            raise EchodError("invalid_request", f"{name!r} may be any of {', '.join(sorted(found)[:5])}", param="id")
        return found[0] if found else name

    def cancel(self, video_id: str) -> Video:
        return self._video("POST", f"/v1/videos/{_segment(video_id)}/cancel")

    def pin(self, video_id: str) -> Video:
        """Have a clip kept until it is removed."""
        return self._video("POST", f"/v1/videos/{_segment(video_id)}/pin")

    def unpin(self, video_id: str) -> Video:
        """Have it kept as long as a new clip."""
        return self._video("DELETE", f"/v1/videos/{_segment(video_id)}/pin")

    def remove(self, video_id: str) -> None:
        """Cancel the job if it has not ended, and delete it with its files."""
        self._call("DELETE", f"/v1/videos/{_segment(video_id)}")

    def content(self, video_id: str, file: BinaryIO) -> None:
        """The finished clip's bytes, into a seekable file."""

        def download() -> None:
            file.seek(0)
            file.truncate()
            for block in self._blocks(video_id, "content"):
                file.write(block)

        self.patiently(download)

    def manifest(self, video_id: str) -> dict[str, Any]:
        """What decided the frames of a finished clip: inputs, options, weights, device and versions."""
        return self.patiently(lambda: json_object(b"".join(self._blocks(video_id, "manifest"))))

    def stream(self, video_id: str) -> Iterator[bytes]:
        """The clip in pieces while it is made, from its first fragment on. Raises if it breaks off with its attempt."""
        return self._blocks(video_id, "stream")

    def _blocks(self, video_id: str, what: str) -> Iterator[bytes]:
        try:
            with self._http.stream("GET", f"/v1/videos/{_segment(video_id)}/{what}") as answer:
                if answer.is_error:
                    raise self._refusal(answer.status_code, answer.read())
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._lost(error) from None

    # -- events

    def events(self, after: int | None = None) -> Iterator[Event]:
        """The live jobs, or what happened since `after`, then every change, for ever."""
        while True:
            with closing(self._listen(after)) as connection:
                for event in _received(connection):
                    after = event["seq"]
                    yield event
            pause()

    def follow(self, video_id: str) -> Iterator[Event]:
        """One job's state, then every change until it ends; by asking again and again where no events can be had."""
        after: int | None = None
        while True:
            # Listen first, ask second: a job that ends in between is seen by one or the other.
            try:
                connection = self._listen(after)
            except DaemonUnreachable:
                raise
            except EchodError:
                yield from self._poll(video_id)
                return
            with closing(connection):
                if (video := self.video(video_id))["status"] in TERMINAL:
                    yield _asked(video)
                    return
                for event in _received(connection):
                    after = event["seq"]
                    if event["video"]["id"] == video_id:
                        yield event
                        if event["video"]["status"] in TERMINAL:
                            return
            pause()

    def _poll(self, video_id: str) -> Iterator[Event]:
        while True:
            video = self.video(video_id)
            yield _asked(video)
            if video["status"] in TERMINAL:
                return
            time.sleep(POLL)

    def _listen(self, after: int | None) -> ClientConnection:
        path = "/v1/events" if after is None else f"/v1/events?after={after}"
        return self.patiently(lambda: self.websocket(path))

    # -- speech and conversation

    def talk(
        self,
        role: str | None = None,
        *,
        mode: Literal["text", "audio", "video"] = "audio",
        voice: str | None = None,
        view: str | None = None,
    ) -> Talk:
        """A conversation with a role, or with nobody in particular, answered in this mode. It is to be closed."""
        session: dict[str, Any] = {"output_modalities": [mode]}
        if voice is not None:
            session["audio"] = {"output": {"voice": voice}}
        if view is not None:
            session["video"] = {"view": view}
        return Talk(self, role, session)

    def capabilities(self) -> dict[str, Any]:
        """What the daemon can hear, reply, speak and make, and what to install for the rest."""
        return self._call("GET", "/v1/capabilities")

    def voices(self) -> list[dict[str, Any]]:
        """The voices that can be named; `default` marks the one that speaks where none is."""
        return list(self._call("GET", "/v1/voices")["data"])

    def usage(self, days: int = 30) -> list[dict[str, Any]]:
        """Calls of speech backends in the last days: sums by day, function and model. Admins see everybody's."""
        return list(self._call("GET", "/v1/usage", params={"days": days})["data"])

    # -- the machine

    def health(self) -> dict[str, Any]:
        """/healthz: `sign_in` says whether there are accounts."""
        answer = self.patiently(lambda: self._send("GET", "/healthz"))
        report: dict[str, Any] = json_object(answer.content)
        if "status" not in report:
            raise self._refusal(answer.status_code, answer.content)
        return report

    def readiness(self) -> dict[str, Any]:
        """/readyz: what every device does, whether or not one is ready."""
        answer = self.patiently(lambda: self._send("GET", "/readyz"))
        report: dict[str, Any] = json_object(answer.content)
        if "ready" in report and "devices" not in report:
            raise EchodError(
                "forbidden",
                "devices are shown to admins only: call over the unix socket, or put an admin's token into ECHOD_TOKEN",
            )
        if "devices" not in report:
            raise self._refusal(answer.status_code, answer.content)
        return report

    def _video(self, method: str, path: str, **request: Any) -> Video:
        return cast(Video, self._call(method, path, **request))


def _part(stack: ExitStack, source: Source, name: str) -> tuple[str, BinaryIO]:
    """A multipart file part: httpx reads it in blocks, and from its start again when it is sent again."""
    if isinstance(source, str | Path):
        shown = os.fsencode(Path(source).name).decode(errors="replace")  # a name need not be text
        return shown, stack.enter_context(Path(source).open("rb"))
    return name, source


def _segment(video_id: str) -> str:
    """An id as a path segment; what could mean another path is no id."""
    if not re.fullmatch(r"\w+", video_id, re.ASCII):
        raise EchodError("not_found", f"there is no job {video_id!r}; `echod ps --all` lists them", param="id")
    return video_id


def _received(connection: ClientConnection) -> Iterator[Event]:
    """Events until the connection closes, in whatever way: close 1012 says that the daemon restarts."""
    try:
        for message in connection:
            yield json.loads(message)
    except ConnectionClosed:
        return


def _asked(video: Video) -> Event:
    kind = video["status"] if video["status"] in TERMINAL else "snapshot"
    return {"type": f"job.{kind}", "seq": None, "ts": time.time(), "video": video}
