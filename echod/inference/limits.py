"""What can be made at all: engines, sizes, frame rates."""

from __future__ import annotations

ENGINES = ("preview", "echomimic", "echomimic-quality")

MIN_SIDE, MAX_SIDE, SIDE_STEP = 128, 1024, 8
MIN_FPS, MAX_FPS = 1, 60
DEFAULT_SEED = 420
