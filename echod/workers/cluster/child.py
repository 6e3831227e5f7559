"""How a worker begins on a node: `python -m echod.workers.cluster.child PARENT`, and its Birth by stdin."""

from __future__ import annotations

import importlib
import os
import sys

from echod.host.process import die_with_parent
from echod.workers.cluster.messages import decode_birth


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    os.umask(0o077)  # as the daemon's children have it
    birth = decode_birth(sys.stdin.buffer.read())
    module, _, name = birth.main.partition(":")
    getattr(importlib.import_module(module), name)(birth.spec)


if __name__ == "__main__":
    main()
