from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from echod.config import SETTINGS, Settings
from echod.errors import ConfigurationError
from echod.speech.plan import UNTIL_RESTART, keys, open_calls, plan, reloaded
from tests.making.config import make_config

KEY = {"DASHSCOPE_API_KEY": "sk-0123456789"}
SERVER: dict[str, Any] = {"openai_url": "http://127.0.0.1:8000/v1"}


def chosen(directory: Path, environ: dict[str, str] | None = None, **settings: Any) -> set[str]:
    return set(plan(make_config(directory, **settings), environ or {}).chosen.values())


def refusal(directory: Path, environ: dict[str, str] | None = None, **settings: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        plan(make_config(directory, **settings), environ or {})
    return refused.value


def test_auto(tmp_path: Path) -> None:
    """DashScope where there is a key, else the server that is named, else this box."""
    assert chosen(tmp_path) == {"local"}
    assert chosen(tmp_path, **SERVER) == {"openai"}
    assert chosen(tmp_path, KEY, **SERVER) == {"dashscope"}


def test_by_function(tmp_path: Path) -> None:
    """Each function may have its own, and a voice brings its backend along."""
    config = make_config(tmp_path, hear_backend="local", voice="openai/kokoro/af_bella", **SERVER)
    assert plan(config, KEY).chosen == {"hear": "local", "reply": "dashscope", "speak": "openai"}


def test_what_lacks_is_named(tmp_path: Path) -> None:
    """A backend that cannot be used is refused with what it needs."""
    assert "DASHSCOPE_API_KEY" in refusal(tmp_path, hear_backend="dashscope").message
    assert refusal(tmp_path, reply_backend="openai").param == "reply_backend"
    assert "openai_url" in refusal(tmp_path, voice="openai/kokoro/af_bella").message
    assert refusal(tmp_path, voices=["openai/kokoro/af_bella"]).param == "voices"
    assert "known are" in refusal(tmp_path, voice="acme/a/b").message
    assert (
        "leave one of them out"
        in refusal(tmp_path, speak_backend="openai", voice="local/espeak-ng/en", **SERVER).message
    )


@pytest.mark.parametrize(
    ("url", "ws_url"),
    [
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", "wss://dashscope.aliyuncs.com/api-ws/v1/inference"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "wss://dashscope-intl.aliyuncs.com/api-ws/v1/inference"),
        (
            "https://w.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1",
            "wss://w.ap-southeast-1.maas.aliyuncs.com/api-ws/v1/inference",
        ),
    ],
)  # fmt: skip
def test_alibabas_websocket(tmp_path: Path, url: str, ws_url: str) -> None:
    """Every region's WebSocket is beside its HTTP, so that one setting moves both."""
    assert plan(make_config(tmp_path, dashscope_url=url), KEY).dashscope_ws_url == ws_url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/compatible-mode/v1",
        "https://gateway.example.org/v1",
        "https://aliyuncs.com.example.org/v1",
        "https://notaliyuncs.com/v1",
    ],
)
def test_a_foreign_server_needs_its_own_websocket(tmp_path: Path, url: str) -> None:
    """Else the key would go to another server than the one that was named."""
    refused = refusal(tmp_path, KEY, dashscope_url=url)
    assert refused.param == "dashscope_ws_url" and url in refused.message
    ws_url = "ws://127.0.0.1:9000/ws"
    assert plan(make_config(tmp_path, dashscope_url=url, dashscope_ws_url=ws_url), KEY).dashscope_ws_url == ws_url


def test_no_key_no_question(tmp_path: Path) -> None:
    """Without a key DashScope's addresses do not matter."""
    assert chosen(tmp_path, dashscope_url="http://127.0.0.1:9000/v1") == {"local"}


async def test_omni_needs_ears(tmp_path: Path) -> None:
    """Sound goes straight to a reply model only if that model's backend takes it."""
    settings = {"understanding": "omni", **SERVER}
    async with open_calls(Settings(make_config(tmp_path, **settings)), {}) as calls:
        assert calls.chosen["reply"] == "openai"
    for deaf in ({"understanding": "omni"}, {**settings, "openai_sound": "none"}):
        with pytest.raises(ConfigurationError) as refused:
            async with open_calls(Settings(make_config(tmp_path, **deaf)), {}):
                pass
        assert refused.value.param == "understanding"


def test_a_card_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech models on a card that the daemon may not see are refused at start."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    refused = refusal(tmp_path, speech_device="cuda:1")
    assert (refused.param, "speech_device: cuda:1 is not there" in refused.message) == ("speech_device", True)


def test_reloaded(tmp_path: Path) -> None:
    """What backends are made of stays until a restart, and is named; other settings hold at once."""
    running = make_config(tmp_path, openai_url="http://127.0.0.1:1/v1", voice="openai/tts-1/alloy")
    config = make_config(tmp_path, voice="dashscope/model/anna", speak_timeout="7s", log_content=True)
    merged, waiting = reloaded(config, running)
    assert waiting == ["voice", "openai_url"]
    assert (merged.voice, merged.openai_url) == (running.voice, running.openai_url)
    assert (merged.speak_timeout, merged.log_content) == (7.0, True)


def test_all_speech_settings_are_looked_at() -> None:
    """Every setting of speech is either kept until a restart or known to be read at each use."""
    read_at_each_use = {
        "hear_timeout", "reply_timeout", "speak_timeout", "silence_timeout", "keep_usage", "log_content",
        "reply_tokens", "first_timeout",
    }  # fmt: skip
    speech = {name for name, item in SETTINGS.items() if item.metadata["section"] == "speech"}
    assert speech == read_at_each_use | set(UNTIL_RESTART)


GENERAL = {"OPENAI_API_KEY": "sk-for-openai-0123"}


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://api.openai.com/v1", True),
        ("https://API.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://api.openai.com:443/v1", True),
        ("http://api.openai.com/v1", False),
        ("https://api.openai.com.example.org/v1", False),
        ("https://notapi.openai.com/v1", False),
        ("https://my-api.openai.com/v1", False),
        ("https://example.org/api.openai.com", False),
        ("http://127.0.0.1:8000/v1", False),
    ],
)
def test_whose_key_the_environment_has(tmp_path: Path, url: str, sent: bool) -> None:
    """OPENAI_API_KEY is for OpenAI's own host, over TLS, and nobody else's; ours is for whatever openai_url names."""
    config = make_config(tmp_path, openai_url=url)
    found = plan(config, GENERAL).openai_key
    assert (found and found.reveal()) == (GENERAL["OPENAI_API_KEY"] if sent else None)
    ours = plan(config, GENERAL | {"ECHOD_OPENAI_KEY": "sk-ours-0123456789"}).openai_key
    assert ours and ours.reveal() == "sk-ours-0123456789"
    file = tmp_path / "key"
    file.write_text("sk-from-a-file-0123")
    filed = plan(make_config(tmp_path, openai_url=url, openai_key_file=file), GENERAL).openai_key
    assert filed and filed.reveal() == "sk-from-a-file-0123"


def test_which_key_goes_where(tmp_path: Path) -> None:
    """It is told by where each key was found and by the server, and without the keys."""
    assert keys(make_config(tmp_path), GENERAL) == []
    config = make_config(tmp_path, **SERVER)
    [withheld] = keys(config, GENERAL)
    assert "OPENAI_API_KEY is OpenAI's, and does not go to http://127.0.0.1:8000" in withheld
    assert "ECHOD_OPENAI_KEY" in withheld
    both = KEY | GENERAL | {"ECHOD_OPENAI_KEY": "sk-ours-0123456789"}
    assert keys(config, both) == [
        "that of DASHSCOPE_API_KEY goes to https://dashscope.aliyuncs.com and wss://dashscope.aliyuncs.com",
        "that of ECHOD_OPENAI_KEY goes to http://127.0.0.1:8000",
    ]
    (tmp_path / "openai-api-key").write_text("sk-credential-0123")
    assert keys(config, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == [
        "that of the credential openai-api-key goes to http://127.0.0.1:8000"
    ]
    assert keys(make_config(tmp_path, openai_url="https://api.openai.com/v1"), GENERAL) == [
        "that of OPENAI_API_KEY goes to https://api.openai.com"
    ]
