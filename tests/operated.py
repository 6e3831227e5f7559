"""`python -m tests.operated`: what docs/operate.md shows, done on two Debian machines with a real systemd.

The first has its service installed, makes clips, is stopped in the middle, is backed up, upgraded and taken back; the
second gets the backup. Prints what is typed and what comes of it; an AssertionError says what was not so.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from echod import __version__
from tests.drivers.box import Box, base, lacking
from tests.making.media import EXAMPLES, write_wav
from tests.making.wheels import build_wheel

NEXT = f"{__version__}.post1"
PASSWORD = "correct horse\n"
UNTIL_RUNNING = "until echod show {} --json | grep -q '\"in_progress\"'; do sleep 0.2; done"
SYSTEMD_AT_MOST = 2.5
CACHE = Path(os.environ.get("ECHOD_BOX", "/var/tmp/echod-box"))  # where the bare Debian is kept


def operate(cache: Path, directory: Path, tell: Callable[[str], None]) -> None:
    wheels = build_wheel(directory / "this"), build_wheel(directory / "next", NEXT)
    speech = write_wav(directory / "long.wav", seconds=40.0)
    root = base(cache)
    with Box(root, directory / "first", "first", tell).run() as first:
        first.install(wheels[0])
        install(first)
        make_a_clip(first)
        first.put(speech, "/home/anna/long.wav")
        stop_in_the_middle(first)
        back_up(first)
        upgrade(first, *wheels)
        with Box(root, directory / "second", "second", tell).run() as second:
            second.install(wheels[0])
            second.put(first.get("/var/backups/echod"), "/var/backups/echod")
            restore(second)
        uninstall(first)


def install(box: Box) -> None:
    shown = box.sh("/opt/echod/bin/echod service install --dry-run")
    assert "useradd" in shown and box.sh("id echod", code=1)
    done = box.sh("/opt/echod/bin/echod service install", text=PASSWORD)
    assert "http://127.0.0.1:8765 and /run/echod/echod.sock" in done and "admin added" in done
    again = box.sh("echod service install")
    assert "nothing to do" in again
    assert box.sh("systemctl is-active echod; systemctl is-enabled echod").split() == ["active", "enabled"]
    exposure = box.sh("systemd-analyze security echod | tail -1")
    [number] = re.findall(r"echod\.service: ([\d.]+)", exposure)
    assert float(number) <= SYSTEMD_AT_MOST
    listed = box.sh("echod weights list")
    assert "in /var/lib/echod/weights" in listed
    assert "was not fetched" in box.sh(
        "HF_HUB_OFFLINE=1 echod weights pull whisper:base -q 2>&1 | tail -1"
    )  # no network
    assert box.sh("find /var/lib/echod -not -user echod") == ""
    refused = box.sh(
        "mkdir -p /etc/echod; echo 'engine = \"echomimic\"' >/etc/echod/config.toml; systemctl restart echod", code=1
    )
    assert refused
    box.sh("systemctl show echod -P ExecMainStatus")
    why = box.sh("journalctl -u echod -n 20 -o cat")
    command = "sudo -u echod echod weights pull echomimic --weights /var/lib/echod/weights"
    assert command in why
    box.sh("rm /etc/echod/config.toml; systemctl restart echod")


def configure(box: Box, line: str) -> None:
    box.sh(f"echo '{line}' >/etc/echod/config.toml")


def make_a_clip(box: Box) -> None:
    box.sh("useradd --create-home --groups echod anna")
    for name in ("portrait.png", "speech.wav"):
        box.put(EXAMPLES / name, f"/home/anna/{name}")
    assert box.sh("echod submit portrait.png speech.wav -q", user="anna") == "speech.mp4"
    box.sh("echod verify speech.mp4 | head -3", user="anna")
    box.sh("useradd --create-home berta")
    assert "has accounts" in box.sh("echod ps", user="berta", code=6)


def stop_in_the_middle(box: Box) -> None:
    configure(box, 'drain_timeout = "2s"')
    box.sh("systemctl reload echod")
    video = box.sh("echod submit portrait.png long.wav --detach", user="anna")
    box.sh(UNTIL_RUNNING.format(video), user="anna")
    box.sh("systemctl stop echod")
    assert box.sh("systemctl is-failed echod", code=None) == "inactive"
    assert "no daemon answers" in box.sh("echod ps", user="anna", code=3)
    box.sh("systemctl start echod")
    assert "completed" in box.sh(f"echod wait {video}", user="anna")


def back_up(box: Box) -> None:
    assert "/var/backups/echod" in box.sh("echod backup /var/backups/echod")


def upgrade(box: Box, this: Path, following: Path) -> None:
    before = box.sh("echod ps --all --json | grep -c '\"id\"'", user="anna")
    for wheel, version in ((following, NEXT), (this, __version__)):
        box.pip(wheel)
        box.sh("echod service install --no-weights")
        assert f"echod {version} listens" in box.sh("journalctl -u echod -o cat | grep listens | tail -1")
        assert box.sh("echod ps --all --json | grep -c '\"id\"'", user="anna") == before


def restore(box: Box) -> None:
    box.sh("/opt/echod/bin/echod service install --no-start")
    assert "2 jobs" in box.sh("echod restore /var/backups/echod")
    box.sh("systemctl enable --now echod")
    box.sh("ls -ld /var/lib/echod/* | cut -c1-60")
    videos = box.sh("echod ps --all --json | grep -oE 'video_[0-9a-f]{32}' | sort -u").split()
    assert len(videos) == 2
    box.sh(f"echod fetch {videos[0]} -o clip.mp4")
    assert "has accounts" in box.sh("echod --url http://127.0.0.1:8765 ps", code=6)


def uninstall(box: Box) -> None:
    box.sh("echod service uninstall")
    assert "echod.service" not in box.sh("systemctl list-units --all --no-legend 'echod*'")
    assert box.sh("ls /var/lib/echod/jobs | wc -l") == "2"
    box.sh("/opt/echod/bin/echod service uninstall --purge --yes")
    box.sh("ls -d /var/lib/echod /etc/echod /usr/local/bin/echod; id echod", code=1)


if __name__ == "__main__":
    if why := lacking():
        sys.exit(f"no machine can be had here: {why}")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        operate(
            Path(os.environ.get("ECHOD_BOX", "/var/tmp/echod-box")), Path(place), lambda line: print(line, flush=True)
        )
