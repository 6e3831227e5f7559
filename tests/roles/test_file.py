"""A role.toml: what it may say, and how errors in it are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.errors import EchodError
from echod.roles.file import RoleFile, check_name, check_role, dump, read

PATH = Path("/roles/ada/role.toml")

WHOLE = """\
title = "Ada"
personality = '''
title = "not the title"
fps = 7
'''
language = "zh-CN"
greeting = "你好"
portrait = "portrait.jpg"
voice = "a voice"
engine = "preview"
mode = "audio"

[options]
size = "256x384"
fps = 25
steps = 4
guidance = 2.5
seed = 7
"""


def refused(text: str | bytes) -> EchodError:
    with pytest.raises(EchodError) as refusal:
        read(text if isinstance(text, bytes) else text.encode(), PATH)
    return refusal.value


def test_every_key() -> None:
    """A file may say all of this."""
    assert read(WHOLE.encode(), PATH) == RoleFile(
        title="Ada",
        personality='title = "not the title"\nfps = 7',
        language="zh-CN",
        greeting="你好",
        portrait="portrait.jpg",
        voice="a voice",
        engine="preview",
        mode="audio",
        options={"size": "256x384", "fps": 25, "steps": 4, "guidance": 2.5, "seed": 7},
    )


def test_byte_order_mark() -> None:
    """The mark with which some editors begin a file is none of its text."""
    assert read(b"\xef\xbb\xbf" + WHOLE.encode(), PATH) == read(WHOLE.encode(), PATH)
    assert f"{PATH}:2:" in refused(b'\xef\xbb\xbfportrait = "p.png"\ntitel = 1').message


def test_portrait_is_enough() -> None:
    """Everything but the portrait may be left out; engine auto is the same as none."""
    assert read(b'portrait = "p.png"', PATH) == RoleFile(portrait="p.png")
    assert read(b'portrait = "p.png"\nengine = "auto"', PATH) == RoleFile(portrait="p.png")


@pytest.mark.parametrize(
    ("change", "line", "word"),
    [
        (('title = "Ada"', 'titel = "Ada"'), 1, "did you mean title?"),
        (('title = "Ada"', "title = 3"), 1, "title"),
        (('title = "Ada"', 'title = "A\\u001b[2J"'), 1, "control"),
        (('language = "zh-CN"', 'language = "Chinese, please"'), 6, "language"),
        (('portrait = "portrait.jpg"', ""), 1, "portrait is missing"),
        (('portrait = "portrait.jpg"', 'portrait = "../portrait.jpg"'), 8, "no path"),
        (('portrait = "portrait.jpg"', 'portrait = "/etc/passwd"'), 8, "no path"),
        (('portrait = "portrait.jpg"', "portrait = '..\\portrait.jpg'"), 8, "no path"),
        (('portrait = "portrait.jpg"', 'portrait = ".."'), 8, "no path"),
        (('portrait = "portrait.jpg"', 'portrait = "a\\u0000b"'), 8, "control"),
        (('engine = "preview"', 'engine = "previw"'), 10, "one of auto, preview"),
        (('mode = "audio"', 'mode = "film"'), 11, "audio, video"),
        (("fps = 25", "fps = 250"), 15, "from 1 to 60"),
        (("fps = 25", "fsp = 25"), 15, "did you mean fps?"),
        (('size = "256x384"', 'size = "256"'), 14, "WIDTHxHEIGHT"),
        (("[options]", "[option]"), 13, "did you mean options?"),
        (("seed = 7", "seed = "), 18, "Invalid value"),
        (("seed = 7", 'seed = """'), 19, ""),
        (("你好", "\udcff"), 7, "UTF-8"),
    ],
)
def test_errors(change: tuple[str, str], line: int, word: str) -> None:
    """An error names file, line, what is wrong and what is allowed."""
    text = WHOLE.replace(*change)
    assert text != WHOLE
    message = refused(text.encode(errors="surrogateescape")).message
    assert message.startswith(f"{PATH}:{line}: "), message
    assert word in message


def test_options_elsewhere() -> None:
    """Options written in other ways are checked too, and blamed on the line where they begin."""
    assert refused('portrait = "p.png"\noptions = { fps = 99 }').message.startswith(f"{PATH}:2: fps = 99")
    assert refused('portrait = "p.png"\noptions.fps = 99').message.startswith(f"{PATH}:2: fps = 99")
    assert refused('portrait = "p.png"\noptions = 3').message.startswith(f"{PATH}:2: options must be a table")


def test_text_of_forms() -> None:
    """Numbers may come as text, lines may end as browsers end them."""
    role = check_role({"portrait": "p.png", "options": {"fps": "25"}, "personality": "one\r\ntwo", "voice": ""})
    assert role == RoleFile(portrait="p.png", options={"fps": 25}, personality="one\ntwo")


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".ada", "-ada", "Ada", "a/b", "a\\b", "a b", "ä", "a" * 33, "ada\n", "a\0"]
)
def test_bad_names(name: str) -> None:
    """A name is a plain word: nothing that could be a path, or look like another name."""
    with pytest.raises(EchodError) as refusal:
        check_name(name)
    assert refusal.value.code == "invalid_request"


@pytest.mark.parametrize("name", ["ada", "0", "a.b_c-d", "a" * 32])
def test_good_names(name: str) -> None:
    """Small letters, digits, dots, dashes and underlines, 32 at most."""
    assert check_name(name) == name


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\"'\\#"), max_size=40).map(
    str.strip
)


@given(
    title=texts,
    personality=texts,
    greeting=texts,
    options=st.fixed_dictionaries({}, optional={"fps": st.integers(1, 60), "guidance": st.floats(0, 20)}),
)
def test_what_is_written_is_read(title: str, personality: str, greeting: str, options: dict[str, Any]) -> None:
    """Whatever a role says survives being written to a file."""
    role = RoleFile(
        title=" ".join(title.split()), personality=personality, greeting=greeting, portrait="p.png", options=options
    )
    assert read(dump(role).encode(), PATH) == role
