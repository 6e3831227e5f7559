"""The FastAPI app: routes, error answers, health, metrics, and the page that lists it all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request

from echod import __version__
from echod.errors import EchodError
from echod.server import asyncapi, page
from echod.server.admission import Admission
from echod.server.avatar.socket import avatar
from echod.server.events import events
from echod.server.front.front import Handler
from echod.server.methods import Methods, methods_of
from echod.server.openapi import document
from echod.server.realtime.socket import realtime
from echod.server.refusals import error_response
from echod.server.routes import accounts as people
from echod.server.routes import capabilities, examples, files, roles, speech, status, videos, webhooks
from echod.server.services import Services

__all__ = ["Services", "create_app"]


class App(FastAPI):
    """FastAPI's, with a description of its own, which tells whether there are accounts."""

    _documents: ClassVar[dict[bool, dict[str, Any]]] = {}  # every daemon has the same routes

    def openapi(self) -> dict[str, Any]:
        accounts = bool(self.state.services.accounts)
        if accounts not in self._documents:
            self._documents[accounts] = document(self, accounts)
        return self._documents[accounts]


def create_app(services: Services) -> FastAPI:
    """The HTTP side of a daemon; `sockets` is the WebSocket side."""
    app = App(
        title="echod",
        version=__version__,
        description="Talking-head clips from a portrait and speech, in the shape of OpenAI's Videos and Files.",
        docs_url=None,  # FastAPI's pages load their scripts from another origin
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation,
    )
    app.state.services = services
    app.add_middleware(Methods)
    app.add_middleware(Admission, services=services)  # the outermost
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    nouns = (roles, examples, speech, capabilities, webhooks, page, status)
    for router in (videos.router, files.router, people.account, people.accounts, *(noun.router for noun in nouns)):
        app.include_router(router)
    app.add_api_route("/asyncapi.json", _websockets, include_in_schema=False)
    return app


async def _websockets() -> JSONResponse:
    return JSONResponse(asyncapi.document())


def _operation(route: APIRoute) -> str:
    """What clients that are generated call it: videos_create, videos_list."""
    tags = [str(tag) for tag in route.tags]
    return "_".join([*tags, *(route.name.removesuffix(f"_{tag}") for tag in tags)]) or route.name


async def _http_exception(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, HTTPException)
    method, path = request.method, request.url.path
    headers = dict(exception.headers or {})
    if exception.status_code == 405:
        headers["Allow"] = ", ".join(methods_of(request.app.routes, request.scope))  # the framework's is one route's
        error = EchodError("method_not_allowed", f"{path} does not answer to {method}; /docs lists what does")
    elif exception.status_code == 404:
        error = EchodError("not_found", f"nothing is served at {path!r}; /docs lists what is")
    else:
        error = EchodError("invalid_request", str(exception.detail))
    return error_response(error, headers)


async def _validation_error(_: Request, exception: Exception) -> Response:
    """The framework's 422, in our words."""
    assert isinstance(exception, RequestValidationError)
    first = exception.errors()[0]
    name = str(first["loc"][-1])
    return error_response(EchodError("invalid_request", f"{name} = {first['input']!r}: {first['msg']}", param=name))


def sockets(services: Services) -> Mapping[str, Handler]:
    """Path -> what serves a connection to it."""
    return {
        "/v1/events": partial(events, services=services),
        "/v1/realtime": partial(realtime, services=services),
        "/v1/avatar": partial(avatar, services=services),
    }
