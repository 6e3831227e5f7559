"""The `echod` command. Answers on stdout, everything else on stderr; exit codes as in `errors.TABLE`.

Nothing heavy is imported before a command runs: `echod --help` has to be quick.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from echod import __version__
from echod.commands import (
    backup,
    bench,
    chat,
    completion,
    devices,
    jobs,
    login,
    roles,
    say,
    serve,
    service,
    settings,
    submit,
    tokens,
    usage,
    users,
    verify,
    voices,
    webhooks,
    weights,
)
from echod.commands.common import note
from echod.commands.words import explained, speaks_chinese
from echod.errors import EchodError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url", metavar="URL", help="The daemon, for every command that calls one: http://HOST:PORT or unix:PATH."
)
@click.version_option(__version__, prog_name="echod", message="%(prog)s %(version)s")
def echod(url: str | None) -> None:
    """Make a portrait speak: talking-head clips on your own GPU box.

    `echod serve` runs the daemon; `echod submit PORTRAIT SPEECH` and `echod say PORTRAIT TEXT` make a clip, and
    `echod chat` talks to a role.
    """


for command in (
    serve.serve,
    submit.submit,
    say.say,
    chat.chat,
    jobs.ps,
    jobs.show,
    jobs.watch,
    jobs.wait,
    jobs.cancel,
    jobs.rm,
    jobs.pin,
    jobs.unpin,
    jobs.fetch,
    verify.verify,
    voices.voices,
    roles.roles,
    login.login,
    login.logout,
    login.passwd,
    users.users,
    tokens.tokens,
    webhooks.webhooks,
    usage.usage,
    devices.devices,
    devices.doctor,
    bench.bench,
    weights.weights,
    settings.config,
    service.service,
    backup.backup,
    backup.restore,
    completion.completion,
):
    echod.add_command(command)


def main() -> NoReturn:
    # A command that is ended still removes the file it was writing. `serve` replaces these with its own.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    if speaks_chinese():
        from echod.commands.chinese import translate, translate_click

        translate_click()
        translate(echod)
    try:
        sys.exit(echod.main(standalone_mode=False))
    except click.Abort:
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        _complain(" ".join(error.format_message().split()), error.ctx if isinstance(error, click.UsageError) else None)
        sys.exit(error.exit_code)
    except EchodError as error:
        _complain(explained(error.message, error.told))
        sys.exit(error.exit_code)
    except OSError as error:  # stdout on a full disk, a file that vanished
        _complain(str(error))
        sys.exit(1)


def _complain(message: str, context: click.Context | None = None) -> None:
    note(message)
    if context is not None:
        note(f"`{context.command_path} --help` tells more")


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
