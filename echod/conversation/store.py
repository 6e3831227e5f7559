"""Conversations: kept while somebody is connected to them and for a while after, in memory only."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from echod.config import Settings
from echod.conversation.ear import TurnDetection
from echod.conversation.history import History
from echod.conversation.transcripts import Transcripts
from echod.conversation.turn import Modality
from echod.errors import EchodError
from echod.host.directories import create_private
from echod.jobs.job import View
from echod.speech.tools import Toolbox

# Conversations nobody is connected to, and bytes of what was said last in them; the oldest go first.
MAX_KEPT = 1000
MAX_SOUND = 64 << 20


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """What a client may choose about its conversation."""

    modality: Modality = "audio"
    instructions: str = ""
    voice: str | None = None
    view: View | None = None  # None: as the role has it
    language: str | None = None
    transcribe: bool = True
    detection: TurnDetection | None = field(default_factory=TurnDetection)
    tools: Toolbox = field(default_factory=Toolbox)
    max_tokens: int | None = None
    answers: bool = True  # what is said; if not, it is heard, and no more
    once: str = ""  # what one response is told to do beside


@dataclass(kw_only=True)
class Conversation:
    """One person talking to one role, or to nobody in particular. `leave` ends the connection it is held by now."""

    id: str
    account: str
    role: str | None
    settings: SessionSettings = SessionSettings()
    history: History = field(default_factory=History)
    hearing: Transcripts | None = None
    leave: Callable[[], None] | None = None
    left_at: float = 0.0


class Conversations:
    """All of them, by id. In `scratch` lies speech on its way into a job."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._all: dict[str, Conversation] = {}
        self.scratch = settings.now.state_dir / "cache" / "speech"
        shutil.rmtree(self.scratch, ignore_errors=True)  # of a daemon that was killed while somebody spoke
        create_private(self.scratch.parent)
        create_private(self.scratch)

    def open(self, account: str, role: str | None, settings: SessionSettings = SessionSettings()) -> Conversation:
        self._forget()
        conversation = Conversation(
            id=f"sess_{secrets.token_hex(16)}", account=account, role=role, settings=settings, left_at=self._clock()
        )
        self._all[conversation.id] = conversation
        return conversation

    def resume(self, conversation_id: str, account: str, role: str | None) -> Conversation:
        """One that this account had before. EchodError not_found if it is forgotten, or somebody else's."""
        self._forget()
        conversation = self._all.get(conversation_id)
        keep = self._settings.now.keep_conversations
        if conversation is None or conversation.account != account or conversation.role != role:
            raise EchodError(
                "not_found",
                f"there is no conversation {conversation_id!r} of yours with this role any more; they are kept for "
                f"keep_conversations = {keep:g} s, and end with the daemon: begin a new one",
                param="conversation",
            )
        if conversation.leave is not None:
            conversation.leave()
        return conversation

    def left(self, conversation: Conversation) -> None:
        """Nobody is connected to it any more."""
        conversation.leave, conversation.left_at = None, self._clock()
        kept = 0
        for each in reversed(self._left()):
            if each.hearing is not None:
                kept += each.hearing.kept
                if kept > MAX_SOUND:
                    each.hearing.forget_sounds()

    def _left(self) -> list[Conversation]:
        """Those nobody is connected to, the first to be left first."""
        left = [each for each in self._all.values() if each.leave is None]
        return sorted(left, key=lambda each: each.left_at)

    def forget_account(self, account: str) -> None:
        for conversation in [each for each in self._all.values() if each.account == account]:
            del self._all[conversation.id]

    def _forget(self) -> None:
        left = self._left()
        due = self._clock() - self._settings.now.keep_conversations
        surplus = len(left) - MAX_KEPT
        for number, conversation in enumerate(left):
            if number < surplus or conversation.left_at <= due:
                del self._all[conversation.id]
