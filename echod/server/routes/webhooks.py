"""/v1/webhook_endpoints: who is told how jobs end, in the shape of OpenAI's webhook endpoints."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Request

from echod.errors import EchodError, invalid
from echod.server.answers import Answer, Page, answer, listing, refusals
from echod.server.caller import Caller
from echod.server.routes.accounts import Certain
from echod.server.schemas import json_body, line
from echod.server.services import Served, Services
from echod.webhooks import rows
from echod.webhooks.rows import EventType, State
from echod.webhooks.sending import MAX_URL
from echod.webhooks.store import MAX_NAME

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["webhooks"])

Name = Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1, **line(MAX_NAME)})]
Url = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": MAX_URL, "pattern": "^https?://"})]
Events = Annotated[list[EventType], msgspec.Meta(min_length=1, max_length=16)]


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True):
    url: Url
    event_types: Events
    name: Name
    everybody: bool = False


class TestedEvent(msgspec.Struct, forbid_unknown_fields=True):
    event_type: EventType


# What is answered


class WebhookExtras(msgspec.Struct, frozen=True, kw_only=True):
    """`disabled` says why it is told nothing; then come deliveries by their state."""

    account: str
    everybody: bool
    disabled: str | None
    waiting: int
    delivered: int
    failed: int


class Webhook(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="webhook_endpoint"):
    """OpenAI's WebhookEndpoint, and what it has no place for under "echod"."""

    id: str
    name: str
    url: str
    event_types: list[EventType]
    created_at: int
    echod: WebhookExtras


class CreatedWebhook(Webhook, frozen=True, kw_only=True):
    """A new webhook, with the secret that nobody can read again."""

    signing_secret: str


class Webhooks(Page, frozen=True, kw_only=True, tag_field="object", tag="list"):
    data: list[Webhook]


class DeletedWebhook(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="webhook_endpoint.deleted"):
    id: str
    deleted: Literal[True] = True


class Delivery(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="webhook_endpoint.delivery"):
    """`answer` is what the last attempt came to; `due` is when the next one is."""

    id: str
    type: EventType
    video_id: str
    created_at: int
    state: State
    attempts: int
    due: int | None
    answer: str | None


class Deliveries(Page, frozen=True, kw_only=True, tag_field="object", tag="list"):
    data: list[Delivery]


class RetriedWebhook(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="webhook_endpoint.retry"):
    """How many events are sent again."""

    webhook_endpoint_id: str
    deliveries: int


class TestedWebhook(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="webhook_endpoint.test"):
    webhook_endpoint_id: str
    event_type: EventType
    status_code: int
    success: Literal[True] = True


def _allow(served: Services, caller: Caller) -> None:
    allowed = served.config.webhooks
    if allowed == "off":
        raise EchodError("forbidden", "this daemon tells nobody how jobs end (setting webhooks = off)")
    if allowed == "admins" and not caller.admin:
        raise EchodError("forbidden", "webhooks are for admins; the setting webhooks = all lets everybody have some")


Body = TypeVar("Body", NewWebhook, TestedEvent)


async def _read(request: Request, kind: type[Body]) -> Body:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise invalid("send application/json", "Content-Type")
    try:
        return msgspec.json.Decoder(kind, float_hook=float).decode(await request.body())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"the body is not what is expected here: {error}") from None


@router.post(
    "",
    summary="Have a URL told how jobs end: the answer alone has the secret that signs it",
    openapi_extra=json_body(NewWebhook),
    responses=answer(CreatedWebhook) | refusals("quota_exceeded"),
)
async def create_webhook(request: Request, served: Served, caller: Certain) -> Answer:
    _allow(served, caller)
    given = await _read(request, NewWebhook)
    if given.everybody:
        caller.must_be_admin()
    webhook = await served.webhooks.add(
        caller.account, given.url, given.name, given.event_types, everybody=given.everybody
    )
    made = webhook_object(webhook, {})
    return Answer(CreatedWebhook(**msgspec.structs.asdict(made), signing_secret=webhook.secret))


@router.get("", summary="One's webhooks, newest first; admins see everybody's", responses=answer(Webhooks) | refusals())
async def list_webhooks(served: Served, caller: Certain) -> Answer:
    found, counts = await served.webhooks.all(caller.sees), await served.webhooks.counts()
    return Answer(listing(Webhooks, [webhook_object(webhook, counts) for webhook in found]))


@router.get("/{webhook_id}", summary="One webhook", responses=answer(Webhook) | refusals("not_found"))
async def retrieve_webhook(webhook_id: str, served: Served, caller: Certain) -> Answer:
    webhook = await served.webhooks.find(webhook_id, caller.sees)
    return Answer(webhook_object(webhook, await served.webhooks.counts()))


@router.delete(
    "/{webhook_id}",
    summary="Remove a webhook, and what waits for it",
    responses=answer(DeletedWebhook) | refusals("not_found"),
)
async def delete_webhook(webhook_id: str, served: Served, caller: Certain) -> Answer:
    await served.webhooks.remove(webhook_id, caller.sees)
    return Answer(DeletedWebhook(id=webhook_id))


@router.get(
    "/{webhook_id}/deliveries",
    summary="What it was told, and what waits: the newest",
    responses=answer(Deliveries) | refusals("not_found"),
)
async def list_deliveries(webhook_id: str, served: Served, caller: Certain) -> Answer:
    found = await served.webhooks.deliveries(webhook_id, caller.sees)
    return Answer(listing(Deliveries, [delivery_object(delivery) for delivery in found]))


@router.post(
    "/{webhook_id}/retry",
    summary="Enable it again, and send what failed or waits at once",
    responses=answer(RetriedWebhook) | refusals("not_found"),
)
async def retry_webhook(webhook_id: str, served: Served, caller: Certain) -> Answer:
    _allow(served, caller)
    again = await served.webhooks.retry(webhook_id, caller.sees)
    return Answer(RetriedWebhook(webhook_endpoint_id=webhook_id, deliveries=again))


@router.post(
    "/{webhook_id}/test",
    summary="Send it an event of no job, once, and say what it answers",
    openapi_extra=json_body(TestedEvent),
    responses=answer(TestedWebhook) | refusals("not_found", "not_ready"),
)
async def test_webhook(webhook_id: str, request: Request, served: Served, caller: Certain) -> Answer:
    _allow(served, caller)
    given = await _read(request, TestedEvent)
    webhook = await served.webhooks.find(webhook_id, caller.sees)
    now, id = served.webhooks.clock(), f"evt_test_{secrets.token_hex(8)}"
    sample = rows.Delivery(id, webhook.id, "video_test", given.event_type, now, "waiting", 0, now, now)
    told = await served.delivering.attempt(webhook, sample)
    if not told.isdecimal():
        raise EchodError("not_ready", f"{webhook.url} could not be told: {told}")
    return Answer(TestedWebhook(webhook_endpoint_id=webhook.id, event_type=given.event_type, status_code=int(told)))


def webhook_object(webhook: rows.Webhook, counts: dict[tuple[str, State], int]) -> Webhook:
    return Webhook(
        id=webhook.id,
        name=webhook.name,
        url=webhook.url,
        event_types=webhook.event_types,
        created_at=int(webhook.created_at),
        echod=WebhookExtras(
            account=webhook.account,
            everybody=webhook.everybody,
            disabled=webhook.disabled,
            waiting=counts.get((webhook.id, "waiting"), 0),
            delivered=counts.get((webhook.id, "delivered"), 0),
            failed=counts.get((webhook.id, "failed"), 0),
        ),
    )


def delivery_object(delivery: rows.Delivery) -> Delivery:
    return Delivery(
        id=delivery.id,
        type=delivery.type,
        video_id=delivery.job,
        created_at=int(delivery.created_at),
        state=delivery.state,
        attempts=delivery.attempts,
        due=int(delivery.due) if delivery.state == "waiting" else None,
        answer=delivery.answer,
    )
