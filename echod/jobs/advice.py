"""What people should know about a portrait that is good enough to be taken."""

from __future__ import annotations

from echod.inspection.facts import PortraitFacts
from echod.jobs.job import ClipOptions

# The picture is cut around the face, with half its size more on each side, and scaled to the clip. Scaled to twice its
# size each of its pixels has become four: eyes and lips have lost their edges, and no engine brings them back.
DILATION = 0.5
SOFT = 2.0

DEFAULT = ClipOptions()


def warnings(portrait: PortraitFacts | None, options: ClipOptions = DEFAULT) -> list[dict[str, str]]:
    """`code` and `message` of whatever will show in a clip with these options."""
    if portrait is None or portrait.box is None:
        return []
    shown, wanted = crop_side(portrait), min(options.width, options.height)
    if wanted <= SOFT * shown:
        return []
    face, scale = portrait.box[2] - portrait.box[0], wanted / max(shown, 1)
    message = (
        f"the face is {face:.0f} px wide: a clip of {options.width}x{options.height} shows it {scale:.1f} times as "
        f"large, and soft; use a picture in which it is at least {face * scale / SOFT:.0f} px wide, or ask for a "
        "smaller size"
    )
    return [{"code": "face_small", "message": message}]


def crop_side(portrait: PortraitFacts) -> float:
    """Pixels of the picture that the shorter side of a clip shows, about as `inference.face.crop_rect` has it."""
    assert portrait.box
    x0, y0, x1, y1 = portrait.box
    more_x, more_y = DILATION * (x1 - x0), DILATION * (y1 - y0)
    across = min(x1 + more_x, portrait.width) - max(x0 - more_x, 0)
    down = min(y1 + more_y, portrait.height) - max(y0 - more_y, 0)
    return min(across, down)
