"""Telling systemd how the daemon is, as in sd_notify(3). Without systemd every call does nothing."""

from __future__ import annotations

import os
import socket


def notify(**fields: str | int) -> bool:
    """Sends e.g. `notify(READY=1, STATUS="2 devices")`; False if nobody listens. Never raises and never waits."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    address = "\0" + path[1:] if path.startswith("@") else path  # "@": Linux's abstract namespace
    # A line break would start another field.
    message = "\n".join(f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Seconds between two WATCHDOG=1, half of what systemd allows; None if it does not watch this process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    allowed = os.environ.get("WATCHDOG_USEC", "")
    return int(allowed) / 2e6 if allowed.isdigit() and int(allowed) > 0 else None
