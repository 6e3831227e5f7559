"""The help in Chinese: what click shows of the commands, and click's own words. Imported where Chinese is spoken."""

from __future__ import annotations

import gettext
import inspect
import re
from collections.abc import Iterable, Iterator

import click
from wcwidth import width

from echod.commands.words import t
from echod.commands.zh.click import CLICK

# What stays together in a line: a word, or one Chinese character, with what may not begin or not end a line.
WIDE = r"\u2e80-\uffff"
PIECE = re.compile(rf"\s+|[（「“《]*(?:[^\s{WIDE}]+|[{WIDE}])[，。；：、！？）」”》,.;:!?)]*")


class Formatter(click.HelpFormatter):
    """Breaks lines by columns, and between any two Chinese characters."""

    def write_text(self, text: str) -> None:
        indent = " " * self.current_indent
        paragraphs = []
        for paragraph in text.split("\n\n"):
            kept = paragraph.startswith("\b")
            lines = paragraph.split("\n")[1:] if kept else _fold(paragraph, self.width - self.current_indent)
            paragraphs.append("".join(f"{indent}{line}\n" for line in lines))
        self.write("\n".join(paragraphs))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        rows = list(rows)
        first = min(max((width(term) for term, _ in rows), default=0), col_max) + col_spacing
        indent = " " * self.current_indent
        for term, words in rows:
            lines = list(_fold(words, max(self.width - self.current_indent - first, 10)))
            if lines and width(term) <= first - col_spacing:
                self.write(f"{indent}{term}{' ' * (first - width(term))}{lines.pop(0)}\n")
            else:
                self.write(f"{indent}{term}\n")
            for line in lines:
                self.write(f"{indent}{' ' * first}{line}\n")


class Context(click.Context):
    formatter_class = Formatter


def translate(command: click.Command) -> None:
    """The help of a command and of all below it. A help's key is its paragraph, its line breaks being spaces."""
    command.context_class = Context
    command.help = help_of(command.help or "")
    command.short_help = command.help.partition("\n\n")[0].partition("。")[0]
    command.options_metavar = t(command.options_metavar or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.help:
            parameter.help = t(parameter.help)
    if isinstance(command, click.Group):
        command.subcommand_metavar = t(command.subcommand_metavar)
        for each in command.commands.values():
            translate(each)


def translate_click() -> None:
    """Click asks gettext for its words, which would look for them in files."""
    gettext.dgettext = lambda domain, message: CLICK.get(message, message)
    gettext.dngettext = _counted


def _counted(domain: str, msgid1: str, msgid2: str, n: int) -> str:
    return CLICK.get(msgid2, msgid1 if n == 1 else msgid2)


def help_of(text: str) -> str:
    return "\n\n".join(t(each) for each in paragraphs(text))


def paragraphs(text: str) -> list[str]:
    """Of a docstring; one that begins with \\b keeps its lines."""
    found = inspect.cleandoc(text).split("\n\n")
    return [each if each.startswith("\b") else " ".join(each.split()) for each in found]


def _fold(text: str, columns: int) -> Iterator[str]:
    line = ""
    for piece in PIECE.findall(" ".join(text.split())):
        if line and width((line + piece).rstrip()) > columns:
            yield line.rstrip()
            line = ""
        line += piece if line else piece.lstrip()
    if line.strip():
        yield line.rstrip()
