"""What can be made at all: sizes, frame rates."""

from __future__ import annotations

DTYPES = ("auto", "float32", "float16", "bfloat16")  # torch's names; auto: `machine.dtypes`

DECODERS = ("vae", "taesd")  # of EchoMimic's frames: its own, or an approximation for a fraction of the work

MIN_SIDE, MAX_SIDE, SIDE_STEP = 128, 1024, 8
MIN_FPS, MAX_FPS = 1, 60
DEFAULT_SEED = 420

LABELS = ("none", "corner")  # the visible label of a clip: "AI-generated", "AI生成"
LABEL_LANGUAGES = ("en", "zh")

MAX_PICTURE = 1920  # pixels a side, where nobody says otherwise


def picture_size(size: tuple[int, int], limit: int) -> tuple[int, int]:
    """Width and height of clips that show all of a picture: its own, or scaled to `limit` a side, and even."""
    longest = max(size)
    width, height = (max(2, side * min(limit, longest) // longest // 2 * 2) for side in size)
    return width, height
