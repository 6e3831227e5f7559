"""The command line in Chinese: whatever it says in English is known, nothing else is, and what programs read stays."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import click
import pytest
from wcwidth import width

import echod
from echod import cli
from echod.commands import words
from echod.commands.chinese import paragraphs
from echod.commands.overview import job_table
from echod.commands.progress import bar, summary
from echod.commands.words import Template, language
from echod.commands.zh import WORDS
from echod.commands.zh.click import CLICK
from echod.commands.zh.errors import ERRORS
from echod.commands.zh.help import HELP
from echod.commands.zh.printed import PRINTED
from echod.inference.contract import STAGES
from echod.jobs.job import Status
from echod.webhooks.rows import State as DeliveryState
from echod.workers.state import NodeState, WorkerState
from tests.drivers.command import run

PACKAGE = Path(echod.__file__).parent
# Whose errors the command line shows because it raises them itself.
RAISING = ("client", "config.py", "kinds.py", "backup", "host/steps.py", "host/service.py")
SAYING = ("t", "note", "table_lines", "confirm_removal", "_password")  # what is handed to them is said
VOCABULARY = {
    *get_args(Status),
    *get_args(WorkerState),
    *get_args(NodeState),
    *get_args(DeliveryState),
    *STAGES,
    "speak",
}
# With a blank in it, and for programs, shells and files.
UNSAID = re.compile(
    r"^\s*import |extra ==|^echod\{\} @|service show( --user)? \| tee|^login at|^verifies|^echod: |^NVML: "
    r"|^(echod|torch|driver) \{\}$|^\{\} (MB|GiB|s|frames/s|\{\} s|\{\} GPUs)$|VmHWM|%Y-|^# [S`]|^--user "
)


def template(node: ast.AST) -> str | None:
    """The text of a string or an f-string, {} for each value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def said(node: ast.AST) -> Iterator[str]:
    """What an expression may come to, as far as it is written down."""
    match node:
        case ast.IfExp(body=first, orelse=second):
            yield from (*said(first), *said(second))
        case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from said(part)
        case _ if (text := template(node)) is not None:
            yield text


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def printed() -> set[str]:
    """Of the commands: what is handed on to be said, and every text with a blank in it."""
    found: set[str] = set()
    for path in (PACKAGE / "commands").glob("*.py"):
        tree = ast.parse(path.read_text())
        silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for name, call in calls(tree):
            if name in SAYING:
                found |= {text for each in call.args[:1] for text in said(each)}
            silent |= {id(word.value) for word in call.keywords if word.arg in ("help", "metavar")}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            text = template(node)
            if text and " " in text and not {id(node)} & (silent | inside):
                found.add(text)
    return {text for text in found if re.search("[A-Za-z]", text.replace("{}", "")) and not UNSAID.search(text)}


def raised() -> set[str]:
    """Errors, and what is told, of the packages that run in the command's own process."""
    found: set[str] = set()
    for place in RAISING:
        paths = [PACKAGE / place] if place.endswith(".py") else (PACKAGE / place).glob("*.py")
        for path in paths:
            for name, call in calls(ast.parse(path.read_text())):
                if name.endswith(("Error", "Unreachable")) or name in ("invalid", "tell"):
                    found |= {text for each in call.args for text in said(each) if " " in text}
    return found


def helped(command: click.Command) -> Iterator[str]:
    """The help of a command and of all below it."""
    yield from (each for each in paragraphs(command.help or "") if not each.startswith("\b"))
    yield from (each.help for each in command.params if isinstance(each, click.Option) and each.help)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from helped(each)


def test_every_help_is_known() -> None:
    """A command or an option that is new has its help in zh/help.py."""
    templates = [Template(english, chinese) for english, chinese in HELP.items() if "{}" in english]
    missing = {
        text
        for text in helped(cli.echod)
        if text not in WORDS and not any(each.render(text) is not None for each in templates)
    }
    assert not missing


def test_everything_that_is_printed_is_known() -> None:
    """What commands say has its Chinese in zh/printed.py, what is raised on the way in zh/errors.py."""
    assert not (printed() | VOCABULARY) - set(WORDS)
    assert not raised() - set(WORDS)


def test_nothing_is_left_over() -> None:
    """What no command says any more is not kept."""
    texts = {*helped(cli.echod)}
    stale = {
        english
        for english, chinese in HELP.items()
        if english not in texts
        and not any(Template(english, chinese).render(text) for text in texts if "{}" in english)
    }
    everything = "\n".join(literals())
    stale |= {each for each in PRINTED.keys() | ERRORS.keys() if f"\n{each}\n" not in everything}
    assert not stale


def literals() -> Iterator[str]:
    """Every text of the package."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "zh":
            for node in ast.walk(ast.parse(path.read_text())):
                if (text := template(node)) is not None:
                    yield f"\n{text}\n"


def fields(text: str) -> list[tuple[str, str]]:
    return [(name, spec or "") for _, name, spec, _ in Formatter().parse(text) if name is not None]


@pytest.mark.parametrize("known", [HELP, PRINTED, ERRORS], ids=["help", "printed", "errors"])
def test_values_agree(known: dict[str, str]) -> None:
    """The Chinese has the values of the English, each once or more, and is found by a sentence with them in it."""
    for english, chinese in known.items():
        if "{}" not in english:
            continue
        there = [int(name or place) for place, (name, _) in enumerate(fields(chinese))]
        assert set(there) == set(range(english.count("{}"))), english
        sentence = english.format(*(f"v{place}" for place in range(len(there))))
        chosen = Template(english, chinese).render(sentence)
        assert chosen is not None, english
        longer = (Template(each, known[each]) for each in known if "{}" in each and len(each) > len(english))
        assert {each.render(sentence) for each in longer} <= {None, chosen}, english


def test_values_that_click_puts_in() -> None:
    for english, chinese in CLICK.items():
        assert set(fields(chinese)) <= set(fields(english)), english


@pytest.mark.parametrize(
    ("environ", "spoken"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN", "LC_MESSAGES": "en_GB"}, "en"),
        ({"LANG": "zh_CN", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN", "LC_ALL": "C.UTF-8", "LANGUAGE": "zh"}, "en"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "de:zh_CN:en"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "ECHOD_LANG": "en"}, "en"),
        ({"LC_ALL": "C", "ECHOD_LANG": "zh"}, "zh"),
    ],
)
def test_which_language(environ: dict[str, str], spoken: str) -> None:
    """ECHOD_LANG decides; else the locale does, in the order of POSIX, and GNU's LANGUAGE where there is a locale."""
    assert language(environ) == spoken


CHINESE = {"LANG": "zh_CN.UTF-8"}


@pytest.mark.usefixtures("chinese")
def test_jobs_in_chinese() -> None:
    """`echod ps` has its columns below each other, and the bar has the words of the table."""
    running: Any = {
        "id": "video_0123456789",
        "status": "in_progress",
        "progress": 40,
        "seconds": "3",
        "created_at": 0,
        "error": None,
        "echod": {
            "title": "晚上好",
            "stage": "denoise",
            "eta_s": 12,
            "device": "cuda:0",
            "windows_total": 3,
            "attempt": 2,
        },
    }
    failed: Any = {**running, "status": "failed", "error": {"code": "poison"}, "echod": {"title": "Hello"}}
    head, *rows = job_table([running, failed], 120)
    assert head.split() == ["ID", "标题", "时长", "已有", "状态"]
    states = [" 40% 去噪 剩余 0:12", "失败：poison"]
    assert [row.endswith(state) for row, state in zip(rows, states, strict=True)] == [True, True]
    assert len({width(row.removesuffix(state)) for row, state in zip(rows, states, strict=True)}) == 1
    assert width(head.removesuffix("状态")) == width(rows[0].removesuffix(states[0]))
    assert summary(running) == " 40% 去噪 窗口 0/3 剩余 0:12 在 cuda:0 （第 2 次）"
    assert width(bar(40, summary(running), 50)) == 50


@pytest.mark.usefixtures("chinese")
def test_values_are_not_translated() -> None:
    """Of what somebody else wrote only what stands for a sentence is; a sentence that is not known stays as it is."""
    assert words.t("ada is broken: the file is empty") == "ada 已损坏：文件是空的"
    assert words.t("idle added: no dtype") == "idle 已添加：no dtype"
    assert words.t("my old cat removed") == "my old cat removed"


def test_help_in_chinese(tmp_path: Path) -> None:
    """All of it, in lines that fit the terminal; names of commands and options stay."""
    for command in ((), ("submit",), ("service", "install"), ("tokens", "create")):
        helped = run(*command, "--help", home=tmp_path, COLUMNS="80", **CHINESE)
        assert helped.returncode == 0
        assert helped.stdout.startswith(f"用法： {' '.join(('echod', *command))}")
        assert not re.search(r"Usage|Options|Commands|Show|default:", helped.stdout)
        assert max(map(width, helped.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["sumbit"], 2, "没有命令 'sumbit'"),
        (["submit"], 2, "缺少参数 'PORTRAIT'"),
        (["ps", "--al"], 2, "没有选项 '--al'"),
        (["usage", "--days", "0"], 2, "'--days' 的值无效：0 不在范围"),
        (["submit", "-", "-"], 2, "PORTRAIT 和 SPEECH 不能都来自 stdin"),
        (["ps", "--url", "unix:/nowhere"], 3, "没有守护进程应答"),
        (["serve", "--port", "66000"], 78, "port = '66000'（来自 --port）必须是 0 到 65535"),
    ],
)
def test_errors_in_chinese(tmp_path: Path, arguments: list[str], code: int, part: str) -> None:
    """Click's, the commands' own and those of settings; exit codes are the same."""
    refused = run(*arguments, home=tmp_path, **CHINESE)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert part in refused.stderr


def test_json_stays(tmp_path: Path) -> None:
    """JSON does not know of languages, and another language than Chinese is English."""
    for arguments in (["config", "show", "--json"], ["weights", "list", "--json"]):
        english, chinese = (run(*arguments, home=tmp_path, **environ) for environ in ({}, CHINESE))
        assert english.stdout == chinese.stdout != ""
    assert run("--help", home=tmp_path, LANG="C").stdout == run("--help", home=tmp_path, LANG="de_DE.UTF-8").stdout
