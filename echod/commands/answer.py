"""An answer of a role on the terminal: its sentences as they come, its sound and its clips as files."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echod.client.connection import error_of
from echod.commands.common import note
from echod.commands.progress import Progress
from echod.commands.saving import Target
from echod.commands.words import explained, t
from echod.errors import EchodError
from echod.sound.pcm import SPEAK_RATE, wav
from echod.speech.sentences import Sentences

if TYPE_CHECKING:
    from echod.client.client import Client
    from echod.client.talk import Event


class Answer:
    """Takes the events of one answer. `show` prints a line of it; files are `stem` and a number in `directory`."""

    def __init__(
        self,
        client: Client,
        directory: Path,
        stem: str,
        progress: Progress,
        show: Callable[[str], None],
        play: Callable[[Path], None] | None = None,
    ) -> None:
        self.text = ""
        self.status = "failed"
        self.error: EchodError | None = None
        self.files: list[str] = []
        self.timings: dict[str, int | None] = {}
        self._client = client
        self._directory = directory
        self._stem = stem
        self._progress = progress
        self._show = show
        self._play = play
        self._cutter = Sentences()
        self._whole = 0  # characters of the text that are whole sentences
        self._clipped = 0  # characters that have become clips
        self._shown = 0
        self._sound = bytearray()

    def take(self, event: Event) -> None:
        """Show and save what an event brings. A file that cannot be saved is told, and the answer goes on."""
        match event["type"]:
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                self._say(event["delta"])
            case "response.output_audio.delta":
                self._sound += base64.b64decode(event["delta"])
            case "response.output_video.added":
                self._clip(event["sentence"])
            case "response.output_video.progress":
                sentence = t(f"sentence {event['index'] + 1}")
                words = f"{event['progress']:3d}% {t(event['stage'] or 'queued')}, {sentence}"
                self._progress.show_bar(event["progress"], words)
            case "response.output_video.done":
                stem = f"{self._stem}-{event['index'] + 1}"
                self._save(lambda: Target(self._directory, stem).save(self._client, event["video_id"]))
            case "response.done":
                self._end(event["response"])

    def fail(self, error: EchodError) -> None:
        """Tell what went wrong."""
        self.error = error
        self._progress.clear()
        note(explained(error.message, error.told))

    def report(self) -> dict[str, Any]:
        """The answer for a program."""
        error = self.error and {"code": self.error.code, "message": self.error.message}
        return {
            "answer": self.text,
            "status": self.status,
            "error": error,
            "files": self.files,
            "timings_ms": self.timings,
        }

    def _say(self, words: str) -> None:
        self.text += words
        for sentence in self._cutter.feed(words):
            self._whole += len(sentence.text)
            self._show_to(self._whole)

    def _clip(self, sentence: str) -> None:
        # That the last sentence is whole, the daemon knows first: no more words follow it.
        self._clipped = self.text.index(sentence, self._clipped) + len(sentence)
        self._show_to(self._clipped)

    def _show_to(self, end: int) -> None:
        if words := " ".join(self.text[self._shown : end].split()):
            self._progress.clear()
            self._show(words)
        self._shown = max(self._shown, end)

    def _save(self, save: Callable[[], Path]) -> None:
        try:
            self._directory.mkdir(exist_ok=True)
            path = save()
        except (EchodError, OSError) as error:
            self.fail(error if isinstance(error, EchodError) else EchodError("internal", str(error)))
            return
        self.files.append(str(path))
        self._progress.clear()
        self._show(f"  {path}")
        if self._play:
            self._play(path)

    def _end(self, response: dict[str, Any]) -> None:
        self._show_to(len(self.text))
        if self._sound:
            self._save(lambda: Target(self._directory, self._stem, ".wav").write(wav(self._sound, SPEAK_RATE)))
        self.status, self.timings = response["status"], response["echod"]
        if self.status == "cancelled":
            self._progress.note("interrupted")
        elif self.status == "incomplete":
            self._progress.note("cut short: a reply may be no longer (reply_tokens, reply_timeout)")
        if error := response["status_details"].get("error"):
            self.fail(error_of(error))
