"""A client that is generated of /openapi.json, by others' program, makes a clip with the installed daemon."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.drivers.environments import environment
from tests.drivers.running import RunningDaemon
from tests.making.media import EXAMPLES, write_wav

pytestmark = pytest.mark.long

GENERATOR = "openapi-python-client>=0.29,<0.30"
FILES = ("video/mp4", "image/jpeg", "image/png", "audio/flac", "audio/wav")
PROGRAM = """
import sys
import time
from pathlib import Path

from generated import Client
from generated.api.files import files_create
from generated.api.videos import videos_content, videos_create, videos_list, videos_retrieve
from generated.models import (
    File, FilesCreateBody, Refusal, Video, Videos, VideosCreateJsonBody, VideosCreateJsonBodyAudioReference,
    VideosCreateJsonBodyInputReference,
)
from generated import types

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)


def upload(path):
    with open(path, "rb") as content:
        body = FilesCreateBody(file=types.File(payload=content, file_name=Path(path).name))
        return files_create.sync(client=client, body=body)


portrait, speech = upload(sys.argv[2]), upload(sys.argv[3])
assert isinstance(portrait, File) and portrait.echod.kind == "portrait" and portrait.echod.faces == 1, portrait
assert speech.echod.kind == "speech" and speech.echod.seconds == 1.0, speech

nothing = VideosCreateJsonBody(input_reference=VideosCreateJsonBodyInputReference(file_id=portrait.id), prompt=" ")
refused = videos_create.sync_detailed(client=client, body=nothing)
assert refused.status_code == 400 and isinstance(refused.parsed, Refusal), refused
print(refused.parsed.error.code)
gone = videos_retrieve.sync("video_0", client=client)
assert isinstance(gone, Refusal) and gone.error.code == "not_found", gone

body = VideosCreateJsonBody(
    input_reference=VideosCreateJsonBodyInputReference(file_id=portrait.id),
    audio_reference=VideosCreateJsonBodyAudioReference(file_id=speech.id),
    model="preview",
    size="128x128",
)
video = videos_create.sync(client=client, body=body)
while video.status in ("queued", "in_progress"):
    time.sleep(0.1)
    video = videos_retrieve.sync(video.id, client=client)
assert isinstance(video, Video) and video.error is None and video.echod.frames == 24, video
listed = videos_list.sync(client=client, limit=5)
assert isinstance(listed, Videos) and listed.data[0].id == video.id, listed
clip = videos_content.sync_detailed(video.id, client=client)
Path(sys.argv[4]).write_bytes(clip.parsed.payload.read())
print(video.status)
"""


@pytest.mark.timeout(600)
def test_generated_client(daemon: RunningDaemon, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Nothing of the document is passed over; the client uploads, makes, waits, lists, downloads, knows an error."""
    python = environment(request.config.cache, GENERATOR)
    document, config = tmp_path / "openapi.json", tmp_path / "config.json"
    with daemon.http() as http:
        document.write_bytes(http.get("/openapi.json").content)
    overrides = dict.fromkeys((*FILES, "multipart/byteranges"), "application/octet-stream")
    config.write_text(json.dumps({"content_type_overrides": overrides, "post_hooks": []}))
    generate: list[str | Path] = [
        python,
        "-m",
        "openapi_python_client",
        "generate",
        "--meta",
        "none",
        "--fail-on-warning",
    ]
    arguments: list[str | Path] = ["--path", document, "--config", config, "--output-path", tmp_path / "generated"]
    made = subprocess.run([*generate, *arguments], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr

    speech, clip = write_wav(tmp_path / "speech.wav", seconds=1.0), tmp_path / "clip.mp4"
    program: list[str | Path] = [python, "-c", PROGRAM, daemon.tcp, EXAMPLES / "portrait.png", speech, clip]
    ran = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert (ran.returncode, ran.stdout.split()) == (0, ["invalid_request", "completed"]), ran.stderr
    assert clip.read_bytes()[4:8] == b"ftyp"
