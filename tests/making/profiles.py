"""Colour profiles (ICC.1) that tests make for themselves."""

from __future__ import annotations

import struct

from PIL import ImageCms


def swapped(padding: int = 0) -> bytes:
    """Of RGB: what it calls red is sRGB's green, and the other way round; longer by `padding`."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, other in ((b"rXYZ", b"----"), (b"gXYZ", b"rXYZ"), (b"----", b"gXYZ")):
        data = data.replace(name, other)
    data = data.replace("sRGB".encode("utf-16-be"), "gRrB".encode("utf-16-be"))
    return struct.pack(">I", len(data) + padding) + data[4:] + bytes(padding)


def linear_grey() -> bytes:
    """Of grey: half is half of the light, which is 188 in sRGB."""
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": b"curv" + struct.pack(">II", 0, 0)})


def red_cyan() -> bytes:
    """Of CMYK: its cyan is red."""
    grids = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    white, red, black = bytes([255, 128, 128]), bytes([135, 208, 195]), bytes([0, 128, 128])  # L*a*b*
    inks = 4 * (white + black) + 4 * (red + black)
    ramp = bytes(range(256))
    return _profile(b"CMYK", b"Lab ", {b"A2B0": grids + 4 * ramp + inks + 3 * ramp})


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)  # D50, s15Fixed16
    described = {b"wtpt": white, b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(82), **tags}
    table, body = struct.pack(">I", len(described)), b""
    start = 128 + 4 + 12 * len(described)
    for name, data in described.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytes(8) + bytes([2, 0x10, 0, 0]) + b"scnr" + space + connection + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    whole = head.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(whole)) + whole[4:]
