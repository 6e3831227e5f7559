"""`echod chat`: at a daemon that a test plays where the moment matters, then at one that really talks."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.drivers.command import ECHOD, OURS, run_echod
from tests.drivers.running import LIGHT, RunningDaemon
from tests.drivers.terminal import Cli, duration
from tests.making.media import EXAMPLES
from tests.stand_ins.stub import NO_VOICE, capabilities
from tests.stand_ins.talker import Peer, Talker

ADA = EXAMPLES / "roles" / "ada"
DOCS = EXAMPLES.parent / "docs"
SECONDS = 60.0  # after which something that was to be shown will not be


class Terminal:
    """`echod chat` on a terminal of its own, by which Ctrl-C and Ctrl-D are keys."""

    def __init__(self, cli: Cli, *arguments: str) -> None:
        self.shown = ""
        self._terminal, end = pty.openpty()
        environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.process = subprocess.Popen(
            [ECHOD, "chat", "-o", ".", *arguments],
            cwd=cli.directory,
            env=environ | {"ECHOD_URL": cli.url, "TERM": "dumb"},
            preexec_fn=partial(os.login_tty, end),
        )
        os.close(end)

    def until(self, text: str) -> str:
        """What is shown up to this text. The test fails if it does not come."""
        while text not in self.shown:
            assert select.select([self._terminal], [], [], SECONDS)[0], f"no {text!r} in {self.shown!r}"
            self.shown += os.read(self._terminal, 4096).decode(errors="replace")
        before, _, self.shown = self.shown.partition(text)
        return before

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def leave(self) -> int:
        """Press Ctrl-C until it has left; the exit code. One just before it begins to wait is noticed by the next."""
        while True:
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(SECONDS / 20)

    def left(self) -> int:
        """The exit code, once it has ended."""
        with contextlib.suppress(OSError):  # how Linux says that nobody holds the other end
            while os.read(self._terminal, 4096):
                pass
        return self.process.wait(SECONDS)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)


# -- a daemon that is played


@pytest.fixture
def talker() -> Iterator[Talker]:
    talker = Talker()
    with talker.serving():
        yield talker


@pytest.fixture
def played(talker: Talker, tmp_path: Path) -> Cli:
    return Cli(talker.url, tmp_path / "cwd")


def test_sentences_are_lines(talker: Talker, played: Cli) -> None:
    """However an answer comes in pieces, each sentence is a line, and none of it means anything to a terminal."""

    def talks(peer: Peer) -> None:
        peer.welcome()
        peer.answer("Yes", ". Dr", ". Who said", " so.\n\n", "* One\n* Two\x1b[2J", " ")

    talker.acts = [talks]
    done = played("chat", "-o", ".", input="\n  \nReally?\n")
    assert (done.returncode, done.stdout) == (0, "Yes.\nDr. Who said so.\n* One\n* Two\\x1b[2J\n")
    assert done.stderr.count("\n") == 1 and "nobody in particular, who answers with audio" in done.stderr


def test_no_voice(talker: Talker, played: Cli) -> None:
    """Where nobody can speak, answers come as text, and one line says why; whoever names a voice is taken at it."""
    modes = []

    def writes(peer: Peer) -> None:
        modes.append(peer.welcome()["output_modalities"])
        peer.hear()
        peer.send("response.output_text.delta", delta="Yes, really.")
        peer.done()

    talker.acts = [writes]
    talker.capabilities = capabilities(NO_VOICE)
    done = played("chat", "-o", ".", input="Really?\n")
    assert (done.returncode, done.stdout, played.files()) == (0, "Yes, really.\n", set())
    why, whom = done.stderr.splitlines()
    assert why == "echod: answers come as text, for no voice is installed: run `apt install espeak-ng`"
    assert "who answers with text" in whom
    played("chat", "-o", ".", "--voice", "openai/kokoro/af_heart", input="Really?\n")
    assert modes == [["text"], ["audio"]]


def test_an_answer_that_fails(talker: Talker, played: Cli) -> None:
    """What failed is told, the conversation goes on, and a script learns of it by the exit code 1."""

    def fails(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.say("Sorry, something went wrong.")
        peer.done("failed", error={"code": "upstream_reply", "message": "the server is on fire"})
        peer.answer("Better.")

    talker.acts = [fails]
    done = played("chat", "-o", ".", "-q", input="One?\nTwo?\n")
    assert (done.returncode, done.stdout) == (1, "Sorry, something went wrong.\nBetter.\n")
    assert done.stderr == "echod: the server is on fire\n"
    turns = [json.loads(line) for line in played("chat", "-o", ".", "--json", input="One?\nTwo?\n").stdout.splitlines()]
    assert [turn["error"] and turn["error"]["code"] for turn in turns] == ["upstream_reply", None]
    assert [(turn["said"], turn["status"]) for turn in turns] == [("One?", "failed"), ("Two?", "completed")]


def test_an_answer_that_is_too_long(talker: Talker, played: Cli) -> None:
    """What there is of it is shown, and why there is no more; that is no failure."""

    def cut(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.say("Once upon a")
        peer.done("incomplete", reason="max_output_tokens")

    talker.acts = [cut]
    done = played("chat", "-o", ".", input="Tell me a story.\n")
    assert (done.returncode, done.stdout) == (0, "Once upon a\n")
    assert "cut short: a reply may be no longer" in done.stderr


def test_answers_have_a_directory_of_their_own(played: Cli, talker: Talker) -> None:
    """Without -o nothing is strewn over the working directory, and --play has a player play what is there."""

    def sounds(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.send("response.output_audio.delta", delta=base64.b64encode(bytes(480)).decode())
        peer.done()

    talker.acts = [sounds]
    player = played.directory / "bin" / "pw-play"
    player.parent.mkdir()
    player.write_text('#!/bin/sh\necho "$1" >> played\n')
    player.chmod(0o755)
    path = f"{player.parent}:{os.environ['PATH']}"
    done = played("chat", "--play", input="One?\n", env={"PATH": path})
    (made,) = played.files() - {"bin", "played"}
    assert re.fullmatch(r"chat-\d{4}-\d\d-\d\d-\d{6}", made)
    assert (done.returncode, done.stdout) == (0, f"  {made}/chat-1.wav\n")
    assert (played.directory / "played").read_text() == f"{made}/chat-1.wav\n"


def test_typing_ahead(talker: Talker, played: Cli) -> None:
    """What is typed during an answer is not shown across it, and is there at the next prompt."""
    heard: list[str] = []
    typed = threading.Event()

    def answers(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.say("Well. ")
        assert typed.wait(SECONDS)
        peer.say("That was it. ")
        peer.done()
        heard.append(peer.answer("Yes."))

    talker.acts = [answers]
    with Terminal(played) as terminal:
        terminal.until("> ")
        terminal.type("Tell me.\n")
        terminal.until("Well.")
        terminal.type("And then")
        typed.set()
        assert "And then" not in terminal.until("That was it.")
        assert "And then" not in terminal.until("> ")
        terminal.until("And then")
        terminal.type("?\n")
        terminal.until("Yes.")
        terminal.until("> ")
        assert terminal.leave() == 130
    assert heard == ["And then?"]


def test_a_clip_that_cannot_be_saved(talker: Talker, played: Cli) -> None:
    """It is told and counts as a failure; the rest of the answer still comes."""

    def loses(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.say("One. ", "Two.")
        peer.send("response.output_video.added", video_id="video_1", index=0, sentence="One. ", stream_url="")
        peer.send("response.output_video.progress", video_id="video_1", index=0, progress=50, stage="decode")
        peer.send("response.output_video.done", video_id="video_1", index=0, url="")
        peer.done()

    talker.acts = [loses]
    done = played("chat", "-o", ".", input="Count!\n")
    assert (done.returncode, done.stdout) == (1, "One.\nTwo.\n")
    assert "404" in done.stderr and played.files() == set()


def test_an_answer_that_is_lost(talker: Talker, played: Cli) -> None:
    """A connection that breaks costs the answer that was coming; so much is said, and the next one comes."""

    def breaks(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.say("One. ", "Two. ", "Thr")

    def goes_on(peer: Peer) -> None:
        peer.welcome()
        peer.answer("Two.")

    talker.acts = [breaks, goes_on]
    done = played("chat", "-o", ".", "-q", input="Count!\nGo on.\n")
    assert (done.returncode, done.stdout) == (1, "One.\nTwo.\nTwo.\n")
    assert "the answer was lost" in done.stderr and "Traceback" not in done.stderr
    assert talker.queries[1]["conversation"] == "sess_1"


def test_ctrl_c_twice(talker: Talker, played: Cli) -> None:
    """A second Ctrl-C leaves at once, whether or not the daemon has ended the answer."""

    def never_ends(peer: Peer) -> None:
        peer.welcome()
        peer.hear()
        peer.say("Well. ")
        peer.until("response.cancel")
        peer.say("I was just saying. ")
        peer.until("never")

    talker.acts = [never_ends]
    with Terminal(played) as terminal:
        terminal.until("> ")
        terminal.type("Tell me.\n")
        terminal.until("Well.")
        terminal.type("\x03")
        terminal.until("just saying.")
        assert terminal.leave() == 130


def talks_once(peer: Peer) -> None:
    peer.welcome()
    peer.answer("Yes?")


def test_text_that_is_none(talker: Talker, played: Cli) -> None:
    """What is not UTF-8 is refused with the number of its line."""
    talker.acts = [talks_once]
    command = [str(ECHOD), "chat", "-o", ".", "-q", "--url", talker.url]
    refused = subprocess.run(command, cwd=played.directory, input=b"Hello\n\xff\n", capture_output=True)
    assert (refused.returncode, refused.stdout) == (2, b"Yes?\n")
    assert b"line 2 of stdin is not UTF-8" in refused.stderr


def test_a_daemon_that_stays_away(tmp_path: Path) -> None:
    """A daemon that does not come back within --reconnect is exit code 3."""
    talker = Talker()
    talker.acts = [talks_once]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.ExitStack())
        server.enter_context(talker.serving())
        terminal = stack.enter_context(Terminal(Cli(talker.url, tmp_path / "cwd"), "--reconnect", "0.2"))
        terminal.until("> ")
        terminal.type("Hello?\n")
        terminal.until("Yes?")
        server.close()
        terminal.type("Hello?\n")
        terminal.until("did not come back within 0.2 s")
        assert terminal.left() == 3


# -- a daemon that talks with what is installed


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory, local_voice: str) -> Iterator[RunningDaemon]:
    """A daemon with Ada, who greets and answers by video, and Bob, who does neither."""
    roles = tmp_path_factory.mktemp("roles")
    small = '[options]\nsize = "128x128"\n'
    for name, file in (
        ("ada", (ADA / "role.toml").read_text().partition("[options]")[0] + small),
        ("bob", f'portrait = "portrait.jpg"\nmode = "audio"\nlanguage = "en"\n{small}'),
    ):
        shutil.copytree(ADA, roles / name)
        (roles / name / "role.toml").write_text(file)
    with RunningDaemon(tmp_path_factory.mktemp("talking"), command=LIGHT, ECHOD_REPLY_MODEL="scripted") as running:
        for folder in roles.iterdir():
            assert run_echod("roles", "add", folder, url=running.url).returncode == 0
        yield running


@pytest.fixture
def cli(talking: RunningDaemon, tmp_path: Path) -> Cli:
    return Cli(talking.url, tmp_path / "cwd")


def test_a_conversation_in_sound(cli: Cli) -> None:
    """Each answer is printed and saved as a recording, under a name that is not taken."""
    for first in (1, 3):
        done = cli("chat", "-o", ".", "--role", "bob", "-q", input="Good morning.\nGood night.\n")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "".join(
            f"This is a scripted reply:\nno language model is set up.\nYou said: {said}\n  bob-{first + number}.wav\n"
            for number, said in enumerate(("Good morning.", "Good night."))
        )
    assert cli.files() == {f"bob-{number}.wav" for number in range(1, 5)}
    with wave.open(str(cli.directory / "bob-4.wav")) as sound:
        assert sound.getparams()[:3] == (1, 2, 24000)
        assert 2 < sound.getnframes() / 24000 < 20


@pytest.mark.usefixtures("espeak")
def test_a_conversation_in_video(cli: Cli) -> None:
    """A role with a greeting speaks first; every sentence becomes a clip that plays, shown after its words."""
    done = cli("chat", "-o", ".", "--role", "ada", input="你好。")
    assert done.returncode == 0
    assert "echod: talking to Ada, flight instructor, who answers with video;" in done.stderr
    lines = done.stdout.splitlines()
    for number, words in enumerate(("Hello!", "I'm Ada.", "Ask me anything about flying, down here or up there.")):
        assert lines.index(words) < lines.index(f"  ada-1-{number + 1}.mp4")
    clips = [line.strip() for line in lines if line.startswith("  ")]
    assert clips[:4] == [*(f"ada-1-{number}.mp4" for number in (1, 2, 3)), "ada-2-1.mp4"]
    assert cli.files() == set(clips)
    assert all(duration(cli.directory / clip) > 0.2 for clip in clips)


@pytest.mark.usefixtures("espeak")
def test_modes(cli: Cli, tmp_path: Path) -> None:
    """`--mode` overrules the role's; without a role answers are sound, in a voice of one's choice."""
    (tmp_path / "there").mkdir()
    given = ("--json", "-o", str(tmp_path / "there"))
    said = {"input": "Hi."}
    greeting, ada = map(
        json.loads, cli("chat", "-o", ".", "--role", "ada", "--mode", "audio", *given, **said).stdout.splitlines()
    )
    assert (greeting["said"], greeting["answer"][:6], ada["said"]) == (None, "Hello!", "Hi.")
    assert ada["conversation"] == greeting["conversation"]
    assert ada["timings_ms"]["total_ms"] >= ada["timings_ms"]["speak_first_audio_ms"]
    [bob] = map(
        json.loads, cli("chat", "-o", ".", "--role", "bob", "--mode", "video", *given, **said).stdout.splitlines()
    )
    [nobody] = map(json.loads, cli("chat", "-o", ".", "--voice", "de", *given, **said).stdout.splitlines())
    names = [Path(file).name for turn in (greeting, ada, bob, nobody) for file in turn["files"]]
    assert names == ["ada-1.wav", "ada-2.wav", "bob-1-1.mp4", "bob-1-2.mp4", "bob-1-3.mp4", "chat-1.wav"]
    assert {path.name for path in (tmp_path / "there").iterdir()} == set(names)
    assert cli.files() == set()


def test_on_a_terminal(cli: Cli) -> None:
    """Ctrl-C interrupts an answer, whose clips so far stay; the next one comes; another Ctrl-C leaves."""
    with Terminal(cli, "--role", "bob", "--mode", "video") as terminal:
        terminal.until("> ")
        terminal.type("Say all of this. " + "And this as well. " * 20 + "\n")
        terminal.until("  bob-1-1.mp4")
        terminal.type("\x03")
        assert "bob-1-20.mp4" not in terminal.until("echod: interrupted")
        terminal.until("> ")
        terminal.type("And now?\n")
        terminal.until("You said: And now?")
        terminal.until("  bob-2-3.mp4")
        terminal.until("> ")
        assert terminal.leave() == 130
    assert {"bob-1-1.mp4", "bob-2-1.mp4", "bob-2-2.mp4", "bob-2-3.mp4"} <= cli.files()
    assert not [job for job in cli.json("ps") if job["status"] in ("queued", "in_progress")]


def test_the_end_of_input(cli: Cli) -> None:
    """Ctrl-D leaves with exit code 0."""
    with Terminal(cli) as terminal:
        terminal.until("> ")
        terminal.type("\x04")
        assert terminal.left() == 0


def test_a_conversation_is_returned_to(talking: RunningDaemon) -> None:
    """After a connection broke, the daemon still knows the conversation."""
    with talking.client() as client, client.talk("bob") as talk:
        conversation = talk.id
        talk.close()
        talk.ask("Still there?")
        assert [event["type"] for event in talk.answer()][-1] == "response.done"
        assert talk.id == conversation


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--role", "nobody"), "'nobody'"),
        (("--role", "../ada"), "'../ada'"),
        (("--mode", "video"), "--role"),
        (("--mode", "text"), "text"),
        (("--voice", "nobody"), "nobody"),
        (("-o", "nowhere"), "nowhere"),
    ],
)
def test_refusals(cli: Cli, arguments: tuple[str, ...], reason: str) -> None:
    """What cannot be is refused before anything is said, with exit code 2."""
    refused = cli("chat", "-o", ".", *arguments, input="Hello.")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert reason in refused.stderr and "Traceback" not in refused.stderr


def test_words_that_are_too_many(cli: Cli) -> None:
    """The daemon's limit is told, and the conversation goes on."""
    done = cli("chat", "-o", ".", "-q", input=f"{'x' * 10_001}\nHi.\n")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "10000" in done.stderr
    assert done.stdout.endswith("You said: Hi.\n  chat-2.wav\n")


@pytest.fixture(scope="module")
def examples() -> list[str]:
    """The programs of docs/conversation.md."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / "conversation.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)


def run(example: str, talking: RunningDaemon, directory: Path) -> str:
    """What it prints, at this daemon."""
    program = example.replace("http://127.0.0.1:8765", talking.tcp)
    done = subprocess.run([sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples(talking: RunningDaemon, examples: list[str], tmp_path: Path) -> None:
    """The programs of the documentation do what it says they do, whether or not anybody can hear."""
    typed, spoken, shown = examples
    with wave.open(str(EXAMPLES / "speech.wav")) as sound, wave.open(str(tmp_path / "question.wav"), "wb") as question:
        question.setparams((1, 2, 24000, 0, "NONE", ""))
        question.writeframes(sound.readframes(sound.getnframes()))
    assert "You said: Why does a wing lift?\ncompleted, {" in run(typed, talking, tmp_path)
    with wave.open(str(tmp_path / "answer.wav")) as answer:
        assert answer.getnframes() > 24000
    assert "answered: " in run(spoken, talking, tmp_path)
    assert [line.partition(" plays at ")[0] for line in run(shown, talking, tmp_path).splitlines()] == [
        "Hello! ",
        "I'm Ada. ",
        "Ask me anything about flying, down here or up there.",
    ]
    assert all(duration(tmp_path / f"{number}.mp4") > 0.2 for number in range(3))


def test_over_tcp(talking: RunningDaemon, cli: Cli) -> None:
    """Over TCP a token from the environment says who talks; nobody else does."""
    with talking.client() as admin:
        admin.add_account("anna", "admin", "correct horse")
        token = admin.create_token("laptop", account="anna")["token"]
    far = Cli(talking.tcp, cli.directory)
    refused = far("chat", "-o", ".", input="Hello.")
    assert (refused.returncode, refused.stdout) == (6, "")
    allowed = far("chat", "-o", ".", "--role", "bob", input="Hello.", env={"ECHOD_TOKEN": token})
    assert (allowed.returncode, allowed.stdout.splitlines()[-1]) == (0, "  bob-1.wav")
    assert token not in allowed.stderr
    with talking.client() as admin:
        admin.remove_account("anna")


def test_no_daemon(tmp_path: Path) -> None:
    """Where there is none, that is exit code 3."""
    refused = Cli(f"unix:{tmp_path}/none.sock", tmp_path)("chat", input="Hello.")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "echod serve" in refused.stderr


@pytest.mark.long
def test_a_restart_in_the_middle(talking: RunningDaemon, cli: Cli) -> None:
    """A daemon that died and came back is found again, and that it has forgotten everything is told."""
    with Terminal(cli, "--role", "bob") as terminal:
        terminal.until("> ")
        terminal.type("One.\n")
        terminal.until("bob-1.wav")
        talking.kill()
        talking.start()
        terminal.until("> ")
        terminal.type("Two.\n")
        terminal.until("has forgotten the conversation")
        terminal.until("bob-2.wav")
        terminal.until("> ")
        terminal.type("\x04")
        assert terminal.left() == 0
