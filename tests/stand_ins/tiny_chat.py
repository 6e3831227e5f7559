"""A chat model of a few kilobytes that always says the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}<assistant> "
MARKS = ("<unknown>", "<end>", "<system>", "<user>", "<assistant>")


def write_chat_model(directory: Path, says: Sequence[str], *, endless: bool = False) -> Path:
    """A transformers model that replies with these words, all different; endless: over and over."""
    from transformers import LlamaConfig, LlamaForCausalLM  # seconds, which collecting the tests need not take

    words = [*MARKS, *says]
    follows = dict(zip(["<assistant>", *says], [*says, says[0] if endless else "<end>"], strict=True))
    _write_tokenizer(directory, words)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=2048, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.zero_()  # the layer adds nothing: a word alone decides the next
        model.model.embed_tokens.weight.copy_(torch.eye(len(words), 32))
        model.lm_head.weight.zero_()
        for word, following in follows.items():
            model.lm_head.weight[words.index(following), words.index(word)] = 1
    model.generation_config.do_sample = False
    model.save_pretrained(directory)
    return directory


def _write_tokenizer(directory: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unknown>", eos_token="<end>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(directory)
