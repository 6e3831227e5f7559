"""Fetching the published weights: only the files that an engine needs, and of those only what is missing or wrong.

huggingface_hub knows the hub: HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME (its token and cache) and its timeouts apply.
What has come of a file stays beside it as `NAME.<etag>.part`, so that the next pull goes on where this one broke off;
hf_hub_download throws it away. A file gets its name once its size and sha256 are those that the hub announced.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .layout import (
    CONFIG,
    REPOSITORY,
    Entry,
    Part,
    WeightsError,
    digest,
    parts,
    read_record,
    write_record,
)

Tell = Callable[[str], None]


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

    Raises WeightsError saying which file, what happened and what to do: unauthorized, forbidden, not_found, disk_full,
    invalid_request or internal.
    """
    wanted = parts(engine)
    if (directory / CONFIG).exists():
        raise WeightsError(
            f"{directory / CONFIG} says that {directory} holds models of other sizes than the published ones; "
            "name another directory with --weights",
            "invalid_request",
        )
    with _alone(directory):
        record = read_record(directory)
        remotes = _announced(directory, wanted)
        absent = [remote for remote in remotes if not _kept(directory, remote, record, tell)]
        _check_space(directory, absent)
        for remote in absent:
            _fetch(directory, remote, tell)
            _note(directory, remote, record)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two pulls into one directory would write into the same files."""
    directory.mkdir(parents=True, exist_ok=True)
    held = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise WeightsError(f"another pull into {directory} is running", "invalid_request") from None
    finally:
        os.close(held)


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
        except WeightsError as error:
            if error.code != "not_found":
                raise
    return _look_up(names[-1], revision)


def _look_up(name: str, revision: str) -> Remote:
    from huggingface_hub import get_hf_file_metadata

    with _failures(name):
        found = get_hf_file_metadata(_url(name, revision))
        if not (found.commit_hash and found.etag and found.size):
            raise OSError("the answer has no commit, ETag or size, so this is no hub")
    return Remote(name, found.size, found.etag, found.commit_hash)


def _url(name: str, revision: str) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(REPOSITORY, name, revision=revision)


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


def _check_space(directory: Path, absent: list[Remote]) -> None:
    needed = sum(remote.size - _size(_partial(directory, remote)) for remote in absent)
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise WeightsError(
            f"{directory} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are missing; "
            "free some, or name another directory with --weights",
            "disk_full",
        )


def _fetch(directory: Path, remote: Remote, tell: Tell) -> None:
    """One file, whole and checked, under its name."""
    partial = _partial(directory, remote)
    partial.parent.mkdir(parents=True, exist_ok=True)
    _drop_others(directory, remote)
    if _size(partial) > remote.size:
        partial.unlink()
    resumed = _size(partial) > 0
    if not _from_cache(remote, partial, tell):
        _download(remote, partial, tell)
    if remote.sha256 and (found := digest(partial)) != remote.sha256:
        partial.unlink()
        if resumed:  # what was here may have been the wrong half
            tell(f"{remote.name}: the part that was here is not of this file, from the beginning then")
            return _fetch(directory, remote, tell)
        raise WeightsError(
            f"{remote.name}: what came has sha256 {found}, but the hub announced {remote.sha256}; it was thrown away. "
            f"Pull again, or from elsewhere with HF_ENDPOINT{_endpoint()}",
            "internal",
        )
    partial.replace(directory / remote.name)
    return None


def _download(remote: Remote, partial: Path, tell: Tell) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    here = _size(partial)
    tell(f"{remote.name}: {remote.size / 1e6:,.1f} MB" + (f", {here / 1e6:,.1f} of them here already" if here else ""))
    with _failures(remote.name), partial.open("ab") as file:
        http_get(
            _url(remote.name, remote.revision),
            file,
            headers=build_hf_headers(),
            resume_size=here,
            expected_size=remote.size,
            displayed_filename=remote.name,
        )
        file.flush()
        os.fsync(file.fileno())


def _from_cache(remote: Remote, partial: Path, tell: Tell) -> bool:
    """Whether another program has fetched this file into the hub's cache (HF_HOME) before."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(REPOSITORY, remote.name, revision=remote.revision)
    if not isinstance(cached, str) or _size(Path(cached)) != remote.size:
        return False
    tell(f"{remote.name}: copied from {cached}")
    shutil.copyfile(cached, partial)
    return True


def _partial(directory: Path, remote: Remote) -> Path:
    path = directory / remote.name
    return path.with_name(f"{path.name}.{remote.etag[:16]}.part")


def _drop_others(directory: Path, remote: Remote) -> None:
    """What came of an older version of the file is of no use any more."""
    path, partial = directory / remote.name, _partial(directory, remote)
    for other in path.parent.glob(f"{path.name}.*.part"):
        if other != partial:
            other.unlink()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Whatever huggingface_hub raises, and its HTTP library below it, as one WeightsError about the file."""
    try:
        yield
    except Exception as error:  # which HTTP library lies below, and so which exceptions, changes between its versions
        code, reason = _explained(error)
        raise WeightsError(f"{name} was not fetched{_endpoint(' from ')}: {reason}", code) from error


def _explained(error: Exception) -> tuple[str, str]:
    match getattr(getattr(error, "response", None), "status_code", None):
        case 401 | 403 as status:
            return ("unauthorized" if status == 401 else "forbidden"), (
                f"{status}, it is not given out. A token in HF_TOKEN or from `hf auth login` must be valid and have "
                f"access to {REPOSITORY}; without one, unset HF_ENDPOINT or name another mirror with it"
            )
        case 404:
            return "not_found", f"404, it is not in {REPOSITORY} there; HF_ENDPOINT chooses another mirror"
        case int() as status:
            return "internal", f"it answered {status}; pull again later, or name a mirror with HF_ENDPOINT"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", "the disk is full; what came is kept"
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return "internal", (
        f"{type(error).__name__}: {text}. What came is kept, and the next pull goes on from there; "
        "HF_ENDPOINT chooses a mirror"
    )


def _endpoint(before: str = " instead of ") -> str:
    from huggingface_hub.constants import ENDPOINT

    return f"{before}{ENDPOINT}"
