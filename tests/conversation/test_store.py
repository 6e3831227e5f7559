from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from echod.config import Settings
from echod.conversation.store import MAX_KEPT, Conversations
from echod.errors import EchodError
from tests.making.config import make_config
from tests.stand_ins.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(make_config(tmp_path))


@pytest.fixture
def conversations(settings: Settings, clock: Clock) -> Conversations:
    return Conversations(settings, clock)


def test_speech_of_a_killed_daemon(settings: Settings) -> None:
    """What was being spoken when a daemon was killed is gone after the next start, and only its owner reads what is."""
    left = settings.now.state_dir / "cache" / "speech" / "0123456789abcdef.flac.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a sentence")
    scratch = Conversations(settings).scratch
    assert (scratch, list(scratch.iterdir()), scratch.stat().st_mode & 0o777) == (left.parent, [], 0o700)


def test_kept_for_a_while(conversations: Conversations, settings: Settings, clock: Clock) -> None:
    """A conversation waits keep_conversations for its person, counted from when they left, and no longer."""
    left = conversations.open("ann", "ada")
    clock.now += 10_000
    conversations.left(left)
    clock.now += settings.now.keep_conversations - 1
    assert conversations.resume(left.id, "ann", "ada") is left
    conversations.left(left)
    clock.now += settings.now.keep_conversations
    with pytest.raises(EchodError, match="keep_conversations = 1800 s") as refused:
        conversations.resume(left.id, "ann", "ada")
    assert refused.value.code == "not_found"


def test_kept_while_connected(conversations: Conversations, settings: Settings, clock: Clock) -> None:
    """However long somebody talks, and whatever the limit is set to meanwhile, they are not forgotten."""
    talking, quiet = conversations.open("ann", None), conversations.open("bob", None)
    talking.leave = lambda: None
    settings.now = replace(settings.now, keep_conversations=1)
    clock.now += 100
    conversations.open("ann", None)
    assert conversations.resume(talking.id, "ann", None) is talking
    with pytest.raises(EchodError):
        conversations.resume(quiet.id, "bob", None)


def test_not_too_many(conversations: Conversations, clock: Clock) -> None:
    """Of those nobody is connected to the oldest are forgotten first."""
    opened = []
    for _ in range(MAX_KEPT + 1):
        clock.now += 0.001
        opened.append(conversations.open("ann", None))
    with pytest.raises(EchodError):
        conversations.resume(opened[0].id, "ann", None)
    assert conversations.resume(opened[1].id, "ann", None) is opened[1]
