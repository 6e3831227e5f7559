from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from echod.errors import EchodError
from echod.inspection import recordings
from tests.making.sounds import read_sound, tone, wav_bytes, write_sound

LIMIT = 30.0

FORMATS = [
    # codec, container, bits per sample that must survive
    ("pcm_u8", "wav", 8), ("pcm_s16le", "wav", 16), ("pcm_s24le", "wav", 16), ("pcm_s32le", "wav", 16),
    ("pcm_s64le", "wav", 16), ("pcm_f32le", "wav", 16), ("pcm_f64le", "wav", 16), ("adpcm_ima_wav", "wav", 0),
    ("pcm_alaw", "wav", 0), ("pcm_s16be", "aiff", 16), ("pcm_s24be", "aiff", 16), ("flac", "flac", 16),
    ("alac", "ipod", 16),
    ("libmp3lame", "mp3", 0), ("aac", "ipod", 0), ("aac", "adts", 0), ("vorbis", "ogg", 0), ("libopus", "ogg", 0),
    ("libopus", "webm", 0), ("wmav2", "asf", 0), ("ac3", "ac3", 0), ("pcm_s16be", "au", 16), ("pcm_s16le", "caf", 16),
]  # fmt: skip


def convert(data: bytes | Path, tmp_path: Path, limit: float = LIMIT) -> recordings.Sound:
    source = tmp_path / "upload"
    source.write_bytes(data if isinstance(data, bytes) else data.read_bytes())
    return recordings.convert(source, tmp_path / "speech.flac", limit)


def refusal(data: bytes | Path, tmp_path: Path, limit: float = LIMIT) -> EchodError:
    with pytest.raises(EchodError) as caught:
        convert(data, tmp_path, limit)
    return caught.value


def pcm(samples: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bytes:
    return np.round(samples.T * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize(("codec", "container", "bits"), FORMATS)
def test_every_format_is_read(tmp_path: Path, codec: str, container: str, bits: int) -> None:
    """Each format gives the same sound, as exactly as it holds it, at its own rate."""
    sound = tone(channels=2)
    write_sound(tmp_path / "given", sound, codec, format=container)
    found = convert(tmp_path / "given", tmp_path)
    samples, written = read_sound(tmp_path / "speech.flac")
    assert (found.rate, found.channels, written) == (48000, 2, 16)
    assert found.seconds == samples.shape[1] / 48000 == pytest.approx(1.0, abs=0.06)  # encoders pad
    if bits:
        np.testing.assert_allclose(samples, sound, atol=1.5 / 2 ** (bits - 1))
    else:
        assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.15)


@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_kept(tmp_path: Path, channels: int) -> None:
    """One to eight channels stay apart and in order."""
    sound = tone(channels=channels)
    found = convert(wav_bytes(pcm(sound), rate=48000, channels=channels), tmp_path)
    samples, _ = read_sound(tmp_path / "speech.flac")
    assert found.channels == channels
    np.testing.assert_allclose(samples, sound, atol=1e-4)


@pytest.mark.parametrize(
    ("codec", "container"), [("libopus", "ogg"), ("aac", "ipod"), ("aac", "adts"), ("wavpack", "wv")]
)
def test_sound_around_the_listener(tmp_path: Path, codec: str, container: str) -> None:
    """Eight channels of decoders that keep each to itself are read, and none of them is lost."""
    write_sound(tmp_path / "given", np.tile(tone(), (8, 1)), codec, format=container)
    found = convert(tmp_path / "given", tmp_path)
    samples, _ = read_sound(tmp_path / "speech.flac")
    assert (found.channels, found.rate) == (8, 48000)
    assert found.seconds == pytest.approx(1.0, abs=0.06)
    loudness = np.sqrt(np.mean(samples**2, axis=1))
    np.testing.assert_allclose(np.delete(loudness, 3), 0.5 / np.sqrt(2), rtol=0.15)  # 3: for low frequencies only


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000, 192000])
def test_the_rate_is_kept(tmp_path: Path, rate: int) -> None:
    """The recording's own rate is what the clip's sound is made from."""
    found = convert(wav_bytes(pcm(tone(0.5, rate)), rate=rate), tmp_path)
    assert found.rate == rate
    assert found.seconds == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("container", ["mp4", "webm", "matroska", "mpegts", "mov"])
def test_the_sound_of_a_video(tmp_path: Path, container: str) -> None:
    """A video is speech by what it holds of sound."""
    write_sound(tmp_path / "given", tone(), "libopus" if container == "webm" else "aac", format="matroska"
                if container == "webm" else container, video=True)  # fmt: skip
    assert convert(tmp_path / "given", tmp_path).seconds == pytest.approx(1.0, abs=0.06)


def test_tags_in_an_old_encoding(tmp_path: Path) -> None:
    """A tag that is not UTF-8 does not keep a recording from being read."""
    text = b"\xe9t\xe9\xff\0"
    info = b"INFOINAM" + len(text).to_bytes(4, "little") + text + b"\0"
    data = wav_bytes(pcm(tone(0.5)), rate=48000) + b"LIST" + len(info).to_bytes(4, "little") + info
    assert convert(data, tmp_path).seconds == 0.5


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_header_written_before_the_size_was_known(tmp_path: Path, size: int) -> None:
    """Programs that write WAV into a pipe put a placeholder for the size: all that is there is taken."""
    data = bytearray(wav_bytes(pcm(tone(0.5)), rate=48000))
    data[4:8] = data[40:44] = size.to_bytes(4, "little")
    assert convert(bytes(data), tmp_path).seconds == 0.5


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize(
    ("codec", "container"), [("pcm_s16le", "wav"), ("pcm_f32le", "wav"), ("flac", "flac"), ("aac", "mp4")]
)
def test_a_file_cut_short_is_refused(tmp_path: Path, codec: str, container: str, share: float) -> None:
    """A file that ends before its header says is half an upload; both lengths are named."""
    options = {"movflags": "faststart"} if container == "mp4" else {}
    rng = np.random.default_rng(0)
    write_sound(tmp_path / "given.mp4", rng.uniform(-0.5, 0.5, (1, 240000)), codec, format=container, options=options)
    whole = (tmp_path / "given.mp4").read_bytes()
    error = refusal(whole[: int(len(whole) * share)], tmp_path)
    assert error.code == "speech_unreadable"
    assert "promises 5.0 s" in error.message


@pytest.mark.parametrize(("codec", "container"), [("libmp3lame", "mp3"), ("libopus", "ogg"), ("aac", "adts")])
def test_a_stream_cut_short_is_taken_as_it_is(tmp_path: Path, codec: str, container: str) -> None:
    """Formats made for streaming do not say how long they are: what is there is the recording."""
    write_sound(tmp_path / "given", tone(4.0), codec, format=container)
    whole = (tmp_path / "given").read_bytes()
    assert convert(whole[: len(whole) // 2], tmp_path).seconds == pytest.approx(2.0, abs=0.3)


def test_an_m4a_without_its_index_is_refused(tmp_path: Path) -> None:
    """An m4a whose end, with the index, is missing cannot be read."""
    write_sound(tmp_path / "given", tone(), "aac", format="ipod")
    with pytest.raises(recordings.NotARecording):
        convert((tmp_path / "given").read_bytes()[:-2000], tmp_path)


def test_a_few_damaged_packets_are_left_out(tmp_path: Path) -> None:
    """Damage in the middle costs its moment of sound, not the recording."""
    write_sound(tmp_path / "given", tone(4.0), "libmp3lame", format="mp3")
    data = bytearray((tmp_path / "given").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
    assert convert(bytes(data), tmp_path).seconds == pytest.approx(4.0, abs=0.3)


def test_mostly_damage_is_refused(tmp_path: Path) -> None:
    """Where more than a tenth of the packets do not decode, the recording is refused."""
    write_sound(tmp_path / "given", np.random.default_rng(0).uniform(-0.5, 0.5, (1, 96000)), "flac", format="flac")
    data = bytearray((tmp_path / "given").read_bytes())
    for place in range(9000, len(data), 9000):
        data[place : place + 400] = bytes(400)
    assert refusal(bytes(data), tmp_path).code == "speech_unreadable"


def test_joined_recordings_of_different_shape(tmp_path: Path) -> None:
    """MP3 files written one after the other become one recording of one shape and their joint length."""
    bare = {"write_xing": "0", "id3v2_version": "0"}
    write_sound(tmp_path / "one", tone(1.0, 44100), "libmp3lame", format="mp3", rate=44100, options=bare)
    write_sound(tmp_path / "two", tone(2.0, 22050, 2), "libmp3lame", format="mp3", rate=22050, options=bare)
    found = convert((tmp_path / "one").read_bytes() + (tmp_path / "two").read_bytes(), tmp_path)
    assert found.seconds == pytest.approx(3.0, abs=0.3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    """NaN and infinity in a float WAV are named, not played as noise."""
    sound = tone(0.5).astype("<f4")
    sound[0, 12345] = value
    error = refusal(wav_bytes(sound.tobytes(), rate=48000, bits=32, kind=3), tmp_path)
    assert (error.code, "NaN" in error.message) == ("speech_unreadable", True)


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_silence_is_refused(tmp_path: Path, bits: int) -> None:
    """No sound at all, in any sample size."""
    quiet = (b"\x80" if bits == 8 else b"\0" * (bits // 8)) * 16000
    assert refusal(wav_bytes(quiet, bits=bits), tmp_path).code == "speech_silent"


@pytest.mark.parametrize(("decibels", "silent"), [(-61, True), (-59, False)])
def test_silence_ends_at_60_decibels_below_full_scale(tmp_path: Path, decibels: float, silent: bool) -> None:
    """A noise floor is silence, faint speech is not."""
    data = wav_bytes(pcm(tone(0.5, peak=10 ** (decibels / 20))), rate=48000)
    if silent:
        assert refusal(data, tmp_path).code == "speech_silent"
    else:
        assert convert(data, tmp_path).seconds == 0.5


@pytest.mark.parametrize("seconds", [0, 0.05, 0.099])
def test_too_short_is_refused(tmp_path: Path, seconds: float) -> None:
    """Less than a tenth of a second, down to no sample at all, with the length in the message."""
    error = refusal(wav_bytes(pcm(tone(seconds)), rate=48000), tmp_path)
    assert (error.code, f"{seconds:.2f} s" in error.message) == ("speech_too_short", True)


def test_the_longest_is_exact(tmp_path: Path) -> None:
    """As long as the limit is taken; a moment longer is refused with the setting's name."""
    assert convert(wav_bytes(pcm(tone(2.0)), rate=48000), tmp_path, limit=2.0).seconds == 2.0
    error = refusal(wav_bytes(pcm(tone(2.001)), rate=48000), tmp_path, limit=2.0)
    assert (error.code, "max_seconds" in error.message) == ("speech_too_long", True)


def test_too_long_is_noticed_on_the_way(tmp_path: Path) -> None:
    """An hour is refused after a second of it was decoded: no more than that was written."""
    rng = np.random.default_rng(0)
    second = rng.integers(-9999, 9999, 8000, np.int16).tobytes()
    error = refusal(wav_bytes(second * 3600, rate=8000), tmp_path, limit=1.0)
    assert error.code == "speech_too_long"
    assert (tmp_path / "speech.flac").stat().st_size < 3 * len(second)


def test_nine_channels_are_refused(tmp_path: Path) -> None:
    """FLAC holds eight channels; the message says to mix down."""
    error = refusal(wav_bytes(pcm(np.tile(tone(0.5), (9, 1))), rate=48000, channels=9), tmp_path)
    assert (error.code, "9 channels" in error.message) == ("speech_unreadable", True)


@pytest.mark.parametrize("rate", [1, 3_999, 384_001, 2**31 - 1])
def test_absurd_rates_are_refused(tmp_path: Path, rate: int) -> None:
    """A rate that no recorder has is named, with what is read."""
    error = refusal(wav_bytes(pcm(tone(0.5)), rate=rate), tmp_path)
    assert (error.code, f"{rate} samples per second" in error.message) == ("speech_unreadable", True)


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{directory}/secret.wav\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation>'
        "<BaseURL>secret.wav</BaseURL></Representation></AdaptationSet></Period></MPD>",
    ],
)
def test_a_file_cannot_name_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Playlists and scripts that point at a local file or an address are not followed."""
    monkeypatch.chdir(tmp_path)
    with wave.open("secret.wav", "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes(pcm(tone()))
    assert recordings.recognises(Path("secret.wav"))
    with pytest.raises(recordings.NotARecording):
        convert(script.format(directory=tmp_path).encode(), tmp_path)
    assert not (tmp_path / "speech.flac").exists()


@pytest.mark.parametrize("seed", range(30))
def test_noise_is_no_recording(tmp_path: Path, seed: int) -> None:
    """Random bytes are refused, however much they resemble a frame of MP3 here and there."""
    noise = np.random.default_rng(seed).integers(0, 256, 50_000, np.uint8).tobytes()
    with pytest.raises((EchodError, recordings.NotARecording)):
        convert(noise, tmp_path)


@pytest.mark.parametrize("data", [b"", b"A line of text.\n" * 1000, b"RIFF", b"OggS" * 100, b"\0" * 10000])
def test_other_files_are_no_recordings(tmp_path: Path, data: bytes) -> None:
    """Text, zeros and bare signatures hold no sound."""
    (tmp_path / "upload").write_bytes(data)
    assert not recordings.recognises(tmp_path / "upload")
    with pytest.raises(recordings.NotARecording):
        convert(data, tmp_path)


def test_a_video_without_sound(tmp_path: Path) -> None:
    """Pictures alone are no speech, and the message says so."""
    import av

    with av.open(str(tmp_path / "given.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(recordings.NotARecording, match="no sound"):
        convert(tmp_path / "given.mp4", tmp_path)
