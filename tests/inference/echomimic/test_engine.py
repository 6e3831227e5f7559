from __future__ import annotations

import contextlib
import gc
import math
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import nn

from echod.inference import machine
from echod.inference.audio import Speech
from echod.inference.clip import make_clip
from echod.inference.contract import Image, Options, no_checkpoint
from echod.inference.echomimic import layout, pipeline, tiny, weights
from echod.inference.echomimic.card import Ways
from echod.inference.echomimic.config import PRESETS
from echod.inference.echomimic.engine import EchoMimicEngine
from echod.inference.echomimic.layout import WeightsError
from echod.inference.echomimic.pictures import NotFiniteError
from echod.inference.engines import load_engine
from echod.inference.errors import InputError
from echod.inference.generate import generate_video
from echod.inference.picture import WholePicture
from tests.making.media import EXAMPLES, write_picture, write_wav
from tests.making.playback import play


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random weights in the published layout."""
    path = tmp_path_factory.mktemp("weights")
    tiny.init_tiny(path)
    return path


@pytest.mark.parametrize("name", list(PRESETS))
def test_shares_are_all_of_the_work(echomimic: EchoMimicEngine, name: str) -> None:
    """The stages' shares sum to 1, and most of the work is denoising."""
    engine = EchoMimicEngine(name, echomimic.pipeline.models)
    assert sum(engine.shares.values()) == pytest.approx(1)
    assert max(engine.shares, key=lambda stage: engine.shares[stage]) == engine.windows


def test_what_a_manifest_needs_to_know(directory: Path) -> None:
    """An engine names its files of weights, what computes, and the options as it uses them."""
    engine = load_engine("echomimic", directory, "cpu")
    assert len(engine.files) == 6 and all(directory / name == path for name, path in engine.files.items())
    assert engine.computed.keys() == {"device", "dtype", "threads"}
    preset = PRESETS["echomimic"]
    assert engine.settle(Options(seed=3)) == Options(seed=3, steps=preset.steps, guidance=preset.guidance)
    assert engine.settle(Options(steps=2, guidance=0.0)) == Options(steps=2, guidance=0.0)


def test_another_decoder(directory: Path, tmp_path: Path) -> None:
    """It is loaded where it is asked for, from a file beside the engine's, which counts among those of its clips."""
    engine = load_engine("echomimic-fast", directory, "cpu", "float32", decoder="taesd")
    assert (engine.exact, engine.computed["approximation"]) == (False, "4 steps, taesd")
    name = layout.TAESD.names[0]
    assert engine.files[name] == directory / name
    assert weights.verify(directory, "taesd")[0].problems == []
    with pytest.raises(WeightsError, match=f"lacks {name}.*weights pull taesd"):
        layout.require(tmp_path, "taesd")


@pytest.mark.parametrize("fails", [True, False])
def test_compiled_or_not(
    echomimic: EchoMimicEngine, picture: Image, second: Speech, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """An engine hands on what compiles, and goes on where that fails; only if it did not do its numbers tell of it."""
    engine, before = EchoMimicEngine("echomimic", echomimic.pipeline.models), echomimic.numbers
    engine.pipeline.ways = Ways(compiles=True)
    broken = RuntimeError("Failed to find C compiler")
    asked: list[Any] = []

    def compile_all(modules: Any, work: Callable[[], Any]) -> None:
        asked.append([type(module).__name__ for module in modules])
        if fails:
            raise broken

    def compiling(work: Callable[[], None]) -> bool:
        with contextlib.suppress(RuntimeError):
            work()
        return not fails

    monkeypatch.setattr(pipeline, "compile_all", compile_all)
    engine.warm_up(compiling)
    assert asked == [["DenoisingUNet", "Decoder"]]
    assert (
        engine.numbers
        and before
        and engine.numbers == (before if fails else before.replace("weights", "compiled weights"))
    )
    portrait = engine.prepare(picture, (64, 64))
    assert len(np.concatenate(list(engine.frames(portrait, second, Options(steps=1), no_checkpoint)))) == 15


def test_nothing_is_compiled_for_a_cpu(echomimic: EchoMimicEngine) -> None:
    echomimic.warm_up(lambda work: pytest.fail("it was"))


def test_prepare(echomimic: EchoMimicEngine, picture: Image) -> None:
    """A portrait knows what it shows, how many faces were seen and what it holds; sizes need not be square."""
    passed: list[tuple[str, int, int]] = []
    portrait = echomimic.prepare(picture, (64, 96), checkpoint=lambda *at: passed.append(at))
    x0, y0, x1, y1 = portrait.crop
    assert (portrait.size, portrait.faces) == ((64, 96), 1)
    assert (x1 - x0) / (y1 - y0) == pytest.approx(64 / 96, abs=0.02)
    assert portrait.nbytes == portrait.likeness.nbytes > 0
    assert passed == [("face", 0, 1), ("face", 1, 1), ("reference", 0, 1), ("reference", 1, 1)]


def test_a_clip_of_the_whole_picture(echomimic: EchoMimicEngine, picture: Image, tmp_path: Path) -> None:
    """Noise of random weights fades into the photo: nothing outside of the crop changes, nor along its edges."""
    portrait = echomimic.prepare(picture, (64, 64))
    around, speech = WholePicture(picture, portrait.crop, 1920), Speech.open(write_wav(tmp_path / "s.wav", seconds=0.2))
    make_clip(echomimic, portrait, speech, Options(steps=1), tmp_path, whole=around, lossless=True)
    frames = play(tmp_path / "clip.mp4").frames
    assert frames.shape[1:] == around.photo.shape
    changed = np.abs(frames.astype(int) - around.photo).max(axis=(0, 3))
    x0, y0, x1, y1 = around.crop
    assert changed[y0:y1, x0:x1].max() > 20
    changed[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = 0
    assert changed.max() <= 1
    changed[around.place] = 0
    assert changed.max() == 0


def test_no_face(echomimic: EchoMimicEngine) -> None:
    """A picture without a face is refused, unless a box comes from elsewhere or the whole frame is wanted."""
    blank = np.zeros((80, 100, 3), np.uint8)
    with pytest.raises(InputError) as raised:
        echomimic.prepare(blank, (64, 64))
    assert raised.value.code == "no_face_detected"
    boxed = echomimic.prepare(blank, (64, 64), box=(40.0, 30.0, 60.0, 50.0))
    whole = echomimic.prepare(blank, (64, 64), full_frame=True)
    assert (boxed.crop, whole.crop) == ((30, 20, 70, 60), (10, 0, 90, 80))


@pytest.mark.long
def test_options_override_the_preset(echomimic: EchoMimicEngine, picture: Image, second: Speech) -> None:
    """Steps and guidance are the preset's unless given; equal arguments give equal frames, another seed others."""
    portrait = echomimic.prepare(picture, (64, 64))
    totals: list[int] = []

    def frames(options: Options) -> Image:
        made = echomimic.frames(portrait, second, options, lambda stage, _, total: totals.append(total))
        return np.concatenate(list(made))

    first = frames(Options(steps=1, seed=5))
    assert np.array_equal(first, frames(Options(steps=1, seed=5)))
    assert not np.array_equal(first, frames(Options(steps=1, seed=6)))
    assert not np.array_equal(first, frames(Options(steps=1, seed=5, guidance=3.0)))
    totals.clear()
    frames(Options())
    assert PRESETS["echomimic"].steps * 2 in totals  # two windows a step


def test_loaded_from_a_directory(directory: Path, tmp_path: Path, second: Speech) -> None:
    """From files to a file: a clip of the speech's length that says which weights it was made with."""
    engine = load_engine("echomimic", directory, "cpu")
    assert isinstance(engine, EchoMimicEngine)
    output = tmp_path / "clip.mp4"
    facts = generate_video(
        engine, EXAMPLES / "portrait.png", second.path, output, size=(64, 64), options=Options(steps=1)
    )
    assert facts.frames == math.ceil(0.6 * 24)
    assert list(tmp_path.glob(".echod-*")) == []
    with av.open(str(output)) as clip:
        assert clip.streams.video[0].frames == facts.frames
        assert "small random" in clip.metadata["comment"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("calls", [pytest.param(1, marks=pytest.mark.long), 11])
def test_a_clip_that_was_cut_off_goes_on(
    echomimic: EchoMimicEngine, picture: Image, second: Speech, tmp_path: Path, calls: int
) -> None:
    """The next attempt in the same directory computes the windows that are missing, and makes the same frames."""
    portrait, options = echomimic.prepare(picture, (64, 64)), Options(steps=6)
    made: list[int] = []

    def make(name: str, most: int = 10**6) -> int:
        def checkpoint(stage: str, done: int, total: int) -> None:
            if stage == "denoise" and done < total:
                made.append(done)
                if len(made) > most:
                    raise Killed

        made.clear()
        (tmp_path / name).mkdir(exist_ok=True)
        make_clip(echomimic, portrait, second, options, tmp_path / name, lossless=True, checkpoint=checkpoint)
        return len(made)

    total = make("whole")
    with pytest.raises(Killed):
        make("cut", calls)
    assert make("cut") == total - calls
    assert made == list(range(calls, total))
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["clip.mp4", "thumbnail.jpg"]
    whole, cut = (play(tmp_path / name / "clip.mp4") for name in ("whole", "cut"))
    assert np.array_equal(whole.frames, cut.frames)


def test_full_frame(echomimic: EchoMimicEngine, tmp_path: Path, second: Speech) -> None:
    """Pictures without a face can be used whole."""
    picture = tmp_path / "gradient.png"
    write_picture(picture)
    with pytest.raises(InputError):
        generate_video(echomimic, picture, second.path, tmp_path / "no.mp4", size=(64, 64))
    assert list(tmp_path.glob("*.mp4")) == []
    generate_video(
        echomimic,
        picture,
        second.path,
        tmp_path / "clip.mp4",
        size=(64, 64),
        options=Options(steps=1),
        full_frame=True,
    )
    assert (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize(("name", "weights"), [("echomimic", None), ("echomimic", "empty"), ("nothing", "empty")])
def test_refusals(tmp_path: Path, name: str, weights: str | None) -> None:
    """Without its weights, or with an unknown name, an engine is refused for good."""
    with pytest.raises(InputError) as raised:
        load_engine(name, tmp_path / weights if weights else None, "cpu")
    assert raised.value.code == "model_not_loaded"


@pytest.mark.parametrize("gain", [pytest.param(2e5, marks=pytest.mark.long), 1e7])
def test_too_large_for_float16(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, gain: float
) -> None:
    """Where activations or weights leave float16's range, auto goes on in the next dtype and says so once; who named
    float16 is refused, by the name of the setting."""
    large = tmp_path / "weights"
    shutil.copytree(directory, large)
    path = large / "denoising_unet_acc.pth"
    tensors = torch.load(path, weights_only=True)
    tensors["conv_out.weight"] *= gain
    torch.save(tensors, path)
    monkeypatch.setattr(machine, "dtypes", lambda device: ("float16", "bfloat16", "float32"))
    kept, load = list[weakref.ref[nn.Module]](), weights.load

    def noted(*given: Any) -> weights.Models:
        assert not any(each() for each in kept)  # there may be no room for the models twice
        models = load(*given)
        kept.append(weakref.ref(models.denoiser))
        return models

    monkeypatch.setattr(weights, "load", noted)
    engine = load_engine("echomimic", large, "cpu")
    assert engine.computed["dtype"] == "bfloat16"
    assert kept[-1]() is not None
    (line,) = [record.getMessage() for record in caplog.records if record.name == "echod.engine"]
    assert "float16" in line and "not finite" in line
    if gain < 1e6:
        del engine
        gc.collect()
        with pytest.raises(NotFiniteError, match=r"with dtype float16.*set dtype to auto or float32"):
            load_engine("echomimic", large, "cpu", "float16")


@pytest.mark.long
def test_half_precision_on_the_cpu(directory: Path, second: Speech) -> None:
    """The whole path runs in float16 too, as it does on CUDA."""
    engine = load_engine("echomimic-quality", directory, "cpu", "float16")
    blank = np.full((64, 64, 3), 90, np.uint8)
    assert isinstance(engine, EchoMimicEngine)
    portrait = engine.prepare(blank, (64, 64), full_frame=True)
    frames = np.concatenate(list(engine.frames(portrait, second, Options(steps=2), no_checkpoint)))
    assert frames.shape == (15, 64, 64, 3)
