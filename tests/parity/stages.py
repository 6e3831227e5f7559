"""Each stage of EchoMimic against what the authors' code made of the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from echod.inference.audio import Speech
from echod.inference.echomimic import audio_features, pictures
from echod.inference.echomimic.config import NOISE_CLAMP
from echod.inference.echomimic.denoiser import Conditions
from echod.inference.echomimic.sampler import Likeness, Sampler, schedule
from echod.inference.echomimic.weights import Models
from echod.inference.echomimic.windows import Plan
from tests.drivers.denoised import denoised

from .golden import Golden

MODULE = 1e-5  # relative L2
END_TO_END = 1e-4
HALF = {torch.float16: 2e-2, torch.bfloat16: 5e-2}  # of modules in half precision
EXACT = 0.0  # how many differ
ONE_OF_255 = 1.0
FPS = 24
BANKS = ("fp32", "fp16")


@dataclass(frozen=True)
class Row:
    """One comparison. No error: the set has nothing to compare with."""

    stage: str
    error: float | None
    limit: float

    @property
    def passed(self) -> bool:
        return self.error is None or self.error <= self.limit  # NaN is not


Rows: TypeAlias = Iterator[Row]


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative L2."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    ours, theirs = ours.double(), theirs.double()
    return float((ours - theirs).norm() / theirs.norm())


def rounded(tokens: Tensor, bank: str) -> Tensor:
    """Through float16 where the recording is: the authors' code does so in every dtype, ours does not."""
    return tokens.half().to(tokens.dtype) if bank == "fp16" else tokens


@dataclass(frozen=True)
class Comparison:
    """The stages, on one golden set in one dtype."""

    golden: Golden
    models: Models
    dtype: torch.dtype

    @property
    def limit(self) -> float:
        return HALF.get(self.dtype, MODULE)

    def rows(self) -> Rows:
        with torch.inference_mode():
            yield from self.face_and_vae()
            yield from self.reference()
            yield from self.denoise()
            yield from self.audio()
            yield from self.windows()
            if self.dtype == torch.float32:
                yield from self.scheduler()
                yield from self.end_to_end()

    def cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype)

    def absent(self, *stages: str) -> Rows:
        return (Row(stage, None, 0) for stage in stages)

    def face_and_vae(self) -> Rows:
        kept = self.golden.tensors("face_vae")
        if kept is None:
            yield from self.absent("face locator", "picture", "vae encode", "vae decode")
            return
        mask = pictures.to_mask(self.golden.pixels("face_mask.png"))
        features = self.models.face_locator(self.cast(mask))
        yield Row("face locator", distance(features[:, :, None], kept["face_features"]), self.limit)
        picture = pictures.to_picture(self.golden.pixels("ref_image.png"))
        yield Row("picture", distance(picture, kept["ref_image_tensor"]), MODULE)
        latents = pictures.encode(self.models.vae, self.cast(picture))
        yield Row("vae encode", distance(latents, kept["ref_latents"]), self.limit)
        scaled = kept["decode_in_latents_unscaled"]
        decoded = pictures.decode(self.models.vae, self.cast(scaled))
        yield Row("vae decode", distance(decoded, kept["decode_out"]), self.limit)

    def reference(self) -> Rows:
        kept = self.golden.tensors("reference")
        if kept is None:
            yield from self.absent("reference bank")
            return
        bank = self.models.reference.bank(self.cast(kept["ref_latents"]))
        recorded = {name.removeprefix("bank."): tensor for name, tensor in kept.items() if name.startswith("bank.")}
        assert set(bank) == set(recorded)
        worst = max(distance(bank[path], tensor) for path, tensor in recorded.items())
        yield Row("reference bank, worst of 16", worst, self.limit)

    def denoise(self) -> Rows:
        kept, reference = self.golden.tensors("denoise_single"), self.golden.tensors("reference")
        names = [(guided, bank) for guided in (0, 1) for bank in BANKS]
        if kept is None or reference is None:
            yield from self.absent(*(f"denoise, cfg {g}, bank {b}" for g, b in names))
            return
        sample = self.cast(kept["sample"][0].transpose(0, 1))
        frames, net = len(sample), self.models.denoiser
        for guided, bank in names:
            stage, recorded = f"denoise, cfg {guided}, bank {bank}", kept.get(f"out.cfg{guided}.bank_{bank}")
            if recorded is None:
                yield from self.absent(stage)
                continue
            tokens = {
                name.removeprefix("bank."): self.cast(rounded(tensor, bank))
                for name, tensor in reference.items()
                if name.startswith("bank.")
            }
            given = Conditions(
                shifts=net.time_shifts(int(kept["timestep"])),
                audio=self.cast(kept["audio"][0]),
                face=self.cast(kept["face_features"][:, :, 0]),
                bank=net.bank_keys(tokens),
                frames=frames,
                free=guided * frames,
            )
            velocity = net(torch.cat([sample] * (1 + guided)), given)
            made = velocity.reshape(-1, frames, *velocity.shape[1:]).transpose(1, 2)
            yield Row(stage, distance(made, recorded), self.limit)

    def audio(self) -> Rows:
        kept, windows = self.golden.tensors("audio"), self.golden.facts("audio_windows")
        counts = self.golden.facts("audio_frame_counts")
        if kept is None:
            yield from self.absent("mel", "audio features", "audio windows")
        else:
            for clip in ("audio", "audio_44k_stereo", "audio_long"):
                yield from self.clip(clip, kept, windows or {})
        if counts is None:
            yield from self.absent("frame counts")
        else:
            wrong = sum(
                audio_features.frame_count(int(key.split(":")[1]), int(key.split(":")[0])) != count
                for key, count in counts.items()
            )
            yield Row(f"frame counts, {len(counts)} of them", wrong, EXACT)

    def clip(self, clip: str, kept: Mapping[str, Tensor], windows: Mapping[str, Any]) -> Rows:
        sound = self.sound(clip, kept)
        features = kept.get(f"{clip}.features")
        if sound is None or features is None:
            yield from self.absent(f"{clip}: features")
            return
        if f"{clip}.mel" in kept and self.dtype == torch.float32:
            peak = audio_features.loudest(sound())
            mel = torch.cat([audio_features.normalised(part, peak) for part in audio_features.log_mel(sound())], 1)
            yield Row(f"{clip}: mel", distance(mel, kept[f"{clip}.mel"]), MODULE)
        made = audio_features.encode(self.models.whisper, sound, self.dtype)
        yield Row(f"{clip}: features", distance(made, features), self.limit)
        for fps in (24, 25):
            chunks, facts = kept.get(f"{clip}.chunks_fps{fps}"), windows.get(f"{clip}@{fps}")
            if chunks is None or facts is None:
                yield from self.absent(f"{clip}: windows at {fps} fps")
                continue
            count = audio_features.frame_count(len(features), fps)
            ours = [audio_features.positions_of(frame, fps, len(features)) for frame in range(count)]
            wrong = int(count != facts["n_frames"]) + int(ours != facts["window_indices"])
            yield Row(f"{clip}: window positions at {fps} fps", wrong, EXACT)
            heard = audio_features.FrameAudio(features, count, fps)(range(count))
            yield Row(f"{clip}: windows at {fps} fps", distance(heard, chunks), MODULE)

    def sound(self, clip: str, kept: Mapping[str, Tensor]) -> Callable[[], audio_features.Sound] | None:
        """The recorded samples, in blocks of odd sizes; or else the file."""
        if f"{clip}.pcm" in kept:
            samples = kept[f"{clip}.pcm"].numpy()
            return lambda: np.array_split(samples, range(777, len(samples), 777))
        path = self.golden.directory / "inputs" / f"{clip}.wav"
        return Speech.open(path).blocks if path.exists() else None

    def windows(self) -> Rows:
        kept = self.golden.facts("context_windows")
        if kept is None:
            yield from self.absent("context windows")
            return
        wrong = 0
        for key, recorded in kept.items():
            frames, window, overlap = map(int, key.split(","))
            plan = Plan(frames, 1, window, overlap)
            wrong += [plan.covered((0, w)) for w in range(plan.windows)] != recorded
        for facts in self.golden.facts("e2e").values():
            plan = Plan(facts["frames"], facts["steps"], facts["context_frames"], facts["overlap"])
            steps = [[plan.covered((step, w)) for w in range(plan.windows)] for step in range(plan.steps)]
            wrong += steps != facts["windows_per_step"]
        yield Row(f"context windows, {len(kept)} plans and every case's", wrong, EXACT)

    def scheduler(self) -> Rows:
        kept, facts = self.golden.tensors("scheduler"), self.golden.facts("scheduler")
        if kept is None or facts is None:
            yield from self.absent("scheduler timesteps", "scheduler alphas", "scheduler steps")
            return
        config = self.golden.config.scheduler
        wrong = sum(
            schedule(config, int(steps)).timesteps.tolist() != timesteps
            for steps, timesteps in facts["timesteps"].items()
        )
        yield Row("scheduler timesteps", wrong, EXACT)
        scheduler = schedule(config, 6)
        yield Row("scheduler alphas", distance(scheduler.alphas_cumprod, kept["alphas_cumprod"]), MODULE)
        worst = 0.0
        for t in scheduler.timesteps.tolist():
            given = [kept[f"step6.t{t}.{name}"] for name in ("model_output", "sample", "prev_sample")]
            worst = max(worst, distance(scheduler.step(given[0], t, given[1], eta=0.0).prev_sample, given[2]))
        yield Row("scheduler steps, worst of 6", worst, MODULE)

    def end_to_end(self) -> Rows:
        for tag, facts in (self.golden.facts("e2e") or {}).items():
            if tag.endswith("UNAVERAGED_BUG"):
                continue  # what the authors' code does wrong is no target
            kept = self.golden.tensors(f"e2e_{tag}")
            if kept is None:
                yield from self.absent(f"{tag}: latents")
                continue
            latents = self.run(facts, kept["noise"])
            yield Row(f"{tag}: latents", distance(latents, kept["final_latents"]), END_TO_END)
            if "video_uint8" in kept:
                frames = pictures.to_frames(pictures.decode(self.models.vae, latents[0].transpose(0, 1))).numpy()
                theirs = kept["video_uint8"][0].permute(1, 2, 3, 0).numpy()
                apart = np.abs(frames.astype(int) - theirs.astype(int)).max()
                yield Row(f"{tag}: frames, of 255", float(apart), ONE_OF_255)

    def run(self, facts: Mapping[str, Any], noise: Tensor) -> Tensor:
        """One recorded case, from picture, mask, recording and noise to latents (1, 4, N, h, w)."""
        models = self.models
        picture = pictures.to_picture(self.golden.pixels("ref_image.png"))
        mask = pictures.to_mask(self.golden.pixels("face_mask.png"))
        bank_dtype = "fp16" if facts["bank"] == "torch.float16" else "fp32"
        bank = models.reference.bank(pictures.encode(models.vae, picture))
        keys = models.denoiser.bank_keys({path: rounded(tokens, bank_dtype) for path, tokens in bank.items()})
        speech = Speech.open(self.golden.directory / "inputs" / "audio.wav")
        features = audio_features.encode(models.whisper, speech.blocks, self.dtype)
        plan = Plan(facts["frames"], facts["steps"], facts["context_frames"], facts["overlap"])
        latents = noise[0].transpose(0, 1).clamp(-NOISE_CLAMP, NOISE_CLAMP)
        sampler = Sampler(
            models.denoiser,
            audio_features.FrameAudio(features, plan.frames, FPS),
            Likeness(models.face_locator(mask), keys),
            schedule(self.golden.config.scheduler, plan.steps),
            plan,
            facts["guidance_scale"],
        )
        made, _ = denoised(sampler, latents)
        return made.transpose(0, 1)[None]
