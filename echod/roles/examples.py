"""The examples that come with echod: a portrait, a recording, and roles to begin with."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from echod.errors import EchodError
from echod.roles.file import RoleFile
from echod.roles.folder import open_role

EXAMPLES = Path(str(resources.files("echod"))) / "examples"
PORTRAIT, SPEECH = EXAMPLES / "portrait.png", EXAMPLES / "speech.wav"
ROLES = {path.parent.name: path.parent for path in sorted(EXAMPLES.glob("roles/*/role.toml"))}  # folders by name


def example_role(name: str) -> tuple[RoleFile, Path]:
    """What an example's role.toml says, and its portrait. EchodError not_found names the examples there are."""
    if name not in ROLES:
        raise EchodError("not_found", f"there is no example role {name!r}; there are {', '.join(ROLES)}")
    with open_role(ROLES[name]) as (file, _):
        return file, ROLES[name] / file.portrait
