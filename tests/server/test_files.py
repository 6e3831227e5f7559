"""/v1/files: uploads and what can be done with them."""

from __future__ import annotations

import httpx
import pytest

from tests.drivers.asking import refusal
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import PORTRAIT, SPEECH


async def test_upload(daemon: Daemon) -> None:
    """An upload is answered in OpenAI's shape, with what inspection found."""
    answer = await daemon.http.post("/v1/files", files={"file": ("me.png", PORTRAIT)}, data={"purpose": "vision"})
    file = answer.json()
    assert {name: file[name] for name in ("object", "bytes", "filename", "purpose", "status")} == {
        "object": "file", "bytes": len(PORTRAIT), "filename": "me.png", "purpose": "vision", "status": "processed",
    }  # fmt: skip
    assert file["expires_at"] - file["created_at"] == daemon.config.keep_uploads
    url = file["echod"].pop("url")
    assert url.startswith(f"{daemon.base}/v1/files/{file['id']}/content?expires=")
    [warning] = file["echod"].pop("warnings")
    assert (warning["code"], "the face is 2 px wide" in warning["message"]) == ("face_small", True)
    assert file["echod"] == {
        "kind": "portrait", "width": 640, "height": 480, "faces": 2, "box": [1, 2, 3, 4], "boxes": [], "seconds": None,
    }  # fmt: skip
    assert (await daemon.http.get(url)).content == PORTRAIT
    again = (await daemon.http.get(f"/v1/files/{file['id']}")).json()
    assert again["echod"].pop("url") and again["echod"].pop("warnings") == [warning] and again == file


async def test_content(daemon: Daemon) -> None:
    """The bytes come back as they were sent, as a download that no browser renders."""
    file_id = await daemon.upload(SPEECH, "words.wav")
    answer = await daemon.http.get(f"/v1/files/{file_id}/content")
    assert answer.content == SPEECH
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="words.wav"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = await daemon.http.get(f"/v1/files/{file_id}/content", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, SPEECH[:4])
    assert (await daemon.http.head(f"/v1/files/{file_id}/content")).headers["content-length"] == str(len(SPEECH))


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ("语音 é.wav", "attachment; filename*=utf-8''%E8%AF%AD%E9%9F%B3%20%C3%A9.wav"),
        ("a; filename=evil.html", "attachment; filename*=utf-8''a%3B%20filename%3Devil.html"),
    ],
)
async def test_download_name(daemon: Daemon, name: str, header: str) -> None:
    """A client's file name cannot leave its place in the header."""
    file_id = await daemon.upload(PORTRAIT, name)
    assert (await daemon.http.get(f"/v1/files/{file_id}/content")).headers["content-disposition"] == header


async def test_listing(daemon: Daemon) -> None:
    """Uploads are listed newest first, page by page."""
    ids = [await daemon.upload(PORTRAIT) for _ in range(3)]
    page = (await daemon.http.get("/v1/files", params={"limit": 2})).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    page = (await daemon.http.get("/v1/files", params={"after": ids[1]})).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[0]], False)
    assert refusal(await daemon.http.get("/v1/files?limit=0")) == (400, "invalid_request", "limit")


async def test_delete(daemon: Daemon) -> None:
    """A deleted upload is gone, and so are its bytes."""
    file_id = await daemon.upload(PORTRAIT)
    answer = await daemon.http.delete(f"/v1/files/{file_id}")
    assert answer.json() == {"id": file_id, "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert refusal(await daemon.http.request(method, f"/v1/files/{file_id}{path}"))[:2] == (404, "not_found")
    assert daemon.stored_files() == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": (None, b"vision")}, "file"),
        ({"file": (None, b"text, not a file")}, "file"),
        ({"file": ("a", PORTRAIT), "expires_after[seconds]": (None, b"soon")}, "expires_after[seconds]"),
        ({"file": ("a", PORTRAIT), "purpose": (None, b"p" * 65)}, "purpose"),
        ({"file": ("a", b"?")}, "file"),
    ],
)
async def test_refused_upload(daemon: Daemon, fields: dict[str, tuple[str | None, bytes]], param: str) -> None:
    """A form that is not one usable file is refused by field, and leaves nothing."""
    assert refusal(await daemon.http.post("/v1/files", files=fields))[2] == param
    assert daemon.stored_files() == []


async def test_no_form(daemon: Daemon) -> None:
    """A body that is no form is refused."""
    answer: httpx.Response = await daemon.http.post("/v1/files", json={"file": "text"})
    assert refusal(answer)[:2] == (400, "invalid_request")
