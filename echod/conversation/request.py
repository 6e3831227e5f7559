"""What a turn is asked to do: what is answered, in the light of what was said before, and as whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from echod.conversation.history import GO_ON, OPENING, Item, question
from echod.conversation.store import Conversation, SessionSettings
from echod.conversation.transcripts import Transcripts
from echod.conversation.turn import SPOKEN_STYLE, TurnRequest
from echod.roles.role import Role
from echod.speech.backend import Question


def turn_request(
    conversation: Conversation,
    role: Role | None,
    settings: SessionSettings,
    transcripts: Transcripts,
    *,
    omni: bool,
    limit: int,
) -> TurnRequest:
    """To answer what is not answered yet, or else to go on; the history has at most `limit` tokens.

    With `omni` the sound itself is answered, without it what was heard.
    """
    history = conversation.history
    said = history.unanswered()
    hearing = [] if omni else transcripts.of(said)
    opens = not said and not any(item.author == "assistant" and item.answered for item in history.items)
    greeting = role.file.greeting if role and opens and not settings.once else ""
    unasked = settings.once or (OPENING if opens else question(history.unanswered("system"), limit) or GO_ON)
    return TurnRequest(
        account=conversation.account,
        turn=Question(
            text=question(said, limit) if said else None if history.awaited() else unasked,
            sound=transcripts.sound_of(said) or None if omni else None,
            personality=_personality(conversation, role, settings),
            history=history.messages(limit, said[0] if said else None),
            tools=settings.tools,
            max_tokens=settings.max_tokens,
        ),
        heard=partial(_all_heard, said, hearing, limit) if hearing else None,
        words=greeting or None,
        modality=settings.modality,
        role=role,
        voice=settings.voice or (role.file.voice if role else None),
        view=settings.view,
        language=language(conversation, role),
    )


def language(conversation: Conversation, role: Role | None) -> str | None:
    return conversation.settings.language or (role.file.language if role else None)


async def _all_heard(said: Sequence[Item], hearing: Sequence[asyncio.Task[str]], limit: int) -> str:
    """The words of everything that was said, once all of it is heard."""
    await asyncio.wait(hearing)  # which goes on if the answer is cancelled
    for each in hearing:
        if not each.cancelled():  # as it is with what the history has no place for any more
            each.result()
    return question(said, limit)


def _personality(conversation: Conversation, role: Role | None, settings: SessionSettings) -> str:
    style = SPOKEN_STYLE if settings.modality != "text" else ""
    spoken = language(conversation, role)
    own = role.file.personality if role else ""
    theirs = settings.instructions, *conversation.history.instructions(), settings.once
    return "\n\n".join(filter(None, (own, *theirs, style, f"Answer in this language: {spoken}." if spoken else "")))
