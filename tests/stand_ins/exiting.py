"""A module that ends the worker which imports it, as one with a missing shared library would."""

from __future__ import annotations

import os
import sys

from echod.workers.spec import Spec

if "--multiprocessing-fork" in sys.orig_argv:
    os._exit(3)


def main(spec: Spec) -> None:
    raise AssertionError("a worker cannot have imported this")
