"""`python -m tests.stand_ins.sweeping serve ...`: a light daemon that looks all the time for what has expired.

`ECHOD_TEST_GRACE` is how many seconds a clock that was set forward waits to be believed.
"""

from __future__ import annotations

import os
import runpy

from tests.stand_ins.light import stand_in_for_torch

if __name__ == "__main__":
    stand_in_for_torch()
    from echod import daemon
    from echod.host import clock

    daemon.SWEEP_INTERVAL = 0.2
    clock.GRACE = float(os.environ.get("ECHOD_TEST_GRACE", clock.GRACE))
    runpy.run_module("tests.stand_ins.light", run_name="__main__")
