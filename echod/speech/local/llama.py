"""Chat models in one GGUF file, read by llama.cpp. Imported in a child only."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echod.speech.backend import Failure
from echod.speech.local.messages import Reply
from echod.speech.sentences import Sentences

if TYPE_CHECKING:
    from xllamacpp import Server

CONTEXT = 8192  # tokens; memory is taken for all of them
# A very small model repeats itself, finds no end, and forgets how it was told to answer.
SMALL: dict[str, float] = {"temperature": 0, "repeat_penalty": 1.05, "repeat_last_n": 64}
SMALL_TOKENS = 256
SMALL_SENTENCES = 3
WHOLE = re.compile(r"[.!?…][\"'”’)*]*\s*$")  # a sentence, not a clause of a long one
SMALL_REMINDER = " Answer in two short sentences."


def reply(work: Reply, tell: Callable[[str], None]) -> dict[str, float]:
    """Tell a reply as it is written; what `tell` raises ends it at once. Failure: missing, invalid."""
    server = load_llama(work.model)
    if work.messages is None:
        return {}
    if work.small:
        work.messages[-1]["content"] += SMALL_REMINDER
    body = {
        "messages": work.messages,
        "stream": True,
        "timings_per_token": True,
        "chat_template_kwargs": {"enable_thinking": False},  # nobody should hear it
        "max_tokens": min(work.max_tokens, SMALL_TOKENS) if work.small else work.max_tokens,
        **(SMALL if work.small else {}),
    }
    writing = _Writing(tell, SMALL_SENTENCES if work.small else None)
    server.handle_chat_completions(body, writing.take)
    if writing.failure:
        raise writing.failure
    if writing.cut:
        raise Failure("length", f"the model stopped at {body['max_tokens']} tokens")
    return writing.usage


class _Writing:
    """A reply in the making, which ends with its last sentence if these are counted."""

    def __init__(self, tell: Callable[[str], None], sentences: int | None) -> None:
        self.failure: Exception | None = None
        self.usage: dict[str, float] = {}
        self.cut = False  # by the most tokens it may have
        self._tell = tell
        self._left = sentences
        self._cutter = Sentences()

    def take(self, chunk: dict[str, Any]) -> bool:
        """What llama.cpp calls with more of the reply; whether it is to stop. Nothing raised here would be heard of."""
        try:
            return self._take(chunk)
        except Exception as error:
            self.failure = error
            return True

    def _take(self, chunk: dict[str, Any]) -> bool:
        if "error" in chunk:
            raise Failure("invalid", f"the model refuses: {chunk['error'].get('message')}")
        if timings := chunk.get("timings"):
            asked = timings["prompt_n"] + timings.get("cache_n", 0)
            self.usage = {"input_tokens": asked, "output_tokens": timings["predicted_n"]}
        words = "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
        self.cut = self.cut or any(choice.get("finish_reason") == "length" for choice in chunk["choices"])
        if self._left is not None:
            words = self._up_to_the_last(words)
        if words:
            self._tell(words)
        return self._left == 0

    def _up_to_the_last(self, words: str) -> str:
        """Sentences may end anywhere in a token."""
        assert self._left is not None
        for place, letter in enumerate(words, 1):
            self._left -= sum(WHOLE.search(sentence.text) is not None for sentence in self._cutter.feed(letter))
            if self._left == 0:
                return words[:place]
        return words


@lru_cache(maxsize=1)
def load_llama(model: Path) -> Server:
    from xllamacpp import CommonParams, Server

    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))  # more than there are cores to spare, and they spin
    parameters = CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx, parameters.n_parallel, parameters.cache_ram_mib = CONTEXT, 1, 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.warmup = parameters.fit_params = parameters.endpoint_slots = parameters.ui = False
    parameters.verbosity = 1  # errors
    # It insists on listening; nobody but this process is to find it, and nothing ever asks it through a socket.
    with tempfile.TemporaryDirectory(prefix="echod-") as private:
        parameters.hostnames = [f"{private}/llama.sock"]
        try:
            return Server(parameters)
        except RuntimeError as error:
            raise Failure("missing", f"{model.name} is no GGUF file that llama.cpp can read") from error
