"""What documentation names is there, and what is there is named: settings, routes, events, metrics, commands, codes."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

from echod import config
from echod.cli import INTERRUPTED, echod
from echod.errors import TABLE
from echod.server.asyncapi import CHANNELS
from echod.server.metrics import Metrics
from echod.server.page import FILES
from echod.server.present import Present
from echod.workers.state import Cluster

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for where in ("*.md", "docs/**/*.md", "deploy/*.md", "echod/**/*.md", "examples/**/*.md", "integrations/*/*.md")
    for page in ROOT.glob(where)
)
OF_TODAY = [page for page in PAGES if page.name != "CHANGELOG.md"]  # that one tells of what was, too
REFERENCE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "reference.py"))
API, COMMANDS = ((ROOT / "docs" / name).read_text("utf-8") for name in ("api.md", "commands.md"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_tables_are_as_the_code_has_them() -> None:
    """Routes, events, settings, commands, and docs/asyncapi.json: `python scripts/reference.py` writes them anew."""
    found = set()
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text("utf-8")
        assert text == REFERENCE["written"](text), f"run python scripts/reference.py: {page.name}"
        found |= set(re.findall(r"^<!-- (\w+) -->$", text, re.MULTILINE))
    assert REFERENCE["ASYNCAPI"].read_text("utf-8") == REFERENCE["asyncapi"](), "run python scripts/reference.py"
    assert found - {"end"} == set(REFERENCE["TABLES"])


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "zh"], ids=name_of)
def test_translated_tables(page: Path) -> None:
    """They name nothing that the code does not have."""
    for name, rows in re.findall(r"<!-- (\w+) -->\n(.*?)<!-- end -->", page.read_text("utf-8"), re.DOTALL):
        first = re.compile(r"^\| (`[^|]*`) ", re.MULTILINE)
        assert set(first.findall(rows)) <= set(first.findall(REFERENCE["TABLES"][name]())), name


def test_error_codes() -> None:
    """docs/api.md has each code with its status and its exit code, in the order of the table."""
    rows = re.findall(r"^\| `(\w+)` \| (\d*) \| (\d+) \| .+ \|$", API.partition("\n## Errors\n")[2], re.MULTILINE)
    assert rows == [(code, str(row.status or ""), str(row.exit_code)) for code, row in TABLE.items()]


def test_exit_codes() -> None:
    """docs/commands.md has all of them."""
    told = re.findall(r"^\| (\d+) \| .+ \|$", COMMANDS.partition("\nExit codes:\n")[2], re.MULTILINE)
    assert sorted(map(int, told)) == sorted({0, INTERRUPTED, *(row.exit_code for row in TABLE.values())})


def test_metrics() -> None:
    """docs/watching.md has each metric, and no page another."""
    present = Present(0, 0, 0, [], 0, 0, 0, 0, 0, Cluster(address="local"))
    shown = {family.name for family in Metrics(lambda: present).registry.collect()}
    table = (ROOT / "docs" / "watching.md").read_text("utf-8").partition("\n## Metrics\n")[2]
    told = re.findall(r"^\| `(echod_\w+)` \|", table, re.MULTILINE)
    assert sorted(re.sub(r"_(total|info)$", "", name) for name in told) == sorted(shown)
    for page in OF_TODAY:
        for name in re.findall(r"`(echod_\w+)[`{]", page.read_text("utf-8")):
            assert re.sub(r"_(total|info|bucket|count|sum)$", "", name) in shown, (name_of(page), name)


@cache
def served() -> re.Pattern[str]:
    """Matches the addresses there are."""
    paths = {path for _, path in re.findall(r"`([A-Z]+) (/[^`]*)`", REFERENCE["routes"]())}
    whole = [re.sub(r"\\{\w+\\}", r"[^/\\s]+", re.escape(path)) for path in paths]
    others = [re.escape(path) for path in (*FILES, "/docs", "/openapi.json", "/asyncapi.json")]
    return re.compile("|".join((*whole, *others, *(re.escape(each.path) for each in CHANNELS.values()))))


@pytest.mark.parametrize("page", OF_TODAY, ids=name_of)
def test_routes_that_are_named(page: Path) -> None:
    """Each is there."""
    text = page.read_text("utf-8")
    for path in re.findall(r"(?<![\w.])(/v1/[\w/{}.<>*-]+)", text):
        plain = re.sub(r"[<{]\w+[>}]|\.\.\.", "x", path).rstrip("./*")
        assert served().fullmatch(plain) or any(plain == each for each in beginnings()), (name_of(page), path)


@cache
def beginnings() -> set[str]:
    """What stands for the routes below it."""
    paths = [path for _, path in re.findall(r"`([A-Z]+) (/[^`]*)`", REFERENCE["routes"]())]
    return {"/".join(path.split("/")[:count]) for path in paths for count in range(2, 4)}


def code_of(text: str) -> Iterator[str]:
    """Spans of code, and the lines of consoles that call something."""
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    for block in re.findall(r"^```(?:console|sh|bash)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line[2:].partition(" #")[0]


def called(code: str) -> tuple[click.Command, list[str]] | None:
    """Which of our commands a span of code calls, and with which options."""
    words = re.sub(r"^(sudo|\S+=\S+) ", "", code).split(" | ")[0].split(" > ")[0].split()
    if not words or words[0] != "echod":
        return None
    command: click.Command = echod
    for word in words[1:]:
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z]+", word):
            raise AssertionError(f"there is no command {word!r}")
        else:
            break
    return command, re.findall(r"(?<=[\s\[])--[a-z][a-z0-9-]*", code.split(" | ")[0])


@pytest.mark.parametrize("page", OF_TODAY, ids=name_of)
def test_commands_that_are_named(page: Path) -> None:
    """Each is there, with the options that it is called with."""
    for code in code_of(page.read_text("utf-8")):
        if not (found := called(code)):
            continue
        command, given = found
        known = {"--url", "--help", "--version"} | {name for each in command.params for name in each.opts}
        assert set(given) <= known, (name_of(page), code)


def test_environment_variables_that_are_named() -> None:
    """Each is a setting, or is read by something; those that are no settings stand in docs/settings.md."""
    settings = {f"ECHOD_{name.upper()}" for name in config.SETTINGS}
    sources = [*(ROOT / "echod").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "tests").rglob("*.mjs")]
    read = {name for path in sources for name in re.findall(r"ECHOD_[A-Z][A-Z_]*[A-Z]", path.read_text("utf-8"))}
    for page in OF_TODAY:
        for name in re.findall(r"ECHOD_[A-Z][A-Z_]*[A-Z]", page.read_text("utf-8")):
            assert name in settings | read, (name_of(page), name)
    told = (ROOT / "docs" / "settings.md").read_text("utf-8")
    program = {
        name
        for path in (ROOT / "echod").rglob("*.py")
        for name in re.findall(r'"(ECHOD_[A-Z][A-Z_]*[A-Z])"', path.read_text("utf-8"))
    }
    assert {name for name in program - settings if f"`{name}`" not in told} == set()


@cache
def anchors(page: Path) -> set[str]:
    """Where one can link to in a page, as GitHub names it."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page: Path) -> None:
    """Each leads to a file that is there, and to a heading that it has; addresses elsewhere are not asked for."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(\s*<?([^)\s>]+)>?\s*\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), (name_of(page), link)
        assert not anchor or anchor in anchors(target), (name_of(page), link)
