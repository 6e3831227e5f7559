"""One of everything that is answered or asked for as JSON: what /openapi.json has as examples, and as schemas."""

from __future__ import annotations

import msgspec

from echod.inference.framing import DILATION
from echod.inference.limits import DEFAULT_SEED
from echod.jobs.advice import Advice
from echod.server.answers import listing
from echod.server.objects import AskedFraming, FramedPortrait, Video, VideoExtras
from echod.server.routes import accounts as people
from echod.server.routes import capabilities as able
from echod.server.routes import webhooks as hooks
from echod.server.routes.examples import ExampleRole, Examples
from echod.server.routes.files import DeletedFile, File, FileExtras, Files
from echod.server.routes.roles import DeletedRole, Role, Roles
from echod.server.routes.speech import UsageByDay, Voice, Voices
from echod.server.routes.status import Health, Model, ModelExtras, Models, Readiness
from echod.server.routes.videos import DeletedVideo, Videos
from echod.speech.capabilities import Hears, Reason, Replies, Speaks
from echod.speech.usage import DayOfUsage
from echod.workers.state import DeviceState

BASE, SIGNED = "http://127.0.0.1:8765", "expires=1795800000&signature=Jq3v0Jt2w5c"
NOW = 1795700000
VIDEO = Video(
    id="video_3f6c1f0f9a5b4f4d8a2b7c9d0e1f2a3b",
    model="preview",
    status="completed",
    progress=100,
    created_at=NOW,
    completed_at=NOW + 4,
    expires_at=NOW + 7 * 86400,
    size="512x512",
    seconds="2.69",
    prompt="Good evening.",
    metadata={"title": "Greeting"},
    remixed_from_video_id=None,
    error=None,
    echod=VideoExtras(
        title="Greeting",
        created_at=NOW + 0.25,
        account="anna",
        queue_position=None,
        eta_s=None,
        stage="mux",
        windows_done=0,
        windows_total=0,
        windows_resumed=0,
        view="face",
        seed=DEFAULT_SEED,
        fps=24,
        steps=None,
        guidance=None,
        lossless=False,
        live=False,
        label="off",
        label_language="en",
        device="cpu",
        devices=("cpu",),
        helpers=[],
        dtype=None,
        approximation=None,
        attempt=1,
        engine="preview",
        spoken=True,
        conversation=False,
        pinned=False,
        voice="local/espeak-ng/en-us",
        faces=1,
        portrait=FramedPortrait(
            width=640, height=640, box=(230.0, 120.0, 410.0, 360.0), boxes=((230.0, 120.0, 410.0, 360.0),)
        ),
        crop=(110, 30, 530, 450),
        framing=AskedFraming(crop=None, dilation=DILATION, face=None),
        warnings=[],
        frames=65,
        unsigned=None,
        url=f"{BASE}/v1/videos/video_3f6c1f0f9a5b4f4d8a2b7c9d0e1f2a3b/content?{SIGNED}",
        thumbnail_url=f"{BASE}/v1/videos/video_3f6c1f0f9a5b4f4d8a2b7c9d0e1f2a3b/content?variant=thumbnail&{SIGNED}",
        stream_url=f"{BASE}/v1/videos/video_3f6c1f0f9a5b4f4d8a2b7c9d0e1f2a3b/stream?{SIGNED}",
        timings_ms={"speak": 210, "face": 95, "decode": 1800, "mux": 240, "total": 2345},
    ),
)
FILE = File(
    id="file-5c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f",
    bytes=192_345,
    created_at=NOW,
    expires_at=NOW + 86400,
    filename="portrait.png",
    purpose="user_data",
    echod=FileExtras(
        kind="portrait",
        width=640,
        height=640,
        faces=1,
        box=(230.0, 120.0, 410.0, 360.0),
        boxes=((230.0, 120.0, 410.0, 360.0),),
        seconds=None,
        warnings=[Advice("face_small", "the face is 60 px wide: use a picture in which it is larger")],
        url=f"{BASE}/v1/files/file-5c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f/content?{SIGNED}",
    ),
)
ROLE = Role(
    id="role:ada",
    name="ada",
    title="Ada, flight instructor",
    greeting="Hello! I'm Ada.",
    language="en",
    mode="video",
    portrait=f"{BASE}/v1/roles/ada/portrait?{SIGNED}",
    box=(230.0, 120.0, 410.0, 360.0),
    view="picture",
    size="512x512",
)
ACCOUNT = people.Account(name="anna", role="admin", created_at=NOW)
TOKEN = people.Token(
    id="tok_8f2e", name="laptop", account="anna", role=None, created_at=NOW, expires_at=None, last_used_at=NOW + 60
)
VOICE = Voice(id="local/espeak-ng/en-us", backend="local", model="espeak-ng", name="en-us", default=True)
MODEL = Model(id="preview", owned_by="echod", echod=ModelExtras(exact=False, licence="Apache-2.0"))
USAGE = DayOfUsage(
    account="anna",
    day="2026-11-26",
    function="speak",
    backend="local",
    model="espeak-ng",
    voice="en-us",
    calls=3,
    failed=0,
    input_tokens=0,
    output_tokens=0,
    characters=41,
    seconds=3.1,
)
DEVICE = DeviceState(
    worker=0,
    device="cpu",
    state="idle",
    epoch=1,
    pid=4711,
    job=None,
    suspended=None,
    helping=None,
    helped=0,
    helps=[],
    shares=[],
    numbers={},
    computed={"preview": {"device": "cpu"}},
    engines=["preview"],
    exact={"preview": False},
    restarts=0,
    loads=1,
    reason=None,
    cuda_visible_devices="",
    torch_imported_at_hello=False,
)
CAPABILITIES = able.Capabilities(
    hears=Hears(
        available=False,
        by=None,
        reason=Reason("hearing_not_installed", "nothing here hears", ["echod weights pull whisper:base"]),
    ),
    replies=Replies(available=True, by="local/scripted", reason=None, scripted=True),
    speaks=Speaks(
        available=True,
        by="local/espeak-ng",
        reason=None,
        languages=["de", "en"],
        default_voice="local/espeak-ng/en-us",
    ),
    engines=[able.Engine(id="preview", exact=False, devices=["cpu"])],
    limits=able.Limits(
        max_seconds=1800.0, max_upload=64 << 20, max_pixels=50_000_000, max_prompt=10_000, max_utterance=60.0
    ),
)

WEBHOOK = hooks.Webhook(
    id="wh_5f3a9c21d0b7e648",
    name="ours",
    url="https://example.org/hook",
    event_types=["video.completed", "video.failed"],
    created_at=NOW,
    echod=hooks.WebhookExtras(account="anna", everybody=False, disabled=None, waiting=0, delivered=1, failed=0),
)
DELIVERY = hooks.Delivery(
    id="evt_0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    type="video.completed",
    video_id=VIDEO.id,
    created_at=NOW + 4,
    state="delivered",
    attempts=1,
    due=None,
    answer="200",
)

ANSWERED: tuple[msgspec.Struct, ...] = (
    VIDEO,
    listing(Videos, [VIDEO]),
    DeletedVideo(id=VIDEO.id),
    FILE,
    listing(Files, [FILE]),
    DeletedFile(id=FILE.id),
    ROLE,
    listing(Roles, [ROLE]),
    DeletedRole(id=ROLE.id),
    ACCOUNT,
    people.Accounts(data=[ACCOUNT]),
    people.DeletedAccount(name=ACCOUNT.name),
    people.EndedSession(),
    people.Tokens(data=[TOKEN]),
    people.CreatedToken(**msgspec.structs.asdict(TOKEN) | {"last_used_at": None}, token="echod_5Qm1..."),
    people.DeletedToken(id=TOKEN.id),
    Voices(data=[VOICE]),
    UsageByDay(data=[USAGE]),
    MODEL,
    Models(data=[MODEL]),
    Health(version="0.1.0", sign_in=True),
    Readiness(ready=True, draining=False, devices=[DEVICE]),
    Examples(
        portrait=f"{BASE}/v1/examples/portrait?{SIGNED}",
        speech=f"{BASE}/v1/examples/speech?{SIGNED}",
        roles=[
            ExampleRole(
                name="ada",
                title="Ada, flight instructor",
                greeting="Hello! I'm Ada.",
                language="en",
                portrait=f"{BASE}/v1/examples/roles/ada/portrait?{SIGNED}",
            )
        ],
    ),
    CAPABILITIES,
    WEBHOOK,
    hooks.CreatedWebhook(**msgspec.structs.asdict(WEBHOOK), signing_secret="whsec_MfKQ9r8..."),
    listing(hooks.Webhooks, [WEBHOOK]),
    hooks.DeletedWebhook(id=WEBHOOK.id),
    DELIVERY,
    listing(hooks.Deliveries, [DELIVERY]),
    hooks.RetriedWebhook(webhook_endpoint_id=WEBHOOK.id, deliveries=1),
    hooks.TestedWebhook(webhook_endpoint_id=WEBHOOK.id, event_type="video.completed", status_code=200),
)
ASKED: tuple[msgspec.Struct, ...] = (
    people.Login(name="anna", password="correct horse battery"),
    people.NewPassword(password="staple battery horse"),
    people.OwnPassword(current_password="correct horse battery", password="staple battery horse"),
    people.NewAccount(name="bert", password="correct horse battery"),
    people.NewToken(name="laptop", expires_in=86400),
    hooks.NewWebhook(name="ours", url=WEBHOOK.url, event_types=["video.completed", "video.failed"]),
    hooks.TestedEvent(event_type="video.completed"),
)
