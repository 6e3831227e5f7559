"""Frames of a clip on one picture: python scripts/contact_sheet.py CLIP.mp4 SHEET.png"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
from PIL import Image


def evenly_spaced(clip: Path, count: int) -> list[Image.Image]:
    """`count` frames from the whole length of the clip, in order."""
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [Image.fromarray(frames[i * len(frames) // count]) for i in range(count)]


def contact_sheet(clip: Path, columns: int, rows: int, side: int) -> Image.Image:
    frames = evenly_spaced(clip, columns * rows)
    height = side * frames[0].height // frames[0].width
    sheet = Image.new("RGB", (columns * side, rows * height))
    for i, frame in enumerate(frames):
        sheet.paste(frame.resize((side, height), Image.Resampling.LANCZOS), (i % columns * side, i // columns * height))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Frames of a clip on one picture.")
    parser.add_argument("clip", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--side", type=int, default=160, help="width of one frame on the sheet")
    args = parser.parse_args()
    sheet = contact_sheet(args.clip, args.columns, args.rows, args.side)
    sheet.quantize(256).save(args.sheet, optimize=True)


if __name__ == "__main__":
    main()
