"""`python -m tests.stand_ins.impatient serve ...`: the light daemon, which tries again at once what webhooks refuse."""

from __future__ import annotations

import runpy

from echod.webhooks import delivering

if __name__ == "__main__":
    delivering.FIRST = delivering.LONGEST = 0.001
    runpy.run_module("tests.stand_ins.light", run_name="__main__")
