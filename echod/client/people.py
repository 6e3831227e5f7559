"""The client's calls about roles, accounts and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import quote

from echod.client.connection import Connection
from echod.errors import EchodError


class People(Connection):
    """Who there is to talk to, and who may call."""

    # -- roles

    def roles(self) -> list[dict[str, Any]]:
        """Every role; for admins also folders that are none, each with its `error`."""
        return list(self._call("GET", "/v1/roles")["data"])

    def role(self, name: str) -> dict[str, Any]:
        return self._call("GET", f"/v1/roles/{_role_segment(name)}")

    def save_role(
        self, name: str, fields: Mapping[str, Any], portrait: tuple[str, BinaryIO], *, replace: bool = False
    ) -> dict[str, Any]:
        """Make a role of what a role.toml says and a portrait with its file name. For admins."""
        plain = {key: value for key, value in fields.items() if key not in ("portrait", "options") and value}
        plain |= {f"options[{key}]": str(value) for key, value in fields.get("options", {}).items()}
        files = {"portrait": portrait}
        if replace:
            return self._call("PUT", f"/v1/roles/{_role_segment(name)}", data=plain, files=files)
        return self._call("POST", "/v1/roles", data={"name": name, **plain}, files=files)

    def remove_role(self, name: str) -> None:
        self._call("DELETE", f"/v1/roles/{_role_segment(name)}")

    # -- people

    def accounts(self) -> list[dict[str, Any]]:
        """Everybody. For admins."""
        return list(self._call("GET", "/v1/accounts")["data"])

    def add_account(self, name: str, role: str, password: str) -> dict[str, Any]:
        """For admins."""
        return self._call("POST", "/v1/accounts", json={"name": name, "role": role, "password": password})

    def set_password(self, name: str, password: str) -> None:
        """Somebody's password; their sessions and tokens end. For admins."""
        self._call("PUT", f"/v1/accounts/{quote(name, safe='')}/password", json={"password": password})

    def remove_account(self, name: str) -> None:
        """With its jobs, clips, files and tokens. For admins."""
        self._call("DELETE", f"/v1/accounts/{quote(name, safe='')}")

    def tokens(self) -> list[dict[str, Any]]:
        """One's API tokens, without their secrets; an admin's list has everybody's."""
        return list(self._call("GET", "/v1/account/tokens")["data"])

    def create_token(
        self, name: str, *, account: str | None = None, role: str | None = None, expires_in: float | None = None
    ) -> dict[str, Any]:
        """A new API token; `token` in the answer is its secret. Only admins name another's account, or a role."""
        body = {"name": name, "account": account, "role": role, "expires_in": expires_in}
        return self._call("POST", "/v1/account/tokens", json=body)

    # -- webhooks

    def webhooks(self) -> list[dict[str, Any]]:
        """One's own; an admin's list has everybody's."""
        return list(self._call("GET", "/v1/webhook_endpoints")["data"])

    def add_webhook(self, url: str, name: str, events: list[str], *, everybody: bool = False) -> dict[str, Any]:
        """A new webhook; `signing_secret` in the answer is its secret."""
        body = {"url": url, "name": name, "event_types": events, "everybody": everybody}
        return self._call("POST", "/v1/webhook_endpoints", json=body)

    def deliveries(self, webhook_id: str) -> list[dict[str, Any]]:
        """What a webhook was told and what waits, newest first."""
        return list(self._call("GET", f"{_webhook(webhook_id)}/deliveries")["data"])

    def retry_webhook(self, webhook_id: str) -> int:
        """How many events are sent again."""
        return int(self._call("POST", f"{_webhook(webhook_id)}/retry")["deliveries"])

    def test_webhook(self, webhook_id: str, event: str) -> int:
        """The status of the answer to an event of no job."""
        return int(self._call("POST", f"{_webhook(webhook_id)}/test", json={"event_type": event})["status_code"])

    def remove_webhook(self, webhook_id: str) -> None:
        self._call("DELETE", _webhook(webhook_id))

    # -- oneself

    def me(self) -> dict[str, Any]:
        """Whom the daemon takes one for."""
        return self._call("GET", "/v1/account/me")

    def login(self, name: str, password: str, *, label: str) -> dict[str, Any]:
        """A new API token of one's own, called `label`, for a name and a password."""
        with self._session(name, password) as origin:
            return self._call("POST", "/v1/account/tokens", json={"name": label}, headers=origin)

    def change_password(self, name: str, current: str, password: str) -> None:
        """One's own password; all sessions and tokens end."""
        with self._session(name, current) as origin:
            body = {"current_password": current, "password": password}
            self._call("PUT", "/v1/account/password", json=body, headers=origin)

    @contextmanager
    def _session(self, name: str, password: str) -> Iterator[dict[str, str]]:
        """Signed in meanwhile, by a cookie. It is given the header that says: this comes from no page elsewhere."""
        self._call("POST", "/v1/account/login", json={"name": name, "password": password})
        origin = {"Origin": self.address.url}
        try:
            yield origin
        finally:
            self._send("POST", "/v1/account/logout", headers=origin)
            self._http.cookies.clear()

    def revoke_token(self, token_id: str) -> None:
        self._call("DELETE", f"/v1/account/tokens/{quote(token_id, safe='')}")


def _role_segment(name: str) -> str:
    """A role's name as a path segment: what could mean another path is no name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise EchodError("not_found", f"there is no role {name!r}; `echod roles list` shows all there are")
    return name


def _webhook(webhook_id: str) -> str:
    return f"/v1/webhook_endpoints/{quote(webhook_id, safe='')}"
