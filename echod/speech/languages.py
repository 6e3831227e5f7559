"""Which language a text is in, as far as its letters and its commonest words tell.

A script that one language mostly has decides at once: any Chinese, Japanese or Korean letter does, for no other voice
reads it; of other scripts more letters than Latin ones. Latin text is another language than English only where at
least two of that language's stop words are in it, more than of any other: to take English for something else would be
worse than to miss something else.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# A script, as Unicode's names of its letters begin, and the language it most likely is.
EAST_ASIAN = {"HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh"}  # kana decides where there is both
SCRIPTS = {
    "ARABIC": "ar", "ARMENIAN": "hy", "BENGALI": "bn", "CYRILLIC": "ru", "DEVANAGARI": "hi", "ETHIOPIC": "am",
    "GEORGIAN": "ka", "GREEK": "el", "GUJARATI": "gu", "GURMUKHI": "pa", "HEBREW": "he", "KANNADA": "kn",
    "MALAYALAM": "ml", "TAMIL": "ta", "TELUGU": "te", "THAI": "th",
}  # fmt: skip
# Languages that share a script, by letters that the likeliest one lacks.
MARKED = {"ru": ("uk", set("іїєґ")), "ar": ("fa", set("پچژگ"))}
# Those that are written in the script of another.
SHARED = {
    "zh": {"zh", "ja", "ko", "yue", "cmn"},
    "ru": {"ru", "uk", "be", "bg", "sr", "mk", "kk", "ky", "mn", "tg", "tt"},
    "ar": {"ar", "fa", "ur", "ps", "sd", "ug", "ku"},
    "hi": {"hi", "mr", "ne", "sa"},
}

# Without those that are English words too (die, was, den, son, come, no, a ...).
STOP_WORDS = {
    "en": "the and of to is in that it you i for are with this was have be not on what how my your we he she they at",
    "de": "der das und ist nicht ich ein eine einen zu mit auf für sie wir es im dem von wie guten danke bitte auch",
    "es": "el los las una que es por para con está cómo muy pero más qué sé yo del gracias hola buenos buenas usted",
    "fr": "le les et est une des du je vous nous que qui dans pas pour avec très bonjour merci ce cette c'est",
    "it": "il che di è una per non lo sono della gli buongiorno grazie con come questo molto ma anche ciao buona si",
    "nl": "het een van ik niet je dat zijn voor met maar ook goede dank hoe wij jullie naar deze",
    "pl": "nie się jest na że jak co dzień dobry dziękuję tak jestem ale są",
    "pt": "os uma que não é para você obrigado bom dia muito mas por isso da eu está um",
    "sv": "och att det är jag en som på för med inte har tack hej den vi hur",
}
STOPS = {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}
ENOUGH = 2  # stop words

WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str | None:
    """The language of a text, as a primary tag; None where nothing says that it is not English."""
    return language_of_script(text) or _language_of_words(text)


def language_of_script(text: str) -> str | None:
    """The language that the script of a text speaks for; None for Latin."""
    scripts: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if letter.isalpha():
            scripts[unicodedata.name(letter, "").partition(" ")[0]] += count
    for script, language in EAST_ASIAN.items():
        if scripts[script]:
            return language
    script = max(SCRIPTS, key=scripts.__getitem__)
    if scripts[script] <= scripts["LATIN"]:
        return None
    language = SCRIPTS[script]
    other, letters = MARKED.get(language, (language, set()))
    return other if letters & set(text.lower()) else language


def spoken_language(text: str, told: str | None) -> str | None:
    """The language to speak a text in: the one that was `told`, unless its script is another language's."""
    script = language_of_script(text)
    if told is None:
        return script or _language_of_words(text)
    shared = next((tags for tags in SHARED.values() if script in tags), {script})
    return told if script is None or told.lower().split("-")[0] in shared else script


def _language_of_words(text: str) -> str | None:
    words = set(WORD.findall(text.lower()))
    hits = {language: len(words & stops) for language, stops in STOPS.items()}
    (language, most), (_, second) = Counter(hits).most_common(2)
    return language if language != "en" and most >= ENOUGH and most > second else None
