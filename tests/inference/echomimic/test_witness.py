"""One whole run of the authors' code, from files to frames, made again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from echod.inference import face, framing
from echod.inference.audio import Speech
from echod.inference.echomimic.board import Board
from echod.inference.echomimic.pipeline import Audio2VideoPipeline
from tests.parity.golden import GOLDEN

WITNESS = GOLDEN / "witness"


@pytest.mark.long
def test_witness(pipeline: Audio2VideoPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crop and mask are the same, latents are the same to 1e-4, and frames to 1 of 255."""
    facts, expected = json.loads((WITNESS / "witness.json").read_text()), load_file(WITNESS / "expected.safetensors")
    image = np.asarray(Image.open(WITNESS / "portrait.png").convert("RGB"))
    speech = Speech.open(WITNESS / "speech.wav")
    (found,) = face.find_faces(image)[:1]
    np.testing.assert_allclose(found.box, facts["face_box_xyxy"], atol=0.01)
    assert list(framing.dilated_rect(image.shape[:2], found.box)) == facts["crop_rect_before_squaring"]
    crop, mask, _ = face.crop_and_pad(image, found.box, tuple(facts["size"]))
    np.testing.assert_array_equal(crop, expected["ref_image_rgb"])
    np.testing.assert_array_equal(mask, expected["mask"])

    kept: list[Board] = []
    begin = Board.begin

    def begun(*given: Any) -> Board:
        kept.append(begin(*given))
        return kept[-1]

    monkeypatch.setattr(Board, "begin", begun)
    likeness = pipeline.prepare(crop, mask)
    made = pipeline(
        likeness,
        speech,
        **{name: facts[name] for name in ("steps", "guidance", "seed", "fps", "window", "overlap")},
    )
    frames = np.concatenate(list(made)).astype(int)
    latents = kept[0].shelf.latents[facts["steps"] % 2].transpose(0, 1)[None]
    recorded = expected["final_latents"]
    assert latents.shape == recorded.shape
    assert float((latents - recorded).norm() / recorded.norm()) < 1e-4
    theirs = expected["video_uint8"][0].permute(1, 2, 3, 0).numpy()
    assert len(theirs) == facts["frames"] > len(frames)
    assert np.abs(frames - theirs[: len(frames)]).max() <= 1
