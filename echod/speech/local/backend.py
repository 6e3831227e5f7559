"""Hearing, replying and speaking on this box: no network, no key. Each part is optional, and says how to get it.

hear   a Whisper checkpoint, with openai-whisper       in a child that is started on first use
reply  a chat model, with transformers or llama.cpp    in the same child; without one, a scripted reply for demos
speak  hibari, piper or espeak-ng                      the models of the first two in a child of their own
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Literal

from echod.host.service import as_this_account
from echod.speech.backend import Backend, Call, Failure, Function, Question, Voice
from echod.speech.local.messages import Hear, Reply
from echod.speech.local.models import Models
from echod.speech.local.smollm import INSTALL_READER, INSTALL_SMOLLM, SMOLLM, has_reader, smollm_file
from echod.speech.local.voices import Voices
from echod.speech.tools import CallPiece, TaggedCalls

SCRIPTED = "scripted"
# What people put there themselves, the newest first, comes before EchoMimic's, the smallest of all.
WHISPER = ("whisper*.pt", "audio_processor/whisper_tiny.pt")
TEMPLATES, TAG = ("chat_template.jinja", "tokenizer_config.json"), "<tool_call>"
WHISPER_NAME = "whisper.pt"  # where there is none yet
PULL_WHISPER = "echod weights pull whisper:base"

CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
FEW = re.compile(r"\s*\S{1,12}")  # a word, or what comes of a long one


class Local(Backend):
    """This box. `weights_dir` is where models and, in voices/, piper's voices are looked for.

    `device` is what those that hear and reply run on; voices are small, and speak on the CPU.
    """

    name = "local"
    hears_turns = False

    def __init__(self, weights_dir: Path, device: str = "cpu") -> None:
        self.weights_dir = weights_dir
        self._models = Models(device=device)
        self._voices = Voices(weights_dir / "voices")

    async def lacks(self, function: Function, name: str) -> Failure | None:
        try:
            if function == "hear":
                self._whisper(name)
            elif function == "reply" and name != SCRIPTED:
                self._chat_model(name)
        except Failure as failure:
            return failure
        return await self._voices.lacks(name) if function == "speak" else None

    async def languages(self) -> list[str] | None:
        return await self._voices.languages()

    async def ready(self, function: Function, model: str) -> None:
        if function == "hear":
            await self._models.load(Hear(self._whisper(model)))
        elif function == "reply" and model != SCRIPTED:
            await self._models.load(Reply(self._chat_model(model)))

    async def load(self, voice: Voice) -> None:
        await self._voices.load(voice)

    async def hear(self, sound: bytes, call: Call) -> str:
        work = Hear(self._whisper(call.model), sound, call.language)
        async with aclosing(self._models.ask(work, call)) as pieces:
            return "".join([piece async for piece in pieces])

    def calls_tools(self, model: str) -> bool:
        """Where its chat template says how, in the way that is read here."""
        if model in (SCRIPTED, SMOLLM):
            return False
        return any(TAG in (self._path(model) / name).read_text("utf-8") for name in self._templates(model))

    def _templates(self, model: str) -> list[str]:
        return [name for name in TEMPLATES if (self._path(model) / name).is_file()]

    async def reply(self, turn: Question, call: Call) -> AsyncGenerator[str | CallPiece, None]:
        if call.model == SCRIPTED:
            for words in _scripted(turn.text or ""):
                await asyncio.sleep(0)
                yield words
            return
        limit = {} if turn.max_tokens is None else {"max_tokens": turn.max_tokens}
        tools = [tool.chat() for tool in turn.tools.tools] if turn.tools and self.calls_tools(call.model) else None
        work = Reply(self._chat_model(call.model), turn.messages(), **limit, tools=tools, small=call.model == SMOLLM)
        tagged = TaggedCalls()
        async with aclosing(self._models.ask(work, call)) as pieces:
            async for piece in pieces:
                for each in tagged.feed(piece) if tools else (piece,):
                    yield each
        for each in tagged.finish():
            yield each

    def speak(self, text: AsyncIterator[str], voice: Voice, call: Call) -> AsyncGenerator[bytes, None]:
        return self._voices.speak(text, voice, call)

    def default_model(self, function: Literal["hear", "reply"]) -> str:
        if function == "reply":
            return SMOLLM if smollm_file() and has_reader() else SCRIPTED
        found = [path for pattern in WHISPER for path in sorted(self.weights_dir.glob(pattern), key=_newest)]
        return str(found[0].relative_to(self.weights_dir)) if found else WHISPER_NAME

    async def default_voice(self, language: str | None) -> Voice:
        return await self._voices.default(language)

    async def voices(self) -> list[Voice]:
        return list(await self._voices.find())

    async def close(self) -> None:
        await self._models.close()
        await self._voices.close()

    def _whisper(self, model: str) -> Path:
        for name in (model, f"{model}.pt"):
            if (path := self._path(name)).is_file():
                return path
        pull = as_this_account(PULL_WHISPER)
        raise Failure(
            "missing",
            f"there is no Whisper checkpoint {Path(model).name} in the weights directory: run `{pull}`, or set "
            "hear_model to the path of one in OpenAI's format",
            commands=[pull],
        )

    def _chat_model(self, model: str) -> Path:
        path = (smollm_file() or Path(f"{SMOLLM}.gguf")) if model == SMOLLM else self._path(model)
        if path.suffix == ".gguf":
            return _readable(path, [INSTALL_SMOLLM] if model == SMOLLM else [])
        if not (path / "config.json").is_file():
            raise Failure(
                "missing",
                f"{path.name} is no chat model; put one of transformers there (config.json, tokenizer.json and "
                "*.safetensors in one directory), or a GGUF file, or set reply_model to the path of one; empty, the "
                "reply is that of a model that is installed, or scripted",
            )
        return path

    def _path(self, name: str) -> Path:
        return self.weights_dir / Path(name).expanduser()


def _newest(path: Path) -> tuple[float, str]:
    """A key that sorts what came last to the front."""
    return -path.stat().st_mtime, path.name


def _readable(path: Path, brought_by: list[str]) -> Path:
    """The GGUF file, if it is there and so is what reads it. Failure: missing."""
    if not path.is_file():
        steps = "".join(f": run `{command}`" for command in brought_by)
        raise Failure("missing", f"there is no {path.name}{steps}", commands=brought_by)
    if not has_reader():
        raise Failure("missing", f"nothing here reads {path.name}: run `{INSTALL_READER}`", commands=[INSTALL_READER])
    return path


def _scripted(text: str) -> Iterator[str]:
    """What is said where nobody can think, as it would come from a model."""
    script = "This is a scripted reply: no language model is set up. You said: {}"
    if CJK.search(text):
        script = "这是一段固定的回复：没有设置语言模型。你说的是：{}"
    return iter(FEW.findall(script.format(text)))
