from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from echod.host.secret import Secret
from echod.speech.backend import PASSING, Call, Failure, Function, Kind, Question
from echod.speech.calls import SpeechError
from echod.speech.plan import FUNCTIONS
from tests.drivers.calls import Bench
from tests.stand_ins.backend import echoes, fails, gives, silent

pytestmark = pytest.mark.usefixtures("no_backoff")


async def test_what_a_call_leaves(tmp_path: Path) -> None:
    """A call's usage tells who, what, how much of it and how it ended."""

    async def counted(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        call.request_id = "r-1"
        call.usage = {"input_tokens": 3, "output_tokens": 5}
        yield "Hello"
        yield " there"

    bench = Bench(tmp_path, counted, gives("words"), gives(b"\0\0" * 2400, b"\0\0" * 2400))
    assert await bench.reply() == ["Hello", " there"]
    assert await bench.call("hear") == "words"
    await bench.speak("twelve chars")
    replied, heard, spoken = bench.usage
    assert (replied.account, replied.function, replied.backend, replied.model) == ("a", "reply", "scripted", "model-r")
    assert (replied.request_id, replied.input_tokens, replied.output_tokens) == ("r-1", 3, 5)
    assert replied.outcome == "ok" and replied.attempts == 1
    assert replied.first_ms is not None and replied.first_ms <= replied.total_ms
    assert (heard.function, heard.seconds) == ("hear", 0.1)
    assert (spoken.voice, spoken.characters, spoken.seconds) == ("anna", 12, 0.2)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", sorted(PASSING))
async def test_what_may_pass_is_tried_again(tmp_path: Path, function: Function, kind: Kind) -> None:
    """A failure that may pass costs an attempt and nothing else."""
    piece: str | bytes = b"xx" if function == "speak" else "xx"
    bench = Bench(tmp_path, fails(Failure(kind, "busy")), fails(Failure(kind, "busy")), gives(piece))
    assert await bench.call(function)
    assert [(usage.outcome, usage.attempts) for usage in bench.usage] == [("ok", 3)]


@pytest.mark.parametrize("kind", sorted(set(get_args(Kind)) - PASSING))
async def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, kind: Kind) -> None:
    """Keys, input and moderation are no better the second time."""
    bench = Bench(tmp_path, fails(Failure(kind, "no")), gives("never"))
    with pytest.raises(SpeechError) as refused:
        await bench.reply()
    assert refused.value.kind == kind
    own = {"retired": "upstream_model_retired", "missing": "reply_not_installed"}
    assert refused.value.code == own.get(kind, "upstream_reply")
    assert [(usage.outcome, usage.attempts) for usage in bench.usage] == [(kind, 1)]


async def test_three_attempts_at_most(tmp_path: Path) -> None:
    """After two retries the failure is the caller's."""
    bench = Bench(tmp_path, *[fails(Failure("unavailable", "down"))] * 4)
    with pytest.raises(SpeechError, match="down"):
        await bench.speak()
    assert len(bench.backend.attempts) == 1


async def test_no_retry_once_output_has_begun(tmp_path: Path) -> None:
    """Nobody hears the beginning twice."""
    bench = Bench(tmp_path, fails(Failure("connection", "broken off"), "Hello"), gives("Hello there"))
    heard = []
    with pytest.raises(SpeechError, match="broken off"):
        async with aclosing(bench.calls.reply(Question(text="hi"), account="a")) as pieces:
            async for piece in pieces:
                heard.append(piece)
    assert heard == ["Hello"] and len(bench.backend.attempts) == 1


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    """A server that says when to come back is not asked before."""
    loop, asked = asyncio.get_running_loop(), list[float]()

    async def answer(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        asked.append(loop.time())
        if len(asked) == 1:
            raise Failure("throttled", "slowly", retry_after=0.3)
        yield "yes"

    assert await Bench(tmp_path, answer, answer).reply() == ["yes"]
    assert asked[1] - asked[0] >= 0.3


async def test_no_waiting_beyond_the_deadline(tmp_path: Path) -> None:
    """A retry that would come too late is not waited for."""
    bench = Bench(tmp_path, fails(Failure("throttled", "slowly", retry_after=60)), gives("never"))
    with pytest.raises(SpeechError, match="slowly"):
        async with asyncio.timeout(30):
            await bench.reply()
    assert bench.usage[0].outcome == "throttled"


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_silence_ends_an_attempt(tmp_path: Path, function: Function) -> None:
    """A backend that hangs is closed, tried again, and given up with the setting named."""
    bench = Bench(tmp_path, silent, silent, silent, hear_timeout="0.1s", silence_timeout="0.1s")
    with pytest.raises(SpeechError, match="hear_timeout" if function == "hear" else "silence_timeout") as failed:
        await bench.call(function)
    assert failed.value.kind == "timeout"
    assert bench.backend.running == 0


async def test_the_whole_deadline(tmp_path: Path) -> None:
    """A backend that trickles for ever is ended by the timeout of its function; of a reply it is cut short by it."""

    async def trickle(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        while True:
            await asyncio.sleep(0.01)
            yield piece

    functions: dict[Function, str] = {"reply": "length", "speak": "timeout"}
    for function, kind in functions.items():
        piece: str | bytes = "x" if function == "reply" else b"xx"
        bench = Bench(tmp_path, trickle, reply_timeout="0.3s", speak_timeout="0.3s")
        with pytest.raises(SpeechError, match=f"{function}_timeout") as failed:
            async with asyncio.timeout(30):
                await bench.call(function)
        assert failed.value.kind == kind
        assert [usage.outcome for usage in bench.usage] == [kind]


@pytest.mark.parametrize(("wanted", "given"), [(None, 50), (20, 20), (80, 50)])
async def test_most_tokens(tmp_path: Path, wanted: int | None, given: int) -> None:
    """A reply has at most as many tokens as the setting says, or as somebody wants who wants fewer."""
    bench = Bench(tmp_path, gives("xx"), reply_tokens=50)
    async for _ in bench.calls.reply(Question(text="hi", max_tokens=wanted), account="a"):
        pass
    assert [turn.max_tokens for turn in bench.backend.turns] == [given]


async def test_slow_text_is_no_silence(tmp_path: Path) -> None:
    """While a voice waits for more text, its clock stands still."""

    async def text() -> AsyncGenerator[str, None]:
        yield "one "
        await asyncio.sleep(0.5)  # five times silence_timeout
        yield "two"

    assert await Bench(tmp_path, echoes(), silence_timeout="0.1s").speak(text()) == b"one two"


async def test_work_is_no_silence(tmp_path: Path) -> None:
    """A model that thinks for longer than silence_timeout is waited for, as long as it is seen to."""

    async def thinks(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        for _ in range(60):
            await asyncio.sleep(0.01)
            call.alive()
        yield "Yes."

    assert await Bench(tmp_path, thinks, thinks, thinks, silence_timeout="0.5s").reply() == ["Yes."]


async def test_thoughts_are_not_told(tmp_path: Path) -> None:
    """A reply is what comes behind the thought it begins with, and none if there is nothing."""
    assert await Bench(tmp_path, gives("<think>\nHm.", "\n</think>\n\n", "Yes.")).reply() == ["Yes."]
    with pytest.raises(SpeechError, match="it is empty"):
        await Bench(tmp_path, gives("<think>Hm.</think>\n")).reply()


async def test_text_is_read_again(tmp_path: Path) -> None:
    """Another attempt gets the text from its beginning, also what was read while the first one ended."""
    loop = asyncio.get_running_loop()
    more = asyncio.Event()

    async def text() -> AsyncGenerator[str, None]:
        yield "one "
        await more.wait()
        yield "two "
        yield "three"

    async def dies_waiting(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        await anext(text)
        waiting = asyncio.ensure_future(_take(text))
        await asyncio.sleep(0)
        loop.call_soon(more.set)
        waiting.cancel()
        await asyncio.wait([waiting])
        for _ in "x":
            raise Failure("connection", "gone")
        yield b""

    bench = Bench(tmp_path, dies_waiting, echoes(fail_after=2, failure=Failure("connection", "gone")), echoes())
    assert await bench.speak(text()) == b"one two three"


async def _take(text: AsyncIterator[str]) -> str:
    return await anext(text)


async def test_the_text_that_fails(tmp_path: Path) -> None:
    """What goes wrong with the text is its own error, not the voice's."""

    async def text() -> AsyncGenerator[str, None]:
        yield "one"
        raise SpeechError("upstream_reply", "the reply broke off", "connection")

    bench = Bench(tmp_path, echoes(), echoes())
    with pytest.raises(SpeechError, match="the reply broke off"):
        await bench.speak(text())
    assert len(bench.backend.attempts) == 1


async def test_cancelling(tmp_path: Path) -> None:
    """A caller who leaves takes the attempt along, and the record says so."""
    bench = Bench(tmp_path, silent, silence_timeout="60s")
    task = asyncio.create_task(bench.speak())
    await bench.backend.begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert bench.backend.running == 0 and bench.usage[0].outcome == "cancelled"


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_fifty_at_once(tmp_path: Path, function: Function) -> None:
    """Fifty calls share the slots there are, and each gets its answer."""
    piece: str | bytes = b"xx" if function == "speak" else "xx"

    async def slow(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        await asyncio.sleep(0.001)
        yield piece

    bench = Bench(tmp_path, *[slow] * 50, speech_calls=4)
    await asyncio.gather(*(bench.call(function) for _ in range(50)))
    assert bench.backend.most == 4
    assert [usage.outcome for usage in bench.usage] == ["ok"] * 50


async def test_no_slot_in_time(tmp_path: Path) -> None:
    """Waiting for a slot counts as waiting for the answer."""
    bench = Bench(tmp_path, silent, speech_calls=1, silence_timeout="60s", hear_timeout="0.2s", reply_timeout="0.2s")
    first = asyncio.create_task(bench.call("speak"))
    await bench.backend.begun.wait()
    second = asyncio.create_task(bench.call("speak"))
    bench.calls.settings.now = replace(bench.calls.settings.now, speak_timeout=0.1)
    with pytest.raises(SpeechError, match="speech_calls = 1"):
        await second
    first.cancel()
    await asyncio.wait([first])


async def test_what_is_missing(tmp_path: Path) -> None:
    """A backend without a part says what to install before anything is tried, by a code of its own."""
    bench = Bench(tmp_path)
    bench.backend.missing = "apt install espeak-ng"
    codes: dict[Function, str] = {"speak": "voice", "hear": "hearing", "reply": "reply"}
    for function, code in codes.items():
        with pytest.raises(SpeechError, match="apt install espeak-ng") as failed:
            await bench.call(function)
        assert (failed.value.kind, failed.value.code) == ("missing", f"{code}_not_installed")
        assert bench.usage.pop().attempts == 0


async def test_a_backends_mistake(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What a backend must not raise reaches the log, not the caller."""
    bench = Bench(tmp_path, fails(KeyError("inner detail")))
    with pytest.raises(SpeechError, match="unexpected KeyError") as failed:
        await bench.reply()
    assert "inner detail" not in failed.value.message and "inner detail" in caplog.text


async def test_messages_are_short_and_without_keys(tmp_path: Path) -> None:
    """However a server words its error, no key and no novel reaches anybody."""
    key = Secret("planted-key-1234567890")
    bench = Bench(tmp_path, fails(Failure("invalid", f"bad request by {key.reveal()} sk-abcdef123456 " + "x" * 5000)))
    with pytest.raises(SpeechError) as failed:
        await bench.reply()
    assert "planted" not in failed.value.message and "abcdef" not in failed.value.message
    assert len(failed.value.message) < 600


async def test_content_is_logged_on_request_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Words appear in the log with log_content, and never without."""
    caplog.set_level(logging.DEBUG, "echod")
    for wanted in (False, True):
        bench = Bench(tmp_path, gives("confession"), gives("answer"), gives(b"xx"), log_content=wanted)
        await bench.call("hear")
        await bench.reply()
        await bench.speak("secret words")
        for words in ("confession", "answer", "secret words"):
            assert (words in caplog.text) is wanted


async def test_an_empty_reply(tmp_path: Path) -> None:
    """A model that answers with nothing has failed."""
    with pytest.raises(SpeechError, match="empty"):
        await Bench(tmp_path, gives(" ")).reply()
