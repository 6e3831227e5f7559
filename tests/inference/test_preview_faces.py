"""The preview on faces as they come: what must hold of mouth, lids and brow whatever the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from echod.inference import face
from echod.inference.audio import RATE, Speech
from echod.inference.contract import Image, Options, no_checkpoint
from echod.inference.preview import PreviewEngine, mesh
from echod.inference.preview.engine import PreviewPortrait
from tests.making.lips import correlation_at, log_rms, mouth_openings
from tests.making.media import EXAMPLES
from tests.making.sounds import write_speech
from tests.making.variants import variants, with_glasses

STILL = (0.0, 0.0, 0.0)
FPS = 24
VARIANTS = ("small", "at the edge", "tilted", "turned", "glasses")
LEFT_BROW_TOP, RIGHT_BROW_TOP = (70, 63, 105, 66, 107), (336, 296, 334, 293, 300)
BROWS = list(mesh.LEFT_BROW_BOTTOM + mesh.RIGHT_BROW_BOTTOM + LEFT_BROW_TOP + RIGHT_BROW_TOP)
LIDS = [(159, 145), (386, 374)]  # middles of upper and lower lid


def beginning(path: Path, seconds: float) -> Speech:
    samples = np.concatenate(list(Speech.open(EXAMPLES / "speech.wav").blocks())).astype(np.float64)
    return write_speech(path, [samples[: round(seconds * RATE)]])


def talk_breathe_talk(path: Path) -> Speech:
    """Two tones in silence and between them, from 1.0 to 1.5 s, a breath 24 dB below."""
    random = np.random.default_rng(7)
    tone = 0.4 * np.sin(2 * np.pi * 220 * np.arange(round(0.6 * RATE)) / RATE)
    breath = 0.4 / np.sqrt(2) * 10 ** (-24 / 20) * random.standard_normal(RATE // 2)
    silence = np.zeros(round(0.4 * RATE))
    return write_speech(path, [silence, tone, breath, tone, silence])


def pauses(loudness: NDArray[np.float64]) -> NDArray[np.int64]:
    """Frames within pauses longer than 0.2 s: at least two frames from where it is louder than 20 dB below the loud.

    Not the first three and the last: there the lips come from the portrait's own rest, and go back to it.
    """
    quiet = loudness < np.percentile(loudness, 90) - 20 / 20 * np.log(10)
    return np.array([i for i in range(3, len(quiet) - 3) if quiet[i - 2 : i + 3].all()])


def render(engine: PreviewEngine, portrait: PreviewPortrait, speech: Speech) -> Image:
    return np.concatenate(list(engine.frames(portrait, speech, Options(fps=FPS), no_checkpoint)))


@pytest.fixture(scope="module")
def faces(engine: PreviewEngine, picture: Image) -> dict[str, PreviewPortrait]:
    """The variants of the example portrait at 256x256."""
    return {name: engine.prepare(variant, (256, 256)) for name, variant in variants(picture).items()}


@pytest.mark.parametrize("breath", [pytest.param(False, marks=pytest.mark.long), True])
def test_the_mouth_is_shut_in_pauses(
    engine: PreviewEngine, portrait: PreviewPortrait, tmp_path: Path, breath: bool
) -> None:
    """In every pause longer than 0.2 s the lips meet as they do at rest, even if a breath is heard in it."""
    speech = (talk_breathe_talk if breath else lambda path: beginning(path, 2.5))(tmp_path / "speech.wav")
    frames = render(engine, portrait, speech)
    within = pauses(log_rms(speech, FPS, len(frames)))
    shut, *openings = mouth_openings(np.concatenate((portrait.puppet.pose(0, 0, 0, STILL)[None], frames)))
    assert within.size >= 5
    np.testing.assert_allclose(np.array(openings)[within], shut, atol=0.006)
    assert max(openings) > shut + 0.03


def test_the_faces_are_found(faces: dict[str, PreviewPortrait]) -> None:
    """However small, near the edge, tilted, turned or behind glasses: one face is found, and fills the frame."""
    for name, portrait in faces.items():
        assert portrait.faces == 1, name
        x0, _, x1, _ = face.find_faces(portrait.puppet.pose(0, 0, 0, STILL))[0].box
        assert 256 / 3 < x1 - x0 < 256, name


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name != "turned")) for name in VARIANTS]
)
def test_every_variant_speaks(
    engine: PreviewEngine, faces: dict[str, PreviewPortrait], tmp_path: Path, name: str
) -> None:
    """The mouth, found anew in the frames, goes with the speech, at lag zero better than three frames off."""
    speech = beginning(tmp_path / "speech.wav", 3)
    frames = render(engine, faces[name], speech)
    openings, loudness = mouth_openings(frames), log_rms(speech, FPS, len(frames))
    by_lag = {lag: correlation_at(lag, openings, loudness) for lag in (-3, 0, 3)}
    assert by_lag[0] >= 0.6, by_lag
    assert by_lag[0] == max(by_lag.values()), by_lag


@pytest.mark.parametrize("name", VARIANTS)
def test_the_brow_keeps_still(faces: dict[str, PreviewPortrait], name: str) -> None:
    """When the lids close, not a pixel of the brows changes; the eyes are shut."""
    check_blink(faces[name])


@pytest.mark.parametrize("name", ["a.png", "b.png", "c.png"])
def test_every_brow_keeps_still(engine: PreviewEngine, assets: Path, name: str) -> None:
    """So it is for other faces, painted ones too."""
    picture = np.asarray(Picture.open(assets / "assets" / name).convert("RGB").resize((700, 700)))
    check_blink(engine.prepare(picture, (512, 512)))


def check_blink(portrait: PreviewPortrait) -> None:
    # The mesh never calls an eye wholly shut: it knows open ones better.
    still, shut = (portrait.puppet.pose(0, 0, lids, STILL) for lids in (0, 1))
    box = face.find_faces(still)[0].box
    before, after = (mesh.find_landmarks(frame, box) for frame in (still, shut))
    for x, y in before[BROWS].round().astype(int):
        around = np.s_[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        np.testing.assert_array_equal(still[around], shut[around])
    for upper, lower in LIDS:
        assert after[lower, 1] - after[upper, 1] < 0.75 * (before[lower, 1] - before[upper, 1])


def test_glasses_stay_on(faces: dict[str, PreviewPortrait]) -> None:
    """A blink behind glasses does not bend their rims."""
    portrait = faces["glasses"]
    drawn = with_glasses(np.full((512, 512, 3), 255, np.uint8))
    rims = face.crop_and_resize(drawn, portrait.crop, portrait.size).max(axis=-1) < 100
    still, shut = (portrait.puppet.pose(0, 0, lids, STILL) for lids in (0, 1))
    assert rims.sum() > 1000
    assert not (still != shut)[rims].any()


def test_teeth_are_the_pictures_own(portrait: PreviewPortrait, picture: Image) -> None:
    """A portrait that smiles keeps its teeth: behind the opened lips they are where they were, and as they were."""
    given = face.crop_and_resize(picture, portrait.crop, portrait.size)
    points = mesh.find_landmarks(given, face.find_faces(given)[0].box)
    x, y = ((points[13] + points[14]) / 2).round().astype(int)
    teeth = np.s_[y - 4 : y + 5, x - 30 : x + 30]
    was, wide, shut = (frame[teeth].mean(axis=-1).ravel() for frame in (given, *poses(portrait, 0.085, 0)))
    assert np.corrcoef(was, wide)[0, 1] > 0.8
    assert np.corrcoef(was, shut)[0, 1] < 0.5


def poses(portrait: PreviewPortrait, *openings: float) -> list[Image]:
    return [portrait.puppet.pose(opening, 0, 0, STILL) for opening in openings]
