"""What the preview draws into a face: lids, the space behind the lips, the lips' shape, and when it blinks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from echod.inference import face
from echod.inference.audio import RATE, Speech
from echod.inference.contract import Image, Options, no_checkpoint
from echod.inference.preview import PreviewEngine, mesh
from echod.inference.preview.engine import PreviewPortrait
from echod.inference.preview.motion import Motion
from echod.inference.preview.mouth import WIDEST
from echod.inference.preview.mouth_track import read_mouth
from echod.inference.preview.puppet import Puppet
from tests.making.lips import mouth_openings
from tests.making.sounds import write_speech
from tests.making.variants import variants

STILL = (0.0, 0.0, 0.0)
FPS = 24
SKIN = 190  # the grey of a face without features
EYES = [(mesh.LEFT_EYE_UPPER, mesh.LEFT_EYE_LOWER), (mesh.RIGHT_EYE_UPPER, mesh.RIGHT_EYE_LOWER)]
Fractions = NDArray[np.float32]


def landmarks(picture: Image) -> NDArray[np.float32]:
    return mesh.find_landmarks(picture, face.find_faces(picture)[0].box)


def own_picture(portrait: PreviewPortrait, picture: Image) -> Image:
    return face.crop_and_resize(picture, portrait.crop, portrait.size)


def lid_profiles(frame: Image, points: NDArray[np.float32]) -> list[Fractions]:
    """(height, 3) each: the middle half of each eye, from under the brow's half way down to below the eye."""
    profiles = []
    for upper, lower in EYES:
        edge, floor = points[list(upper)], points[list(lower)]
        width = edge[-1, 0] - edge[0, 0]
        left, right = round(edge[0, 0] + width / 4), round(edge[-1, 0] - width / 4)
        top, bottom = round(edge[:, 1].min() - 0.25 * width), round(floor[:, 1].max() + 0.35 * width)
        profiles.append(frame[top:bottom, left:right].astype(np.float32).mean(axis=1))
    return profiles


def test_a_lid_has_the_skins_colour(portrait: PreviewPortrait, picture: Image) -> None:
    """A closed lid is as light and as red as the skin above and below it."""
    points = landmarks(own_picture(portrait, picture))
    shut = portrait.puppet.pose(0, 0, 1, STILL)
    for upper, lower in EYES:
        lid, floor = points[upper[4]], points[lower[4]]
        x, wide, open_ = round(lid[0]), round(0.5 * (floor[1] - lid[1])), floor[1] - lid[1]
        patch = shut[round(lid[1]) : round(lid[1] + 0.6 * open_), x - wide : x + wide].reshape(-1, 3).mean(axis=0)
        below = round(floor[1] + 1.5 * open_)
        skin = shut[below : below + wide, x - wide : x + wide].reshape(-1, 3).mean(axis=0)
        assert abs(patch / skin - 1).max() < 0.12
        assert patch[2] / patch[0] == pytest.approx(skin[2] / skin[0], rel=0.06)


def test_a_lid_is_shaded_between_fold_and_lashes(portrait: PreviewPortrait, picture: Image) -> None:
    """Down a closed eye: a fold's shade, a lighter ball under the lid, the dark line of lashes; no step."""
    points = landmarks(own_picture(portrait, picture))
    for profile in lid_profiles(portrait.puppet.pose(0, 0, 1, STILL), points):
        grey = profile.mean(axis=1)
        line = int(grey.argmin())
        lid = grey[: line - 4]
        fold = int(lid[:-6].argmin())
        assert grey[line] < 0.75 * np.median(grey)
        assert lid[fold] < 0.9 * lid[fold:].max()
        assert lid[fold] < 0.95 * lid[0]
        assert abs(np.diff(lid)).max() < 10


def test_lashes_hang_from_a_closed_lid(portrait: PreviewPortrait, picture: Image) -> None:
    """Below the line single hairs are seen."""
    points = landmarks(own_picture(portrait, picture))
    for upper, lower in EYES:
        edge, floor = points[list(upper)], points[list(lower)]
        left, right = round(edge[2, 0]), round(edge[-3, 0])
        shut = portrait.puppet.pose(0, 0, 1, STILL)[:, left:right].mean(axis=-1)
        rows = shut[round(floor[:, 1].max()) - 4 : round(floor[:, 1].max()) + 8]
        hairs = [np.sum((row[1:-1] < row[:-2] - 1) & (row[1:-1] < row[2:] - 1)) for row in rows]
        assert max(hairs) >= 4


@pytest.mark.parametrize("name", [pytest.param("at the edge", marks=pytest.mark.long), "tilted"])
def test_a_lid_has_no_edge(engine: PreviewEngine, picture: Image, name: str) -> None:
    """Above the line of the lashes a closed lid goes over into the skin around it without a step."""
    portrait = engine.prepare(variants(picture)[name], (512, 512))
    points = landmarks(portrait.puppet.pose(0, 0, 0, STILL, shut=0))
    grey = portrait.puppet.pose(0, 0, 1, STILL).astype(np.float32).mean(axis=-1)
    steps = np.hypot(*np.gradient(grey))
    y, x = np.mgrid[:512, :512]
    for upper, _ in EYES:
        edge = points[list(upper)]
        width, (centre_x, centre_y) = np.linalg.norm(edge[-1] - edge[0]), (edge[0] + edge[-1]) / 2
        around = np.hypot((x - centre_x) / (0.85 * width), (y - centre_y) / (0.45 * width)) < 1
        above = y < np.interp(x[0], edge[:, 0], edge[:, 1]) - 0.02 * width
        assert steps[around & above].max() < 18


# The mouth, drawn into a face without features, so that nothing but what is drawn can be seen.


class PlainMouth:
    """A mouth that is shut in a picture of one grey, with a dark line that goes on beside it; and opened."""

    def __init__(self, portrait: PreviewPortrait, picture: Image) -> None:
        self.points = landmarks(own_picture(portrait, picture))
        upper, lower = (self.points[list(lip)] for lip in (mesh.INNER_UPPER_LIP, mesh.INNER_LOWER_LIP))
        self.line = (upper + lower) / 2
        for lip in (mesh.INNER_UPPER_LIP, mesh.INNER_LOWER_LIP):
            self.points[list(lip)] = self.line
        self.left, self.right = self.line[0, 0], self.line[-1, 0]
        self.half, self.middle = (self.right - self.left) / 2, (self.right + self.left) / 2
        plain = np.full((512, 512, 3), SKIN, np.uint8)
        for (x, y), side in ((self.line[0], -1), (self.line[-1], 1)):
            end = (round(x + side * 0.13 * self.half), round(y))
            cv2.line(plain, (round(x), round(y)), end, (70, 50, 50), 2, cv2.LINE_AA)
        self.puppet = Puppet(plain, self.points)
        self.wide = self.puppet.pose(WIDEST, 0, 0, STILL).astype(float).mean(axis=-1)

    def columns(self, start: float, end: float) -> slice:
        """Columns between two distances from the middle, in half widths."""
        return slice(round(self.middle + start * self.half), round(self.middle + end * self.half))

    def depth(self, across: float) -> float:
        """How far the space behind the lips reaches below the line where they met, in pixels."""
        column = self.columns(across - 0.03, across + 0.03)
        lowest = np.flatnonzero((self.wide[:, column] < SKIN - 60).any(axis=1))[-1]
        meets = np.interp(self.middle + across * self.half, self.line[:, 0], self.line[:, 1])
        return float(lowest - meets)


@pytest.fixture(scope="module")
def plain(portrait: PreviewPortrait, picture: Image) -> PlainMouth:
    return PlainMouth(portrait, picture)


def test_the_lower_lip_is_round(plain: PlainMouth) -> None:
    """It hangs like a bow, not like a wedge: at six tenths to the sides still more than two thirds as deep."""
    sides = (plain.depth(-0.6) + plain.depth(0.6)) / 2
    assert sides > 0.67 * plain.depth(0)


def test_nothing_dark_stays_beside_an_open_mouth(plain: PlainMouth) -> None:
    """The line that goes on beside shut lips is gone once they part."""
    rows = slice(round(plain.line[:, 1].min()) - 25, round(plain.line[:, 1].max()) + 40)
    for columns in (plain.columns(-1.6, -1.0), plain.columns(1.0, 1.6)):
        assert plain.wide[rows, columns].min() > SKIN - 40


def test_the_space_behind_the_lips_is_shaded(plain: PlainMouth) -> None:
    """Darkest far back in the middle, lighter towards the lips; no corner is as dark as that."""
    bottom = round(np.interp(plain.middle, plain.line[:, 0], plain.line[:, 1]) + plain.depth(0))
    inside = plain.wide[bottom - round(0.8 * plain.depth(0)) : bottom - 2, plain.columns(-0.1, 0.1)].mean(axis=1)
    corners = [plain.wide[:, plain.columns(*at)].min() for at in ((-0.98, -0.9), (0.9, 0.98))]
    assert inside.min() < 25
    assert inside[-1] > inside.min() + 15
    assert min(corners) > inside.min() + 10


# Rest and blinks.


def test_a_clip_begins_and_ends_with_the_portrait_itself(
    engine: PreviewEngine, portrait: PreviewPortrait, picture: Image, tmp_path: Path
) -> None:
    """Lips that are apart in the portrait are so in the first frame and the last, and come together step by step."""
    frames = clip(engine, portrait, write_speech(tmp_path / "silence.wav", [np.zeros(RATE)]))
    given = own_picture(portrait, picture)
    np.testing.assert_array_equal(frames[[0, -1]], np.stack([given, given]))
    openings = mouth_openings(frames)
    assert openings[0] > openings[6] + 0.02
    assert abs(np.diff(openings)).max() < 0.75 * (openings[0] - openings[6])


def clip(engine: PreviewEngine, portrait: PreviewPortrait, speech: Speech) -> Image:
    return np.concatenate(list(engine.frames(portrait, speech, Options(fps=FPS), no_checkpoint)))


def phrases(path: Path, *seconds: float) -> Speech:
    """Tones of these lengths with half a second of silence before, between and after them."""
    silence = np.zeros(RATE // 2)
    tones = (0.4 * np.sin(2 * np.pi * 220 * np.arange(round(length * RATE)) / RATE) for length in seconds)
    return write_speech(path, [silence, *(part for tone in tones for part in (tone, silence))])


def blinks(speech: Speech, seed: int) -> tuple[list[int], NDArray[np.bool_]]:
    """In which frames the lids are wholly down, and in which the speech pauses."""
    count = round(speech.seconds * FPS)
    in_pause = read_mouth(speech, FPS, count, no_checkpoint).in_pause
    motion = Motion(seed, in_pause, FPS)
    return [i for i in range(count) if motion.lids(i / FPS) > 0.7], in_pause


def test_recordings_blink_at_times_of_their_own(tmp_path: Path) -> None:
    """With one seed, other words blink at other times; the same words and seed at the same; another seed at others."""
    first = phrases(tmp_path / "first.wav", 1.6, 1.2, 2.0, 1.1, 1.9)
    second = phrases(tmp_path / "second.wav", 1.1, 2.0, 1.2, 1.9, 1.6)
    assert blinks(first, 420)[0] == blinks(first, 420)[0]
    assert blinks(first, 420)[0] != blinks(second, 420)[0]
    assert blinks(first, 420)[0] != blinks(first, 421)[0]


@pytest.mark.parametrize("seed", range(420, 430))
def test_blinks_fall_into_pauses(tmp_path: Path, seed: int) -> None:
    """Where the speech pauses often, every blink has its lids down in a pause; there are about as many as people's."""
    down, in_pause = blinks(phrases(tmp_path / "speech.wav", *[1.3, 1.7, 1.1, 1.6] * 5), seed)
    each = np.split(down, np.flatnonzero(np.diff(down) > 2) + 1)
    assert all(in_pause[blink].any() for blink in each)
    assert len(in_pause) / FPS / 6 < len(each) < len(in_pause) / FPS / 1.8


@pytest.mark.parametrize("joins", [(False, False), (True, False), (False, True), (True, True)])
def test_a_mouth_that_goes_on(joins: tuple[bool, bool]) -> None:
    """Where speech goes on from one clip into another the mouth follows it to the end; the head rests all the same."""
    motion = Motion(420, np.zeros(30, bool), FPS, joins)
    assert (motion.mouth(0), motion.mouth(29 / FPS)) == tuple(map(float, joins)) and motion.mouth(15 / FPS) == 1
    assert motion.sway(0) == motion.sway(29 / FPS) == (0, 0, 0)


def test_speech_without_a_pause_is_blinked_in_too(tmp_path: Path) -> None:
    """Ten seconds of one tone: at least one blink, and none that the clip's end cuts off."""
    in_pause = np.zeros(10 * FPS, bool)
    for seed in range(50):
        motion = Motion(seed, in_pause, FPS)
        lids = [motion.lids(i / FPS) for i in range(len(in_pause))]
        assert max(lids) > 0.7
        assert lids[0] == lids[-1] == 0
