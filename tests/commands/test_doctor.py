from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from echod import config
from echod.commands import checks as doctor
from echod.commands import ray
from echod.speech.plan import plan
from tests.making.config import make_config
from tests.stand_ins.stub import Act, Handler, Stub, refuses, says, serving


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No daemon of this machine's own is found where one is sought, and no key."""
    for name in ("ECHOD_URL", "DASHSCOPE_API_KEY", "OPENAI_API_KEY", "ECHOD_OPENAI_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("echod.client.address.SYSTEM_SOCKET", tmp_path / "none.sock")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("echod.client.address.DEFAULT_URL", "http://127.0.0.1:1")


def test_this_machine() -> None:
    """What the tests run with is all there."""
    assert doctor.python().ok
    packages = doctor.packages()
    assert packages.ok
    assert "click 8" in packages.finding
    assert "pytest" not in packages.finding


@pytest.mark.parametrize(
    ("probe", "timeout", "finding"),
    [
        ("import time; time.sleep(600)", 0.5, "did not answer within 0.5 s"),
        ("import os; os.abort()", 60, "ended with -6"),
        ("raise ImportError('libcudart.so is missing')", 60, "libcudart.so is missing"),
    ],
)
def test_a_torch_that_cannot_be_used(probe: str, timeout: float, finding: str) -> None:
    """Whatever torch does to the process that imports it, it is told, and the doctor lives."""
    [check] = doctor.torch_and_devices(probe, timeout)
    assert (check.ok, check.required) == (False, True)
    assert finding in check.finding


def test_devices() -> None:
    """Cards are listed by the names that --devices takes; having none is no fault."""
    probe = 'print(\'{"version": "2", "cuda": %s, "cards": %s}\')'
    torch, devices = doctor.torch_and_devices(probe % ('"12.8"', '["cuda:0 H100, 80 GiB"]'))
    assert (torch.ok, torch.finding) == (True, "2, for CUDA 12.8")
    assert devices.ok
    assert devices.finding.startswith("cuda:0 H100, 80 GiB; cpu, ")
    _, devices = doctor.torch_and_devices(probe % ("null", "[]"))
    assert (devices.ok, devices.required) == (False, False)


NODES = 'print("[[\\"b\\", 8], [\\"a\\", 0]]")'
RAISES, HANGS = "raise RuntimeError('Version mismatch')", "import time; time.sleep(600)"


@pytest.mark.parametrize(
    ("devices", "address", "probe", "ok", "words"),
    [
        ("cpu", "auto", "", True, "9.9; not used: devices names none"),
        ("cpu,ray:8", "local", "", True, "9.9; the daemon starts a cluster"),
        ("ray", "auto", NODES, True, "2 nodes: a 0 GPUs, b 8 GPUs"),
        ("ray", "auto", RAISES, False, "auto cannot be joined: RuntimeError: Version mismatch"),
        ("ray", "auto", HANGS, False, "auto did not answer within 0.5 s"),
        ("ray", "ray://127.0.0.1:1", "", False, "ray://127.0.0.1:1 cannot be reached"),
    ],
)
def test_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: str, address: str, probe: str, ok: bool, words: str
) -> None:
    """Ray's version is told, and who is in the cluster where devices of one are wanted, or why that is not known."""
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    settings = make_config(tmp_path, devices=devices, ray_address=address)
    first, *rest = ray.findings(settings, probe, 0.5 if probe == HANGS else 60.0)
    assert (first.ok, first.required) == (True, devices != "cpu")
    last = rest[0] if rest else first
    assert (last.ok, len(rest)) == (ok, address != "local" and devices != "cpu")
    assert words in last.words


def test_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That Ray is missing is a fault only where devices of a cluster are named."""

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert list(ray.findings(make_config(tmp_path))) == []
    (missing,) = ray.findings(make_config(tmp_path, devices="ray:8/cpu"))
    assert (missing.ok, missing.required) == (False, True)
    assert "devices names ray:8/cpu; `pip install 'echod[ray]'`" in missing.words


def test_a_codec_that_is_missing() -> None:
    """A codec counts if it encodes, not if it is listed."""

    def encode(av: Any, container: Any) -> None:
        container.add_stream("libnothing")

    assert not doctor.codec("libnothing", encode).ok


def test_disk(tmp_path: Path) -> None:
    """A state directory that is yet to be made is judged by where it will be."""
    assert doctor.disk(make_config(tmp_path)).ok
    full = doctor.disk(make_config(tmp_path, min_free="1000000GiB"))
    assert not full.ok
    assert "min_free" in full.finding


def test_the_port(tmp_path: Path) -> None:
    """Without a daemon the port has to be free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check = doctor.daemon(make_config(tmp_path, port=port), None)
    assert not check.ok
    assert f"port {port}" in check.finding
    assert doctor.daemon(make_config(tmp_path), None).ok


def test_the_daemon(tmp_path: Path) -> None:
    """A daemon that answers is asked how it is; one that was named and does not answer is a fault."""
    config = make_config(tmp_path)
    with serving() as stub:
        stub.on("GET /readyz", says({"devices": [{"state": "idle"}, {"state": "failed"}]}), refuses("forbidden"))
        assert "1 of 2 workers ready" in doctor.daemon(config, stub.url).finding
        assert not doctor.daemon(config, stub.url).ok
        stub.on("GET /readyz", refuses("forbidden"))
    assert not doctor.daemon(config, stub.url).ok


def test_callers() -> None:
    """Who may come by TCP is told: with accounts who has one, without them whoever a proxy lets through."""
    with serving() as stub:
        stub.on("GET /healthz", says({"status": "ok", "sign_in": False}), says({"status": "ok", "sign_in": True}))
        [open_house], [closed] = doctor.callers(stub.url), doctor.callers(stub.url)
    assert (open_house.mark, closed.mark) == ("-", "ok")
    assert "a proxy or a tunnel" in open_house.finding and "echod users add" in open_house.finding
    assert list(doctor.callers(stub.url)) == []


def test_weights(tmp_path: Path) -> None:
    """Model files are listed; a directory with nothing but its README has none."""
    directory = tmp_path / "weights"
    directory.mkdir()
    (directory / "README.md").touch()
    config = make_config(tmp_path, weights_dir=directory)
    assert not doctor.weights(config).ok
    (directory / "denoising_unet.pth").touch()
    assert "denoising_unet.pth" in doctor.weights(config).finding


def test_bad_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that cannot be used are a finding, and what depends on them is not looked at."""
    monkeypatch.setenv("ECHOD_PORT", "x")
    checks = list(doctor.examine())
    assert (checks[-1].name, checks[-1].ok) == ("settings", False)
    assert "ECHOD_PORT" in checks[-1].finding


@pytest.fixture
def server() -> Iterator[Stub]:
    """An OpenAI-compatible server at which everything works."""
    with serving() as running:
        running.on("GET /v1/audio/voices", says({"voices": []}))
        running.on("POST /v1/audio/speech", lambda handler: handler.answer(bytes(2 * 24000)))
        running.on("POST /v1/audio/transcriptions", says({"text": "Can you hear me?"}))
        running.on("POST /v1/chat/completions", streams("Very ", "well, ", "thank you."))
        yield running


def streams(*words: str) -> Act:
    """A chat completion as server-sent events."""
    choices = [*({"delta": {"content": word}} for word in words), {"delta": {}, "finish_reason": "stop"}]
    events = [json.dumps({"choices": [choice]}) for choice in choices]
    return lambda handler: handler.answer("".join(f"data: {event}\n\n" for event in (*events, "[DONE]")).encode())


def speech(directory: Path, server: Stub) -> list[doctor.Check]:
    """What the doctor finds with everything set up at one server."""
    return list(
        doctor.speech(
            make_config(directory, openai_url=f"{server.url}/v1", reply_model="chat", voice="openai/tts-1/alloy")
        )
    )


def test_keys(server: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which key goes where is told, never the key; where there is none there is nothing to tell."""
    assert list(doctor.keys(make_config(tmp_path))) == []
    monkeypatch.setenv("ECHOD_OPENAI_KEY", "sk-planted-0123456789")
    [check] = doctor.keys(make_config(tmp_path, openai_url=f"{server.url}/v1"))
    assert (check.ok, check.finding) == (True, f"that of ECHOD_OPENAI_KEY goes to {server.url}")


def test_speech(server: Stub, tmp_path: Path) -> None:
    """Each function is called, with what the one before made, and told with its backend, model and times.

    The voice is asked once more, for WAV, which tells its rate.
    """
    checks = speech(tmp_path, server)
    assert [(check.name, check.ok, check.required) for check in checks] == [
        ("speak", True, False),
        ("hear", True, False),
        ("reply", True, False),
    ]
    for check, finding in zip(
        checks,
        (
            r"openai/tts-1/alloy spoke for 1\.0 s",
            r"openai/whisper-1 heard 'Can you hear me\?'",
            "openai/chat replied with 4 words",
        ),
        strict=True,
    ):
        assert re.fullmatch(finding + r"; (first after \d+ ms, all )?after \d+ ms", check.finding), check.finding
    posts = [path for verb, path, _, _ in server.seen if verb == "POST"]
    assert posts == ["/v1/audio/speech", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/chat/completions"]
    [(_, _, form)] = server.requests("POST /v1/audio/transcriptions")
    assert len(form) > 2 * 16000


def test_speech_that_fails(server: Stub, tmp_path: Path) -> None:
    """What fails is told with its reason, and the rest is tried all the same."""
    server.on("POST /v1/audio/speech", says({"error": {"message": "wrong key"}}, 401))
    server.on(
        "POST /v1/chat/completions", says({"error": {"message": "no such model", "code": "model_not_found"}}, 404)
    )
    speak, hear, reply = speech(tmp_path, server)
    assert (speak.ok, hear.ok, reply.ok) == (False, True, False)
    assert (speak.mark, reply.mark) == ("-", "-")
    assert "wrong key" in speak.finding
    assert "reply_model" in reply.finding


def test_speech_without_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_hibari: None, no_mind: None
) -> None:
    """On a box with nothing installed for it, the findings say what to install; a scripted reply needs nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    speak, hear, reply = doctor.speech(make_config(tmp_path, weights_dir=tmp_path))
    assert (speak.ok, hear.ok, reply.ok) == (False, False, True)
    for remedy in ("apt install espeak-ng", "piper", "voices/ of the weights", "DASHSCOPE_API_KEY", "openai_url"):
        assert remedy in speak.finding
    assert "whisper" in hear.finding
    assert "scripted" in reply.finding


def test_speech_with_half_the_settings(server: Stub, tmp_path: Path) -> None:
    """A server whose chat model nobody named is told to need one."""
    _, _, reply = doctor.speech(make_config(tmp_path, openai_url=f"{server.url}/v1"))
    assert not reply.ok
    assert "reply_model" in reply.finding


def test_speech_that_cannot_be_used(tmp_path: Path) -> None:
    """Settings with which the daemon would not start are a fault."""
    [check] = doctor.speech(make_config(tmp_path, speak_backend="dashscope"))
    assert (check.mark, check.ok) == ("MISSING", False)
    assert "DASHSCOPE_API_KEY" in check.finding


def models(*names: str, owner: str = "library") -> Act:
    return says({"object": "list", "data": [{"id": name, "owned_by": owner} for name in names]})


@pytest.fixture
def neighbour(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The only other server on this machine; it replies."""
    with serving() as running:
        monkeypatch.setattr("echod.speech.openai.neighbours.PORTS", [1, running.server_address[1]])
        running.on("GET /v1/models", models("nomic-embed-text:latest", "qwen3:8b", "llama3.2:3b"))
        running.on("GET /v1/audio/voices", says({}, 404))
        yield running


def test_a_neighbour(neighbour: Stub, tmp_path: Path) -> None:
    """A server on this machine is told of, with the settings that would use it; they are whole, and none is used."""
    [check] = doctor.neighbours(make_config(tmp_path))
    assert (check.name, check.ok, check.required) == ("server", True, False)
    head, *lines = check.finding.splitlines()
    assert f"{neighbour.url}/v1 speaks OpenAI's protocol and is not used" in head and "config.toml" in head
    assert lines == [
        "[speech]",
        f'openai_url = "{neighbour.url}/v1"',
        'reply_model = "qwen3:8b"',
        'hear_backend = "local"',
        'speak_backend = "local"',
    ]
    file = tmp_path / "config.toml"
    file.write_text("\n".join(lines))
    settings = config.load({"state_dir": tmp_path, "runtime_dir": tmp_path}, {"HOME": str(tmp_path)}, [file])
    assert plan(settings, {}).chosen == {"hear": "local", "reply": "openai", "speak": "local"}
    assert list(doctor.neighbours(settings)) == []  # it is used now
    assert [path for _, path, _, _ in neighbour.seen] == ["/v1/models", "/v1/audio/voices"]
    assert not any("Authorization" in headers for _, _, headers, _ in neighbour.seen)


def test_what_a_neighbour_can_do(neighbour: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is put where its name says that it belongs, and a key of DashScope's keeps the rest for that."""
    neighbour.on("GET /v1/models", models("Systran/faster-whisper-small", "kokoro", "tts-1"))
    neighbour.on("GET /v1/audio/voices", says({"voices": ["af_heart", "am_adam"]}))
    [check] = doctor.neighbours(make_config(tmp_path))
    hears = 'hear_model = "Systran/faster-whisper-small"'
    speaks = 'voice = "openai/kokoro/af_heart"'
    assert check.finding.splitlines()[2:] == [
        f'openai_url = "{neighbour.url}/v1"', 'reply_backend = "local"', hears, speaks
    ]  # fmt: skip
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-planted-0123456789")
    [check] = doctor.neighbours(make_config(tmp_path))
    assert check.finding.splitlines()[3:] == [hears, 'hear_backend = "openai"', speaks, 'speak_backend = "openai"']


@pytest.mark.parametrize(
    "answer",
    [
        models("preview", owner="echod"),
        models(),
        models("\x1b[2Jclear"),
        refuses("unauthorized"),
        says(["no", "models"]),
        says({"data": [{"id": "x" * 2**21}]}),
        lambda handler: handler.answer(b"<html>"),
        lambda handler: handler.answer(b"cut", length=100),
    ],
)
def test_no_neighbour(neighbour: Stub, tmp_path: Path, answer: Act) -> None:
    """Another echod is none, nor is whatever else has the port."""
    neighbour.on("GET /v1/models", answer)
    assert list(doctor.neighbours(make_config(tmp_path))) == []


def test_a_neighbour_that_says_nothing(neighbour: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes its time is not waited for."""
    monkeypatch.setattr("echod.speech.openai.neighbours.TIMEOUT", 0.05)
    asked = threading.Event()

    def waits(handler: Handler) -> None:
        asked.wait(60)

    neighbour.on("GET /v1/models", waits)
    assert list(doctor.neighbours(make_config(tmp_path))) == []
    asked.set()
