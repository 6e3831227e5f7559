"""`echod serve`: the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from echod import config
from echod.host.secret import take_secrets

directory = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address of the TCP port. [default: 127.0.0.1]")
@click.option("--port", metavar="PORT", help="TCP port; 0 takes any free one. [default: 8765]")
@click.option("--insecure", is_flag=True, default=None, help="Listen beyond loopback though there is no account yet.")
@click.option(
    "--devices",
    metavar="LIST",
    help="One worker for each, such as cuda:0,cuda:1 or cpu,cpu; ray or ray:8 of a Ray cluster. [default: auto]",
)
@click.option("--ray-address", metavar="ADDRESS", help="Ray cluster: local, auto, ray://head:10001. [default: local]")
@click.option("--engine", metavar="NAME", help=f"What makes the frames: {config.ENGINES}. [default: auto]")
@click.option(
    "--dtype", metavar="NAME", help=f"What EchoMimic computes in: {', '.join(config.DTYPES)}. [default: auto]"
)
@click.option("--decoder", metavar="NAME", help="What makes EchoMimic's pictures: vae, taesd. [default: vae]")
@click.option("--compile", metavar="WHEN", help="Whether kernels are compiled for cards: auto, off. [default: auto]")
@click.option("--state-dir", type=directory, help="Journal, uploads, jobs and their clips.")
@click.option("--runtime-dir", type=directory, help="The unix socket and the workers' sockets.")
@click.option("--weights", "weights_dir", type=directory, help="Model files.")
@click.option("--log-json", is_flag=True, default=None, help="Log one JSON object a line.")
@click.option("--log-level", metavar="LEVEL", help=f"Least level logged: {', '.join(config.LOG_LEVELS)}.")
@click.option("-v", "--verbose", is_flag=True, help="The same as --log-level debug.")
def serve(verbose: bool, **flags: Any) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C.

    The first lets running jobs finish, a second stops at once; what had not finished goes on with the next start.
    Every flag is also a setting: see `echod config show`.
    """
    if verbose:
        flags["log_level"] = flags["log_level"] or "debug"
    settings = config.load(flags)
    environ = take_secrets()
    from echod.daemon import run
    from echod.host.process import exit_at_once

    exit_at_once(run(settings, lambda: config.load(flags), environ))
