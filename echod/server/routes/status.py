"""What this daemon has, and whether it is well: models, health, readiness, metrics, the list of routes."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from msgspec import UNSET, UnsetType
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request

from echod import __version__
from echod.errors import EchodError
from echod.inference import registry
from echod.server.answers import Answer, Refusal, Responses, answer, json_of, ref, refusals
from echod.server.routes import docs
from echod.server.services import Calling, Served, Services
from echod.workers.state import READY, Cluster, DeviceState, exactness

router = APIRouter()
TO_ALL = refusals(open_to_all=True)


class ModelExtras(msgspec.Struct, frozen=True, kw_only=True):
    """`exact`: its frames are its model's own, and no sketch or approximation; null before a worker has loaded it."""

    exact: bool | None
    licence: str | None


class Model(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="model"):
    """OpenAI's Model: an engine that every worker has loaded, which has `echod`, or a role."""

    id: str
    created: int = 0
    owned_by: str
    echod: ModelExtras | UnsetType = UNSET


class Models(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="list"):
    data: list[Model]


class Health(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="ok"):
    """Who is let in is told the version; everybody, whether there are accounts to sign in to."""

    version: str | UnsetType = UNSET
    sign_in: bool


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Admins see the devices: they name jobs and processes. `cluster` is null where no devices are of one."""

    ready: bool
    draining: bool
    devices: list[DeviceState] | UnsetType = UNSET
    cluster: Cluster | UnsetType | None = UNSET


NOT_READY = TO_ALL[503] | json_of({"anyOf": [ref(Readiness), ref(Refusal)]}) | {
    "description": "No worker is ready, or the daemon is shutting down.", "headers": {},
}  # fmt: skip
METRICS: Responses = {
    200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get(
    "/v1/models", summary="Engines that every worker has loaded, and roles", responses=answer(Models) | refusals()
)
async def list_models(served: Served) -> Answer:
    return Answer(Models(data=[model_object(name, served) for name in await _names(served)]))


@router.get("/v1/models/{name}", summary="One engine or role", responses=answer(Model) | refusals("not_found"))
async def retrieve_model(name: str, served: Served) -> Answer:
    if name not in await _names(served):
        raise EchodError("not_found", f"there is no model {name!r}; GET /v1/models lists those there are")
    return Answer(model_object(name, served))


async def _names(served: Services) -> list[str]:
    await served.roles.look()
    return [*served.desk.engines, *(f"role:{role.name}" for role in served.roles.loaded)]


def model_object(name: str, served: Services) -> Model:
    found = registry.installed().get(name)
    owner = found.package if found else "echod"
    if name not in served.desk.engines:
        return Model(id=name, owned_by=owner)
    extras = ModelExtras(exact=exactness(name, served.devices()), licence=found.licence if found else None)
    return Model(id=name, owned_by=owner, echod=extras)


@router.get("/healthz", summary="The daemon is alive", responses=answer(Health) | TO_ALL)
async def healthz(served: Served, caller: Calling) -> Answer:
    return Answer(Health(version=__version__ if caller.account else UNSET, sign_in=bool(served.accounts)))


@router.get(
    "/readyz",
    summary="At least one worker is ready; the state of each device",
    responses=answer(Readiness) | TO_ALL | {503: NOT_READY},
)
async def readyz(served: Served, caller: Calling) -> Answer:
    devices = served.devices()
    ready = any(device.state in READY for device in devices) and not served.desk.draining
    body = Readiness(
        ready=ready,
        draining=served.desk.draining,
        devices=list(devices) if caller.admin else UNSET,
        cluster=served.cluster() if caller.admin else UNSET,
    )
    return Answer(body, 200 if ready else 503)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=METRICS | refusals())
async def metrics(served: Served, caller: Calling) -> Response:
    caller.must_be_for_metrics()
    return Response(served.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/docs", include_in_schema=False)
async def documentation(request: Request) -> HTMLResponse:
    return docs.page(request.app.openapi())
