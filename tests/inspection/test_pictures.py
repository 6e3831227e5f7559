from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from echod.errors import EchodError
from echod.inspection import pictures
from tests.making import profiles
from tests.making.pictures import png_header, scans

LIMIT = 1_000_000

# Left half red, right half blue, 40 x 20.
HALVES = Image.fromarray(np.repeat(np.array([[[255, 0, 0]] * 20 + [[0, 0, 255]] * 20], np.uint8), 20, axis=0))


def read(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert pictures.recognises(path)
    image = pictures.read(path, LIMIT)
    assert (image.mode, image.info) == ("RGB", {})
    return np.asarray(image)


def test_every_format_is_read_whatever_its_name(tmp_path: Path) -> None:
    """All formats decode to the same picture, under a name that says nothing."""
    for name in pictures.FORMATS:
        HALVES.save(tmp_path / "upload", name)
        pixels = read(tmp_path / "upload")
        assert pixels.shape == (20, 40, 3), name
        np.testing.assert_allclose(pixels[10, [3, 36]], [[255, 0, 0], [0, 0, 255]], atol=8, err_msg=name)


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("PA", "TIFF"), ("I;16", "PNG"),
        ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("L", "JPEG"), ("P", "GIF"),
        ("RGBA", "WEBP"), ("RGBA", "AVIF"),
    ],
)  # fmt: skip
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, format: str) -> None:
    """Black stays black and white stays white in each mode that a portrait may come in."""
    halves = np.repeat(np.array([[0] * 20 + [255] * 20], np.uint8), 20, axis=0)
    image = Image.fromarray(halves).convert("RGB")
    if mode == "I;16":
        image = Image.fromarray(halves.astype(np.uint16) * 257)
    elif mode == "PA":
        image = image.convert("P").convert("PA")
    else:
        image = image.convert(mode)
    image.save(tmp_path / "upload", format)
    np.testing.assert_allclose(read(tmp_path / "upload")[10, [3, 36]], [[0] * 3, [255] * 3], atol=4)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    """A 16-bit grey ramp becomes an 8-bit ramp instead of being clipped to white."""
    ramp = np.tile(np.arange(0, 65536, 256, dtype=np.uint16), (30, 1))
    Image.fromarray(ramp).save(tmp_path / "upload", "PNG")
    np.testing.assert_array_equal(read(tmp_path / "upload")[0, :, 0], np.arange(256))


def test_sixteen_bit_colour_is_scaled(tmp_path: Path) -> None:
    """A PNG with 16 bits per colour keeps its colours."""
    import cv2

    cv2.imwrite(str(tmp_path / "colour.png"), np.full((30, 30, 3), (0x1000, 0x8000, 0xF000), np.uint16))
    np.testing.assert_array_equal(read(tmp_path / "colour.png")[0, 0], [0xF0, 0x80, 0x10])


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_of_unknown_range_are_refused(tmp_path: Path, mode: str) -> None:
    """32 bits per sample have no agreed white; the message says what to do."""
    Image.new(mode, (30, 30)).save(tmp_path / "upload", "TIFF")
    with pytest.raises(EchodError, match="8 or 16 bits") as caught:
        pictures.read(tmp_path / "upload", LIMIT)
    assert caught.value.code == "portrait_unreadable"


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(tmp_path: Path, mode: str) -> None:
    """Fully transparent pixels become white, half transparent black ones grey."""
    alpha = np.repeat(np.array([[0] * 10 + [128] * 10 + [255] * 10], np.uint8), 30, axis=0)
    image = Image.new("RGB", (30, 30)).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "upload", "PNG")
    np.testing.assert_allclose(read(tmp_path / "upload")[5, [5, 15, 25], 0], [255, 127, 0], atol=1)


def test_a_transparent_colour_lies_on_white(tmp_path: Path) -> None:
    """A PNG without an alpha channel may declare one colour transparent."""
    HALVES.save(tmp_path / "upload", "PNG", transparency=(255, 0, 0))
    np.testing.assert_array_equal(read(tmp_path / "upload")[5, [3, 36]], [[255, 255, 255], [0, 0, 255]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    """Whatever way the camera was held, the picture comes out upright."""
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes what EXIF asks for
    stored = HALVES.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else HALVES
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "upload", "JPEG", exif=exif, quality=95, subsampling=0)
    pixels = read(tmp_path / "upload")
    assert pixels.shape == (20, 40, 3)
    np.testing.assert_allclose(pixels[10, [3, 36]], [[255, 0, 0], [0, 0, 255]], atol=8)


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    """A picture with garbage where its EXIF should be is read as it lies."""
    for garbage in (
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 50,
    ):
        HALVES.save(tmp_path / "upload", "JPEG", exif=garbage)
        assert read(tmp_path / "upload").shape == (20, 40, 3)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_gives_its_first_frame(tmp_path: Path, format: str) -> None:
    """Of several frames the first is the portrait."""
    HALVES.save(tmp_path / "upload", format, save_all=True, append_images=[Image.new("RGB", HALVES.size, "green")] * 3)
    np.testing.assert_allclose(read(tmp_path / "upload")[10, 3], [255, 0, 0], atol=8)


def test_a_phone_picture_with_a_second_one_inside(tmp_path: Path) -> None:
    """An MPO file, as phones write for depth or HDR, is a JPEG to us."""
    HALVES.save(tmp_path / "upload", "MPO", save_all=True, append_images=[Image.new("RGB", (10, 10))], quality=95)
    assert read(tmp_path / "upload").shape == (20, 40, 3)


def test_a_huge_header_is_refused_before_decoding(tmp_path: Path) -> None:
    """A few bytes that promise 2500 million pixels are refused by what the header says."""
    (tmp_path / "upload").write_bytes(png_header(50_000, 50_000))
    assert pictures.recognises(tmp_path / "upload")
    with pytest.raises(EchodError, match=r"50000 x 50000 pixels.*max_pixels") as caught:
        pictures.read(tmp_path / "upload", 50_000_000)
    assert caught.value.code == "portrait_unreadable"


def test_the_pixel_limit_is_exact(tmp_path: Path) -> None:
    """As many pixels as the limit are read, one row more is not."""
    HALVES.save(tmp_path / "upload", "PNG")
    assert pictures.read(tmp_path / "upload", 800).size == (40, 20)
    with pytest.raises(EchodError, match="max_pixels"):
        pictures.read(tmp_path / "upload", 799)


@pytest.mark.parametrize("number", [10, 100])
def test_a_progressive_picture(tmp_path: Path, number: int) -> None:
    """A picture that becomes sharper scan by scan is read."""
    (tmp_path / "upload").write_bytes(scans(HALVES, number))
    assert read(tmp_path / "upload").shape == (20, 40, 3)


@pytest.mark.parametrize("format", ["JPEG", "MPO"])
def test_too_many_scans_are_refused(tmp_path: Path, format: str) -> None:
    """A few bytes a scan would keep a core busy for many seconds; the number and the limit are named."""
    more = {"save_all": True, "append_images": [HALVES]} if format == "MPO" else {}
    HALVES.save(tmp_path / "upload", format, **more)
    data = (tmp_path / "upload").read_bytes()
    (tmp_path / "upload").write_bytes(data + scans(HALVES, 2000) if more else scans(HALVES, 2000))
    with pytest.raises(EchodError, match=r"200\d scans; at most 100") as caught:
        pictures.read(tmp_path / "upload", LIMIT)
    assert caught.value.code == "portrait_unreadable"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF"])
def test_a_truncated_picture_is_refused(tmp_path: Path, format: str) -> None:
    """Half a picture is no portrait."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "upload", format)
    whole = (tmp_path / "upload").read_bytes()
    (tmp_path / "upload").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EchodError) as caught:
        pictures.read(tmp_path / "upload", LIMIT)
    assert caught.value.code == "portrait_unreadable"


@pytest.mark.parametrize(
    "data",
    [
        b"A line of text.\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"/>',
        b"P6 1 1 255\n\0\0\0",
        b"%PDF-1.7\n",
        b"",
    ],
)
def test_nothing_else_is_a_picture(tmp_path: Path, data: bytes) -> None:
    """Text, EPS (which would start ghostscript), SVG, PPM and PDF are not recognised."""
    (tmp_path / "upload.png").write_bytes(data)
    assert not pictures.recognises(tmp_path / "upload.png")
    with pytest.raises(EchodError):
        pictures.read(tmp_path / "upload.png", LIMIT)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_colours_are_what_the_profile_means(tmp_path: Path, format: str) -> None:
    """Red of a profile that swaps red and green comes out green, and nothing of the profile is left."""
    HALVES.save(tmp_path / "upload", format, icc_profile=profiles.swapped())
    np.testing.assert_allclose(read(tmp_path / "upload")[10, [3, 36]], [[0, 255, 0], [0, 0, 255]], atol=12)


@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_a_profile_of_another_mode(tmp_path: Path, mode: str) -> None:
    """Grey has its own kind of profile; a palette is turned into colours first."""
    image = Image.new("RGB", (30, 30), (255, 0, 0) if mode == "P" else (128, 128, 128)).convert(mode)
    profile = profiles.swapped() if mode == "P" else profiles.linear_grey()
    image.save(tmp_path / "upload", "PNG", icc_profile=profile)
    expected = [0, 255, 0] if mode == "P" else [188] * 3
    np.testing.assert_allclose(read(tmp_path / "upload")[5, 5], expected, atol=2)


def test_the_colours_of_a_printing_press(tmp_path: Path) -> None:
    """CMYK is turned into sRGB by its own profile."""
    Image.new("CMYK", (30, 30), (255, 0, 0, 0)).save(tmp_path / "upload", "JPEG", icc_profile=profiles.red_cyan())
    np.testing.assert_allclose(read(tmp_path / "upload")[5, 5], [255, 0, 0], atol=8)


UNFIT = {
    "noise": b"no profile",
    "cut": profiles.swapped()[:200],
    "grey": profiles.linear_grey(),
    "cmyk": profiles.red_cyan(),
    "huge": bytes(pictures.MAX_PROFILE + 1),
}


@pytest.mark.parametrize("profile", UNFIT.values(), ids=UNFIT)
def test_a_profile_that_does_not_fit(tmp_path: Path, profile: bytes) -> None:
    """Without a profile that can be used the numbers are those of sRGB."""
    HALVES.save(tmp_path / "upload", "TIFF", icc_profile=profile)
    np.testing.assert_array_equal(read(tmp_path / "upload")[10, [3, 36]], [[255, 0, 0], [0, 0, 255]])


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    """The usual profile costs neither time nor a bit."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise.save(tmp_path / "upload", "PNG", icc_profile=srgb)
    np.testing.assert_array_equal(read(tmp_path / "upload"), np.asarray(noise))
