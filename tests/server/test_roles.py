"""/v1/roles, and clips of roles."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.drivers.asking import refusal
from tests.stand_ins.daemon import Daemon, Person
from tests.stand_ins.hands import PORTRAIT, SPEECH

ANOTHER = b"another picture of a face"
FIELDS: dict[str, Any] = {
    "title": "Ada", "personality": "You are Ada.", "language": "en", "greeting": "Hello!", "voice": "a voice",
    "engine": "preview", "mode": "audio", "options[size]": "256x384", "options[fps]": "25",
}  # fmt: skip

OPTIONS: dict[str, Any] = {"options[size]": "256x384", "options[fps]": "25"}


async def add(
    daemon: Daemon, name: str = "ada", picture: bytes = PORTRAIT, filename: str = "p.png", **fields: Any
) -> httpx.Response:
    files = {"portrait": (filename, picture)}
    return await daemon.http.post("/v1/roles", data={"name": name, **fields}, files=files)


async def put(daemon: Daemon, name: str, picture: bytes | None = PORTRAIT, **fields: Any) -> httpx.Response:
    files: dict[str, Any] = {key: (None, value) for key, value in fields.items()}
    if picture:
        files["portrait"] = ("p.png", picture)
    return await daemon.http.put(f"/v1/roles/{name}", files=files or {"title": (None, "")})


async def submit(daemon: Daemon, model: str, person: Person | None = None, **fields: Any) -> httpx.Response:
    files = {"audio_reference": ("s.wav", SPEECH)} | fields.pop("files", {})
    http = person.http if person else daemon.http
    return await http.post("/v1/videos", data={"model": model, **fields}, files=files)


async def test_life_of_a_role(daemon: Daemon) -> None:
    """A role is made, listed, shown, replaced and removed."""
    made = (await add(daemon, **FIELDS)).json()
    portrait = made.pop("portrait")
    assert made == {
        "id": "role:ada", "object": "role", "name": "ada", "title": "Ada", "greeting": "Hello!", "language": "en",
        "mode": "audio", "personality": "You are Ada.", "voice": "a voice", "engine": "preview",
        "options": {"size": "256x384", "fps": 25}, "faces": 2, "error": None,
        "view": "face", "size": "256x384", "box": [1.0, 2.0, 3.0, 4.0],
    }  # fmt: skip
    assert portrait.startswith(f"{daemon.base}/v1/roles/ada/portrait")
    shown = await daemon.http.get(portrait)
    assert (shown.content, shown.headers["content-type"]) == (PORTRAIT, "image/png")
    listed = (await daemon.http.get("/v1/roles")).json()
    assert (listed["object"], [role["name"] for role in listed["data"]]) == ("list", ["ada"])
    models = (await daemon.http.get("/v1/models")).json()["data"]
    assert [model["id"] for model in models] == ["preview", "other", "role:ada"]
    assert refusal(await add(daemon)) == (400, "invalid_request", "name")
    changed = (await put(daemon, "ada", ANOTHER, title="Eve")).json()
    assert (changed["title"], changed["personality"], changed["options"]) == ("Eve", "", {})
    assert (await daemon.http.get("/v1/roles/ada/portrait")).content == ANOTHER
    assert (await put(daemon, "ada", None, title="Ada")).json()["title"] == "Ada"
    assert (await daemon.http.get("/v1/roles/ada/portrait")).content == ANOTHER
    gone = await daemon.http.delete("/v1/roles/ada")
    assert gone.json() == {"id": "role:ada", "object": "role", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/portrait"), ("HEAD", "/portrait"), ("DELETE", "")):
        answer = await daemon.http.request(method, f"/v1/roles/ada{path}")
        assert answer.status_code == 404
        assert method == "HEAD" or refusal(answer)[1] == "not_found"
    assert daemon.stored_files() == []


async def test_examples(daemon: Daemon) -> None:
    """Roles, a portrait and a recording come with echod; an example becomes a role by its name, as it is or changed."""
    examples = (await daemon.http.get("/v1/examples")).json()
    ada, xiaolin = examples["roles"]
    assert (ada["name"], ada["title"], xiaolin["language"]) == ("ada", "Ada, flight instructor", "zh-CN")
    for url, kind in (
        (examples["portrait"], "image/png"),
        (examples["speech"], "audio/wav"),
        (ada["portrait"], "image/jpeg"),
    ):
        answer = await daemon.http.get(url)
        assert (answer.headers["content-type"], len(answer.content) > 10_000) == (kind, True)
    made = (await daemon.http.post("/v1/roles", files={"example": (None, "ada")})).json()
    assert (made["name"], made["title"], made["options"]) == ("ada", ada["title"], {"size": "512x512"})
    assert made["personality"].startswith("You are Ada") and made["voice"] is None
    fields = {"example": "ada", "name": "eve", "title": "Eve"}
    eve = (await daemon.http.post("/v1/roles", data=fields, files={"portrait": ("p.png", PORTRAIT)})).json()
    assert (eve["name"], eve["title"], eve["greeting"]) == ("eve", "Eve", ada["greeting"])
    assert (await daemon.http.get("/v1/roles/eve/portrait")).content == PORTRAIT
    assert refusal(await daemon.http.post("/v1/roles", files={"example": (None, "ada")}))[2] == "name"
    for unknown in ("adda", "../ada", ""):
        answer = await daemon.http.post("/v1/roles", files={"example": (None, unknown)})
        assert refusal(answer) == (404, "not_found", "example")
        assert (await daemon.http.get(f"/v1/examples/roles/{unknown}/portrait")).status_code == 404


async def test_put_makes_a_role(daemon: Daemon) -> None:
    """PUT makes a role that is not there, which needs a portrait."""
    assert refusal(await put(daemon, "ada", None)) == (400, "invalid_request", "portrait")
    assert (await put(daemon, "ada")).json()["title"] == "ada"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"titel": "Ada"}, "invalid_request", "titel"),
        ({"mode": "film"}, "invalid_request", "mode"),
        ({"engine": "none"}, "invalid_request", "engine"),
        ({"options[size]": "10x10"}, "unsupported_size", "options.size"),
        ({"options[lossless]": "1"}, "invalid_request", "options.lossless"),
        ({"options": "fast"}, "invalid_request", "options"),
        ({"portrait": "portrait.png"}, "invalid_request", "portrait"),
        ({"name[x]": "ada"}, "invalid_request", None),
        ({"personality": "x" * 20_001}, "invalid_request", "personality"),
    ],
)
async def test_refused_fields(daemon: Daemon, fields: dict[str, Any], code: str, param: str | None) -> None:
    """What is wrong with a field is told as everywhere, and nothing is kept."""
    answer = await add(daemon, **fields)
    assert refusal(answer)[:2] == (400, code)
    assert param is None or refusal(answer)[2] == param
    assert daemon.stored_files() == []
    assert list(daemon.roles.root.iterdir()) == []


@pytest.mark.parametrize(
    ("picture", "code"), [(b"? no picture", "portrait_unreadable"), (SPEECH, "portrait_unreadable")]
)
async def test_refused_portraits(daemon: Daemon, picture: bytes, code: str) -> None:
    """A portrait is inspected when the role is made."""
    assert refusal(await add(daemon, picture=picture)) == (400, code, "portrait")
    assert list(daemon.roles.root.iterdir()) == list(daemon.roles.cache.iterdir()) == []


@pytest.mark.parametrize("limits", [{"max_upload": 1000}])
async def test_large_portrait(daemon: Daemon) -> None:
    """A portrait has the limit of any upload."""
    for answer in (await add(daemon, picture=b"a" * 1001), await put(daemon, "ada", b"a" * 1001)):
        assert refusal(answer)[:2] == (413, "payload_too_large")
    assert daemon.stored_files() == []


@pytest.mark.parametrize(
    "name", ["..", "../ada", "/etc/ada", "a/b", "a\\b", ".ada", "ada\0", "", "Ada", "ada/", "%2e%2e"]
)
async def test_names_that_are_paths(daemon: Daemon, name: str) -> None:
    """No name leads out of the roles directory, in a form or in an address."""
    (daemon.config.state_dir / "ada").mkdir()
    (daemon.config.state_dir / "ada" / "role.toml").write_text('portrait = "p.png"')
    before = sorted(daemon.config.state_dir.rglob("*"))
    assert refusal(await add(daemon, name))[:2] == (400, "invalid_request")
    for escaped in (name, "".join(f"%{byte:02x}" for byte in name.encode())):
        for method, path in (("GET", ""), ("GET", "/portrait"), ("DELETE", ""), ("PUT", "")):
            url = httpx.URL(daemon.base, raw_path=f"/v1/roles/{escaped}{path}".encode().replace(b"\0", b"%00"))
            files = {"portrait": ("p.png", PORTRAIT)} if method == "PUT" else None
            assert (await daemon.http.request(method, url, files=files)).status_code in (400, 404, 405)
    assert refusal(await submit(daemon, f"role:{name}"))[1:] == ("model_not_loaded", "model")
    assert sorted(daemon.config.state_dir.rglob("*")) == before


@pytest.mark.parametrize("filename", ["../../../x.png", "/etc/cron.d/x", "x.sh", 'a"b.png', "a\r\nX-Evil: 1.png"])
async def test_filenames_that_are_paths(daemon: Daemon, filename: str) -> None:
    """What a client calls the portrait neither becomes a path nor comes back in a header."""
    assert (await add(daemon, filename=filename)).status_code == 200
    assert sorted(path.name for path in (daemon.roles.root / "ada").iterdir()) == ["portrait.png", "role.toml"]
    answer = await daemon.http.get("/v1/roles/ada/portrait")
    assert answer.headers["content-disposition"] == 'inline; filename="ada.png"'
    assert "x-evil" not in answer.headers


async def test_links(daemon: Daemon) -> None:
    """A link in the roles directory is served neither as a role nor as a portrait."""
    secret = daemon.config.state_dir / "secret"
    secret.write_bytes(PORTRAIT)
    assert (await add(daemon)).status_code == 200
    (daemon.roles.root / "eve").symlink_to(daemon.roles.root / "ada")
    (daemon.roles.root / "bert").mkdir()
    (daemon.roles.root / "bert" / "role.toml").write_text('portrait = "p.png"')
    (daemon.roles.root / "bert" / "p.png").symlink_to(secret)
    listed = (await daemon.http.get("/v1/roles")).json()["data"]
    assert {role["name"]: "symbolic link" in (role["error"] or "") for role in listed} == {
        "ada": False, "bert": True, "eve": True,
    }  # fmt: skip
    for name in ("bert", "eve"):
        assert (await daemon.http.get(f"/v1/roles/{name}/portrait")).status_code == 404
        assert refusal(await submit(daemon, f"role:{name}"))[1] == "model_not_loaded"
        assert (await daemon.http.delete(f"/v1/roles/{name}")).status_code == 200
    assert (await daemon.http.get("/v1/roles/ada/portrait")).content == PORTRAIT
    assert secret.exists()


# Who may


async def test_who_sees_what(daemon: Daemon) -> None:
    """Everybody may know a role's title, greeting and portrait; what makes it one is for admins."""
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    files = {"portrait": ("p.png", PORTRAIT)}
    assert (await anna.http.post("/v1/roles", data={"name": "ada", **FIELDS}, files=files)).status_code == 200
    (daemon.roles.root / "broken").mkdir()
    for answer in (await bert.http.get("/v1/roles"), await bert.http.get("/v1/roles/ada")):
        role = answer.json()["data"][0] if "data" in answer.json() else answer.json()
        assert set(role) == {
                "id", "object", "name", "title", "greeting", "language", "mode", "portrait", "view", "size", "box",
            }  # fmt: skip
        assert "You are Ada" not in answer.text
        assert "broken" not in answer.text
    assert (await bert.http.get("/v1/roles/ada/portrait")).content == PORTRAIT
    assert str(daemon.roles.root) not in (await bert.http.get("/v1/roles/broken")).text
    assert "role.toml" in (await anna.http.get("/v1/roles/broken")).json()["error"]
    assert [role["name"] for role in (await anna.http.get("/v1/roles")).json()["data"]] == ["ada", "broken"]


async def test_who_changes_roles(daemon: Daemon) -> None:
    """Only admins make, replace and remove roles; nobody's request is read before that is known."""
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    files = {"portrait": ("p.png", PORTRAIT)}
    await anna.http.put("/v1/roles/ada", files=files)
    before = sorted(daemon.roles.root.rglob("*"))
    for http, status in ((bert.http, 403), (daemon.http, 401)):
        for method, path in (("POST", "/v1/roles"), ("PUT", "/v1/roles/ada"), ("DELETE", "/v1/roles/ada")):
            body: Any = None if method == "DELETE" else files
            assert (await http.request(method, path, files=body)).status_code == status
    for path in ("/v1/roles", "/v1/roles/ada", "/v1/roles/ada/portrait", "/v1/models"):
        assert (await daemon.http.get(path)).status_code == 401
    assert (sorted(daemon.roles.root.rglob("*")), daemon.stored_files()) == (before, [])


async def test_address_of_a_portrait(daemon: Daemon) -> None:
    """The address of a portrait can be given to a page: it opens this portrait and nothing else."""
    await add(daemon)
    await add(daemon, "eve", ANOTHER)
    anna = await daemon.person("anna", "admin")
    url = (await anna.http.get("/v1/roles/ada")).json()["portrait"]
    assert (await daemon.http.get(url)).content == PORTRAIT
    for other in (url.replace("/ada/", "/eve/"), url.replace("/portrait", ""), url.replace("/ada/portrait", "")):
        assert refusal(await daemon.http.get(other))[0] == 401
    assert refusal(await daemon.http.delete(url))[0] in (401, 405)
    await anna.http.delete("/v1/roles/ada")
    assert refusal(await daemon.http.get(url))[0] == 404


# Clips


async def test_clip_of_a_role(daemon: Daemon) -> None:
    """A job that names a role takes its portrait, engine and options; what the request says itself goes before."""
    assert (await add(daemon, engine="preview", **OPTIONS)).status_code == 200
    video = (await submit(daemon, "role:ada", fps="30")).json()
    assert (video["size"], video["model"]) == ("256x384", "preview")
    assert (video["echod"]["fps"], video["echod"]["faces"]) == (30, 2)
    assert (daemon.desk.directory(video["id"]) / "portrait.png").read_bytes() == PORTRAIT
    own = (await submit(daemon, "role:ada", files={"input_reference": ("p.png", ANOTHER)})).json()
    assert (daemon.desk.directory(own["id"]) / "portrait.png").read_bytes() == ANOTHER
    speech = await daemon.upload(SPEECH)
    body = {"model": "role:ada", "audio_reference": {"file_id": speech}}
    assert (await daemon.http.post("/v1/videos", json=body)).json()["size"] == "256x384"


async def test_clips_for_everybody(daemon: Daemon) -> None:
    """A role is there for every account."""
    anna, bert = await daemon.person("anna", "admin"), await daemon.person("bert")
    await anna.http.put("/v1/roles/ada", files={"portrait": ("p.png", PORTRAIT)})
    assert (await submit(daemon, "role:ada", bert)).json()["status"] == "queued"


@pytest.mark.parametrize("text", ["seed = " + "9" * 5000, "a = " + "[" * 5000], ids=["digits", "depth"])
async def test_a_bad_role_is_its_own_problem(daemon: Daemon, text: str) -> None:
    """Roles, models and jobs of good roles go on; the list names the bad one to admins."""
    await add(daemon)
    (daemon.roles.root / "bad").mkdir()
    (daemon.roles.root / "bad" / "role.toml").write_text(text)
    listed = {role["name"]: role.get("error") for role in (await daemon.http.get("/v1/roles")).json()["data"]}
    assert listed["ada"] is None
    assert "role.toml" in listed["bad"]
    models = [model["id"] for model in (await daemon.http.get("/v1/models")).json()["data"]]
    assert "role:ada" in models and "role:bad" not in models
    assert (await submit(daemon, "role:ada")).status_code == 200


@pytest.mark.parametrize("model", ["role:nobody", "role:", "role:broken", "role:../ada"])
async def test_no_such_role(daemon: Daemon, model: str) -> None:
    """A job of a role that is not there is refused, and so is one of a broken role, without telling why."""
    (daemon.roles.root / "broken").mkdir()
    answer = await submit(daemon, model)
    assert refusal(answer) == (400, "model_not_loaded", "model")
    assert str(daemon.roles.root) not in answer.text
    assert daemon.stored_files() == []


async def test_role_of_an_engine_that_is_not_loaded(daemon: Daemon) -> None:
    """A role may be of an engine this daemon has not loaded; a job of it is refused."""
    await add(daemon, engine="echomimic")
    assert refusal(await submit(daemon, "role:ada")) == (400, "model_not_loaded", "model")


async def test_in_use_while_changed_and_removed(daemon: Daemon) -> None:
    """A job goes on with the portrait it was accepted with, whatever becomes of its role."""
    await add(daemon)
    job_id = (await submit(daemon, "role:ada")).json()["id"]
    await put(daemon, "ada", ANOTHER)
    assert (await daemon.http.delete("/v1/roles/ada")).status_code == 200
    assert list(daemon.roles.cache.iterdir()) == []
    job = await daemon.hands.begin()
    assert (daemon.desk.directory(job.id) / "portrait.png").read_bytes() == PORTRAIT
    await daemon.hands.complete(job)
    assert (await daemon.video(job_id))["status"] == "completed"
    assert refusal(await submit(daemon, "role:ada"))[1] == "model_not_loaded"


async def test_repeated_request(daemon: Daemon) -> None:
    """With an idempotency key, a request that names a role makes one job."""
    await add(daemon)
    made = [
        await daemon.http.post(
            "/v1/videos",
            data={"model": "role:ada"},
            files={"audio_reference": ("s.wav", SPEECH)},
            headers={"Idempotency-Key": "key"},
        )
        for _ in range(2)
    ]
    assert made[0].json()["id"] == made[1].json()["id"]
