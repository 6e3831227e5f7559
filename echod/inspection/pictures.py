"""Pictures as clients send them, made upright 8-bit RGB. Client bytes: call only in the inspection child."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import AvifImagePlugin, Image, ImageCms, ImageOps, UnidentifiedImageError

from echod.errors import EchodError

# No others: Pillow would hand EPS to ghostscript, and nobody keeps a portrait in the remaining ones.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")

START_OF_SCAN, MAX_SCANS = b"\xff\xda", 100  # compressed data never holds the marker
GREY = ("1", "L", "LA", "I;16", "I;16B")
MAX_PROFILE = 16 << 20  # bytes of a colour profile; those of printing presses have one to three million

Image.MAX_IMAGE_PIXELS = None  # the limit is `max_pixels`, checked below before anything is decoded
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a thread per core would not fit into the child's address space


def recognises(path: Path) -> bool:
    """Whether the header is that of a picture."""
    try:
        # Pillow warns about what it tolerates, garbage in EXIF for one.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # a picture whose header is damaged: `read` says so
        return True


def read(path: Path, max_pixels: int) -> Image.Image:
    """The picture (of an animation the first frame) in sRGB, EXIF rotation applied, transparency on white.

    Nothing goes with it: no colour profile, no EXIF, no text, which would be written into the file made of it.
    Raises EchodError: portrait_unreadable.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            _check_size(image, max_pixels)
            _check_scans(path, image)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            picture = _as_srgb(image)
            picture.info = {}
            return picture
    except (EchodError, MemoryError):
        raise
    except Exception as error:  # Pillow raises whatever its parsers meet: SyntaxError, struct.error, zlib.error ...
        raise EchodError(
            "portrait_unreadable",
            f"the picture is damaged or incomplete ({error}); open it in an image program and save it again",
        ) from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise EchodError(
            "portrait_unreadable",
            f"the picture has {width} x {height} pixels, {width * height / 1e6:.1f} million; at most "
            f"{max_pixels / 1e6:g} million are read (setting max_pixels); send a smaller copy",
        )


def _check_scans(path: Path, image: Image.Image) -> None:
    """Each scan of a progressive JPEG goes over the whole picture, and may take no more than some bytes of the file."""
    scans = path.read_bytes().count(START_OF_SCAN) if image.format in ("JPEG", "MPO") else 0
    if scans > MAX_SCANS:
        raise EchodError(
            "portrait_unreadable",
            f"the picture is drawn in {scans} scans; at most {MAX_SCANS} are read, and ten are usual: save it again",
        )


def _as_srgb(image: Image.Image) -> Image.Image:
    """In mode RGB, and with the colours that its profile means if it has one that is sane."""
    rgb, data = _as_rgb(image), image.info.get("icc_profile")
    if not data or len(data) > MAX_PROFILE:
        return rgb
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if ImageCms.getProfileDescription(profile).startswith("sRGB"):
            return rgb
        given = image if image.mode == "CMYK" else rgb.convert("L") if image.mode in GREY else rgb
        converted = ImageCms.profileToProfile(given, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # damaged, or for another kind of picture
        return rgb
    assert converted is not None  # for it is not done in place
    return converted


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise EchodError(
            "portrait_unreadable",
            "the picture has 32 bits per sample, whose range is unknown; save it with 8 or 16 bits",
        )
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    return flat
