"""Pictures as clients send them, made upright 8-bit RGB. Client bytes: call only in the inspection child."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import AvifImagePlugin, Image, ImageOps, UnidentifiedImageError

from echod.errors import EchodError

# No others: Pillow would hand EPS to ghostscript, and nobody keeps a portrait in the remaining ones.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")

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
    """The picture (of an animation the first frame) in mode RGB, EXIF rotation applied, transparency on white.

    Raises EchodError: portrait_unreadable.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            _check_size(image, max_pixels)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _as_rgb(image)
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
