"""`echod verify` at a running daemon: a clip is made again, and what is wrong with one is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from echod.commands.jobs import fetch
from echod.commands.submit import submit
from echod.commands.verify import verify
from echod.errors import EchodError
from echod.provenance.certificate import AUTHORITY, KEY, OWN
from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES, write_wav
from tests.making.playback import boxes, play

PORTRAIT = EXAMPLES / "portrait.png"


@dataclass
class Made:
    """A clip, its manifest beside it, and what both were made of."""

    daemon: RunningDaemon
    directory: Path

    @property
    def clip(self) -> Path:
        return self.directory / "made.mp4"

    @property
    def speech(self) -> Path:
        return self.directory / "speech.wav"

    def run(self, command: click.Command, *arguments: str | Path) -> Result:
        return CliRunner().invoke(command, [str(each) for each in arguments])

    def verify(self, clip: Path, *more: str | Path) -> Result:
        return self.run(verify, clip, *more, "--trust", self.daemon.state_dir / OWN / AUTHORITY)

    def again(self, clip: Path, *more: str | Path, portrait: Path = PORTRAIT) -> Result:
        inputs = ("--portrait", portrait, "--speech", self.speech)
        return self.verify(clip, *inputs, "-q", "--url", self.daemon.url, *more)


@pytest.fixture(scope="module")
def made(daemon: RunningDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    it = Made(daemon, tmp_path_factory.mktemp("made"))
    write_wav(it.speech)
    options = ("--size", "128x128", "--seed", "7", "-q", "--url", daemon.url)
    done = it.run(submit, PORTRAIT, it.speech, "-o", it.clip, *options)
    assert done.exit_code == 0, done.output
    yield it


def changed(made: Made, name: str) -> Path:
    """The clip with one bit of its picture data flipped."""
    data = bytearray(made.clip.read_bytes())
    ((start, end),) = [(start, end) for kind, start, end in boxes(bytes(data)) if kind == "mdat"]
    data[(start + end) // 2] ^= 1
    path = made.directory / name
    path.write_bytes(data)
    return path


def remuxed(made: Made, name: str) -> Path:
    path = made.directory / name
    with av.open(str(made.clip)) as source, av.open(str(path), "w", format="mp4") as out:
        streams = {each.index: out.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


def test_a_clip_tells_of_itself(made: Made) -> None:
    """An intact clip names its signer, what made it and from what; whoever does not know the signer is told so."""
    told = made.verify(made.clip)
    assert told.exit_code == 0
    assert "intact" in told.stdout and "trusted" in told.stdout and "echod 0." in told.stdout
    report = json.loads(made.verify(made.clip, "--json").stdout)["credentials"]
    assert (report["state"], report["source"]) == ("trusted", "trainedAlgorithmicMedia")
    assert report["manifest"]["options"]["seed"] == 7
    assert "not known here" in made.run(verify, made.clip).stdout


def test_the_key_is_nobody_elses(made: Made) -> None:
    """Only the daemon's user may read the key; no log has a line of it."""
    key = made.daemon.state_dir / OWN / KEY
    assert key.stat().st_mode & 0o077 == 0
    log = made.daemon.log.read_text()
    assert not [line for line in key.read_text().splitlines() if line in log]


def test_one_flipped_bit(made: Made) -> None:
    """A clip whose picture data was touched is told as tampered with: exit 1."""
    told = made.verify(changed(made, "flipped.mp4"))
    assert told.exit_code == 1 and told.stdout.startswith("tampered with")


def test_a_remuxed_clip(made: Made) -> None:
    """A file that was rewritten has lost its credentials, and that is said: exit 2."""
    told = made.verify(remuxed(made, "remuxed.mp4"))
    assert isinstance(told.exception, EchodError) and told.exception.exit_code == 2
    assert "rewritten" in told.exception.message


def test_the_same_frames(made: Made) -> None:
    """Made again the frames are the same, whether the manifest is in the clip or beside it."""
    assert made.again(made.clip).stdout.startswith("same frames: all 12")
    plain = remuxed(made, "plain.mp4")
    job = json.loads(made.verify(made.clip, "--json").stdout)["credentials"]["manifest"]["job"]
    assert made.run(fetch, job, "--manifest", "-o", made.directory / "x.mp4", "--url", made.daemon.url).exit_code == 0
    shutil.move(made.directory / "x.manifest.json", made.directory / "plain.manifest.json")
    told = json.loads(made.again(plain, "--json").stdout)
    assert (told["result"], told["frames"], told["differing"], told["differences"]) == ("same", 12, 0, [])


def test_a_live_clip(made: Made) -> None:
    """As those of conversations are: made again it is encoded like them, so that its frames are the same."""
    clip = made.directory / "live.mp4"
    with made.daemon.client() as client:
        video = client.submit(PORTRAIT, made.speech, size="128x128", live=True)
        *_, event = client.follow(video["id"])
        assert event["video"]["echod"]["live"]
        with clip.open("wb") as file:
            client.content(video["id"], file)
    assert made.again(clip).stdout.startswith("same frames: all 12")


def test_a_labelled_clip(made: Made) -> None:
    """Every frame has the label that was asked for; made again, with its view and crop, it is the same clip."""
    clip = made.directory / "labelled.mp4"
    options = ("--view", "picture", "--label", "corner", "--label-language", "zh", "--crop", "60,0,400,340")
    done = made.run(submit, PORTRAIT, made.speech, "-o", clip, *options, "-q", "--url", made.daemon.url)
    assert done.exit_code == 0, done.output
    report = json.loads(made.verify(clip, "--json").stdout)["credentials"]
    said = report["manifest"]["options"]
    assert (said["view"], said["label"], said["label_language"]) == ("picture", "corner", "zh")
    assert said["crop"] == report["manifest"]["crop"] == [60, 0, 400, 340]
    assert report["source"] == "compositeWithTrainedAlgorithmicMedia"
    with Image.open(PORTRAIT) as picture:
        photo = np.asarray(picture.convert("RGB"), np.int16)
    corner = abs(play(clip).frames.astype(np.int16) - photo)[:, -50:, -100:].mean((1, 2, 3))
    assert corner.min() > 20
    assert made.again(clip).stdout.startswith("same frames: all 12")
    said["crop"] = [50, 0, 400, 350]
    other = made.directory / "crop.json"
    other.write_text(json.dumps(report["manifest"]))
    told = made.again(clip, "--manifest", other)
    assert told.exit_code == 1 and "differs: crop: [60, 0, 400, 340] then, [50, 0, 400, 350] now" in told.stdout


def test_what_differs_is_told(made: Made) -> None:
    """Other frames are told with how far off they are, and what was other: a pixel, the seed, the weights."""
    with Image.open(PORTRAIT) as picture:
        other = picture.convert("RGB")
    for x in range(200, 260):
        other.putpixel((x, 200), (0, 255, 0))
    other.save(made.directory / "other.png")
    told = made.again(made.clip, portrait=made.directory / "other.png")
    assert told.exit_code == 1
    assert "of 12 frames differ, by at most" in told.stdout and "PSNR" in told.stdout
    assert [line.split(":")[1].strip() for line in told.stdout.splitlines()[1:]] == ["portrait"]
    said = json.loads(made.verify(made.clip, "--json").stdout)["credentials"]["manifest"]
    said["options"]["seed"] = 8
    said["weights"] = {"face_locator.pth": "0" * 64}
    said["crop"] = [0, 0, 5, 5]
    said["versions"]["numpy"] = "1.0"
    named = made.directory / "named.json"
    named.write_text(json.dumps(said))
    told = made.again(made.clip, "--manifest", named, "--json")
    report = json.loads(told.stdout)
    assert (told.exit_code, report["result"]) == (1, "different")
    names = {each["name"] for each in report["differences"]}
    assert names == {"crop", "weights.face_locator.pth", "versions.numpy"}


def test_a_clip_that_was_changed(made: Made) -> None:
    """Where nothing that decides the frames differs, the clip itself was changed."""
    path = made.directory / "edited.mp4"
    frames = play(made.clip).frames
    frames[3, 40:60, 40:60] = 255
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 128, 128, "yuv420p"
        for frame in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(video.encode(None))
    said = json.loads(made.verify(made.clip, "--json").stdout)["credentials"]["manifest"]
    path.with_suffix(".manifest.json").write_text(json.dumps(said))
    told = made.again(path)
    assert told.exit_code == 1
    assert told.stdout.startswith("different: 12 of 12") and "changed after it was made" in told.stdout


def test_what_cannot_be_verified(made: Made, tmp_path: Path) -> None:
    """Foreign, truncated and nonsensical files, and manifests of other programs or engines, end in words and exit 2."""
    whole = made.clip.read_bytes()
    for name, data in (("empty", b""), ("text", b"no video at all"), ("half", whole[: len(whole) // 2])):
        (tmp_path / f"{name}.mp4").write_bytes(data)
    silent = remuxed(made, "foreign.mp4")
    with (tmp_path / "other.json").open("w") as file:
        json.dump({"engine": "echomimic", "inputs": {}, "options": {}}, file)
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "new.json").write_text('{"engine": "preview", "inputs": {}, "options": {"width": 64, "zoom": 2}}')
    said = json.loads(made.verify(made.clip, "--json").stdout)["credentials"]["manifest"] | {"engine": "echomimic"}
    (tmp_path / "engine.json").write_text(json.dumps(said))
    for clip, manifest, words in (
        (tmp_path / "empty.mp4", None, "cannot be read"),
        (tmp_path / "text.mp4", None, "cannot be read"),
        (tmp_path / "half.mp4", None, "cut off"),
        (silent, None, "there is no manifest"),
        (silent, "other.json", "no manifest of a clip"),
        (silent, "list.json", "holds no object"),
        (silent, "new.json", "does not know the options zoom"),
        (silent, "engine.json", "'echomimic' is not loaded"),
    ):
        told = made.again(clip, *(("--manifest", tmp_path / manifest) if manifest else ()))
        assert isinstance(told.exception, EchodError), (clip, manifest, told.output)
        assert told.exception.exit_code == 2
        assert words in told.exception.message
