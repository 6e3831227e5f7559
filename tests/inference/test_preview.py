from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from echod.inference.audio import RATE, Speech
from echod.inference.clip import make_clip
from echod.inference.contract import Image, Options, no_checkpoint
from echod.inference.errors import InputError
from echod.inference.preview import PreviewEngine, mesh
from echod.inference.preview.engine import BATCH, PreviewPortrait
from echod.inference.preview.puppet import Puppet
from tests.making.lips import correlation_at, log_rms, mouth_openings
from tests.making.media import EXAMPLES, write_wav
from tests.making.playback import play

STILL = (0.0, 0.0, 0.0)


def check_sync(clip: Path, speech: Speech) -> None:
    frames = play(clip).frames
    openings, loudness = mouth_openings(frames), log_rms(speech, 24, len(frames))
    by_lag = {lag: correlation_at(lag, openings, loudness) for lag in range(-5, 6)}
    assert by_lag[0] >= 0.5, by_lag
    best = max(by_lag.items(), key=lambda item: item[1])[0]
    assert abs(best) <= 1, by_lag


def test_the_mouth_follows_the_speech(engine: PreviewEngine, portrait: PreviewPortrait, tmp_path: Path) -> None:
    """In the finished clip the opening of the mouth correlates with the speech's energy, at lag zero or next to it."""
    speech = Speech.open(EXAMPLES / "speech.wav")
    make_clip(engine, portrait, speech, Options(), tmp_path)
    check_sync(tmp_path / "clip.mp4", speech)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "recording"), [("a.png", "echomimic_en.wav"), ("b.png", "chunwang.wav"), ("c.png", "echomimic_en.wav")]
)
def test_every_mouth_follows_every_speech(
    engine: PreviewEngine, assets: Path, tmp_path: Path, name: str, recording: str
) -> None:
    """So it does for other faces, painted ones too, and other voices."""
    picture = np.asarray(Picture.open(assets / "assets" / name).convert("RGB").resize((700, 700)))
    speech = Speech.open(assets / "assets" / recording)
    make_clip(engine, engine.prepare(picture, (384, 384)), speech, Options(), tmp_path)
    check_sync(tmp_path / "clip.mp4", speech)


def all_frames(engine: PreviewEngine, portrait: PreviewPortrait, speech: Speech, options: Options) -> Image:
    return np.concatenate(list(engine.frames(portrait, speech, options, no_checkpoint)))


def test_the_seed_decides(engine: PreviewEngine, small_portrait: PreviewPortrait, tone: Speech) -> None:
    """Equal seeds give equal frames, another seed others."""
    first = all_frames(engine, small_portrait, tone, Options(seed=1))
    np.testing.assert_array_equal(first, all_frames(engine, small_portrait, tone, Options(seed=1)))
    assert not np.array_equal(first, all_frames(engine, small_portrait, tone, Options(seed=2)))


def test_a_live_beginning(engine: PreviewEngine, small_portrait: PreviewPortrait, tone: Speech) -> None:
    """The first two frames of a live clip are given before any others are drawn; all are those of any clip."""
    made = list(engine.frames(small_portrait, tone, Options(live=True), no_checkpoint))
    assert [len(batch) for batch in made[:3]] == [2, BATCH - 2, BATCH]
    np.testing.assert_array_equal(np.concatenate(made), all_frames(engine, small_portrait, tone, Options()))


def test_rest_at_both_ends(engine: PreviewEngine, small_portrait: PreviewPortrait, tone: Speech) -> None:
    """A clip begins and ends with the same still face, whatever the speech: another clip can go on from there."""
    frames = all_frames(engine, small_portrait, tone, Options(seed=3))
    still = small_portrait.puppet.pose(0, 0, 0, STILL, shut=0)
    np.testing.assert_array_equal(frames[[0, -1]], np.stack([still, still]))
    assert not np.array_equal(frames[len(frames) // 2], still)


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"), [(0.1, 24, 3), (1.0, 24, 24), (1.01, 24, 25), (0.1, 1, 1), (1.0, 60, 60), (1.2, 5, 6)]
)
def test_frame_count(
    engine: PreviewEngine, small_portrait: PreviewPortrait, tmp_path: Path, seconds: float, fps: int, frames: int
) -> None:
    """As many frames as cover the speech, none more."""
    speech = Speech.open(write_wav(tmp_path / "tone.wav", seconds=seconds))
    assert len(all_frames(engine, small_portrait, speech, Options(fps=fps))) == frames


def test_the_first_window_comes_without_the_others(
    engine: PreviewEngine, small_portrait: PreviewPortrait, tmp_path: Path
) -> None:
    """Frames are drawn when they are asked for, a bounded number at a time."""
    speech = Speech.open(write_wav(tmp_path / "long.wav", seconds=120))
    passed: list[tuple[str, int, int]] = []
    frames = engine.frames(small_portrait, speech, Options(), lambda *at: passed.append(at))
    assert len(next(frames)) == BATCH
    assert passed[-1] == ("decode", 0, 120 * 24 // BATCH)


@pytest.mark.parametrize("size", [(128, 128), (1024, 1024), (384, 512), (640, 360), (128, 1024), (136, 264)])
def test_sizes(engine: PreviewEngine, picture: Image, size: tuple[int, int]) -> None:
    """Every supported size gives frames of that size with the crop's aspect, and a mouth that can open."""
    portrait = engine.prepare(picture, size)
    x0, y0, x1, y1 = portrait.crop
    assert (x1 - x0) / (y1 - y0) == pytest.approx(size[0] / size[1], rel=0.05)
    shut, wide = (portrait.puppet.pose(opening, 0, 0, STILL) for opening in (0, 0.085))
    assert shut.shape == (size[1], size[0], 3)
    assert not np.array_equal(shut, wide)
    assert portrait.nbytes > shut.nbytes


def test_the_mouth_is_shut_in_silence(engine: PreviewEngine, portrait: PreviewPortrait, tmp_path: Path) -> None:
    """Silence before and after the voice shows the same shut mouth that zero opening draws."""
    loud = Speech.open(write_wav(tmp_path / "tone.wav", seconds=1))
    with wave.open(str(loud.path)) as file:
        samples = file.readframes(file.getnframes())
    with wave.open(str(tmp_path / "framed.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(2 * RATE) + samples + bytes(2 * RATE))
    openings = mouth_openings(all_frames(engine, portrait, Speech.open(tmp_path / "framed.wav"), Options()))
    shut = mouth_openings(portrait.puppet.pose(0, 0, 0, STILL)[None])[0]
    np.testing.assert_allclose(openings[[3, 12, 60, 68]], shut, atol=0.008)
    assert openings[30:42].min() > shut + 0.02


def test_lids_do_not_drag_the_brow(portrait: PreviewPortrait) -> None:
    """A blink changes the picture only between brow and cheek."""
    points = mesh.find_landmarks(portrait.puppet.pose(0, 0, 0, STILL), (128, 90, 384, 420))
    changed = (portrait.puppet.pose(0, 0, 0, STILL) != portrait.puppet.pose(0, 0, 1, STILL)).any(axis=(1, 2))
    rows = np.flatnonzero(changed)
    brow = points[list(mesh.LEFT_BROW_BOTTOM + mesh.RIGHT_BROW_BOTTOM), 1].min()
    lid = points[list(mesh.LEFT_EYE_UPPER + mesh.RIGHT_EYE_UPPER), 1].min()
    assert brow < rows.min() < lid
    assert rows.max() < points[mesh.NOSE_BASE, 1]


def test_the_border_keeps_still(portrait: PreviewPortrait) -> None:
    """The head sways, the picture's border does not."""
    still, moved = (portrait.puppet.pose(0, 0, 0, sway) for sway in (STILL, (1.0, -1.0, 1.0)))
    assert not np.array_equal(still, moved)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        np.testing.assert_array_equal(still[edge], moved[edge])


@pytest.mark.parametrize("rounding", [0.0, 1.0])
def test_skin_is_not_torn(portrait: PreviewPortrait, rounding: float) -> None:
    """On a picture that is one smooth ramp, no warp makes a step, except where the lips part."""
    points = mesh.find_landmarks(portrait.puppet.pose(0, 0, 0, STILL), (128, 90, 384, 420))
    ramp = np.linspace(0, 255, 512)
    picture = np.stack([*np.meshgrid(ramp, ramp), np.full((512, 512), 128.0)], axis=-1).astype(np.uint8)
    frame = Puppet(picture, points).pose(0.085, rounding, 0, (1.0, 1.0, 1.0)).astype(int)
    lips = points[list(mesh.INNER_UPPER_LIP + mesh.INNER_LOWER_LIP)]
    (left, top), (right, bottom) = lips.min(axis=0) - 8, lips.max(axis=0) + 40
    steps = np.maximum(abs(np.diff(frame, axis=0))[:, :-1].max(-1), abs(np.diff(frame, axis=1))[:-1].max(-1))
    steps[int(top) : int(bottom), int(left) : int(right)] = 0
    assert steps.max() <= 4


def test_a_picture_without_a_face(engine: PreviewEngine) -> None:
    """No face and no box from elsewhere: an input error; with a box the preview goes on."""
    nobody = np.full((300, 400, 3), 90, np.uint8)
    with pytest.raises(InputError) as caught:
        engine.prepare(nobody, (256, 256))
    assert caught.value.code == "no_face_detected"
    portrait = engine.prepare(nobody, (256, 256), box=(150.0, 80.0, 250.0, 220.0))
    assert portrait.crop == (100, 50, 300, 250)
    assert portrait.puppet.pose(0.05, 0.5, 0.5, STILL).shape == (256, 256, 3)


def test_a_cancelled_prepare(engine: PreviewEngine, picture: Image) -> None:
    """The checkpoint before the slow detection can raise."""

    def cancel(stage: str, done: int, total: int) -> None:
        assert (stage, done) == ("face", 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.prepare(picture, (512, 512), checkpoint=cancel)
