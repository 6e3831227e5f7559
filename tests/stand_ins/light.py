"""`python -m tests.stand_ins.light serve ...`: a daemon for tests in which no clip is looked at, ready in a fifth of
the time.

Workers are scripted ones, neither they nor the daemon import torch, and inspection children start with the first
file. Everything else about it is the installed daemon.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
from types import ModuleType

from tests.stand_ins import engine as scripted


def stand_in_for_torch() -> None:
    """All that the daemon itself asks of torch: how many GPUs there are, and to start processes."""
    torch, cuda, version = ModuleType("torch"), ModuleType("torch.cuda"), ModuleType("torch.version")
    vars(cuda).update(device_count=lambda: 0)
    vars(version).update(cuda=None)
    vars(torch).update(cuda=cuda, multiprocessing=multiprocessing, version=version, __version__="0")
    sys.modules.update({"torch": torch, "torch.cuda": cuda, "torch.multiprocessing": multiprocessing})


async def start_later(self: object, **_: object) -> None:
    """Inspection children are started with the first file anyway, where there are none."""


if __name__ == "__main__":
    stand_in_for_torch()
    from echod import daemon
    from echod.cli import main
    from echod.inspection import inspector as inspection
    from echod.workers import fleet

    vars(daemon)["Fleet"] = functools.partial(fleet.Fleet, main=scripted.main)
    inspection.Inspector.start = start_later  # type: ignore[method-assign]
    main()
