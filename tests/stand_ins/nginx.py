"""A real nginx in front of a daemon."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CONF = """
daemon off; master_process off; error_log stderr; pid {directory}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    {site}
}}
"""


def nginx(upstream: str, directory: Path, extra: str = "") -> contextlib.AbstractContextManager[str]:
    """The base URL of an nginx whose only location has `proxy_pass upstream` and `extra`."""
    location = f"location / {{ proxy_pass {upstream}; {extra} }}"
    return serving(lambda port: f"server {{ listen 127.0.0.1:{port}; {location} }}", directory)


@contextlib.contextmanager
def serving(site: Callable[[int], str], directory: Path) -> Iterator[str]:
    """The base URL of an nginx with that site, which listens on the port it is told."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    directory.mkdir()
    # It inherits a socket that listens already, as at an upgrade of its binary: there is nothing to wait for.
    with socket.create_server(("127.0.0.1", 0)) as listening, (directory / "errors").open("wb") as errors:
        port = listening.getsockname()[1]
        conf = directory / "conf"
        conf.write_text(CONF.format(directory=directory, site=site(port)))
        running = subprocess.Popen(
            [program, "-p", directory, "-e", "stderr", "-c", conf],
            env={"NGINX": f"{listening.fileno()};"}, pass_fds=[listening.fileno()], stderr=errors,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(10)
