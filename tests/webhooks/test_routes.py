"""/v1/webhook_endpoints, as the stock openai client and others meet it."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.drivers.asking import over_unix_socket, refusal
from tests.stand_ins.daemon import Daemon, Person
from tests.stand_ins.receiver import Receiver

ASKED = {"url": "https://example.org/hook", "name": "mine", "event_types": ["video.completed"]}


async def test_the_stock_client(daemon: Daemon, anna: Person) -> None:
    """It makes a webhook, tests it, verifies what that is sent with the secret it was given, and removes it."""
    async with Receiver() as receiver, AsyncOpenAI(base_url=f"{daemon.base}/v1", api_key=anna.token) as client:
        url = f"http://{receiver.address}/hook"
        made = await client.webhooks.create(event_types=["video.completed", "video.failed"], name="ours", url=url)
        assert made.signing_secret.startswith("whsec_")
        assert [each.id async for each in client.webhooks.list()] == [made.id]
        assert "signing_secret" not in (await client.webhooks.retrieve(made.id)).model_dump()
        tested = await client.webhooks.test(made.id, event_type="video.completed")
        assert (tested.status_code, tested.success) == (200, True)
        job = await daemon.submit(anna)
        await daemon.hands.complete(await daemon.hands.begin())
        await receiver.until(lambda: len(receiver.requests) == 2)
        sample, real = receiver.requests
        event = client.webhooks.unwrap(real.body, real.headers, secret=made.signing_secret)
        assert (event.type, event.object, event.id) == ("video.completed", "event", real.headers["webhook-id"])
        assert event.data.id == job  # type: ignore[union-attr]
        client.webhooks.verify_signature(sample.body, sample.headers, secret=made.signing_secret)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(real.body + b" ", real.headers, secret=made.signing_secret)
        assert (await client.webhooks.delete(made.id)).deleted
        assert [each.id async for each in client.webhooks.list()] == []


async def test_who_may(daemon: Daemon, anna: Person) -> None:
    """Admins, or everybody for their own where the setting says so; nobody sees or touches another's."""
    bert = await daemon.person("bert")
    assert refusal(await bert.http.post("/v1/webhook_endpoints", json=ASKED))[:2] == (403, "forbidden")
    hers = (await anna.http.post("/v1/webhook_endpoints", json=ASKED)).json()
    daemon.settings.now = daemon.changed(webhooks="all")
    his = (await bert.http.post("/v1/webhook_endpoints", json=ASKED)).json()
    assert refusal(await bert.http.post("/v1/webhook_endpoints", json=ASKED | {"everybody": True}))[0] == 403
    for method, tail in (("GET", ""), ("GET", "/deliveries"), ("POST", "/retry"), ("DELETE", "")):
        assert (await bert.http.request(method, f"/v1/webhook_endpoints/{hers['id']}{tail}")).status_code == 404
    listed = [
        [row["id"] for row in (await who.http.get("/v1/webhook_endpoints")).json()["data"]] for who in (anna, bert)
    ]
    assert listed == [[his["id"], hers["id"]], [his["id"]]]
    daemon.settings.now = daemon.changed(webhooks="off")
    assert refusal(await anna.http.post("/v1/webhook_endpoints", json=ASKED))[:2] == (403, "forbidden")
    await anna.http.delete("/v1/accounts/bert")
    assert [row["id"] for row in (await anna.http.get("/v1/webhook_endpoints")).json()["data"]] == [hers["id"]]


async def test_refused(daemon: Daemon, anna: Person) -> None:
    """Unknown events, names, fields, private addresses where those are not allowed, one too many."""
    daemon.settings.now = daemon.changed(webhook_private=False)
    wrongs: tuple[dict[str, Any], ...] = (
        {"event_types": []}, {"event_types": ["video.gone"]}, {"name": ""}, {"url": "https://127.0.0.1/"}, {"more": 1},
        {"url": "http://example.org/"},
    )  # fmt: skip
    for wrong in wrongs:
        assert refusal(await anna.http.post("/v1/webhook_endpoints", json=ASKED | wrong))[:2] == (
            400,
            "invalid_request",
        )
    for _ in range(20):
        made = await anna.http.post("/v1/webhook_endpoints", json=ASKED)
        assert made.status_code == 200
    assert refusal(await anna.http.post("/v1/webhook_endpoints", json=ASKED))[:2] == (429, "quota_exceeded")


async def test_nobody_answers_a_test(daemon: Daemon, anna: Person) -> None:
    """That is told, in words."""
    async with Receiver() as receiver:
        url = f"http://{receiver.address}/"
    made = (await anna.http.post("/v1/webhook_endpoints", json=ASKED | {"url": url})).json()
    answer = await anna.http.post(f"/v1/webhook_endpoints/{made['id']}/test", json={"event_type": "video.failed"})
    assert refusal(answer)[:2] == (409, "not_ready")


async def test_without_accounts(daemon: Daemon) -> None:
    """They are for the unix socket alone, as everything about accounts is: by TCP it may be anybody."""
    assert refusal(await daemon.http.post("/v1/webhook_endpoints", json=ASKED))[:2] == (403, "forbidden")
    async with over_unix_socket(daemon) as local:
        assert (await local.post("/v1/webhook_endpoints", json=ASKED)).status_code == 200
