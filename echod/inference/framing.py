"""Which part of a picture the frames show: plain arithmetic, for engines and for whoever checks what they are asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Size: TypeAlias = tuple[int, int]  # width, height
Box: TypeAlias = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels; may leave the picture
Rect: TypeAlias = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, inside the picture; x1 and y1 exclusive

DILATION = 0.5  # of the face box, on each side


@dataclass(frozen=True)
class Framing:
    """The `crop` that is wanted, or else the face with `dilation` of its size more on each side.

    `face` counts the faces of the picture from left to right, from 0 on; None is the largest.
    """

    crop: Rect | None = None
    dilation: float = DILATION
    face: int | None = None


def rounded(box: Box) -> Rect:
    """The box in whole pixels, half to even; it may still leave the picture."""
    x0, y0, x1, y1 = (round(value) for value in box)
    return x0, y0, x1, y1


def dilated_rect(shape: tuple[int, int], box: Box, dilation: float = DILATION) -> Rect:
    """The face box with so much of its size more on each side, cut at the picture's (H, W) = shape."""
    x0, y0, x1, y1 = rounded(box)
    grow_x, grow_y = int(dilation * (x1 - x0)), int(dilation * (y1 - y0))
    height, width = shape
    return max(0, x0 - grow_x), max(0, y0 - grow_y), min(x1 + grow_x, width), min(y1 + grow_y, height)


def fit_rect(rect: Rect, size: Size) -> Rect:
    """The largest part of `rect` with the aspect of `size` (width, height), centred."""
    x0, y0, x1, y1 = rect
    width, height = size
    across = max(1, min(x1 - x0, (y1 - y0) * width // height))
    down = max(1, min(y1 - y0, (x1 - x0) * height // width))
    left, top = (x0 + x1) // 2 - across // 2, (y0 + y1) // 2 - down // 2
    return left, top, left + across, top + down


def room_for(shape: tuple[int, int], box: Box, size: Size, dilation: float = DILATION) -> Rect:
    """The dilated face grown to the aspect of `size`, as far as the picture goes, with all of the face box inside.

    Where the picture is too small for that, forehead goes before mouth and chin.
    """
    (limit_y, limit_x), (width, height) = shape, size
    left, top, right, bottom = dilated_rect(shape, box, dilation)
    across = max(right - left, (bottom - top) * width // height)
    down = max(bottom - top, (right - left) * height // width)
    across = max(1, min(across, limit_x, limit_y * width // height))
    down = max(1, min(down, limit_y, limit_x * height // width))
    x0, y0, x1, y1 = rounded(box)
    x, y = (x0 + x1) // 2 - across // 2, max((y0 + y1) // 2 - down // 2, y1 - down)
    x, y = max(0, min(x, limit_x - across)), max(0, min(y, limit_y - down))
    return x, y, x + across, y + down


def crop_rect(shape: tuple[int, int], box: Box | None, size: Size, framing: Framing | None = None) -> Rect:
    """What the frames show of a picture of (H, W) = shape: around the face, or the middle if there is no box."""
    framing = framing or Framing()
    if framing.crop is not None:
        return fit_rect(framing.crop, size)
    if box is None:
        return fit_rect((0, 0, shape[1], shape[0]), size)
    if size[0] == size[1]:  # as the authors do, who make square clips only
        rect = fit_rect(dilated_rect(shape, box, framing.dilation), size)
        if framing.dilation == DILATION or holds(rect, face_rect(shape, box)):
            return rect
    return room_for(shape, box, size, framing.dilation)


def face_rect(shape: tuple[int, int], box: Box) -> Rect:
    """The face, as far as it is in the picture."""
    return dilated_rect(shape, box, 0)


def holds(rect: Rect, part: Rect) -> bool:
    return rect[0] <= part[0] and rect[1] <= part[1] and rect[2] >= part[2] and rect[3] >= part[3]


def problem_of(crop: Rect, shape: tuple[int, int], box: Box | None, size: Size) -> str | None:
    """Why a crop cannot be had of a picture with its face in `box`."""
    height, width = shape
    if not (0 <= crop[0] < crop[2] <= width and 0 <= crop[1] < crop[3] <= height):
        return f"it must be x0,y0,x1,y1 inside the picture, which is {width} x {height}"
    fitted = fit_rect(crop, size)
    if box is None or holds(fitted, face := face_rect(shape, box)):
        return None
    cut = f", once its middle is cut to the shape of {size[0]}x{size[1]}: {_text(fitted)}" if fitted != crop else ""
    return f"it must hold all of the face, which is {_text(face)}{cut}"


def _text(rect: Rect) -> str:
    return ",".join(map(str, rect))
