"""Which methods a path has: its routes', HEAD wherever there is GET, and OPTIONS, which tells them."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def methods_of(routes: Iterable[BaseRoute], scope: Scope) -> list[str]:
    """All that the path of a request answers to; none if there is nothing."""
    routes = list(routes)
    found = {method for method in METHODS if any(_matches(route, scope, method) for route in routes)}
    if "GET" in found:
        found.add("HEAD")
    return [method for method in METHODS if method in found] + ["OPTIONS"] * bool(found)


def _matches(route: BaseRoute, scope: Scope, method: str) -> bool:
    return route.matches({**scope, "method": method})[0] is Match.FULL


class Methods:
    """Answers OPTIONS, and lets HEAD have what GET would, of which the front leaves out the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and scope["method"] in ("HEAD", "OPTIONS"):
            routes = scope["app"].routes
            if scope["method"] == "HEAD":
                if not any(_matches(route, scope, "HEAD") for route in routes):
                    scope = {**scope, "method": "GET"}
            elif allowed := [*METHODS, "OPTIONS"] if scope["path"] == "*" else methods_of(routes, scope):
                app = Response(status_code=204, headers={"Allow": ", ".join(allowed)})
        await app(scope, receive, send)
