"""A caller who is no admin sees their own jobs and files, and nothing of anybody else's."""

from __future__ import annotations

from tests.drivers.asking import receive, refusal
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.hands import PORTRAIT, SPEECH

MISSING_JOB, MISSING_FILE = "video_" + "0" * 32, "file_" + "0" * 32


async def test_strangers(daemon: Daemon) -> None:
    """To another account a job and a file do not exist, whatever is asked, in the very words for what never did."""
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    job_id, file_id = await daemon.submit(anna), await daemon.upload(PORTRAIT, person=anna)
    speech = await daemon.upload(SPEECH, person=bert)
    await daemon.hands.complete(await daemon.hands.begin())
    for method, path in (
        ("GET", "/v1/videos/{job}"), ("GET", "/v1/videos/{job}/content"),
        ("GET", "/v1/videos/{job}/content?variant=thumbnail"), ("GET", "/v1/videos/{job}/stream"),
        ("GET", "/v1/videos/{job}/content?variant=portrait"), ("GET", "/v1/videos/{job}/content?variant=speech"),
        ("GET", "/v1/videos/{job}/manifest"),
        ("POST", "/v1/videos/{job}/cancel"), ("DELETE", "/v1/videos/{job}"), ("GET", "/v1/files/{file}"),
        ("GET", "/v1/files/{file}/content"), ("DELETE", "/v1/files/{file}"), ("GET", "/v1/videos?after={job}"),
        ("GET", "/v1/files?after={file}"),
    ):  # fmt: skip
        theirs = await bert.http.request(method, path.format(job=job_id, file=file_id))
        nobodys = await bert.http.request(method, path.format(job=MISSING_JOB, file=MISSING_FILE))
        assert refusal(theirs)[:2] == (404, "not_found"), path
        assert theirs.text.replace(job_id, MISSING_JOB).replace(file_id, MISSING_FILE) == nobodys.text
        assert theirs.headers.keys() == nobodys.headers.keys()
    for path in ("/v1/videos/{job}/content", "/v1/videos/{job}/stream", "/v1/files/{file}/content"):
        assert (await bert.http.head(path.format(job=job_id, file=file_id))).status_code == 404
        theirs = await bert.http.options(path.format(job=job_id, file=file_id))
        nobodys = await bert.http.options(path.format(job=MISSING_JOB, file=MISSING_FILE))
        assert (theirs.status_code, theirs.headers["allow"]) == (204, nobodys.headers["allow"])
    for mine, theirs_too in (({"file_id": file_id}, {"file_id": speech}), ({"file_id": speech}, {"file_id": file_id})):
        body = {"input_reference": mine, "audio_reference": theirs_too}
        assert refusal(await bert.http.post("/v1/videos", json=body))[1] in ("not_found", "invalid_request")
    body = {"input_reference": {"file_id": file_id}, "audio_reference": {"file_id": speech}}
    assert refusal(await bert.http.post("/v1/videos", json=body)) == (404, "not_found", "input_reference")
    assert (await bert.http.get("/v1/videos")).json()["data"] == []
    assert [file["id"] for file in (await bert.http.get("/v1/files")).json()["data"]] == [speech]
    assert (await anna.http.get(f"/v1/videos/{job_id}/content")).status_code == 200
    assert len((await anna.http.get("/v1/files")).json()["data"]) == 2
    words: dict[str, object] = {
        "input_reference": {"file_id": await daemon.upload(PORTRAIT, person=bert)},
        "prompt": "hi",
    }
    for name in ("input_reference", "audio_reference"):
        theirs = await bert.http.post("/v1/videos", json=words | {name: {"video_id": job_id}})
        nobodys = await bert.http.post("/v1/videos", json=words | {name: {"video_id": MISSING_JOB}})
        assert refusal(theirs) == (404, "not_found", name)
        assert theirs.text.replace(job_id, MISSING_JOB) == nobodys.text


async def test_admins_see_all(daemon: Daemon) -> None:
    """An admin sees and may end everybody's jobs, and what was made before the first account."""
    before = await daemon.submit()
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    his = await daemon.submit(bert)
    assert [job["id"] for job in (await anna.http.get("/v1/videos")).json()["data"]] == [his, before]
    assert [job["id"] for job in (await bert.http.get("/v1/videos")).json()["data"]] == [his]
    assert (await bert.http.get(f"/v1/videos/{before}")).status_code == 404
    assert (await anna.http.post(f"/v1/videos/{his}/cancel")).json()["status"] == "cancelled"
    assert (await anna.http.delete(f"/v1/videos/{before}")).status_code == 200


async def test_events_of_strangers(daemon: Daemon) -> None:
    """A watcher is told of their own jobs only, also when it comes back for what it missed; an admin is told of all."""
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    await daemon.submit(anna)
    async with daemon.events(person=bert) as his, daemon.events(person=anna) as hers:
        assert (await receive(hers))["type"] == "job.snapshot"
        other = await daemon.submit(anna)
        own = await daemon.submit(bert)
        event = await receive(his)
        assert (event["type"], event["video"]["id"]) == ("job.queued", own)
        assert [(await receive(hers))["video"]["id"] for _ in range(2)] == [other, own]
    async with daemon.events(f"?after={event['seq'] - 2}", bert) as his:
        assert (await receive(his))["video"]["id"] == own


async def test_keys_of_strangers(daemon: Daemon) -> None:
    """Idempotency keys of two accounts have nothing to do with one another."""
    people = await daemon.person("anna", "admin"), await daemon.person("bert")
    made = [(await daemon.post(person, headers={"Idempotency-Key": "same"})).json()["id"] for person in people]
    assert made[0] != made[1]


async def test_quota(daemon: Daemon) -> None:
    """An account that fills its own queue is refused by value and setting before its body is read; others go on."""
    daemon.settings.now = daemon.changed(jobs_per_account=2)
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    for _ in range(2):
        await daemon.submit(bert)
    refused = await daemon.post(bert)
    assert refusal(refused)[:2] == (429, "quota_exceeded")
    assert "2 jobs of this account are queued and jobs_per_account is 2" in refused.json()["error"]["message"]
    assert refused.headers["connection"] == "close"
    await daemon.submit(anna)
    await daemon.hands.begin()
    await daemon.submit(bert)
