"""What a webhook is sent: an event in OpenAI's shape, signed as Standard Webhooks has it (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

import msgspec

from echod import __version__
from echod.webhooks.rows import Delivery

PREFIX = "whsec_"


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def body(delivery: Delivery) -> bytes:
    """The same for every attempt."""
    return msgspec.json.encode(
        {
            "id": delivery.id,
            "object": "event",
            "type": delivery.type,
            "created_at": int(delivery.created_at),
            "data": {"id": delivery.job},
        }
    )


def headers(secret: str, delivery: Delivery, content: bytes, now: float) -> dict[str, str]:
    timestamp = str(int(now))
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{delivery.id}.{timestamp}.".encode() + content
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": f"echod/{__version__}",
        "webhook-id": delivery.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }
