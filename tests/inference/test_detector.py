"""The detector finds what facenet-pytorch's own `detect` finds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import echod
from echod.inference import face
from echod.inference.contract import Image

PORTRAIT = np.asarray(cv2.imread(str(Path(echod.__file__).parent / "examples" / "portrait.png")), np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        PORTRAIT,
        PORTRAIT[40:, 30:].copy(),
        cv2.resize(PORTRAIT, (331, 457)),
        np.hstack([PORTRAIT, PORTRAIT[:, ::-1]]),
        np.zeros((64, 64, 3), np.uint8),
    ],
    ids=["portrait", "cut", "another shape", "two", "none"],
)
def test_same_boxes(picture: Image) -> None:
    """Boxes and how sure they are, largest first."""
    detector = face._detector()
    theirs, sure = detector.nets.detect(picture)
    found = detector.detect(picture).numpy()
    ours = found[np.argsort(-np.prod(found[:, 2:4] - found[:, :2], 1))]
    if theirs is None:
        assert not len(ours)
    else:
        np.testing.assert_allclose(ours[:, :4], theirs.astype(float), atol=1e-3)
        np.testing.assert_allclose(ours[:, 4], sure.astype(float), atol=1e-5)


def test_too_small_for_a_face() -> None:
    """A picture smaller than any face that is looked for shows none."""
    assert not len(face._detector().detect(np.zeros((9, 30, 3), np.uint8)))
