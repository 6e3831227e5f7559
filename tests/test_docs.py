"""What the documentation claims about settings and files is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from echod import config
from echod.speech.plan import plan

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CHINESE = DOCS / "zh"
SPEECH = (DOCS / "speech.md").read_text("utf-8")
PAIRS = {
    "README.md": (ROOT / "README.md", ROOT / "README.zh-CN.md"),
    **{page.name: (page, CHINESE / page.name) for page in sorted(DOCS.glob("*.md"))},
}
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", SPEECH, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("section", ["speech", "conversation", "provenance", "webhooks"])
def test_the_table_of_settings(section: str) -> None:
    """The page about a section has every setting of it, in order, with its default."""
    page = (DOCS / f"{section}.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", page.partition("\n## Settings\n")[2], re.MULTILINE)
    assert rows == [
        (name, json.dumps(setting.metadata["kind"].show(setting.default)))
        for name, setting in config.SETTINGS.items()
        if setting.metadata["section"] == section
    ]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_speech_settings(tmp_path: Path, example: str) -> None:
    """Each example of docs/speech.md is a config file that the daemon starts with, given a key."""
    file = tmp_path / "config.toml"
    file.write_text(example)
    settings = config.load({}, {"HOME": str(tmp_path)}, [file])
    given = {name for name, origin in settings.origins.items() if origin == str(file)}
    assert given
    chosen = plan(settings, {"DASHSCOPE_API_KEY": "sk-example"} if "openai_url" not in given else {}).chosen
    if "openai_url" in given:
        assert "openai" in chosen.values()
    if settings.voice:
        assert chosen["speak"] == settings.voice.partition("/")[0]


def test_where_everything_lives_now() -> None:
    """docs/from-the-web-app.md names files that are there, and each part of the plan once."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", (DOCS / "from-the-web-app.md").read_text("utf-8"), re.MULTILINE)
    files = [path for _, here in rows for path in re.findall(r"`([\w/.-]+/[\w/.-]+)`", here)]
    assert len(files) > 40
    assert [path for path in files if not (ROOT / path).exists()] == []
    parts = [part for part, _ in rows if part != "in the plan"]
    assert sorted(set(parts)) == sorted(parts)


@pytest.mark.parametrize(("page", "promises"), [("SECURITY.md", 30), ("docs/gpu.md", 12)])
def test_pages_name_tests_that_exist(page: str, promises: int) -> None:
    """A promise is made where a test keeps it."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / page).read_text("utf-8"))
    assert len(named) > promises
    missing = [
        (file, test)
        for file, test in named
        if not (ROOT / file).exists() or f"def {test or 'test_'}" not in (ROOT / file).read_text("utf-8")
    ]
    assert not missing


def code_of(text: str) -> list[str]:
    return re.findall(r"^```.*?^```$", text, re.DOTALL | re.MULTILINE) + re.findall(
        r"^ {4}.*$", prose_of(text), re.MULTILINE
    )


def prose_of(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def headings_of(text: str) -> list[str]:
    return re.findall(r"^#+(?= )", prose_of(text), re.MULTILINE)


def tables_of(text: str) -> list[list[list[str]]]:
    """Of each row its code and its figures, which are the same in every language."""
    tables = re.findall(r"(?:^\|.*\n)+", prose_of(text), re.MULTILINE)
    return [[sorted(re.findall(r"`[^`]+`|\d[\d.,]*\d|\d", row)) for row in table.splitlines()] for table in tables]


def test_every_page_is_there_in_chinese() -> None:
    """And no other, but the one with the words that are used."""
    assert {page.name for page in CHINESE.glob("*.md")} - {"README.md"} == set(PAIRS) - {"README.md"}


@pytest.mark.parametrize("page", PAIRS)
def test_a_page_in_chinese(page: str) -> None:
    """It has the English one's code, headings and rows of tables, and each leads to the other."""
    english, chinese = (path.read_text("utf-8") for path in PAIRS[page])
    assert code_of(chinese) == code_of(english)
    assert headings_of(chinese) == headings_of(english)
    assert tables_of(chinese) == tables_of(english)
    one, other = PAIRS[page]
    for word, here, there in (("中文", one, other), ("English", other, one)):
        links = re.findall(rf"\[{word}\]\((.+?)\)", here.read_text("utf-8"))
        assert [(here.parent / link).resolve() for link in links] == [there]
