"""A video service: what a bot's voice says goes to echod's /v1/avatar, and comes back with pictures in step."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections import deque
from typing import Any

from pipecat.audio.utils import create_stream_resampler
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

RATE = 24_000  # samples per second of the sound that comes back
RGB24, PCM16, RESTING = 2, 3, 4  # kinds of messages, see echod's docs/avatar.md
AHEAD = 1.0  # seconds that are taken before they are due: a pipeline keeps whatever it is given
PATIENCE = 30.0  # seconds that an ending pipeline waits for what is still to be shown


class EchodVideoService(AIService):
    """Stands between the voice and the transport's output, whose `video_out_enabled` is on.

    `url` and `token` are those of the daemon, else ECHOD_URL and ECHOD_TOKEN. `start` are further fields of the start
    message: `portrait` in the place of `role`, `size`, `fps`, `view`, `model`.
    """

    def __init__(
        self, *, role: str | None = None, url: str | None = None, token: str | None = None, **start: Any
    ) -> None:
        super().__init__(settings=ServiceSettings(model=None))
        self._url = url or os.environ.get("ECHOD_URL") or "http://127.0.0.1:8765"
        self._token = token or os.environ.get("ECHOD_TOKEN")
        self._start_message = {
            "type": "start",
            "video": "rgb24",
            "role": role,
            "size": "512x512",
            **start,
        }
        self._rate = RATE  # of the sound that goes there
        self._resampler = create_stream_resampler()
        self._socket: ClientConnection | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._size = (0, 0)
        self._began = 0.0  # when the first sound of the segment came
        self._resting = b""
        self._ends: deque[TTSStoppedFrame] = deque()  # of what is being shown
        self._shown = asyncio.Event()
        self._shown.set()
        self._dropping = 0  # how many `cleared` are still to come

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # Pipecat's own is so
        await super().setup(setup)
        self._rate = setup.audio_out_sample_rate  # as voices have it too, mostly

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else None
        address = f"{self._url.rstrip('/').replace('http', 'ws', 1)}/v1/avatar"
        try:
            socket = await connect(address, additional_headers=headers, max_size=None)
            await socket.send(json.dumps({**self._start_message, "rate": self._rate}))
            answer = json.loads(await socket.recv())
        except (OSError, ConnectionClosed) as error:
            await self.push_error(f"echod at {self._url} cannot be reached: {error}", exception=error)
            return
        if answer["type"] != "started":
            await self.push_error(f"echod: {answer['error']['message']}")
            return
        self._size = answer["width"], answer["height"]
        self._socket = socket
        self._receiving = self.create_task(self._receive(socket))

    async def stop(self, frame: EndFrame) -> None:
        """Once all that was said is shown."""
        await super().stop(frame)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._shown.wait()
        except TimeoutError:
            pass
        await self._close()

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._close()

    async def cleanup(self) -> None:
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._close()

    async def _close(self) -> None:
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            await self.cancel_task(receiving)
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if self._socket is None:  # a bot without a face still has a voice
            await self.push_frame(frame, direction)
        elif isinstance(frame, TTSAudioRawFrame):
            await self._send(await self._resampler.resample(frame.audio, frame.sample_rate, self._rate))
        elif isinstance(frame, TTSStoppedFrame):
            self._shown.clear()
            self._ends.append(frame)
            await self._send(json.dumps({"type": "flush"}))
        else:
            if isinstance(frame, InterruptionFrame):
                self._dropping += 1
                self._ends.clear()
                self._shown.set()
                await self._send(json.dumps({"type": "clear"}))
            await self.push_frame(frame, direction)

    async def _send(self, message: str | bytes) -> None:
        assert self._socket is not None
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            await self.push_error(f"echod has closed the connection: {error}", exception=error)

    async def _receive(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                await (self._event(json.loads(message)) if isinstance(message, str) else self._show(message))
        finally:
            self._shown.set()

    async def _event(self, event: dict[str, Any]) -> None:
        self._dropping -= event["type"] == "cleared"
        if event["type"] == "error":
            await self.push_error(f"echod: {event['error']['message']}")
        elif event["type"] in ("segment.done", "cleared") and not self._dropping:
            await self.push_frame(self._image(self._resting))
            if event["type"] == "segment.done" and self._ends:
                await self.push_frame(self._ends.popleft())
                if not self._ends:
                    self._shown.set()

    async def _show(self, message: bytes) -> None:
        kind, microseconds = struct.unpack_from(">BQ", message)
        content = message[9:]
        if kind == RESTING:
            self._resting = content
        if self._dropping:
            return
        if kind == PCM16:
            now = asyncio.get_running_loop().time()
            if microseconds == 0:
                self._began = now
            await asyncio.sleep(self._began + microseconds / 1e6 - AHEAD - now)
            await self.push_frame(TTSAudioRawFrame(content, RATE, 1))
        else:
            await self.push_frame(self._image(content))

    def _image(self, content: bytes) -> OutputImageRawFrame:
        image = OutputImageRawFrame(content, self._size, "RGB")
        image.sync_with_audio = True  # it is seen when all sound before it was heard
        return image
