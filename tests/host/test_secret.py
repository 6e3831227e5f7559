from __future__ import annotations

from pathlib import Path

import pytest

from echod.errors import ConfigurationError
from echod.host.redaction import redact
from echod.host.secret import Secret, find_secret

KEY = "a-key-0123456789"


def find(file: Path | None = None, **environ: str) -> str | None:
    secret = find_secret("A_KEY", file, "a-key", environ, "a_key_file")
    return secret.reveal() if secret else None


def test_where_keys_come_from(tmp_path: Path) -> None:
    """The environment wins over the file, the file over the credential; nothing is no key."""
    (tmp_path / "a-key").write_text("from-credential\n")
    file = tmp_path / "file"
    file.write_text("from-file\n")
    assert find(file, A_KEY="from-environment", CREDENTIALS_DIRECTORY=str(tmp_path)) == "from-environment"
    assert find(file, CREDENTIALS_DIRECTORY=str(tmp_path)) == "from-file"
    assert find(CREDENTIALS_DIRECTORY=str(tmp_path)) == "from-credential"
    assert find() is None and find(CREDENTIALS_DIRECTORY=str(tmp_path / "none")) is None


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"two\nlines", b"\xff\xfe", "schlüssel".encode()])
def test_files_that_hold_no_key(tmp_path: Path, content: bytes) -> None:
    """A file that is something else is refused by name, and its content is not shown."""
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="key file") as refused:
        find(file)
    assert refused.value.param == "a_key_file" and "words" not in refused.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The path, and the reason it cannot be read."""
    with pytest.raises(ConfigurationError, match=r"/none cannot be read: No such file"):
        find(tmp_path / "none")


@pytest.mark.parametrize("key", ["a-key-0123456789", "a/key/with+slashes"])
def test_a_key_in_the_place_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """What is no file may be the key itself, and is not repeated."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"a_key_file = .* should be the path") as refused:
        find(tmp_path / key)
    assert key not in refused.value.message


def test_never_shown() -> None:
    """Neither the object nor a message that holds its value shows it."""
    secret = Secret(KEY)
    assert KEY not in repr(secret) + str(secret) + f"{secret}"
    assert KEY not in redact(f"Authorization: Bearer {KEY}")
    assert redact("sk-abcdefghijkl is a key, a sk-il is not") == "sk-... is a key, a sk-il is not"
    assert redact("http://bob:p@ss@h:1/v1 and http://h/@v1") == "http://...@h:1/v1 and http://h/@v1"


def test_short_words_stay() -> None:
    """What people write for no key must not blot out that word everywhere."""
    Secret("none")
    assert redact("none of these") == "none of these"
