"""`python -m tests.stand_ins.blocked serve ...`: a daemon whose event loop hangs as soon as it is ready."""

from __future__ import annotations

import time

from echod import daemon
from echod.cli import main

announce = daemon.Daemon._announce


def announce_and_hang(self: daemon.Daemon) -> None:
    announce(self)
    time.sleep(600)


if __name__ == "__main__":
    daemon.Daemon._announce = announce_and_hang  # type: ignore[method-assign]
    main()
