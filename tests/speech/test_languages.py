"""Telling the language of a text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from echod.speech.languages import language_of, spoken_language

ROOT = Path(__file__).parent.parent.parent

TEXTS = {
    "zh": ["你好", "安装 Visual Studio Code", "A word: 你好"],
    "ja": ["今日はいい天気です。", "ハンバーガー"],
    "ko": ["안녕하세요"],
    "ru": ["Привет, как дела?"],
    "uk": ["Привіт, як справи?"],
    "el": ["Καλημέρα"],
    "ar": ["مرحبا بالعالم"],
    "fa": ["چطور هستید"],
    "he": ["שלום עולם"],
    "hi": ["नमस्ते"],
    "th": ["สวัสดีครับ"],
    "de": ["Guten Morgen, wie geht es Ihnen?", "Ich bin nicht sicher.", "DAS IST NICHT WAHR!"],
    "es": ["Buenos días, ¿cómo está usted?", "El gato está en la casa."],
    "fr": ["Bonjour, comment allez-vous ? C'est pour vous.", "Je ne suis pas sûr, et vous ?"],
    "it": ["Buongiorno, come sta?", "Questo è molto bello."],
    "nl": ["Goedemorgen, hoe gaat het met u?", "Ik weet het niet."],
    "pl": ["Dzień dobry, jak się masz?"],
    "pt": ["Bom dia, como vai você?", "Não sei o que dizer."],
    "sv": ["Jag vet inte.", "Det är en fin dag."],
}


@pytest.mark.parametrize(("language", "text"), [(tag, text) for tag, texts in TEXTS.items() for text in texts])
def test_told_by_letters_or_words(language: str, text: str) -> None:
    """A text whose script or commonest words are those of one language is in it."""
    assert language_of(text) == language


@pytest.mark.parametrize(
    "text",
    ["", "123", "🙂", "Hello.", "The angle α is small.", "Le Havre", "La La Land", "El Paso, Texas", "die in the den",
     "I was told that she has come to the den on her way."],
)  # fmt: skip
def test_english_unless_something_says_otherwise(text: str) -> None:
    """A foreign letter, name or word in passing makes no other language of English."""
    assert language_of(text) is None


def test_english_prose_is_never_another_language() -> None:
    """Of all sentences of this project's own English documents none is taken for another language."""
    prose = " ".join(path.read_text("utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.DOTALL | re.MULTILINE)  # examples speak other languages
    latin = [sentence for sentence in re.split(r"(?<=[.:!?])\s", prose) if sentence.isascii()]
    assert len(latin) > 500
    assert [sentence for sentence in latin if language_of(sentence)] == []


@pytest.mark.parametrize(
    ("told", "text", "spoken"),
    [
        (None, "Hello.", None),
        (None, "你好", "zh"),
        ("en", "你好", "zh"),
        ("en-GB", "Guten Morgen, wie geht es?", "en-GB"),
        ("zh-CN", "iPhone", "zh-CN"),
        ("ja", "東京", "ja"),
        ("uk", "Добрий день", "uk"),
        ("de", "Привет", "ru"),
    ],
)
def test_what_is_told_counts(told: str | None, text: str, spoken: str | None) -> None:
    """The language that somebody tells is spoken, unless it cannot be written like that."""
    assert spoken_language(text, told) == spoken
