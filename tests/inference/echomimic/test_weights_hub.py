"""`echod weights` against a hub on the loopback interface, which also fails in every way a hub can."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.inference.echomimic.config import PRESETS
from echod.inference.echomimic.layout import RECORD, REPOSITORY, TAESD, TAESD_REPOSITORY, parts
from tests.drivers.command import ECHOD
from tests.stand_ins.hub import COMMIT, File, Hub

MIB = 1 << 20
CHUNK = 10 * MIB  # huggingface_hub writes down what has come in pieces of this size
VAE = "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"
NEEDED = [part.names[0] for part in parts("echomimic")]
TOKEN = "hf_an_example_of_a_token"


@pytest.fixture
def hub() -> Iterator[Hub]:
    names = {part.names[0] for engine in PRESETS for part in parts(engine)}
    contents = {name: File(os.urandom(5000 + index)) for index, name in enumerate(sorted(names))}
    with Hub(REPOSITORY, {**contents, "reference_unet_pose.pth": File(b"of no use here")}) as hub:
        hub.files["face_locator.pth"].large = False
        yield hub


def test_the_other_decoder(tmp_path: Path) -> None:
    """TAESD is of a repository of its own, and lies beside the files of all engines."""
    content = os.urandom(5000)
    with Hub(TAESD_REPOSITORY, {"diffusion_pytorch_model.safetensors": File(content)}) as hub:
        place = Place(tmp_path, hub.url)
        place.run("pull", "taesd")
    name = TAESD.names[0]
    assert (place.directory / name).read_bytes() == content
    assert list(json.loads((place.directory / RECORD).read_text())["files"]) == [name]
    assert json.loads(place.run("list", "--json"))["engines"]["taesd"]["complete"] is True


class Place:
    """A directory of weights, and the command line of a user who keeps them there."""

    def __init__(self, home: Path, url: str) -> None:
        self.directory = home / "weights"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": url,
            "ECHOD_WEIGHTS": str(self.directory),
        }

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ECHOD, "weights", *arguments],
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """Run to the end, which must be `code`. Returns stdout; stderr where the code is not 0."""
        with self.start(*arguments, **environ) as process:
            out, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        assert TOKEN not in out + errors
        return errors if code else out

    def holds(self, hub: Hub, *names: str) -> None:
        """Exactly these files are there, as the hub has them, and a record of each; nothing half done."""
        found = {path.relative_to(self.directory).as_posix() for path in self.directory.rglob("*") if path.is_file()}
        assert found == {*names, *([RECORD] if names else [])}
        for name in names:
            assert (self.directory / name).read_bytes() == hub.files[name].content
        if names:
            record = json.loads((self.directory / RECORD).read_text())["files"]
            assert {name: entry["size"] for name, entry in record.items()} == {
                name: len(hub.files[name].content) for name in names
            }
            assert {entry["revision"] for entry in record.values()} == {COMMIT}


@pytest.fixture
def place(tmp_path: Path, hub: Hub) -> Place:
    return Place(tmp_path, hub.url)


def test_pull(hub: Hub, place: Place) -> None:
    """Exactly the files of the engine come, and the directory's path is printed; pulling again fetches nothing."""
    assert place.run("pull") == f"{place.directory}\n"
    place.holds(hub, *NEEDED)
    assert sorted(hub.fetched()) == sorted(NEEDED)
    place.run("pull", "echomimic")
    assert len(hub.fetched()) == len(NEEDED)
    assert {request.revision for request in hub.requests if request.method == "GET"} == {COMMIT}


@pytest.mark.long
def test_the_other_engine_fetches_only_its_own(hub: Hub, place: Place) -> None:
    """What both engines need is fetched once; list shows what each has."""
    place.run("pull", "echomimic")
    assert json.loads(place.run("list", "--json"))["engines"]["echomimic-quality"]["complete"] is False
    hub.requests.clear()
    place.run("pull", "echomimic-quality")
    assert sorted(hub.fetched()) == ["denoising_unet.pth", "motion_module.pth"]
    engines = json.loads(place.run("list", "--json"))["engines"]
    assert [engine["complete"] for engine in engines.values()] == [True, True]
    assert engines["echomimic"]["bytes"] == sum(len(hub.files[name].content) for name in NEEDED)
    assert "missing" not in place.run("list")


@pytest.mark.parametrize("name", ["reference_unet.pth", pytest.param("face_locator.pth", marks=pytest.mark.long)])
def test_only_what_is_wrong_is_fetched_again(hub: Hub, place: Place, name: str) -> None:
    """A file of which one bit has changed is replaced, a lost one comes again, and all others stay."""
    place.run("pull")
    content = bytearray(hub.files[name].content)
    content[100] ^= 1
    (place.directory / name).write_bytes(content)
    (place.directory / VAE).unlink()
    hub.requests.clear()
    place.run("pull")
    assert sorted(hub.fetched()) == sorted([name, VAE])
    place.holds(hub, *NEEDED)


def test_files_that_came_some_other_way(hub: Hub, place: Place) -> None:
    """Good files without a record are recorded rather than fetched."""
    place.run("pull")
    (place.directory / RECORD).unlink()
    hub.requests.clear()
    place.run("pull")
    assert hub.fetched() == ["face_locator.pth"]  # the hub tells no sha256 of small files
    place.holds(hub, *NEEDED)


def test_a_connection_that_breaks_off(hub: Hub, place: Place) -> None:
    """Half way through a file the pull goes on from there by itself."""
    content = os.urandom(2 * CHUNK)
    hub.files["reference_unet.pth"] = File(content, break_at=CHUNK + MIB)
    place.run("pull")
    place.holds(hub, *NEEDED)
    assert starts(hub, "reference_unet.pth") == [0, CHUNK]


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_pull_that_is_killed(hub: Hub, place: Place, number: int) -> None:
    """The next pull goes on where one that was killed, or ended with Ctrl-C, stood; the file has no name before."""
    hub.files["reference_unet.pth"] = File(os.urandom(2 * CHUNK), break_at=CHUNK + MIB, hold=True)
    with place.start("pull") as process:
        assert hub.held.wait(60)
        partial = next(place.directory.glob("reference_unet.pth.*.part"))
        while partial.stat().st_size < CHUNK:
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == (130 if number == signal.SIGINT else -number)
    assert not (place.directory / "reference_unet.pth").exists()
    place.run("pull")
    place.holds(hub, *NEEDED)
    assert starts(hub, "reference_unet.pth") == [0, CHUNK]


def test_what_came_of_an_older_version_is_dropped(hub: Hub, place: Place) -> None:
    """A part of a file that the hub has replaced meanwhile is not continued."""
    place.directory.mkdir()
    (place.directory / f"reference_unet.pth.{'0' * 16}.part").write_bytes(bytes(100))
    place.run("pull")
    place.holds(hub, *NEEDED)
    assert starts(hub, "reference_unet.pth") == [0]


def test_a_slow_hub(hub: Hub, place: Place) -> None:
    """A hub that falls silent in the middle is asked again after HF_HUB_DOWNLOAD_TIMEOUT seconds."""
    hub.files["reference_unet.pth"] = File(os.urandom(2 * CHUNK), break_at=CHUNK + MIB, hold=True)
    place.run("pull", HF_HUB_DOWNLOAD_TIMEOUT="1")
    place.holds(hub, *NEEDED)
    assert starts(hub, "reference_unet.pth") == [0, CHUNK]


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        pytest.param(b"x" * 4000, "size", marks=pytest.mark.long),
        pytest.param(b"x" * 6000, "size", marks=pytest.mark.long),
        (b"x" * 5000, "sha256"),
    ],
    ids=["short", "long", "other"],
)
def test_what_comes_is_not_what_was_announced(hub: Hub, place: Place, sent: bytes, word: str) -> None:
    """Another size or content ends the pull, names the file, and leaves what was there before."""
    name = "reference_unet.pth"
    place.run("pull")
    old = hub.files[name].content
    hub.files[name] = File(os.urandom(5000), sent=sent)
    message = place.run("pull", code=1)
    assert name in message
    assert word in message
    assert "HF_ENDPOINT" in message
    assert (place.directory / name).read_bytes() == old
    hub.files[name].sent = None
    place.run("pull")
    place.holds(hub, *NEEDED)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, 6, ["HF_TOKEN", "hf auth login"]),
        pytest.param(403, 6, ["HF_TOKEN"], marks=pytest.mark.long),
        (404, 2, ["404", "HF_ENDPOINT"]),
        pytest.param(500, 1, ["500", "HF_ENDPOINT"], marks=pytest.mark.long),
    ],
)
def test_refusals(hub: Hub, place: Place, status: int, code: int, words: list[str]) -> None:
    """A file that is not given out is named with the reason and the next step; what came before it stays."""
    hub.files["reference_unet.pth"].status = status
    message = place.run("pull", code=code, HF_TOKEN=TOKEN)
    assert message.startswith(f"echod: reference_unet.pth was not fetched from {hub.url}: ")
    assert message.count("\n") == 1
    for word in words:
        assert word in message
    hub.files["reference_unet.pth"].status = 200
    place.run("pull")
    place.holds(hub, *NEEDED)


def test_a_token_is_sent_to_the_hub_alone(hub: Hub, place: Place) -> None:
    """A hub that asks for a token gets it; the host where large files lie does not."""
    hub.token = TOKEN
    assert "HF_TOKEN" in place.run("pull", code=6)
    hub.requests.clear()
    place.run("pull", HF_TOKEN=TOKEN)
    assert {request.authorization for request in hub.requests if not request.content} == {f"Bearer {TOKEN}"}
    assert {request.authorization for request in hub.requests if request.content} == {None}


def test_no_hub(place: Place) -> None:
    """Where nobody listens, or what answers is no hub, the pull says so; offline it does not even try."""
    message = place.run("pull", code=1, HF_ENDPOINT="http://127.0.0.1:9")
    assert "denoising_unet_acc.pth was not fetched from http://127.0.0.1:9" in message
    assert "HF_ENDPOINT" in message
    assert "HF_HUB_OFFLINE" in place.run("pull", code=1, HF_HUB_OFFLINE="1")
    place.holds(Hub("", {}))


def test_the_vae_under_its_other_name(hub: Hub, place: Place) -> None:
    """A hub that has the VAE only as .bin is as good."""
    other = "sd-vae-ft-mse/diffusion_pytorch_model.bin"
    hub.files[other] = hub.files.pop(VAE)
    place.run("pull")
    place.holds(hub, *(name for name in NEEDED if name != VAE), other)
    place.run("pull")
    assert hub.fetched().count(other) == 1


def test_the_cache_of_other_programs(hub: Hub, place: Place) -> None:
    """A file that is in the hub's cache under HF_HOME is copied from there."""
    repository = "models--" + REPOSITORY.replace("/", "--")
    cached = Path(place.environ["HF_HOME"], "hub", repository, "snapshots", COMMIT, "reference_unet.pth")
    cached.parent.mkdir(parents=True)
    cached.write_bytes(hub.files["reference_unet.pth"].content)
    place.run("pull")
    place.holds(hub, *NEEDED)
    assert "reference_unet.pth" not in hub.fetched()


def test_two_pulls(hub: Hub, place: Place) -> None:
    """A second pull into one directory is refused while the first runs."""
    hub.files["reference_unet.pth"] = File(os.urandom(MIB), break_at=MIB // 2, hold=True)
    with place.start("pull") as process:
        assert hub.held.wait(60)
        assert "another pull" in place.run("pull", code=2)
        process.kill()


def test_models_of_other_sizes_are_not_mixed_with_the_published(hub: Hub, place: Place) -> None:
    """Nothing is pulled into a directory whose config.json describes other models."""
    place.directory.mkdir()
    (place.directory / "config.json").write_text("{}")
    assert "config.json" in place.run("pull", code=2)
    assert [path.name for path in place.directory.iterdir()] == ["config.json"]
    assert hub.requests == []


@pytest.mark.long
def test_init_and_verify(place: Place) -> None:
    """Tiny weights are made, and are sound until one of their files is not."""
    assert place.run("init", "tiny", str(place.directory), "--seed", "3") == f"{place.directory}\n"
    found = json.loads(place.run("verify", "--json"))
    assert found["ok"] is True
    assert [entry["file"] for entry in found["files"]] == NEEDED
    (place.directory / VAE).write_bytes(b"")
    assert "config.json" in place.run("verify", code=1)


@pytest.mark.long
def test_verify_after_a_pull(place: Place) -> None:
    """What was fetched whole and is no checkpoint all the same is found, and not advised to be fetched again."""
    place.run("pull")
    assert "please report this" in place.run("verify", code=1)
    (place.directory / VAE).write_bytes(b"")
    assert f"`echod weights pull echomimic --weights {place.directory}`" in place.run("verify", code=1)


@pytest.mark.parametrize("arguments", [["pull", "preview"], ["init", "huge", "x"]])
def test_unknown_names(place: Place, arguments: list[str]) -> None:
    """Engines without weights and models of unknown kinds are refused with exit code 2."""
    assert place.run(*arguments, code=2).startswith("echod: ")


def test_pulling_and_listing_need_no_torch() -> None:
    """Neither loads torch or a model library."""
    code = (
        "import sys, echod.inference.echomimic.hub, echod.commands.weights\n"
        "sys.exit(bool({'torch', 'diffusers', 'whisper', 'transformers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def starts(hub: Hub, name: str) -> list[int]:
    """Where each answer with a file's content began."""
    return [
        request.start
        for request in hub.requests
        if request.content and request.name == name and request.method == "GET"
    ]
