"""Find faces, and cut the square (or otherwise shaped) part of a picture that every engine works on.

Follows the EchoMimic authors' preprocessing, down to MTCNN being fed BGR: in RGB order the box, and with it the crop,
moves by tens of pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .contract import Image
from .errors import InputError
from .framing import Box, Framing, Rect, Size, crop_rect, problem_of, rounded

if TYPE_CHECKING:
    from .detector import Detector

MIN_PROBABILITY = 0.8
MASK_PADDING = 0.1  # of the face box, on each side
SAME = 0.3  # overlap of two boxes that are of one face
GLANCE_SIDE = 1024  # pixels of the longer side that `glance` looks at


@dataclass(frozen=True)
class Face:
    """A face box in pixels (it may leave the picture) and how sure the detector is, 0..1."""

    box: Box
    probability: float

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


@cache
def _detector() -> Detector:
    # Loads torch, hence not at module level.
    try:
        with _without_compiler():
            from .detector import Detector
    except ImportError:  # a torchvision that wants to know more of the compiler
        from .detector import Detector

    return Detector()


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Import torchvision without torch's compiler, which takes longer to import than torch itself.

    All that torchvision asks it is whether roi_align, which nothing here calls, could be compiled for a device.
    """
    name = "torch._dynamo.utils"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    vars(stand_in)["is_compile_supported"] = lambda device_type: False
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]  # whoever compiles something later gets the real one


def find_faces(image: Image) -> list[Face]:
    """All faces of a picture, largest first; BGR order first, RGB order if that shows none."""
    return _detect(image[..., ::-1]) or _detect(image)


def glance(image: Image) -> list[Face]:
    """`find_faces` on a copy of at most 1024 pixels: fast, boxes in full-size pixels but a little off."""
    scale = GLANCE_SIDE / max(image.shape[:2])
    if scale >= 1:
        return find_faces(image)
    resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = np.asarray(resized, np.uint8)
    height, width = small.shape[:2]
    back = np.array([image.shape[1] / width, image.shape[0] / height] * 2)
    return [Face(_as_box(np.array(face.box) * back), face.probability) for face in find_faces(small)]


def _detect(pixels: NDArray[np.uint8]) -> list[Face]:
    boxes = _detector().detect(np.ascontiguousarray(pixels)).numpy()
    found = [Face(_as_box(box), float(p)) for *box, p in boxes if p > MIN_PROBABILITY]
    return sorted(found, key=lambda face: face.area, reverse=True)


def _as_box(values: Iterable[Any]) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return x0, y0, x1, y1


def face_mask(shape: tuple[int, int], box: Box | None) -> NDArray[np.uint8]:
    """255 where the padded box is, 0 elsewhere, (H, W) = shape; without a box all 255."""
    if box is None:
        return np.full(shape, 255, np.uint8)
    x0, y0, x1, y1 = rounded(box)
    pad_x, pad_y = int((x1 - x0) * MASK_PADDING), int((y1 - y0) * MASK_PADDING)
    mask = np.zeros(shape, np.uint8)
    # Clamped: a negative start would count from the far side of the picture.
    mask[max(0, y0 - pad_y) : max(0, y1 + pad_y), max(0, x0 - pad_x) : max(0, x1 + pad_x)] = 255
    return mask


def crop_and_resize(pixels: NDArray[np.uint8], rect: Rect, size: Size) -> NDArray[np.uint8]:
    """Cut `rect` out of (H, W) or (H, W, 3) pixels and resize it to `size`, bilinear as the authors do."""
    x0, y0, x1, y1 = rect
    return np.asarray(cv2.resize(pixels[y0:y1, x0:x1], size), np.uint8)


def crop_and_pad(
    image: Image, box: Box | None, size: Size, framing: Framing | None = None
) -> tuple[Image, NDArray[np.uint8], Rect]:
    """The part of a picture around a face, at `size`, with its face mask (H, W), and where in the picture it was.

    Without a box it is the middle of the picture, and all of it counts as face.
    """
    shape = image.shape[0], image.shape[1]
    rect = crop_rect(shape, box, size, framing)
    return crop_and_resize(image, rect, size), crop_and_resize(face_mask(shape, box), rect, size), rect


def choose(image: Image, size: Size, box: Box | None, framing: Framing) -> tuple[Box, int]:
    """The face box that is meant, and how many faces were found; `box` is one from elsewhere.

    Raises InputError: no_face_detected, invalid_request.
    """
    faces = find_faces(image)
    chosen = faces[0].box if faces and framing.face is None else _chosen(faces, box, framing.face or 0)
    if chosen is None:
        raise InputError("no_face_detected", "no face was found in the picture; give one that shows a face clearly")
    # Who gives a box has checked the crop against that one, which may be a few pixels off.
    if framing.crop and (problem := problem_of(framing.crop, image.shape[:2], box or chosen, size)):
        raise InputError("invalid_request", f"crop = {framing.crop}: {problem}")
    return chosen, max(1, len(faces))


def _chosen(faces: list[Face], box: Box | None, number: int) -> Box | None:
    if box is not None:
        return max(
            (face.box for face in faces if _overlap(face.box, box) > SAME), default=box, key=partial(_overlap, box)
        )
    if faces and number >= len(faces):
        raise InputError(
            "invalid_request", f"face = {number}: the picture shows {len(faces)}, from left to right, from 0 on"
        )
    return in_order(faces)[number].box if faces else None


def in_order(faces: list[Face]) -> list[Face]:
    """From left to right, as `Framing.face` counts them."""
    return sorted(faces, key=lambda face: face.box[0] + face.box[2])


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    common = across * max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    return common / (Face(one, 1).area + Face(other, 1).area - common)
