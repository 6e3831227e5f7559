"""MTCNN over one picture, with facenet-pytorch's nets and rules, and the same boxes as its `detect`.

What takes most of its time there is reading the whole picture anew for every scale, and once more for every candidate.
Here one table of sums, made once, answers for all of them: the mean of any rectangle is four of its numbers.
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from facenet_pytorch.models.utils import detect_face as rules
from numpy.typing import NDArray
from torch import Tensor

Sums: TypeAlias = NDArray[np.int32]  # of all pixels above and left of a place; beyond 2^31 they wrap around
Indices: TypeAlias = NDArray[np.int64]

FIRST = 12  # pixels that the first net sees, of a face of `min_face_size`
REFINE, CONFIRM = 24, 48  # pixels of a candidate that the second and the third net see


class Detector:
    """Finds faces in one picture after another."""

    def __init__(self) -> None:
        self.nets = MTCNN(min_face_size=20, thresholds=[0.6, 0.7, 0.7], factor=0.709, select_largest=True)

    @torch.inference_mode()
    def detect(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(n, 5): left, top, right, bottom and how sure it is, of each face in (H, W, 3)."""
        sums, sides = np.asarray(cv2.integral(pixels), np.int32), pixels.shape[:2]
        _, refine, confirm = self.nets.thresholds
        boxes = self._propose(sums, sides)
        boxes, crops = _candidates(sums, sides, boxes, REFINE)
        if not len(boxes):
            return boxes
        shift, sure = rules.fixed_batch_process(crops, self.nets.rnet)
        boxes, shift = _surer(boxes, shift, sure[:, 1], refine)
        pick = _distinct(boxes, 0.7)
        boxes = rules.rerec(rules.bbreg(boxes[pick], shift[pick]))
        boxes, crops = _candidates(sums, sides, boxes, CONFIRM)
        if not len(boxes):
            return boxes
        shift, _, sure = rules.fixed_batch_process(crops, self.nets.onet)
        boxes, shift = _surer(boxes, shift, sure[:, 1], confirm)
        boxes = rules.bbreg(boxes, shift)
        pick = rules.batched_nms_numpy(boxes[:, :4], boxes[:, 4], _one(boxes), 0.7, "Min")
        faces: Tensor = boxes[pick]
        return faces

    def _propose(self, sums: Sums, sides: tuple[int, ...]) -> Tensor:
        """What the first net takes for a face, at every scale, as squares (n, 5)."""
        scale, found = FIRST / self.nets.min_face_size, []
        least = min(sides) * scale
        while least >= FIRST:
            shift, sure = self.nets.pnet(_resampled(sums, sides, scale))
            boxes, _ = rules.generateBoundingBox(shift, sure[:, 1], scale, self.nets.thresholds[0])
            found.append(boxes[_distinct(boxes, 0.5)])
            scale, least = scale * self.nets.factor, least * self.nets.factor
        boxes = torch.cat(found) if found else torch.zeros(0, 9)
        boxes = boxes[_distinct(boxes, 0.7)]
        size = (boxes[:, 2:4] - boxes[:, :2]).repeat(1, 2)
        squares: Tensor = rules.rerec(torch.cat([boxes[:, :4] + boxes[:, 5:] * size, boxes[:, 4:5]], 1))
        return squares


def _distinct(boxes: Tensor, overlap: float) -> Tensor:
    pick: Tensor = rules.batched_nms(boxes[:, :4], boxes[:, 4], _one(boxes), overlap)
    return pick


def _one(boxes: Tensor) -> Tensor:
    """That all are of one picture."""
    return torch.zeros(len(boxes), dtype=torch.int64)


def _surer(boxes: Tensor, shift: Tensor, sure: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    passed = sure > threshold
    return torch.cat([boxes[passed, :4], sure[passed, None]], 1), shift[passed]


def _candidates(sums: Sums, sides: tuple[int, ...], boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The boxes that lie in the picture, as far as they do so, and what they show (n, 3, side, side)."""
    top, bottom, left, right = (np.asarray(edge, np.int64) for edge in rules.pad(boxes, sides[1], sides[0]))
    top, left = top - 1, left - 1
    inside = (bottom > top) & (right > left)
    rows = _parts(top[inside], bottom[inside], side)
    columns = _parts(left[inside], right[inside], side)
    (above, below), (before, after) = ([edge[:, :, None] for edge in rows], [edge[:, None] for edge in columns])
    total = sums[below, after] - sums[above, after] - sums[below, before] + sums[above, before]
    return boxes[torch.from_numpy(inside)], _means(total, below - above, after - before)


def _resampled(sums: Sums, sides: tuple[int, ...], scale: float) -> Tensor:
    """The whole picture at another size (1, 3, h, w)."""
    rows, columns = (_parts(np.zeros(1, np.int64), np.array([side]), int(side * scale + 1)) for side in sides)
    (above, below), (before, after) = ([edge[0] for edge in edges] for edges in (rows, columns))
    bands = sums[below] - sums[above]
    total = bands.take(after, 1) - bands.take(before, 1)
    return _means(total[None], (below - above)[:, None], after - before)


def _parts(first: Indices, last: Indices, count: int) -> tuple[Indices, Indices]:
    """Where each of `count` parts of the ranges (n,) begins and ends (n, count): torch's adaptive pooling's rule."""
    length, part = (last - first)[:, None], np.arange(count)
    return first[:, None] + part * length // count, first[:, None] - -(part + 1) * length // count


def _means(total: Sums, height: Indices, width: Indices) -> Tensor:
    """What nets take (n, 3, h, w) of sums (n, h, w, 3) over so many pixels each."""
    mean = total.astype(np.float32)
    mean /= height[..., None].astype(np.float32)
    mean /= width[..., None].astype(np.float32)
    mean -= 127.5
    mean *= 0.0078125
    return torch.from_numpy(mean).permute(0, 3, 1, 2)
