from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from echod.inference.compare import Comparison, compare
from echod.inference.errors import InputError


def write(path: Path, *levels: int, side: int = 64) -> Path:
    """A clip without loss, of one grey after another."""
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264rgb", rate=24, options={"qp": "0"})
        video.width, video.height, video.pix_fmt = side, side, "rgb24"
        for level in levels:
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.full((side, side, 3), level, np.uint8), format="rgb24")))
        out.mux(video.encode(None))
    return path


def test_frame_by_frame(tmp_path: Path) -> None:
    """How many frames differ, by how much at most, and the PSNR over all; lengths and sizes are looked at too."""
    one = write(tmp_path / "one.mp4", 10, 20, 30)
    assert compare(one, one) == Comparison(3, 3, 0, 0, None)
    assert compare(one, one).same
    off = compare(one, write(tmp_path / "off.mp4", 10, 25, 28))
    assert off[:4] == (3, 3, 2, 5) and not off.same
    assert off.psnr == pytest.approx(10 * np.log10(255**2 * 3 / 29))
    longer = compare(one, write(tmp_path / "longer.mp4", 10, 20, 30, 40))
    assert longer == Comparison(3, 4, 0, 0, None) and not longer.same
    larger = compare(one, write(tmp_path / "larger.mp4", 10, 20, 30, side=128))
    assert larger.sizes == ("64x64", "128x128") and not larger.same


def test_what_is_no_whole_video(tmp_path: Path) -> None:
    """A file that is cut off, or no video, is told as that."""
    whole = write(tmp_path / "whole.mp4", *range(0, 240, 10))
    with (
        av.open(str(whole)) as source,
        av.open(str(tmp_path / "first.mp4"), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    data = (tmp_path / "first.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) - 400])
    (tmp_path / "text.mp4").write_bytes(b"no video at all")
    for name, words in (("cut", r"cut off or damaged: \d+ of 24 frames"), ("text", "cannot be read as a video")):
        with pytest.raises(InputError, match=words):
            compare(tmp_path / f"{name}.mp4", whole)
