"""The two languages of the page, read from its source."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import echod.server

STATIC = Path(echod.server.__file__).parent / "static"
SHOWN = (
    re.compile(r'(?<!\w)t\("([^"]+)"'),
    re.compile(r'"([A-Z][a-z]+[^"<>]* [^"<>]*[.…])"'),
    re.compile(r'^ +[\w"-]+: "([A-Z][^"]*)",$', re.MULTILINE),
)


def source(path: Path) -> str:
    """With literals that span lines in one piece."""
    return re.sub(r'" \+\n *"', "", path.read_text())


def chinese() -> set[str]:
    return set(re.findall(r'^ {2}"(.+?)":', (STATIC / "zh.js").read_text(), re.MULTILINE))


def english() -> set[str]:
    """What is shown: the arguments of `t`, sentences and tables of words in scripts, and `data-t` in index.html."""
    words: set[str] = set()
    for path in STATIC.glob("*.js"):
        if path.name != "zh.js":
            for shown in SHOWN:
                words |= set(shown.findall(source(path)))
    page = (STATIC / "index.html").read_text()
    words |= {unescape(text) for text in re.findall(r"<[^>]* data-t(?: [^>]*)?>([^<]+)<", page)}
    words |= set(re.findall(r'aria-label="([^"]+)" data-t-aria-label', page))
    words |= set(re.findall(r'<optgroup label="([^"]+)" data-t-label', page))
    return words | set(re.findall(r'placeholder="([^"]+)" data-t-placeholder', page))


def test_chinese_is_complete() -> None:
    """Whatever the page says in English it can say in Chinese."""
    assert english() - chinese() == set()


def test_chinese_is_in_use() -> None:
    """There is no translation of what nobody says any more."""
    said = [path for path in STATIC.iterdir() if path.suffix in (".js", ".html") and path.name != "zh.js"]
    sources = unescape("".join(map(source, said)))
    assert {words for words in chinese() if words not in sources} == set()


def test_placeholders_agree() -> None:
    """A translation has the same {names} in it."""
    pairs = re.findall(r'^ {2}"(.+?)":\s+"(.+?)",$', (STATIC / "zh.js").read_text(), re.MULTILINE)
    assert len(pairs) == len(chinese())
    assert [
        pair for pair in pairs if set(re.findall(r"\{\w+\}", pair[0])) != set(re.findall(r"\{\w+\}", pair[1]))
    ] == []
