"""A child that holds speech models of this box. Started by `models.Models`.

One thread hears, one replies and one speaks, so that none waits for another; each does one request after the other.
What is not wanted any more ends before its model's next token, a sentence before its next piece.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

import numpy as np

from echod.host.cards import VISIBLE
from echod.host.process import die_with_parent, take_pipes
from echod.speech.backend import Failure
from echod.speech.local.messages import (
    LENGTH,
    Answer,
    Done,
    Failed,
    Hear,
    Piece,
    Reply,
    Said,
    Sound,
    Speak,
    Work,
    framed,
    request_decoder,
)

if TYPE_CHECKING:
    from torch import nn

PIECE = 2**16  # bytes of sound
MAX_REASON = 300  # characters of an exception's words

PACKAGES = {"whisper": "openai-whisper"}  # what to install, where it is not called like the module

log = logging.getLogger("echod.speech")


class Dropped(Exception):
    """Nobody wants the answer any more."""


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    requests, answers = take_pipes()
    serve(requests, answers)
    os._exit(0)  # the daemon closed the pipe: nobody waits for the threads


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Do what is asked until nobody asks any more."""
    pending: dict[int, Pending] = {}
    writing = threading.Lock()
    lanes: dict[type[Work], SimpleQueue[Pending]] = {kind: SimpleQueue() for kind in get_args(Work)}

    def tell(answer: Answer) -> None:
        with writing:
            answers.write(framed(answer))
            answers.flush()

    for lane in lanes.values():
        threading.Thread(target=_work, args=(lane, pending), daemon=True).start()
    while length := requests.read(LENGTH):
        request = request_decoder.decode(requests.read(int.from_bytes(length, "big")))
        if request.work is not None:
            asked = pending[request.number] = Pending(request.number, request.work, tell)
            lanes[type(request.work)].put(asked)
        elif unwanted := pending.get(request.number):
            unwanted.dropped.set()


def _work(lane: SimpleQueue[Pending], pending: dict[int, Pending]) -> None:
    while True:
        asked = lane.get()
        asked.run()
        del pending[asked.number]


@dataclass(frozen=True)
class Pending:
    """A request that nobody has answered whole yet."""

    number: int
    work: Work
    answer: Callable[[Answer], None]
    dropped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Do the work. What goes wrong is its own end, and not the child's."""
        try:
            self.check()
            self.tell(Done(self._do()))
        except Dropped:
            pass
        except Failure as failure:
            self.tell(Failed(failure.kind, failure.message))
        except ModuleNotFoundError as error:
            package = PACKAGES.get(error.name or "", error.name)
            self.tell(Failed("missing", f"{package} is not installed: run {sys.executable} -m pip install {package}"))
        except Exception as error:
            log.exception("the model at %s failed", self.work.model)
            self.tell(Failed("unavailable", f"the model at {self.work.model} failed: {_reason(error)}"))

    def _do(self) -> dict[str, float]:
        match self.work:
            case Hear():
                return hear(self, self.work)
            case Reply():
                return reply(self, self.work)
            case Speak():
                return speak(self, self.work)

    def tell(self, said: Said) -> None:
        self.answer(Answer(self.number, said))

    def say(self, words: str) -> None:
        """Tell words, or raise Dropped where nobody wants them."""
        self.check()
        self.tell(Piece(words))

    @contextmanager
    def ending(self, model: nn.Module) -> Iterator[None]:
        """Within, `model` raises Dropped rather than run once more for nobody."""
        hook = model.register_forward_pre_hook(lambda *_: self.check())
        try:
            yield
        finally:
            hook.remove()

    def check(self) -> None:
        if self.dropped.is_set():
            raise Dropped


def hear(asked: Pending, work: Hear) -> dict[str, float]:
    """Tell the words in the sound."""
    model = load_whisper(work.model)
    if work.sound is None:
        return {}
    samples = np.frombuffer(work.sound, "<i2").astype(np.float32) / 2**15
    with asked.ending(model.decoder):
        heard = model.transcribe(
            samples,
            language=_known_language(model, work.language),
            fp16=model.device.type == "cuda",
            condition_on_previous_text=False,  # a loop in one window would go on in all that follow
        )
    asked.tell(Piece(heard["text"].strip()))
    return {}


def _known_language(model: Any, tag: str | None) -> str | None:
    """The language as Whisper calls it; None has it listen for it, or is English where the model knows no other."""
    from whisper.tokenizer import LANGUAGES

    primary = (tag or "").lower().split("-")[0]
    return primary if model.is_multilingual and primary in list(LANGUAGES)[: model.num_languages] else None


def reply(asked: Pending, work: Reply) -> dict[str, float]:
    """Tell a reply as it is written."""
    if work.model.suffix == ".gguf":
        from echod.speech.local import llama as local_llama

        return local_llama.reply(work, asked.say)
    tokenizer, model = load_chat(work.model)
    if work.messages is None:
        return {}
    from transformers import TextStreamer

    prompt = tokenizer.apply_chat_template(
        [_with_arguments(message) for message in work.messages],
        tools=work.tools,
        add_generation_prompt=True,
        enable_thinking=False,  # nobody should hear it
        return_dict=True,
        return_tensors="pt",
    ).to(model.device)

    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    streamer.on_finalized_text = lambda text, stream_end=False: asked.say(text) if text else None
    with asked.ending(model):
        tokens = model.generate(**prompt, streamer=streamer, max_new_tokens=work.max_tokens)
    given = prompt["input_ids"].shape[1]
    if tokens.shape[1] - given == work.max_tokens and tokens[0, -1] not in _ends(model):
        raise Failure("length", f"the model stopped at {work.max_tokens} tokens")
    return {"input_tokens": given, "output_tokens": tokens.shape[1] - given}


def _with_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """Templates write the arguments of calls as JSON themselves."""
    if "tool_calls" not in message:
        return message
    calls = [{**call, "function": {**call["function"], **_read(call["function"])}} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _read(function: dict[str, Any]) -> dict[str, Any]:
    with suppress(ValueError):
        return {"arguments": json.loads(function["arguments"])}
    return {}


def _ends(model: Any) -> list[int]:
    """The tokens that end a reply."""
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


def speak(asked: Pending, work: Speak) -> dict[str, float]:
    """Tell a sentence's sound."""
    from echod.speech.local.speaker import load_speaker

    speaker = load_speaker(work.engine, work.model)
    if work.sentence is None:
        return {}
    for sound in speaker(work.sentence):
        for start in range(0, len(sound), PIECE):
            asked.check()
            asked.tell(Sound(sound[start : start + PIECE]))
    return {}


@lru_cache(maxsize=1)
def load_whisper(path: Path) -> Any:
    import whisper

    try:
        return whisper.load_model(str(path), _device())
    except Exception as error:
        raise Failure(
            "missing", f"{path} is not a whole Whisper checkpoint in OpenAI's format: {_reason(error)}"
        ) from error


@lru_cache(maxsize=1)
def load_chat(directory: Path) -> tuple[Any, Any]:
    """A tokenizer with a chat template, and its model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cuda = _device() == "cuda"
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, **local)
        # On many CPUs half precision is the slower one.
        model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype="auto" if cuda else torch.float32, **local)
    except Exception as error:
        raise Failure(
            "missing", f"{directory} holds no chat model that transformers can load: {_reason(error)}"
        ) from error
    if not tokenizer.chat_template:
        raise Failure("missing", f"the tokenizer in {directory} has no chat template: take a model made for chat")
    return tokenizer, model.to("cuda" if cuda else "cpu")


def _device() -> str:
    """The card that the daemon lets this process see, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted := os.environ.get(VISIBLE):
        log.warning("speech_device: torch sees no card by %s=%s; on the CPU instead", VISIBLE, wanted)
    return "cpu"


def _reason(error: Exception) -> str:
    """Its first sentence: some go on for a page."""
    words = str(error).partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {words}"[:MAX_REASON]


if __name__ == "__main__":
    main()
