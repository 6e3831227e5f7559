"""Find faces, and cut the square (or otherwise shaped) part of a picture that every engine works on.

Follows the EchoMimic authors' preprocessing, down to MTCNN being fed BGR: in RGB order the box, and with it the crop,
moves by tens of pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .contract import Box, Image, Rect, Size

MIN_PROBABILITY = 0.8
DILATION = 0.5  # of the face box, on each side
MASK_PADDING = 0.1  # of the face box, on each side
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
def _detector() -> Any:
    # Loads torch, hence not at module level. Its weights come inside the package.
    try:
        with _without_compiler():
            from facenet_pytorch import MTCNN
    except ImportError:  # a torchvision that wants to know more of the compiler
        from facenet_pytorch import MTCNN

    return MTCNN(min_face_size=20, thresholds=[0.6, 0.7, 0.7], factor=0.709, select_largest=True)


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
    boxes, probabilities = _detector().detect(np.ascontiguousarray(pixels))
    if boxes is None:
        return []
    found = [Face(_as_box(box), float(p)) for box, p in zip(boxes, probabilities, strict=True) if p > MIN_PROBABILITY]
    return sorted(found, key=lambda face: face.area, reverse=True)


def _as_box(values: NDArray[Any]) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return x0, y0, x1, y1


def rounded(box: Box) -> Rect:
    """The box in whole pixels, half to even as numpy rounds; it may still leave the picture."""
    x0, y0, x1, y1 = (int(value) for value in np.round(np.array(box)))
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


def dilated_rect(shape: tuple[int, int], box: Box) -> Rect:
    """The face box with half its size more on each side, cut at the picture's (H, W) = shape."""
    x0, y0, x1, y1 = rounded(box)
    grow_x, grow_y = int(DILATION * (x1 - x0)), int(DILATION * (y1 - y0))
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


def room_for(shape: tuple[int, int], box: Box, size: Size) -> Rect:
    """The dilated face grown to the aspect of `size`, as far as the picture goes, with all of the face box inside.

    Where the picture is too small for that, forehead goes before mouth and chin.
    """
    (limit_y, limit_x), (width, height) = shape, size
    left, top, right, bottom = dilated_rect(shape, box)
    across = max(right - left, (bottom - top) * width // height)
    down = max(bottom - top, (right - left) * height // width)
    across = max(1, min(across, limit_x, limit_y * width // height))
    down = max(1, min(down, limit_y, limit_x * height // width))
    x0, y0, x1, y1 = rounded(box)
    x, y = (x0 + x1) // 2 - across // 2, max((y0 + y1) // 2 - down // 2, y1 - down)
    x, y = max(0, min(x, limit_x - across)), max(0, min(y, limit_y - down))
    return x, y, x + across, y + down


def crop_rect(shape: tuple[int, int], box: Box | None, size: Size) -> Rect:
    """What the frames show of a picture of (H, W) = shape: around the face, or the middle if there is no box."""
    if box is None:
        return fit_rect((0, 0, shape[1], shape[0]), size)
    if size[0] == size[1]:  # as the authors do, who make square clips only
        return fit_rect(dilated_rect(shape, box), size)
    return room_for(shape, box, size)


def crop_and_resize(pixels: NDArray[np.uint8], rect: Rect, size: Size) -> NDArray[np.uint8]:
    """Cut `rect` out of (H, W) or (H, W, 3) pixels and resize it to `size`, bilinear as the authors do."""
    x0, y0, x1, y1 = rect
    return np.asarray(cv2.resize(pixels[y0:y1, x0:x1], size), np.uint8)


def crop_and_pad(image: Image, box: Box | None, size: Size) -> tuple[Image, NDArray[np.uint8], Rect]:
    """The part of a picture around a face, at `size`, with its face mask (H, W), and where in the picture it was.

    Without a box it is the middle of the picture, and all of it counts as face.
    """
    shape = image.shape[0], image.shape[1]
    rect = crop_rect(shape, box, size)
    return crop_and_resize(image, rect, size), crop_and_resize(face_mask(shape, box), rect, size), rect
