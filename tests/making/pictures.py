"""Pictures as people and attackers send them."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from tests.making.media import EXAMPLES

PORTRAIT = EXAMPLES / "portrait.png"


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises this many pixels and holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def scans(picture: Image.Image, number: int) -> bytes:
    """A progressive JPEG with so many scans, most of them about as good as none."""
    file = io.BytesIO()
    picture.save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")  # refines a coefficient, and does so again
    scan = data[last : data.rindex(b"\xff\xd9")]
    return data[:last] + (number - data.count(b"\xff\xda") + 1) * scan + b"\xff\xd9"


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def portrait() -> Image.Image:
    with Image.open(PORTRAIT) as image:
        return image.convert("RGB")
