"""Files that strangers might send: made to take much, to open something else, or to be several things at once."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.making import profiles
from tests.making.media import EXAMPLES
from tests.making.pictures import png_header, scans
from tests.making.sounds import SPEECH, tone, wav_bytes, write_sound

PORTRAIT = (EXAMPLES / "portrait.png").read_bytes()
DASH = '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation>'


def chunk(name: bytes, data: bytes) -> bytes:
    """Of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def bombs(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Few bytes that promise or hold many."""
    zeros = zlib.compress(bytes(256 << 20), 9)
    end, plain = chunk(b"IEND", b""), Image.new("RGB", (8, 8))
    head = png_header(64, 64)[:33]
    yield "png of 2.5 gigapixels", png_header(50_000, 50_000)
    yield "png whose lines unpack to 256 MiB", head + chunk(b"IDAT", zeros) + end
    yield "png whose profile unpacks to 256 MiB", head + chunk(b"iCCP", b"p\0\0" + zeros) + chunk(b"IDAT", b"") + end
    yield "png whose text unpacks to 256 MiB", head + chunk(b"zTXt", b"t\0\0" + zeros) + chunk(b"IDAT", b"") + end
    yield "png of a hundred thousand texts", head + chunk(b"tEXt", b"t\0t") * 100_000 + chunk(b"IDAT", b"") + end
    yield "png of one colour, 49 megapixels", saved(Image.new("1", (7000, 7000)), "PNG")
    yield "jpeg of 4 gigapixels", saved(plain, "JPEG").replace(b"\x00\x08\x00\x08", b"\xff\xff\xff\xff", 1)
    yield "jpeg of 2,000 scans", scans(plain, 2000)
    yield "gif of 4 gigapixels", b"GIF89a\xff\xff\xff\xff\0\0\0" + saved(plain, "GIF")[13:]
    frames = [plain.rotate(90 * turn) for turn in range(4)] * 1000
    yield "gif of 4,000 frames", saved(plain, "GIF", save_all=True, append_images=frames)
    header = struct.pack("<IiiHHIIiiII", 40, 65535, 65535, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "bmp of 4 gigapixels", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header
    blank = Image.new("L", (7000, 7000))
    yield "tiff packed to nothing, 49 megapixels", saved(blank, "TIFF", compression="tiff_adobe_deflate")
    yield "tiff whose directories go in a circle", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"
    yield "tiff with a thousand million samples", b"II*\0\x08\0\0\0\x01\0\x15\x01\x03\0\xff\xff\xff\x7f\0\0\0\0"
    yield "webp of one colour, 49 megapixels", saved(Image.new("RGB", (7000, 7000)), "WEBP")
    yield "avif of one colour, 49 megapixels", saved(Image.new("RGB", (7000, 7000)), "AVIF", speed=10)
    yield "profile of 8 MiB", saved(plain, "JPEG", icc_profile=profiles.swapped(padding=8 << 20))
    yield "profile of noise", saved(plain, "JPEG", icc_profile=np.random.default_rng(1).bytes(60_000))
    yield "exif of noise", saved(plain, "JPEG", exif=b"Exif\0\0MM\0*" + np.random.default_rng(2).bytes(60_000))
    for codec, format in (("flac", "flac"), ("libopus", "ogg"), ("libmp3lame", "mp3"), ("wavpack", "wv")):
        write_sound(directory / "hour", np.zeros((1, 48000 * 600)), codec, format=format)
        yield f"ten minutes of silence as {format}", (directory / "hour").read_bytes()
    write_sound(directory / "around", tone(channels=8), "libopus", format="ogg")
    yield "eight channels", (directory / "around").read_bytes()
    yield "wav of 4 GiB", SPEECH[:4] + b"\xff\xff\xff\xff" + SPEECH[8:40] + b"\xff\xff\xff\xff" + SPEECH[44:]
    yield "wav of a hundred thousand chunks", SPEECH[:12] + b"junk\0\0\0\0" * 100_000 + SPEECH[12:]
    yield "mp4 in mp4 in mp4", nested(b"moov", 5000)


def nested(name: bytes, depth: int) -> bytes:
    boxes = b"".join(struct.pack(">I4s", 8 * (depth - level), name) for level in range(depth))
    return struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom") + boxes


def pointers(secret: Path, address: str) -> Iterator[tuple[str, bytes]]:
    """Playlists, scripts and links that name another file, or an address."""
    targets = (
        str(secret), secret.name, f"file://{secret}", f"{address}/a.wav", f"concat:{secret}",
        f"subfile,,start,0,end,0,,:{secret}",
    )  # fmt: skip
    for target in targets:
        yield f"ffconcat of {target}", f"ffconcat version 1.0\nfile '{target}'\n".encode()
        yield f"m3u8 of {target}", f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n".encode()
        yield f"m3u of {target}", f"#EXTM3U\n{target}\n".encode()
        yield f"pls of {target}", f"[playlist]\nFile1={target}\nNumberOfEntries=1\nVersion=2\n".encode()
        yield f"asx of {target}", f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>'.encode()
        yield (
            f"dash of {target}",
            f"{DASH}<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>".encode(),
        )
        yield (
            f"svg of {target}",
            (f'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><image href="{target}"/></svg>').encode(),
        )
        yield (
            f"encrypted m3u8 of {target}",
            (f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n').encode(),
        )
        yield f"mov that refers to {target}", reference(target.encode())
    yield (
        "session of packets",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    )
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n(%pipe%id) (r) file\nshowpage\n"


def reference(target: bytes) -> bytes:
    """A QuickTime movie whose sound lies elsewhere."""

    def box(name: bytes, *inside: bytes) -> bytes:
        data = b"".join(inside)
        return struct.pack(">I4s", 8 + len(data), name) + data

    rdrf = box(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(target)), target)
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", box(b"rmra", box(b"rmda", rdrf)))


def odd_sounds() -> Iterator[tuple[str, bytes]]:
    """Numbers that no recorder writes."""
    samples = SPEECH[44:]
    for rate in (0, 1, 3_999, 384_001, 2**31 - 1, 2**32 - 1):
        yield f"rate {rate}", wav_bytes(samples, rate=rate)
    for channels in (0, 9, 63, 255, 65_535):
        yield f"{channels} channels", wav_bytes(samples, channels=channels)
    for bits in (0, 1, 7, 33, 64, 255, 65_528):
        yield f"{bits} bits", wav_bytes(samples, bits=bits)
    for kind in (0, 3, 6, 7, 0x11, 0x55, 0x161, 0xFFFE, 0xFFFF):
        yield f"kind {kind}", wav_bytes(samples, kind=kind)


def polyglots(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Several things at once."""
    write_sound(directory / "song", tone(0.5), "libmp3lame", format="mp3")
    song, photo = (directory / "song").read_bytes(), saved(Image.new("RGB", (64, 64)), "JPEG")
    yield "picture, then recording", PORTRAIT + SPEECH
    yield "recording, then picture", SPEECH + PORTRAIT
    yield "recording inside a picture", PORTRAIT[:33] + chunk(b"wAVe", SPEECH) + PORTRAIT[33:]
    yield (
        "picture inside a recording",
        SPEECH[:12] + struct.pack("<4sI", b"pict", len(PORTRAIT)) + PORTRAIT + SPEECH[12:],
    )
    cover = b"\0image/jpeg\0\3\0" + photo
    tag = b"APIC" + struct.pack(">IH", len(cover), 0) + cover
    yield "song with a picture of its own", b"ID3\x03\0\0" + syncsafe(len(tag)) + tag + song
    yield "photo, then song", photo + song
    yield "song, then photo", song + photo
    yield "archive, then picture", b"PK\3\4" + bytes(26) + PORTRAIT
    yield "document, then picture", b"%PDF-1.7\n" + photo
    yield "gif that is a script", b"GIF89a=1;alert(1)//" + bytes(100)
    yield "program", b"\x7fELF\2\1\1" + bytes(200) + SPEECH
    yield "page", b"<!doctype html><script>alert(1)</script>" + PORTRAIT
    yield "two pictures", PORTRAIT + photo


def syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
