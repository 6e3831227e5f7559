"""One call among many, and what it says when it fails: waiting, going on, and whose words the log has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from echod.speech.backend import Call, Failure, Function, Voice
from echod.speech.calls import SpeechError
from echod.speech.plan import FUNCTIONS
from tests.drivers.calls import Bench
from tests.stand_ins.backend import VOICE, Attempt, fails, gives, silent

pytestmark = pytest.mark.usefixtures("no_backoff")

HANG = 30.0  # seconds after which a test has failed


async def spoken(bench: Bench, text: str = "words", account: str = "a", batch: bool = True) -> bytes:
    pieces = bench.calls.speak(text, VOICE, account=account, batch=batch)
    return b"".join([piece async for piece in pieces])


async def test_batch_calls_wait(tmp_path: Path) -> None:
    """A batch call's time begins when its turn comes, however long that took."""

    async def slow(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        async for _ in text:
            pass
        await asyncio.sleep(0.8)  # more than speak_timeout; this text allows for it
        yield b"slow"

    async def quick(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        await asyncio.sleep(0)  # before the text has made the time longer
        yield b"next"

    bench = Bench(tmp_path, slow, quick, speech_calls=1, speak_timeout="0.5s", silence_timeout="1h")
    first, second = asyncio.create_task(spoken(bench, "x" * 200)), asyncio.create_task(spoken(bench))
    assert (await first, await second) == (b"slow", b"next")
    assert [usage.outcome for usage in bench.usage] == ["ok", "ok"]


async def test_batch_calls_leave_room(tmp_path: Path) -> None:
    """A live call is answered at once, however many batch ones are there."""
    bench = Bench(tmp_path, silent, gives(b"live"), speech_calls=2, silence_timeout="1h", speak_timeout="1h")
    tasks = [asyncio.create_task(spoken(bench)) for _ in range(5)]
    await bench.backend.begun.wait()
    async with asyncio.timeout(HANG):
        assert await spoken(bench, batch=False) == b"live"
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert bench.backend.running == 0


async def test_who_waits_holds_nothing(tmp_path: Path) -> None:
    """A call that was told to come back later leaves its slot to others."""
    busy = fails(Failure("throttled", "slowly", retry_after=3600))
    bench = Bench(tmp_path, busy, gives(b"next"), speech_calls=1, speak_timeout="2h")
    waiting = asyncio.create_task(spoken(bench))
    await bench.backend.begun.wait()
    async with asyncio.timeout(HANG):
        assert await spoken(bench) == b"next"
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_dead_while_text_was_awaited(tmp_path: Path) -> None:
    """An attempt that ends while it waits for text leaves the next one watched."""

    async def text() -> AsyncGenerator[str, None]:
        yield "one "
        await asyncio.Event().wait()

    async def dies(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        await anext(text)
        waiting = asyncio.ensure_future(take(text))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        for _ in "x":
            raise Failure("connection", "gone")
        yield b""

    bench = Bench(tmp_path, dies, silent, silent, silence_timeout="0.1s")
    async with asyncio.timeout(HANG):
        with pytest.raises(SpeechError, match="silence_timeout"):
            await bench.speak(text())


async def test_waiting_for_text_takes_no_time(tmp_path: Path) -> None:
    """Nor does it in an attempt that ends there: the next one has all the time that is left."""

    async def text() -> AsyncGenerator[str, None]:
        await asyncio.Event().wait()
        yield "never"

    async def dies(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        waiting = asyncio.ensure_future(take(text))
        await asyncio.wait([waiting], timeout=0.8)  # more than speak_timeout
        waiting.cancel()
        await asyncio.wait([waiting])
        for _ in "x":
            raise Failure("connection", "gone")
        yield b""

    async def quick(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        yield b"xx"

    assert await Bench(tmp_path, dies, quick, speak_timeout="0.5s").speak(text()) == b"xx"


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_no_sign_of_life(tmp_path: Path, function: Function) -> None:
    """Who waits for something to be said waits once for a sign of life, however many attempts there are."""
    busy = fails(Failure("unavailable", "busy"))
    bench = Bench(tmp_path, busy, silent, gives("never"), first_timeout="0.1s")
    async with asyncio.timeout(HANG):
        with pytest.raises(SpeechError, match=r"first_timeout = 0\.1 s"):
            await bench.call(function)
    assert [(usage.outcome, usage.attempts) for usage in bench.usage] == [("timeout", 2)]


async def test_signs_of_life(tmp_path: Path) -> None:
    """A model that is seen to think is waited for, and so is what comes late in a reply that has begun."""

    async def slow(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        call.alive()
        await asyncio.sleep(0.3)
        yield "Well, "
        await asyncio.sleep(0.3)
        yield "yes."

    assert await Bench(tmp_path, slow, first_timeout="0.1s").reply() == ["Well, ", "yes."]


async def test_a_long_question(tmp_path: Path) -> None:
    """Whoever hears may take as long as was said: the transcript comes when all of it has been heard."""

    async def slow(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        await asyncio.sleep(0.2)
        yield "Why does a wing lift?"

    bench = Bench(tmp_path, slow, first_timeout="0.01s")
    assert await bench.calls.hear(b"\0" * 320_000, account="a") == "Why does a wing lift?"


async def test_a_model_at_work(tmp_path: Path) -> None:
    """A model of this box may take as long as silence_timeout, again and again: it reads a long history."""
    bench = Bench(tmp_path, silent, gives("Fine."), first_timeout="0.01s", silence_timeout="0.1s")
    bench.backend.name = "local"
    async with asyncio.timeout(HANG):
        assert await bench.reply() == ["Fine."]


async def test_nobody_waits_for_a_batch(tmp_path: Path) -> None:
    """A text job is tried again after each silence."""
    bench = Bench(tmp_path, silent, silent, gives(b"xx"), first_timeout="0.01s", silence_timeout="0.1s")
    async with asyncio.timeout(HANG):
        assert await spoken(bench) == b"xx"


async def take(text: AsyncIterator[str]) -> str:
    return await anext(text)


def parts(*given: bytes, failure: Failure | None = None) -> Attempt:
    """An attempt to speak part by part, which fails after these if it is to."""

    async def attempt(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        for part in given:
            yield part
            call.spoken += 1
        if failure:
            raise failure

    return attempt


async def test_the_next_part_is_tried_again(tmp_path: Path) -> None:
    """Between two parts a failure may pass, at most twice for each, and nothing is heard twice."""
    busy = Failure("throttled", "slowly")
    attempts = [parts(b"1", failure=busy), parts(failure=busy), parts(b"2", failure=busy), parts(b"3")]
    bench = Bench(tmp_path, *attempts)
    assert await bench.speak() == b"123"
    assert [call.spoken for call in bench.backend.calls] == [1, 1, 2, 3]
    assert [(usage.outcome, usage.attempts) for usage in bench.usage] == [("ok", 4)]


async def test_three_attempts_at_a_part(tmp_path: Path) -> None:
    """After two retries of a part the call has failed."""
    busy = Failure("throttled", "slowly")
    bench = Bench(tmp_path, parts(b"1", failure=busy), *[parts(failure=busy)] * 3)
    with pytest.raises(SpeechError, match="slowly"):
        await bench.speak()
    assert len(bench.backend.attempts) == 1


async def test_no_retry_amid_a_part(tmp_path: Path) -> None:
    """A part of which something was heard is not begun again."""

    async def attempt(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        yield b"1"
        call.spoken += 1
        yield b"2"
        raise Failure("connection", "broken off")

    bench = Bench(tmp_path, attempt, gives(b"never"))
    with pytest.raises(SpeechError, match="broken off"):
        await bench.speak()
    assert len(bench.backend.attempts) == 1


async def test_what_nobody_has_heard(tmp_path: Path) -> None:
    """Sound that goes into a file is begun again where the voice broke off, whole parts of it too; at most twice."""
    broken = Failure("connection", "broken off")

    async def second_breaks(call: Call, text: AsyncIterator[str]) -> AsyncGenerator[str | bytes, None]:
        yield b"1 "
        call.spoken += 1
        yield b"2"
        raise broken

    for ends_well in (True, False):
        bench = Bench(
            tmp_path, second_breaks, fails(broken, b"1"), *([gives(b"1 2 ")] if ends_well else [second_breaks] * 2)
        )
        file = bytearray()
        try:
            async for piece in bench.calls.speak("words", VOICE, account="a", begin_again=file.clear):
                file += piece
        except SpeechError:
            assert not ends_well
        assert (bytes(file) == b"1 2 ") is ends_well
        if ends_well:
            assert bench.usage[0].seconds == round(len(file) / 2 / 24000, 3)


async def test_an_empty_reply_in_the_records(tmp_path: Path) -> None:
    """A reply of nothing is a failure to the caller and to the records."""
    bench = Bench(tmp_path, gives(" "))
    with pytest.raises(SpeechError, match="it is empty"):
        await bench.reply()
    assert [usage.outcome for usage in bench.usage] == ["protocol"]


async def test_broken_text_in_the_records(tmp_path: Path) -> None:
    """Text that breaks off is nobody's cancelling."""

    async def text() -> AsyncGenerator[str, None]:
        yield "one"
        raise RuntimeError("no more words")

    bench = Bench(tmp_path, gives(b"xx"))
    with pytest.raises(RuntimeError, match="no more words"):
        await bench.speak(text())
    assert [usage.outcome for usage in bench.usage] == ["text"]


@pytest.mark.parametrize("log_content", [False, True])
async def test_whose_words_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, log_content: bool) -> None:
    """What a server said is for the caller; the log has our own words, unless all that is spoken is logged."""
    caplog.set_level(logging.DEBUG, "echod")
    failure = Failure("unavailable", "the server answered 500", "lost after: the treasure")
    bench = Bench(tmp_path, *[fails(failure)] * 3, log_content=log_content)
    with pytest.raises(SpeechError) as failed:
        await bench.speak("Lost after: the treasure")
    assert "the treasure" in failed.value.message
    assert ("the treasure" in failed.value.reason) is log_content
    assert ("the treasure" in caplog.text) is log_content
    assert "the server answered 500" in caplog.text and "the server answered 500" in failed.value.reason


@pytest.mark.parametrize(("backend", "named"), [("dashscope", "dashscope_key_file"), ("openai", "openai_url")])
async def test_a_backend_that_is_no_more(tmp_path: Path, backend: str, named: str) -> None:
    """A voice whose backend is not set up says what to set."""
    bench = Bench(tmp_path)
    with pytest.raises(SpeechError, match=named) as failed:
        await anext(bench.calls.speak("words", Voice(backend, "model", "anna"), account="a"))
    assert (failed.value.code, failed.value.kind) == ("upstream_tts", "missing")
