"""A client's side of a conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from echod.client.client import Client
from echod.client.talk import AnswerLost, Talk
from echod.errors import DaemonUnreachable, EchodError
from tests.stand_ins.talker import Peer, Talker


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Talker]:
    monkeypatch.setattr("echod.client.connection.PAUSE", 0.01)
    talker = Talker()
    with talker.serving():
        yield talker


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def client(talker: Talker, told: list[str]) -> Iterator[Client]:
    with Client(talker.url, tell=told.append) as client:
        yield client


def ask(talk: Talk, text: str = "Hello?") -> str:
    """The words of an answer."""
    talk.ask(text)
    return "".join(event.get("delta", "") for event in talk.answer())


def talks(peer: Peer) -> None:
    """For as long as anybody listens."""
    peer.welcome()
    while True:
        peer.answer("In", "deed.")


def talks_once(peer: Peer) -> None:
    peer.welcome()
    peer.answer("Once.")


def test_what_is_asked_for(talker: Talker, client: Client) -> None:
    """Role, mode and voice are settled before anything is said."""
    wanted: list[dict[str, Any]] = []
    talker.acts = [lambda peer: wanted.append(peer.welcome())]
    client.talk("ada", mode="video", voice="de").close()
    client.talk().close()
    assert [query["model"] for query in talker.queries] == ["role:ada", "auto"]
    voiced = {"audio": {"output": {"voice": "de"}}}
    assert wanted == [
        {"type": "realtime", "output_modalities": ["video"], **voiced},
        {"type": "realtime", "output_modalities": ["audio"]},
    ]


def test_turns(talker: Talker, client: Client) -> None:
    """What is said arrives, and each answer ends with its response.done."""
    heard: list[str] = []

    def listens(peer: Peer) -> None:
        peer.welcome()
        peer.until("response.create")
        peer.say("Welcome.")
        peer.done()
        while True:
            heard.append(peer.answer("Go ", "on."))

    talker.acts = [listens]
    with client.talk() as talk:
        talk.greet()
        assert [event["type"].rpartition(".")[2] for event in talk.answer()] == ["delta", "done"]
        assert [ask(talk, "One."), ask(talk, "二。")] == ["Go on.", "Go on."]
    assert heard == ["One.", "二。"]


def test_an_interrupted_answer(talker: Talker, client: Client) -> None:
    """A cancelled answer still ends; a cancel that comes too late harms nothing."""

    def interrupted(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.say("Well, ")
        cancelled = peer.until("response.cancel")
        peer.done("cancelled")
        peer.refuse("invalid_request", event_id=cancelled["event_id"])
        peer.answer("Yes?")

    talker.acts = [interrupted]
    with client.talk() as talk:
        talk.ask("Tell me everything.")
        for event in talk.answer():
            if event["type"] != "response.done":
                talk.cancel()
        assert event["response"]["status"] == "cancelled"
        assert ask(talk) == "Yes?"


def test_refused_words(talker: Talker, client: Client) -> None:
    """What the daemon refuses to hear is not answered, and the conversation goes on."""
    received: list[str] = []

    def refuses(peer: Peer) -> None:
        peer.welcome()
        received.append(json.loads(peer.connection.recv())["type"])
        peer.refuse("invalid_request", "too long")
        received.append(json.loads(peer.connection.recv())["type"])
        peer.send("conversation.item.done")
        received.append(json.loads(peer.connection.recv())["type"])
        peer.done()

    talker.acts = [refuses]
    with client.talk() as talk:
        with pytest.raises(EchodError, match="too long") as caught:
            talk.ask("x" * 10_001)
        assert (caught.value.code, talk.connected) == ("invalid_request", True)
        assert ask(talk) == ""
    assert received == ["conversation.item.create", "conversation.item.create", "response.create"]


def refuses_settings(peer: Peer) -> None:
    peer.send("session.created", session={"id": "sess_1"})
    peer.until("session.update")
    peer.refuse("invalid_request")


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda peer: peer.refuse("model_not_loaded"), "model_not_loaded"),
        (lambda peer: peer.refuse("draining"), "draining"),
        (lambda peer: peer.refuse("never heard of"), "internal"),
        (refuses_settings, "invalid_request"),
    ],
)
def test_a_refused_conversation(talker: Talker, client: Client, told: list[str], act: Any, code: str) -> None:
    """A conversation that cannot be had is the daemon's error, at once."""
    talker.acts = [act]
    with pytest.raises(EchodError) as caught:
        client.talk("ada")
    assert (caught.value.code, told, len(talker.queries)) == (code, [], 1)


def test_a_connection_that_breaks(talker: Talker, client: Client) -> None:
    """The conversation goes on over another one: an answer that was coming is lost, nothing else."""

    def breaks(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.say("Half a")

    talker.acts = [talks_once, breaks, talks]
    with client.talk() as talk:
        assert ask(talk) == "Once."
        with pytest.raises(AnswerLost):
            ask(talk)
        assert (talk.connected, ask(talk)) == (True, "Indeed.")
    assert [query.get("conversation") for query in talker.queries] == [None, "sess_1", "sess_1"]


def test_a_forgotten_conversation(talker: Talker, client: Client, told: list[str]) -> None:
    """Where the conversation is gone, that is told, and another one begins."""

    def begins(peer: Peer) -> None:
        peer.welcome("sess_2")
        peer.answer("Who are you?")

    talker.acts = [talks_once, lambda peer: peer.refuse("not_found"), begins]
    with client.talk() as talk:
        ask(talk)
        assert (ask(talk), talk.id) == ("Who are you?", "sess_2")
    assert [query.get("conversation") for query in talker.queries] == [None, "sess_1", None]
    assert sum("forgotten" in each for each in told) == 1


def test_a_role_that_is_gone(talker: Talker, client: Client) -> None:
    """A role removed in the meantime is an error: nobody else answers in its place."""
    talker.acts = [talks_once, lambda peer: peer.refuse("not_found", "there is no role 'ada'")]
    with client.talk("ada") as talk:
        ask(talk)
        with pytest.raises(EchodError, match="no role"):
            talk.ask("Still there?")
        assert not talk.connected


def test_a_daemon_that_restarts(talker: Talker, client: Client, told: list[str]) -> None:
    """A daemon that is shutting down is waited for until it is back."""
    talker.acts = [talks_once, lambda peer: peer.refuse("draining"), lambda peer: None, talks]
    with client.talk() as talk:
        ask(talk)
        assert ask(talk) == "Indeed."
    assert len(told) == 2 and "waiting up to 60 s" in told[0] and "back" in told[1]


def test_a_daemon_that_does_not_come_back() -> None:
    """After `patience` seconds it is unreachable, whether or not an answer was coming."""
    talker = Talker()
    talker.acts = [talks_once]
    with talker.serving():
        client = Client(talker.url, patience=0.05)
        talk = client.talk()
        ask(talk)
    with client, talk, pytest.raises(DaemonUnreachable, match=r"within 0\.05 s"):
        talk.ask("Anybody?")


def test_nobody_there() -> None:
    """A daemon that was never there is not waited for."""
    with (
        Client("http://127.0.0.1:1", tell=pytest.fail) as client,
        pytest.raises(DaemonUnreachable, match="echod serve"),
    ):
        client.talk()
