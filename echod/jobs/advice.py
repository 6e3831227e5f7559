"""What people should know about a portrait that is good enough to be taken."""

from __future__ import annotations

import msgspec

from echod.inference.framing import Framing, crop_rect
from echod.inspection.facts import PortraitFacts
from echod.jobs.job import ClipOptions, face_box

# Scaled to twice its size each pixel of the crop has become four: eyes and lips have lost their edges, and no engine
# brings them back.
SOFT = 2.0

DEFAULT = ClipOptions()


class Advice(msgspec.Struct, frozen=True):
    """What will show in a clip, as a code and a sentence."""

    code: str
    message: str


def warnings(portrait: PortraitFacts | None, options: ClipOptions = DEFAULT) -> list[Advice]:
    """Whatever will show in a clip with these options.

    One that shows the whole picture has the face as large as that has it.
    """
    box = face_box(options, portrait) if portrait else None
    if portrait is None or box is None or options.view == "picture":
        return []
    shown, wanted = crop_side(portrait, options), min(options.width, options.height)
    if wanted <= SOFT * shown:
        return []
    face, scale = box[2] - box[0], wanted / max(shown, 1)
    message = (
        f"the face is {face:.0f} px wide: a clip of {options.width}x{options.height} shows it {scale:.1f} times as "
        f"large, and soft; use a picture in which it is at least {face * scale / SOFT:.0f} px wide, or ask for a "
        "smaller size"
    )
    return [Advice("face_small", message)]


def crop_side(portrait: PortraitFacts, options: ClipOptions = DEFAULT) -> int:
    """Pixels of the picture that the shorter side of a clip's crop shows."""
    framing = Framing(options.crop, options.dilation)
    size, box = (options.width, options.height), face_box(options, portrait)
    x0, y0, x1, y1 = crop_rect((portrait.height, portrait.width), box, size, framing)
    return min(x1 - x0, y1 - y0)
