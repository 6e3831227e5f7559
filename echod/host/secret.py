"""Keys of other people's servers: from the environment, a file, or a systemd credential; never shown, nor inherited."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from echod.errors import ConfigurationError
from echod.host.redaction import hide

# Whole words of a variable's name that say that it holds a secret, whoever it is meant for. One that ends in FILE does
# not. A list of what workers may have would be safer still, but torch, CUDA and the libraries under them read hundreds
# of variables, and that one is missing would show on somebody else's GPU box alone. ECHOD_C2PA_KEY is a setting, the
# path of a file.
SECRET = re.compile(
    r"(?<!^ECHOD_C2PA)(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRETS?|PASSWORD|PASSWD|CREDENTIALS?)(?:_(?!FILE$)|$)",
    re.IGNORECASE,
)


class Secret:
    """Text that shows itself only to who calls `reveal`. Logs and errors blot it out wherever it strays.

    `origin` says where it came from, in words that may be shown.
    """

    def __init__(self, value: str, origin: str = "") -> None:
        self._value = value
        self.origin = origin
        hide(value)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"


def find_secret(
    variable: str, file: Path | None, credential: str, environ: Mapping[str, str], setting: str
) -> Secret | None:
    """The secret in the environment variable, else in the file, else in the systemd credential of that name.

    `setting` named the file. Raises ConfigurationError for a file that cannot be read or holds no key.
    """
    if value := environ.get(variable, "").strip():
        return Secret(_checked(value, variable, variable), variable)
    origin = setting
    if file is None and (directory := environ.get("CREDENTIALS_DIRECTORY")):
        file = Path(directory, credential) if Path(directory, credential).exists() else None
        origin = f"the credential {credential}"
    if file is None:
        return None
    try:
        value = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no text"
        raise ConfigurationError(f"{setting} = {_shown(file)} cannot be read: {reason}", param=setting) from None
    return Secret(_checked(value, f"the key file {file}", setting), origin)


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child may have of it."""
    return {name: value for name, value in environ.items() if not SECRET.search(name)}


def take_secrets(environ: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """The environment as it is; from now on it lacks the secrets, and so does that of every child.

    Call before there are other threads: they may read the environment at any time, and must not while it changes.
    """
    whole = dict(environ)
    for name in whole.keys() - without_secrets(whole).keys():
        del environ[name]
    return whole


def _shown(file: Path) -> str:
    """Its path, unless that may be the key itself, given in the place of a file."""
    plausible = file.exists() or (file.parent.is_dir() and file.parent != Path.cwd())
    return f"the key file {file}" if plausible else "... (if that is the key: it should be the path of a file with it)"


def _checked(value: str, where: str, param: str) -> str:
    if value and value.isascii() and value.isprintable() and " " not in value:
        return value
    raise ConfigurationError(f"{where} must hold the key on one line, and nothing else", param=param)
