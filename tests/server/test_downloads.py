"""Files as answers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from echod.errors import EchodError
from echod.server.downloads import download
from tests.drivers.asking import refusal


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-3"}, {"Range": "bytes=0-1,4-5"}], ids=["all", "one", "two"])
async def test_file_removed_before_it_is_opened(tmp_path: Path, headers: dict[str, str]) -> None:
    """A clip that is removed between the answer's first thought and its first byte is not found, as one gone before."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"0123456789")
    app = download(path, "video/mp4", "clip.mp4")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        assert (await http.get("/", headers=headers)).is_success
        path.unlink()
        assert refusal(await http.get("/", headers=headers))[:2] == (404, "not_found")
    with pytest.raises(EchodError, match="no longer kept"):
        download(path, "video/mp4", "clip.mp4")
