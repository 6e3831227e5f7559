"""Which engines are installed: the entry points of the group `echod.engines`, read without importing what they name.

The daemon knows an engine's name, package and licence by this alone; its code is imported by workers only, so that what
is wrong with it ends one of them at most.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "echod.engines"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
AUTO = "auto"  # the daemon chooses; no engine's name
OWN = "echod"  # the package whose engines these are
# What pyproject.toml registers, for checkouts that were installed before it did, and so that the usual names cost no
# look at what is installed. No other package may take these names.
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "preview": "echod.inference.preview.engine:load",
        "echomimic": "echod.inference.echomimic.engine:load",
        "echomimic-fast": "echod.inference.echomimic.engine:load",
        "echomimic-quality": "echod.inference.echomimic.engine:load",
    }
)
LONGEST_LICENCE = 80  # characters; longer ones are texts, and no names


@dataclass(frozen=True)
class Registered:
    """An engine that is installed. `loader` is `module:function` of what loads it, `licence` its package's."""

    name: str
    loader: str
    package: str
    version: str = ""
    licence: str | None = None

    @property
    def built_in(self) -> bool:
        return self.package == OWN

    @property
    def where_from(self) -> str:
        """For messages: the name, with the package unless that is echod."""
        return self.name if self.built_in else f"{self.name} (of the package {self.package} {self.version})"

    def loading(self) -> Any:
        """What loads it: imports its code. Raises whatever that raises."""
        from importlib.metadata import EntryPoint

        return EntryPoint(self.name, self.loader, GROUP).load()


@cache
def installed() -> Mapping[str, Registered]:
    """All engines by name, echod's own first. Looked at once: what is installed later is there after a restart."""
    found = {(each.name, each.package): each for each in _others()}  # a package may be found twice on a path
    twice = [name for name, packages in Counter(name for name, _ in found).items() if packages > 1]
    return MappingProxyType(
        _built_in() | {name: each for (name, _), each in found.items() if name not in (*BUILT_IN, *twice)}
    )


def find(name: str) -> Registered:
    """The engine of that name. Raises InputError (model_not_loaded), naming those there are."""
    if found := _built_in().get(name) or installed().get(name):
        return found
    if packages := sorted({each.package for each in _others() if each.name == name}):
        message = f"there are several engines {name!r}, of the packages {', '.join(packages)}; uninstall all but one"
    else:
        message = f"there is no engine {name!r}; installed are {', '.join(installed())}"
    raise InputError("model_not_loaded", message)


def _built_in() -> dict[str, Registered]:
    return {name: Registered(name, loader, OWN, licence="Apache-2.0") for name, loader in BUILT_IN.items()}


def _others() -> Iterator[Registered]:
    from importlib.metadata import distributions

    for distribution in distributions():
        for entry in _registered(distribution):
            if NAME.fullmatch(entry.name) and entry.name != AUTO:
                package, version = distribution.name, distribution.version
                yield Registered(entry.name, entry.value, package, version, _licence(distribution))


def _registered(distribution: Distribution) -> Iterable[EntryPoint]:
    try:
        return distribution.entry_points.select(group=GROUP)
    except (OSError, ValueError, TypeError):  # somebody's package is damaged, which is nothing to echod
        return ()


def _licence(distribution: Distribution) -> str | None:
    """An SPDX expression, else the name that older packages give in one of two other places."""
    about = distribution.metadata.json
    for name in ("license_expression", "license"):
        said = str(about.get(name, ""))
        if said.isprintable() and 0 < len(said) <= LONGEST_LICENCE:
            return said
    classified = [line for line in about.get("classifier", ()) if line.startswith("License :: ")]
    return classified[0].rpartition(" :: ")[2] if classified else None
