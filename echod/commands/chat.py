"""`echod chat`: a conversation with a role, typed."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from echod.commands.common import as_json, connect, note, print_json_line, print_line, quiet, to_daemon
from echod.commands.playing import Playing
from echod.commands.progress import Progress
from echod.commands.words import explained
from echod.errors import EchodError

if TYPE_CHECKING:
    from echod.client.client import Client
    from echod.client.talk import Talk

Mode: TypeAlias = Literal["audio", "video"]

PROMPT = "> "


@click.command()
@click.option(
    "--role", metavar="ROLE", help="Whom to talk to, as in `echod roles list`. [default: nobody in particular]"
)
@click.option("--mode", type=click.Choice(("audio", "video")), help="How it answers. [default: as the role does]")
@click.option("--voice", metavar="VOICE", help="Who speaks, as in `echod voices`. [default: the role's voice]")
@click.option("--view", type=click.Choice(("face", "picture")), help="What its clips show. [default: as the role does]")
@click.option(
    "-o",
    "--output",
    "directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    metavar="DIR",
    help="Where answers are saved. [default: a new directory, ROLE-DATE-TIME]",
)
@click.option("--play", is_flag=True, help="Play answers, by mpv, ffplay or the like.")
@as_json
@quiet
@to_daemon
@click.pass_context
def chat(
    context: click.Context,
    role: str | None,
    mode: Mode | None,
    voice: str | None,
    view: str | None,
    directory: Path | None,
    play: bool,
    as_json: bool,
    quiet: bool,
    url: str | None,
    reconnect: float,
) -> None:
    """Talk to a role, and print its answers sentence by sentence.

    What you say is typed, or comes line by line through a pipe. In mode audio an answer is saved as ROLE-TURN.wav, in
    mode video each of its sentences as ROLE-TURN-N.mp4; no file is replaced. Where there is no voice, answers are text.
    Ctrl-C interrupts an answer, another one leaves; so does Ctrl-D. With --json every turn is one line of JSON.
    """
    if mode == "video" and not role:
        raise click.UsageError("--mode video needs the portrait of a role: name one with --role")
    with connect(url, reconnect, quiet) as client:
        known: dict[str, Any] = client.role(role) if role else {}
        answers = _answers(client, mode or known.get("mode", "audio"), voice or known.get("voice"), quiet)
        with client.talk(role, mode=answers, voice=voice, view=view) as talk:
            whom = known.get("title") or role or "nobody in particular"
            note(f"talking to {whom}, who answers with {answers}; Ctrl-C interrupts, another one leaves", quiet)
            saved = directory or Path(time.strftime(f"{role or 'chat'}-%Y-%m-%d-%H%M%S"))
            playing = Playing() if play else None
            chat = Chat(client, talk, saved, role or "chat", as_json, quiet, playing)
            if known.get("greeting"):
                chat.turn(None)
            for line in _lines():
                chat.turn(line)
            if playing:
                playing.close()
    if chat.failed and not sys.stdin.isatty():
        context.exit(1)


def _answers(client: Client, mode: Mode, voice: str | None, quiet: bool) -> Mode | Literal["text"]:
    """How answers come: as wanted, or as text where nobody here can speak them."""
    reason = None if voice else client.capabilities()["speaks"]["reason"]
    if reason is None:
        return mode
    note(f"answers come as text, for {explained(reason['message'], reason['code'])}", quiet)
    return "text"


class Chat:
    """The turns of a conversation. `failed` is set once one of them went wrong."""

    def __init__(
        self,
        client: Client,
        talk: Talk,
        directory: Path,
        stem: str,
        as_json: bool,
        quiet: bool,
        playing: Playing | None = None,
    ) -> None:
        self.failed = False
        self._client = client
        self._talk = talk
        self._directory = directory
        self._stem = stem
        self._as_json = as_json
        self._quiet = quiet
        self._playing = playing
        self._number = _next_number(directory, stem)

    def turn(self, said: str | None) -> None:
        """Say something, or nothing to be greeted, and see the answer to its end. Raises if the daemon stays lost."""
        from echod.commands.answer import Answer

        show = (lambda line: None) if self._as_json else print_line
        if self._playing:
            self._playing.stop()
        play = self._playing.play if self._playing else None
        with Progress(self._quiet) as progress, _unechoed():
            answer = Answer(self._client, self._directory, f"{self._stem}-{self._number}", progress, show, play)
            try:
                self._talk.greet() if said is None else self._talk.ask(said)
                with _interruptible(self._interrupt):
                    for event in self._talk.answer():
                        answer.take(event)
            except EchodError as error:
                if not self._talk.connected:
                    raise
                answer.fail(error)
        if self._as_json:
            print_json_line({"conversation": self._talk.id, "said": said, **answer.report()})
        self.failed |= answer.error is not None
        self._number += 1

    def _interrupt(self) -> None:
        if self._playing:
            self._playing.stop()
        self._talk.cancel()


def _next_number(directory: Path, stem: str) -> int:
    """Turns are numbered on from those whose files are there."""
    if not directory.exists():
        return 1
    name = re.compile(rf"{re.escape(stem)}-(\d+)(-\d+)*\.(wav|mp4)")
    taken = [int(match[1]) for path in directory.iterdir() if (match := name.fullmatch(path.name))]
    return 1 + max(taken, default=0)


def _lines() -> Iterator[str]:
    """What the person says: typed at a prompt, or line by line from a pipe. Empty lines are none."""
    for line in _typed() if sys.stdin.isatty() else _piped():
        if line.strip():
            yield line.strip()


def _typed() -> Iterator[str]:
    import readline  # noqa: F401  # gives `input` its editing

    while True:
        # To the terminal it goes in any case, and readline has to know of it where it can.
        if not (shared := sys.stdout.isatty()):
            click.echo(PROMPT, nl=False, err=True)
        try:
            yield input(PROMPT if shared else "")
        except EOFError:
            click.echo(err=True)
            return


def _piped() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise click.UsageError(f"line {number} of stdin is not UTF-8 text") from None


@contextmanager
def _unechoed() -> Iterator[None]:
    """What is typed ahead is not shown across an answer; it is there, and shown, at the next prompt."""
    if not sys.stdin.isatty():
        yield
        return
    import termios

    before = termios.tcgetattr(sys.stdin)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _interruptible(cancel: Callable[[], None]) -> Iterator[None]:
    """A first Ctrl-C only cancels; a second one is a KeyboardInterrupt."""
    cancelling: list[Thread] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if cancelling:
            raise KeyboardInterrupt
        # In a thread of its own: this one may be holding the connection's lock.
        cancelling.append(Thread(target=cancel))
        cancelling[0].start()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        for thread in cancelling:
            thread.join()
