"""An avatar in a LiveKit room: what the agent says goes to echod's /v1/avatar, pictures and sound come back."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.avatar import (
    AudioSegmentEnd,
    AvatarOptions,
    AvatarRunner,
    QueueAudioOutput,
    VideoGenerator,
)
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession
from websockets.asyncio.client import ClientConnection, connect

from .log import logger

RATE = 24_000  # samples per second, in both directions
RGB24, PCM16, RESTING = 2, 3, 4  # kinds of messages, see echod's docs/avatar.md


class EchodError(Exception):
    """What echod refuses, in its words."""


class EchodGenerator(VideoGenerator):
    """One connection to /v1/avatar. `connect` opens it; between segments the picture at rest is shown."""

    def __init__(self, socket: ClientConnection, started: dict[str, Any]) -> None:
        self._socket = socket
        self._dropping = 0  # how many `cleared` are still to come
        self._resting: rtc.VideoFrame | None = None
        self.width: int = started["width"]
        self.height: int = started["height"]
        self.fps: int = started["fps"]

    @classmethod
    async def connect(cls, url: str, token: str | None = None, **start: Any) -> EchodGenerator:
        """`start` is echod's start message: role or portrait, size, fps. EchodError if it is refused."""
        headers = {"Authorization": f"Bearer {token}"} if token else None
        address = f"{url.rstrip('/').replace('http', 'ws', 1)}/v1/avatar"
        socket = await connect(address, additional_headers=headers, max_size=None)
        await socket.send(json.dumps({"type": "start", "rate": RATE, "video": "rgb24", **start}))
        answer = json.loads(await socket.recv())
        if answer["type"] != "started":
            await socket.close()
            raise EchodError(answer["error"]["message"])
        return cls(socket, answer)

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        if isinstance(frame, AudioSegmentEnd):
            await self._socket.send(json.dumps({"type": "flush"}))
        elif (frame.sample_rate, frame.num_channels) != (RATE, 1):
            raise ValueError(f"echod hears mono at {RATE} Hz, not {frame.num_channels} x {frame.sample_rate} Hz")
        else:
            await self._socket.send(bytes(frame.data))

    async def clear_buffer(self) -> None:
        self._dropping += 1
        await self._socket.send(json.dumps({"type": "clear"}))

    async def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        speaking = False
        while True:
            try:
                async with asyncio.timeout(None if speaking or not self._resting else 1 / self.fps):
                    message = await self._socket.recv()
            except TimeoutError:
                assert self._resting is not None
                yield self._resting
                continue
            if isinstance(message, str):
                event = json.loads(message)
                speaking = speaking and event["type"] not in ("segment.done", "cleared")
                self._dropping -= event["type"] == "cleared"
                if event["type"] == "segment.done" and not self._dropping:
                    yield AudioSegmentEnd()
                elif event["type"] == "error":
                    logger.warning("echod: %s", event["error"]["message"], extra={"code": event["error"]["code"]})
            elif (frame := self._frame(message)) and not self._dropping:
                speaking = True
                yield frame

    def _frame(self, message: bytes) -> rtc.VideoFrame | rtc.AudioFrame | None:
        kind, _ = struct.unpack_from(">BQ", message)
        content = message[9:]
        if kind == PCM16:
            return rtc.AudioFrame(content, RATE, 1, len(content) // 2)
        picture = rtc.VideoFrame(self.width, self.height, rtc.VideoBufferType.RGB24, content)
        if kind == RESTING:
            self._resting = picture
            return None
        return picture

    async def aclose(self) -> None:
        await self._socket.close()


class AvatarSession(BaseAvatarSession[Any]):
    """`await AvatarSession(role="ada").start(session, room)`, before the agent's session is started.

    `url` and `token` are those of the daemon, else ECHOD_URL and ECHOD_TOKEN. `start` are further fields of the start
    message: `portrait` in the place of `role`, `size`, `fps`, `view`, `model`.
    """

    def __init__(
        self, *, role: str | None = None, url: str | None = None, token: str | None = None, **start: Any
    ) -> None:
        super().__init__()
        self._url = url or os.environ.get("ECHOD_URL") or "http://127.0.0.1:8765"
        self._token = token or os.environ.get("ECHOD_TOKEN")
        self._start = {"role": role, "size": "512x512", **start}
        self._generator: EchodGenerator | None = None
        self._runner: AvatarRunner | None = None
        self._identity = "echod"

    @property
    def avatar_identity(self) -> str:
        return self._identity  # the agent's own: it publishes the pictures itself

    @property
    def provider(self) -> str:
        return "echod"

    async def start(self, agent_session: AgentSession[Any], room: rtc.Room) -> None:
        self._generator = generator = await EchodGenerator.connect(self._url, self._token, **self._start)
        self._identity = room.local_participant.identity
        await super().start(agent_session, room)
        heard = QueueAudioOutput(sample_rate=RATE, wait_playback_start=True)
        options = AvatarOptions(generator.width, generator.height, generator.fps, RATE, 1)
        self._runner = AvatarRunner(room, audio_recv=heard, video_gen=generator, options=options)
        await self._runner.start()
        agent_session.output.replace_audio_tail(heard)

    async def aclose(self) -> None:
        await super().aclose()
        if self._runner is not None:
            await self._runner.aclose()
        if self._generator is not None:
            await self._generator.aclose()
