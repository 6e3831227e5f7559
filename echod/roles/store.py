"""Roles: AI characters, each a folder under `roles/` of the state directory (`file` says what is in it).

    roles/<name>/{role.toml, portrait.*}                what people write, and what `/v1/roles` writes for them
    cache/roles/<sha256>/{portrait.png, portrait.json}  what inspection made of a portrait; workers and jobs read it

Whoever asks for roles gets them as they are on disk. A folder is read again when something in it has changed, or when
the machine had no room for it; one that cannot be used is told of once, and the others go on. A picture is inspected
once, however often echod starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from echod.config import Settings
from echod.errors import EchodError, invalid
from echod.host.directories import create_private, storage_code, unstorable
from echod.inspection.facts import PortraitFacts
from echod.inspection.inspector import Inspector
from echod.inspection.messages import PREPARED
from echod.roles import folder as rolefolder
from echod.roles.file import NAME, RoleFile, check_name, check_role
from echod.roles.folder import PASSING, Stamp
from echod.roles.role import Role

log = logging.getLogger("echod.roles")

LOOK_INTERVAL = 5.0  # seconds between two looks, so that a new portrait is warm before somebody asks for it
FACTS = "portrait.json"
PICTURE = re.compile(r"\.(png|jpe?g|webp|avif|heic|bmp|tiff?|gif)$", re.IGNORECASE)


class Known(NamedTuple):
    """A folder as it was last read: a role, or why it is none. `passing` is the code of a fault of the machine."""

    stamp: Stamp
    role: Role | None = None
    problem: str = ""
    passing: str | None = None


class Roles:
    """`on_change` is called when a role came, went or changed."""

    def __init__(self, settings: Settings, inspector: Inspector, on_change: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self.on_change = on_change
        self.root = settings.now.state_dir / "roles"
        self.cache = settings.now.state_dir / "cache" / "roles"
        self._inspector = inspector
        self._known: dict[str, Known] = {}
        self._unreadable = ""  # why, as long as that is so
        self._turn = asyncio.Lock()
        self._again = asyncio.Event()
        for directory in (self.root, self.cache.parent, self.cache):
            create_private(directory)
        rolefolder.sweep(self.root)

    # Read

    @property
    def loaded(self) -> list[Role]:
        """The roles that can be used, as of the last look."""
        return [known.role for known in self._known.values() if known.role]

    @property
    def broken(self) -> dict[str, str]:
        """Why other folders are no roles, as of the last look. A message may tell what is in a role.toml."""
        return {name: known.problem for name, known in self._known.items() if not known.role}

    async def find(self, name: str) -> Role:
        """EchodError not_found; disk_full, disk_failed or internal while the machine cannot read it."""
        await self.look()
        known = self._known.get(name)
        if known is None:
            raise EchodError("not_found", f"there is no role {name!r}; `echod roles list` shows all there are")
        if known.passing:
            raise EchodError(known.passing, f"role {name!r} cannot be read at present, the log says why; try again")
        if known.role is None:
            raise EchodError("not_found", f"role {name!r} is broken; `echod roles list` shows admins why")
        return known.role

    def latest(self, role: Role) -> Role | None:
        """What has become of a role, as of the last look; None if it is gone or broken."""
        known = self._known.get(role.name)
        return known.role if known else None

    async def watch(self) -> None:
        """Look now and then, for ever."""
        while True:
            again = self._again.is_set()
            self._again.clear()
            try:
                await self.look(again=again)
            except Exception:
                log.exception("the roles in %s could not be read", self.root)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._again.wait()

    def reload(self) -> None:
        """Have `watch` look now, and try what was broken again."""
        self._again.set()

    async def look(self, *, again: bool = False) -> None:
        """Read what was added or changed, forget what is gone; with `again` also try again what was broken."""
        async with self._turn:
            known: dict[str, Known] = {}
            for name, stamp in (await self._stamps()).items():
                before = self._known.get(name)
                known[name] = (
                    before if before and _fresh(before, stamp, again) else await self._load(name, stamp, before)
                )
            await self._take(known)

    async def _stamps(self) -> dict[str, Stamp]:
        """The folders; those of the last look where the disk does not tell."""
        try:
            stamps = await asyncio.to_thread(rolefolder.stamps, self.root)
        except OSError as error:
            if str(error) != self._unreadable:
                log.error("the roles could not be read, those that were read before stay: %s", error)
            self._unreadable = str(error)
            return {name: known.stamp for name, known in self._known.items()}
        self._unreadable = ""
        return stamps

    async def _take(self, known: dict[str, Known]) -> None:
        before, self._known = self._known, known
        for name in before.keys() - known.keys():
            log.info("role %s is gone", name)
        if {name: each.role for name, each in before.items()} != {name: each.role for name, each in known.items()}:
            self.on_change()
            await self._clean_cache()

    async def _clean_cache(self) -> None:
        await asyncio.to_thread(_keep_only, self.cache, {role.portrait.sha256 for role in self.loaded})

    async def _load(self, name: str, stamp: Stamp, before: Known | None) -> Known:
        try:
            role = await self._read(name)
        except Exception as error:  # whatever it is, it is this role's alone
            known = _broken(stamp, error)
            if not (before and before.passing and before.problem == known.problem):
                unforeseen = error if not isinstance(error, EchodError | OSError) else None
                log.error("role %s is broken: %s", name, known.problem, exc_info=unforeseen)
            return known
        log.info("role %s loaded", name)
        return Known(stamp, role)

    async def _read(self, name: str) -> Role:
        folder, limit = self.root / check_name(name), self._settings.now.max_upload
        file, sha256 = await asyncio.to_thread(rolefolder.look_at_portrait, folder, limit)
        facts = _facts(self.cache / sha256)
        if facts is None:
            with self._scratch() as scratch:
                upload = scratch / "upload"
                file, sha256 = await asyncio.to_thread(rolefolder.copy_portrait, folder, upload, limit)
                try:
                    facts = await self._inspect(upload, scratch)
                except EchodError as error:
                    raise EchodError(error.code, f"{folder / file.portrait}: {error.message}") from error
        return Role(name=name, file=file, portrait=facts, picture=self.cache / sha256 / PREPARED["portrait"])

    async def _inspect(self, upload: Path, scratch: Path) -> PortraitFacts:
        """Have the picture inspected, and keep what came of it."""
        allowance = (None, self._settings.now.min_free // 2)
        found = await self._inspector.inspect(upload, scratch, "portrait", allowance=lambda _: allowance)
        facts = found.portrait
        assert facts is not None
        (scratch / FACTS).write_bytes(msgspec.json.encode(facts))
        home = self.cache / facts.sha256
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        for name in (PREPARED["portrait"], FACTS):  # the facts last: with them it is complete
            (scratch / name).rename(home / name)
        return facts

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        directory = self.cache / f".{secrets.token_hex(8)}"
        directory.mkdir(mode=0o700, parents=True)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    # Write

    async def write(
        self, name: str, fields: Mapping[str, Any], picture: Path | None, filename: str, *, replace: bool
    ) -> Role:
        """Make a role, or with `replace` give it new contents; without a `picture` it keeps the one it has.

        EchodError invalid_request, disk_full, and what is wrong with the picture.
        """
        folder = self.root / check_name(name)
        async with self._turn:
            exists = os.path.lexists(folder)
            before = self._known[name].role if exists and name in self._known else None
            if exists and not replace:
                raise invalid(f"there is a role {name!r} already; --replace (PUT /v1/roles/{name}) replaces it", "name")
            if folder.is_symlink():
                raise invalid(f"{folder} is a symbolic link; remove the role first", "name")
            file = check_role({**fields, "portrait": _portrait_name(picture, filename, before)})
            try:
                await self._store(folder, file, picture, before)
            except BaseException:
                await self._clean_cache()
                raise
        try:
            role = await self.find(name)
        except EchodError:
            if not exists:
                await self.remove(name)
            raise
        log.info("role %s %s", name, "replaced" if exists else "added")
        return role

    async def _store(self, folder: Path, file: RoleFile, picture: Path | None, before: Role | None) -> None:
        with _storing():
            if picture is not None:
                with self._scratch() as scratch:
                    await self._inspect(picture, scratch)
            former = before.file.portrait if before else None
            await asyncio.to_thread(rolefolder.write, folder, file, picture, former)

    async def remove(self, name: str) -> None:
        """Jobs made with the role have their own copy of its portrait. EchodError not_found."""
        async with self._turn:
            folder = self.root / name
            if not NAME.fullmatch(name) or not os.path.lexists(folder):
                raise EchodError("not_found", f"there is no role {name!r}; `echod roles list` shows all there are")
            await asyncio.to_thread(rolefolder.remove, folder)
        await self.look()


def _fresh(known: Known, stamp: Stamp, again: bool) -> bool:
    """Whether what is known still holds: the folder is as it was, and nobody has emptied the cache."""
    if known.stamp != stamp or known.passing:
        return False
    return known.role.picture.exists() if known.role else not again


def _broken(stamp: Stamp, error: Exception) -> Known:
    if isinstance(error, EchodError):
        passing = error.code if error.code in ("disk_full", "disk_failed") else None
        return Known(stamp, problem=error.message, passing=passing)
    if not isinstance(error, OSError):
        return Known(stamp, problem=f"{type(error).__name__}: {error}")
    if error.errno not in PASSING:
        return Known(stamp, problem=str(error))
    # Without the path, which is another each time.
    return Known(stamp, problem=str(error.strerror), passing=storage_code(error))


def _facts(home: Path) -> PortraitFacts | None:
    """What inspection once found in this picture; None if it has not seen it, or a power cut took half of it."""
    try:
        return msgspec.json.decode((home / FACTS).read_bytes(), type=PortraitFacts)
    except (OSError, msgspec.MsgspecError):
        return None


def _keep_only(cache: Path, wanted: set[str]) -> None:
    for directory in cache.iterdir():
        if directory.name not in wanted:
            shutil.rmtree(directory, ignore_errors=True)


def _portrait_name(picture: Path | None, filename: str, before: Role | None) -> str:
    """What a portrait that a client sent is called on disk; its own name only says what kind of picture it may be."""
    if picture is None:
        if before is None:
            raise invalid("the portrait is missing: send a picture of a face as the file part `portrait`", "portrait")
        return before.file.portrait
    kind = PICTURE.search(filename)
    return f"portrait{kind[0].lower() if kind else '.png'}"


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unstorable("the role", error) from error
