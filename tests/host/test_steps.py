"""Steps that set a machine up: looked at, done, told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from echod.errors import ConfigurationError
from echod.host.steps import Command, Step, carry_out


def steps(directory: Path) -> tuple[Step, ...]:
    first, second = directory / "it's a file", directory / "another"
    return (
        Step("a file", first.exists, (Command(("touch", str(first))),)),
        Step("its copy", second.exists, (Command(("tee", str(second)), "words\n", f"echo words | tee {second}"),)),
    )


def test_once_and_again(tmp_path: Path) -> None:
    """What is not so yet is done and told, in lines that a shell takes; the second run finds all of it there."""
    told: list[str] = []
    assert carry_out(steps(tmp_path), told.append, dry_run=False) == ["a file", "its copy"]
    assert (tmp_path / "another").read_text() == "words\n"
    assert told == [
        "# a file", f"touch '{tmp_path}/it'\"'\"'s a file'", "# its copy", f"echo words | tee {tmp_path}/another",
    ]  # fmt: skip
    told.clear()
    assert carry_out(steps(tmp_path), told.append, dry_run=False) == []
    assert told == ["# a file: there already", "# its copy: there already"]


def test_dry_run(tmp_path: Path) -> None:
    told: list[str] = []
    carry_out(steps(tmp_path), told.append, dry_run=True)
    assert [line[0] for line in told] == ["#", "t", "#", "e"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "how"), [(("false",), "`false` ended with 1"), (("no-such-program",), "cannot be run: No such file")]
)
def test_a_step_that_fails(tmp_path: Path, argv: tuple[str, ...], how: str) -> None:
    """It says which, how, and what to do; nothing behind it is done, and what was done stays."""
    first, second = steps(tmp_path)
    failing = Step("the middle", lambda: False, (Command(argv),), "Mend it.")
    with pytest.raises(ConfigurationError, match=rf"the middle: .*{how}.*\. Mend it\. .*run this again"):
        carry_out((first, failing, second), lambda line: None, dry_run=False)
    assert [path.name for path in tmp_path.iterdir()] == ["it's a file"]
