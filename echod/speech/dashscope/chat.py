"""Chat completions through DashScope's SDK, with an HTTP client for each call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any

from echod.speech.remote.client import OneCall


class Chat:
    """`options` are those of the SDK's clients."""

    def __init__(self, options: Mapping[str, Any], tls: SSLContext) -> None:
        self._options = options
        self._tls = tls
        self._idle = [_Client(options, tls)]

    @asynccontextmanager
    async def asked(self, **request: Any) -> AsyncIterator[Any]:
        """The answer to a request, which a stream may still be on its way to."""
        client = self._idle.pop() if self._idle else _Client(self._options, self._tls)
        try:
            answer = await client.create(**request)
        except BaseException:
            await client.let_go()
            raise
        try:
            yield answer
        finally:
            self._idle.append(client)

    async def close(self) -> None:
        for client in self._idle:
            await client.let_go()


class _Client(OneCall):
    def __init__(self, options: Mapping[str, Any], tls: SSLContext) -> None:
        import dashscope
        from dashscope.v2.transport import default_user_agent

        super().__init__(verify=tls, timeout=options["timeout"], headers={"User-Agent": default_user_agent()})
        self._credentials = {name: options[name] for name in ("api_key", "workspace")}
        self._sdk = dashscope.AsyncClient(http_client=self.http, **options)

    async def create(self, **request: Any) -> Any:
        return await self._sdk.chat.completions.create(**request, **self._credentials)
