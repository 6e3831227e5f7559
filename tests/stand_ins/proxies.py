"""Real proxies in front of a daemon, each with a file of deploy/ in which only names, ports and certificates differ.

They speak https, as people's do: what a proxy gathers before it encrypts is seen there alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.making.certificate import certificate
from tests.stand_ins.nginx import serving

DEPLOY = Path(__file__).parents[2] / "deploy"
UPSTREAM = "127.0.0.1:8765"
OPTIONS = "{\n\tadmin off\n\tauto_https disable_redirects\n\tlocal_certs\n\tskip_install_trust\n}\n"
ANY = ssl.create_default_context()  # takes the certificates that the proxies below have
ANY.check_hostname, ANY.verify_mode = False, ssl.CERT_NONE


@contextlib.contextmanager
def proxied(file: str, upstream: str, directory: Path) -> Iterator[str]:
    """The base URL of a proxy with that file; `upstream` is the daemon's host and port."""
    path = "/echod" if "path" in file else ""
    with (_nginx if "nginx" in file else _caddy)(file, upstream, directory) as base:
        yield f"{base}{path}"


@contextlib.contextmanager
def _nginx(file: str, upstream: str, directory: Path) -> Iterator[str]:
    pem = certificate()

    def site(port: int) -> str:
        (directory / "pem").write_bytes(pem)
        text = re.sub(r"(ssl_certificate\S*) .*;", rf"\1 {directory}/pem;", (DEPLOY / file).read_text())
        return replaced(replaced(text, "443", f"127.0.0.1:{port}"), UPSTREAM, upstream)

    with serving(site, directory) as base:
        yield base.replace("http", "https")


@contextlib.contextmanager
def _caddy(file: str, upstream: str, directory: Path) -> Iterator[str]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed")
    directory.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    conf = directory / "Caddyfile"
    conf.write_text(OPTIONS + (DEPLOY / file).read_text())
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "ECHOD_AT": upstream}
    environ |= {"ECHOD_NAME": f"https://127.0.0.1:{port}", "GOMAXPROCS": "1"}
    command = [program, "run", "--adapter", "caddyfile", "--config", str(conf)]
    with (directory / "errors").open("wb") as errors:
        running = subprocess.Popen(command, env=environ, stderr=errors)
    try:
        _until_it_serves(running, port, directory / "errors")
        yield f"https://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(10)


def _until_it_serves(running: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    for _ in range(1000):
        if running.poll() is not None:
            break
        # It makes its certificate once it listens; until then it refuses.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)) as plain,
            ANY.wrap_socket(plain),
        ):
            return
        time.sleep(0.01)
    raise AssertionError(errors.read_text())


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)
