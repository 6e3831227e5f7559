"""`echod roles`: whom one may talk to."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from echod.commands.common import as_json, confirm_removal, connect, note, print_result, quiet, to_daemon
from echod.commands.tables import fact_lines, table_lines

name_argument = click.argument("name", metavar="NAME")


@click.group()
def roles() -> None:
    """List, show, add and remove roles.

    A role is a folder with role.toml and a portrait. Folders put under roles/ of the state directory count too.
    """


@roles.command("list")
@as_json
@to_daemon
def list_roles(as_json: bool, url: str | None, reconnect: float) -> None:
    """List roles. To admins, folders that are none say why, on stderr."""
    with connect(url, reconnect) as client:
        found = client.roles()
    rows = [
        (role["name"], role["language"] or "-", role["mode"], role["title"]) for role in found if not role.get("error")
    ]
    print_result(found, table_lines(("NAME", "LANGUAGE", "MODE", "TITLE"), rows), as_json)
    for role in found:
        if role.get("error") and not as_json:
            note(f"{role['name']} is broken: {role['error']}")


@roles.command()
@name_argument
@as_json
@to_daemon
def show(name: str, as_json: bool, url: str | None, reconnect: float) -> None:
    """Show one role."""
    with connect(url, reconnect) as client:
        role = client.role(name)
    print_result(role, fact_lines(role), as_json)


@roles.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER|EXAMPLE")
@click.option("--name", metavar="NAME", help="Its name. [default: that of the folder or the example]")
@click.option("--replace", is_flag=True, help="Replace the role if there is one of this name.")
@quiet
@to_daemon
def add(folder: Path, name: str | None, replace: bool, quiet: bool, url: str | None, reconnect: float) -> None:
    """Add the role in FOLDER, which has a role.toml and the portrait it names, or an EXAMPLE that comes with echod:
    ada speaks English, xiaolin Chinese. For admins.
    """
    import msgspec

    from echod.roles.folder import open_role

    folder = _folder(folder)
    with connect(url, reconnect, quiet) as client, open_role(folder) as (file, portrait):
        fields = msgspec.structs.asdict(file)
        role = client.save_role(name or folder.resolve().name, fields, (file.portrait, portrait), replace=replace)
    note(f"{role['name']} saved: {role['title']}" if replace else f"{role['name']} added: {role['title']}", quiet)


def _folder(given: Path) -> Path:
    from echod.roles.examples import ROLES

    if given.is_dir():
        return given
    if str(given) in ROLES:
        return ROLES[str(given)]
    raise click.UsageError(f"there is no folder {str(given)!r}, and no such example; there are {', '.join(ROLES)}")


@roles.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@quiet
@to_daemon
def rm(names: tuple[str, ...], yes: bool, quiet: bool, url: str | None, reconnect: float) -> None:
    """Remove roles. Jobs made with them go on. For admins."""
    if not yes and sys.stdin.isatty():
        confirm_removal(f"Remove {', '.join(names)}, portraits and all?")
    with connect(url, reconnect, quiet) as client:
        for name in names:
            client.remove_role(name)
            note(f"{name} removed", quiet)
