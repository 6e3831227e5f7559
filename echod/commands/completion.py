"""`echod completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_ECHOD_COMPLETE"  # click's name for it, which the script sets


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands and options.

    \b
    bash  echo 'eval "$(echod completion bash)"' >> ~/.bashrc
    zsh   echo 'eval "$(echod completion zsh)"' >> ~/.zshrc
    fish  echod completion fish > ~/.config/fish/completions/echod.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "echod", VARIABLE).source())
