"""What this daemon has, and whether it is well: models, health, readiness, metrics, the list of routes."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request

from echod import __version__
from echod.errors import EchodError
from echod.inference import registry
from echod.server.answers import Responses, refusals
from echod.server.routes import docs
from echod.server.services import Calling, Served, Services
from echod.workers.state import READY, exactness

router = APIRouter()
TO_ALL = refusals(open_to_all=True)
NOT_READY: Responses = {503: {"description": "No worker is ready, or the daemon is shutting down."}}


@router.get("/v1/models", summary="Engines that every worker has loaded, and roles", responses=refusals())
async def list_models(served: Served) -> dict[str, Any]:
    return {"object": "list", "data": [model_object(name, served) for name in await _names(served)]}


@router.get("/v1/models/{name}", summary="One engine or role", responses=refusals("not_found"))
async def retrieve_model(name: str, served: Served) -> dict[str, Any]:
    if name not in await _names(served):
        raise EchodError("not_found", f"there is no model {name!r}; GET /v1/models lists those there are")
    return model_object(name, served)


async def _names(served: Services) -> list[str]:
    await served.roles.look()
    return [*served.desk.engines, *(f"role:{role.name}" for role in served.roles.loaded)]


def model_object(name: str, served: Services) -> dict[str, Any]:
    """OpenAI's Model; of an engine also which package it is of, its licence, and whether its frames are exact."""
    found = registry.installed().get(name)
    shown = {"id": name, "object": "model", "created": 0, "owned_by": found.package if found else "echod"}
    if name not in served.desk.engines:
        return shown
    licence = found.licence if found else None
    return {**shown, "echod": {"exact": exactness(name, served.devices()), "licence": licence}}


@router.get("/healthz", summary="The daemon is alive", responses=TO_ALL)
async def healthz(served: Served, caller: Calling) -> dict[str, Any]:
    """Who is let in is told the version; everybody, whether there are accounts to sign in to."""
    known = {"version": __version__} if caller.account else {}
    return {"status": "ok", **known, "sign_in": bool(served.accounts)}


@router.get("/readyz", summary="At least one worker is ready; the state of each device", responses=TO_ALL | NOT_READY)
async def readyz(served: Served, caller: Calling) -> JSONResponse:
    devices = served.devices()
    ready = any(device.state in READY for device in devices) and not served.desk.draining
    body = {"ready": ready, "draining": served.desk.draining}
    if caller.admin:  # it names jobs and processes
        body["devices"] = msgspec.to_builtins(devices)
    return JSONResponse(body, 200 if ready else 503)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=refusals())
async def metrics(served: Served, caller: Calling) -> Response:
    caller.must_be_for_metrics()
    return Response(served.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/docs", include_in_schema=False)
async def documentation(request: Request) -> HTMLResponse:
    return docs.page(request.app.openapi())
