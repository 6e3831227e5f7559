"""Keys of other people's servers: from the environment, a file, or a systemd credential; never shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from echod.errors import ConfigurationError
from echod.redaction import hide


class Secret:
    """Text that shows itself only to who calls `reveal`. Logs and errors blot it out wherever it strays."""

    def __init__(self, value: str) -> None:
        self._value = value
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
        return Secret(_checked(value, variable, variable))
    if file is None and (directory := environ.get("CREDENTIALS_DIRECTORY")):
        file = Path(directory, credential) if Path(directory, credential).exists() else None
    if file is None:
        return None
    try:
        value = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no text"
        raise ConfigurationError(f"{setting} = {_shown(file)} cannot be read: {reason}", param=setting) from None
    return Secret(_checked(value, f"the key file {file}", setting))


def _shown(file: Path) -> str:
    """Its path, unless that may be the key itself, given in the place of a file."""
    plausible = file.exists() or (file.parent.is_dir() and file.parent != Path.cwd())
    return f"the key file {file}" if plausible else "... (if that is the key: it should be the path of a file with it)"


def _checked(value: str, where: str, param: str) -> str:
    if value and value.isascii() and value.isprintable() and " " not in value:
        return value
    raise ConfigurationError(f"{where} must hold the key on one line, and nothing else", param=param)
