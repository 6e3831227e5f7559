"""Fetching the published weights: only the files that an engine needs, and of those only what is missing or wrong.

huggingface_hub knows the hub: HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME (its token and cache) and its timeouts apply.
Its hf_hub_download throws away what has come of a file when it breaks off, `download.fetch` does not.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..download import Source, Tell, alone, check_space, digest, failures, fetch, partial_of, size_of
from ..errors import InputError
from .layout import CONFIG, Entry, Part, WeightsError, on_hub, parts, read_record, write_record


@dataclass(frozen=True)
class Remote:
    """A file as the hub announces it."""

    name: str
    size: int
    etag: str
    revision: str

    @property
    def sha256(self) -> str | None:
        """The hub names large files after their content, small ones after something else."""
        return self.etag if re.fullmatch("[0-9a-f]{64}", self.etag) else None


def pull(directory: Path, engine: str, tell: Tell = print) -> None:
    """Fetch what `engine` needs and the directory lacks. `tell` is called with a line about each file.

    Raises InputError saying which file, what happened and what to do: unauthorized, forbidden, not_found, disk_full,
    invalid_request or internal.
    """
    wanted = parts(engine)
    if (directory / CONFIG).exists():
        raise WeightsError(
            f"{directory / CONFIG} says that {directory} holds models of other sizes than the published ones; "
            "name another directory with --weights",
            "invalid_request",
        )
    with alone(directory):
        record = read_record(directory)
        remotes = _announced(directory, wanted)
        absent = [remote for remote in remotes if not _kept(directory, remote, record, tell)]
        check_space(
            directory, sum(remote.size - size_of(partial_of(remote.etag, directory / remote.name)) for remote in absent)
        )
        for remote in absent:
            _fetch(directory, remote, tell)
            _note(directory, remote, record)


def _announced(directory: Path, wanted: tuple[Part, ...]) -> list[Remote]:
    """All files of one revision: the first answer's, even if the hub gets a newer one meanwhile."""
    remotes: list[Remote] = []
    for part in wanted:
        revision = remotes[0].revision if remotes else "main"
        remotes.append(_announcement(directory, part, revision))
    return remotes


def _announcement(directory: Path, part: Part, revision: str) -> Remote:
    """What the hub says of a part, under the name that is here already, else under the first that the hub knows."""
    names = sorted(part.names, key=lambda name: not (directory / name).is_file())
    for name in names[:-1]:
        try:
            return _look_up(name, revision)
        except InputError as error:
            if error.code != "not_found":
                raise
    return _look_up(names[-1], revision)


def _look_up(name: str, revision: str) -> Remote:
    from huggingface_hub import get_hf_file_metadata

    source = _source(name, revision)
    with failures(source):
        found = get_hf_file_metadata(source.url)
        if not (found.commit_hash and found.etag and found.size):
            raise OSError("the answer has no commit, ETag or size, so this is no hub")
    return Remote(name, found.size, found.etag, found.commit_hash)


def _kept(directory: Path, remote: Remote, record: dict[str, Entry], tell: Tell) -> bool:
    """Whether the file is here as the hub has it. Its content counts, not what was recorded of it."""
    path, entry = directory / remote.name, record.get(remote.name)
    if not path.is_file():
        return False
    expected = remote.sha256 or (entry.sha256 if entry and entry.etag == remote.etag else None)
    if path.stat().st_size != remote.size or digest(path) != expected:
        tell(f"{remote.name}: not what the hub has, will be replaced")
        return False
    tell(f"{remote.name}: there and intact")
    _note(directory, remote, record)
    return True


def _note(directory: Path, remote: Remote, record: dict[str, Entry]) -> None:
    sha256 = remote.sha256 or digest(directory / remote.name)
    entry = Entry(remote.size, sha256, remote.etag, remote.revision)
    if record.get(remote.name) != entry:
        record[remote.name] = entry
        write_record(directory, record)


def _fetch(directory: Path, remote: Remote, tell: Tell) -> None:
    """One file, whole and checked, under its name."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    source = _source(
        remote.name,
        remote.revision,
        tag=remote.etag,
        sha256=remote.sha256,
        size=remote.size,
        headers=build_hf_headers(),
    )
    fetch(source, directory / remote.name, tell, lambda partial: _from_cache(remote, partial, tell))


def _source(name: str, revision: str, tag: str = "", **known: Any) -> Source:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.constants import ENDPOINT

    repository, file = on_hub(name)
    return Source(
        name,
        hf_hub_url(repository, file, revision=revision),
        ENDPOINT,
        tag,
        denied=(
            "A token in HF_TOKEN or from `hf auth login` must be valid and have access to "
            f"{repository}; without one, unset HF_ENDPOINT or name another mirror with it"
        ),
        absent=f"it is not in {repository} there; HF_ENDPOINT chooses another mirror",
        elsewhere=f"pull again later, or name another mirror than {ENDPOINT} with HF_ENDPOINT",
        **known,
    )


def _from_cache(remote: Remote, partial: Path, tell: Tell) -> bool:
    """Whether another program has fetched this file into the hub's cache (HF_HOME) before."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(*on_hub(remote.name), revision=remote.revision)
    if not isinstance(cached, str) or size_of(Path(cached)) != remote.size:
        return False
    tell(f"{remote.name}: copied from {cached}")
    shutil.copyfile(cached, partial)
    return True
