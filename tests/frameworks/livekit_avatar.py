"""LiveKit's own runner and avatar session, in a room of the test's own: `python livekit_avatar.py URL`.

Prints what was seen as JSON. The room takes tracks and has nobody in it; all else is LiveKit's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.avatar import AvatarRunner, QueueAudioOutput
from livekit.plugins import echod

RATE, PIECE = 24_000, 480  # samples


class Room(rtc.EventEmitter[str]):
    """As much of a room as an avatar that publishes its own tracks asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.tracks: list[Any] = []
        self.name = "test"
        self.remote_participants: dict[str, Any] = {}
        self.local_participant = SimpleNamespace(
            identity="agent", publish_track=self._publish, track_publications={}, kind=0
        )

    def isconnected(self) -> bool:
        return True

    async def _publish(self, track: Any, options: Any) -> Any:
        self.tracks.append(track)
        publication = SimpleNamespace(track=track, kind=track.kind, wait_for_subscription=self._subscribed)
        self.local_participant.track_publications[str(len(self.tracks))] = publication
        return publication

    async def _subscribed(self) -> None:
        pass


def watched(runner: AvatarRunner) -> list[Any]:
    """Every frame on its way into the room."""
    shown: list[Any] = []
    push = runner.av_sync.push

    async def pushed(frame: Any, *rest: Any) -> None:
        shown.append(frame)
        await push(frame, *rest)

    runner.av_sync.push = pushed  # type: ignore[method-assign]
    return shown


async def say(heard: QueueAudioOutput, seconds: float) -> None:
    for _ in range(round(seconds * RATE / PIECE)):
        await heard.capture_frame(rtc.AudioFrame(b"\1\2" * PIECE, RATE, 1, PIECE))
    heard.flush()


def sound(shown: list[Any]) -> float:
    return sum(frame.duration for frame in shown if isinstance(frame, rtc.AudioFrame))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (nobody tells of a frame)
        await asyncio.sleep(0.01)


async def main(url: str) -> None:
    told: dict[str, Any] = {}
    try:
        await echod.EchodGenerator.connect(url, role="nobody")
    except echod.EchodError as error:
        told["refused"] = str(error)

    room, session = Room(), AgentSession()
    avatar = echod.AvatarSession(url=url, role="ada", size="128x128")
    await avatar.start(session, room)  # type: ignore[arg-type]
    heard, runner = session.output.audio, avatar._runner
    assert isinstance(heard, QueueAudioOutput) and runner is not None
    shown, ends = watched(runner), asyncio.Queue[Any]()
    heard.on("playback_finished", ends.put_nowait)
    told["joined"] = avatar.avatar_identity

    await until(lambda: len(shown) > 2)
    told["rests"] = all(isinstance(frame, rtc.VideoFrame) for frame in shown)
    told["tracks"] = sorted(track.name for track in room.tracks)

    await say(heard, 2.0)
    end = await asyncio.wait_for(ends.get(), 60)
    first = next(index for index, frame in enumerate(shown) if isinstance(frame, rtc.AudioFrame))
    last = max(index for index, frame in enumerate(shown) if isinstance(frame, rtc.AudioFrame))
    said = shown[first : last + 2]
    told["said"] = [round(sound(said), 3), len(said), round(end.playback_position, 3), end.interrupted]
    told["in step"] = all(isinstance(a, rtc.AudioFrame) for a in said[::2]) and all(
        isinstance(v, rtc.VideoFrame) for v in said[1::2]
    )

    shown.clear()
    await say(heard, 8.0)
    await until(lambda: sound(shown) > 0.2)
    heard.clear_buffer()
    end = await asyncio.wait_for(ends.get(), 60)
    told["interrupted"] = [end.interrupted, 0 < end.playback_position < 4]

    shown.clear()
    await say(heard, 1.0)
    end = await asyncio.wait_for(ends.get(), 60)
    # The runner may count a frame that it was pushing when it was interrupted: LiveKit's, not ours.
    told["after"] = [abs(end.playback_position - 1.0) < 0.05, end.interrupted]
    await avatar.aclose()
    print(json.dumps(told))


asyncio.run(main(sys.argv[1]))
