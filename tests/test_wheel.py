"""What people install: a wheel, outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.making.wheels import build_wheel

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import PIL.Image
import echod
from echod.inference.audio import Speech
from echod.inference.clip import make_clip
from echod.inference.contract import Options
from echod.inference.engines import load_engine
from echod.roles import examples

portrait, speech, out = examples.PORTRAIT, examples.SPEECH, Path(sys.argv[1])
engine = load_engine("preview", None, "cpu")
image = np.asarray(PIL.Image.open(portrait).convert("RGB"))
prepared = engine.prepare(image, (128, 128))
print(examples.example_role("ada")[0].title)
print(echod.__file__, make_clip(engine, prepared, Speech.open(speech), Options(), out).frames)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_what_it_needs(wheel: Path) -> None:
    """Package data, examples, units and licences are in; tests and weights are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "echod/py.typed",
        "echod/deploy/echod.service",
        "echod/examples/portrait.png",
        "echod/examples/speech.wav",
        "echod/examples/roles/ada/role.toml",
        "echod/examples/roles/xiaolin/portrait.jpg",
        "echod/server/static/index.html",
        "echod/inference/preview/face_landmark.tflite",
        "echod/inference/preview/LICENSE.face_landmark",
    } <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"echod"}


def test_every_package_is_in(wheel: Path) -> None:
    """A folder without an __init__.py works in a checkout, and is missing from the wheel."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "echod").rglob("*.py")}
    assert modules <= set(zipfile.ZipFile(wheel).namelist())
    assert {Path(module).parent.as_posix() for module in modules} == {
        path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "echod").rglob("__init__.py")
    }


def test_wheel_makes_a_clip_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """The unpacked wheel, found before the checkout, turns its examples into a clip."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "out").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "out"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"Ada, flight instructor\n{tmp_path / 'site'}")
    assert (tmp_path / "out" / "clip.mp4").stat().st_size > 10_000
