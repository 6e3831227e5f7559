"""The fields of a request for a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from echod.errors import EchodError
from echod.inspection.facts import PortraitFacts
from echod.jobs.job import ClipOptions
from echod.jobs.options import check_framing
from echod.roles.file import RoleFile
from echod.roles.role import Role
from echod.server.multipart import nest
from echod.server.routes.submission import Reference, check

BOTH = {"input_reference": {"file_id": "file_p"}, "audio_reference": {"file_id": "file_s"}}


def refused(fields: dict[str, Any], uploaded: tuple[str, ...] = ()) -> tuple[str, str | None]:
    with pytest.raises(EchodError) as refusal:
        check(fields, uploaded)
    return refusal.value.code, refusal.value.param


def test_defaults() -> None:
    """Nothing but the two inputs is needed."""
    submission = check(BOTH, ())
    assert submission.options == ClipOptions()
    assert (submission.engine, submission.prompt, submission.metadata) == (None, None, {})
    portrait, speech = Reference("file_id", "file_p"), Reference("file_id", "file_s")
    assert submission.references == {"input_reference": portrait, "audio_reference": speech}


@pytest.mark.parametrize("as_text", [False, True])
def test_every_option(as_text: bool) -> None:
    """ClipOptions are the same as JSON values and as the text that forms carry."""
    given: dict[str, Any] = {
        "size": "768x1024", "fps": 30, "steps": 6, "guidance": 2.5, "seed": 2**63 - 1, "lossless": True, "live": True,
        "seconds": 4, "model": "preview", "prompt": "a label", "label": "corner", "label_language": "zh",
    }  # fmt: skip
    if as_text:
        given = {name: str(value).lower() for name, value in given.items()}
    submission = check(BOTH | given | {"metadata": {"key": "value"}}, ())
    assert submission.options == ClipOptions(
        width=768,
        height=1024,
        fps=30,
        steps=6,
        guidance=2.5,
        seed=2**63 - 1,
        lossless=True,
        live=True,
        label="corner",
        label_language="zh",
    )
    assert (submission.engine, submission.prompt, submission.metadata) == ("preview", "a label", {"key": "value"})


def test_null_is_omitted() -> None:
    """JSON null leaves the default."""
    assert check(BOTH | {"seed": None, "prompt": None, "metadata": None}, ()).options.seed == 420


@pytest.mark.parametrize(
    "size",
    ["120x512", "1032x512", "516x512", "512", "512X512", "x", "512x512x512", "-512x512", 512, "0x0", "", "99999x8"],
)
def test_unsupported_size(size: Any) -> None:
    """A size outside 128..1024 in steps of 8 has a code of its own."""
    assert refused(BOTH | {"size": size}) == ("unsupported_size", "size")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fps", 0), ("fps", 61), ("fps", "fast"), ("fps", 24.5), ("fps", True), ("fps", []),
        ("steps", 0), ("steps", 101), ("guidance", -0.1), ("guidance", 20.1), ("guidance", "nan"), ("guidance", "inf"),
        ("guidance", {}), ("seed", -1), ("seed", 2**63), ("seed", "9" * 5000), ("seed", 1.5), ("seed", float("inf")),
        ("lossless", "maybe"), ("lossless", 2), ("label", "top"), ("label", ["none"]), ("label_language", "fr"),
        ("live", "now"), ("prompt", 7), ("prompt", "x" * 10_001), ("model", ["preview"]),
        ("model", "m" * 200), ("voice", "anna"), ("colour", "red"), ("metadata", "text"), ("metadata", {"k" * 65: "v"}),
        ("metadata", {"k": "v" * 513}), ("metadata", {"k": 1}), ("metadata", {str(n): "v" for n in range(17)}),
    ],
)  # fmt: skip
def test_refused_values(name: str, value: Any) -> None:
    """Values out of range or of the wrong kind, and fields nobody knows, are refused by name."""
    assert refused(BOTH | {name: value}) == ("invalid_request", name)


@pytest.mark.parametrize("missing", ["input_reference", "audio_reference"])
def test_missing_input(missing: str) -> None:
    """Portrait and speech are both needed, and the refusal names the missing one."""
    assert refused({name: value for name, value in BOTH.items() if name != missing}) == ("invalid_request", missing)


@pytest.mark.parametrize(
    "reference",
    [
        "bytes as text",
        {"video_id": 7},
        {"file_id": "f", "video_id": "v"},
        {"image_url": "http://example.org/p.png"},
        {"file_id": 7},
        {},
        {"file_id": "f", "x": 1},
        ["f"],
    ],
)
def test_reference_that_is_no_file(reference: Any) -> None:
    """Anything but a file or a file id is refused, naming where to upload."""
    with pytest.raises(EchodError, match="POST /v1/files") as refusal:
        check(BOTH | {"audio_reference": reference}, ())
    assert refusal.value.param == "audio_reference"


def test_input_given_twice() -> None:
    """A file part and a file id for the same input contradict one another."""
    assert refused(BOTH, ("input_reference",)) == ("invalid_request", "input_reference")


def test_uploaded_inputs_need_no_reference() -> None:
    """Inputs that came as file parts are not missing."""
    assert check({}, ("input_reference", "audio_reference")).references == {}


def test_form_fields_nest() -> None:
    """Brackets in a form field's name are an object in JSON."""
    fields: dict[str, Any] = {}
    for name, value in (
        ("metadata[a]", "1"),
        ("metadata[b]", "2"),
        ("prompt", "hi"),
        ("input_reference[file_id]", "f"),
    ):
        nest(name, value, fields)
    assert fields == {"metadata": {"a": "1", "b": "2"}, "prompt": "hi", "input_reference": {"file_id": "f"}}


@pytest.mark.parametrize(
    "names", [("seed", "seed"), ("metadata[a]", "metadata[a]"), ("seed", "seed[a]"), ("a[b]", "a")]
)
def test_form_field_given_twice(names: tuple[str, str]) -> None:
    """A field given twice is refused: neither value may win silently."""
    fields: dict[str, Any] = {}
    nest(names[0], "1", fields)
    with pytest.raises(EchodError, match="more than once"):
        nest(names[1], "2", fields)


def test_fingerprint() -> None:
    """The fingerprint changes with everything that changes the clip or its label, and with nothing else."""
    asked = check(BOTH, ())
    same = check({"seed": "420", "fps": 24, "seconds": "8"}, ("input_reference", "audio_reference"))
    assert asked.fingerprint("preview", "p", "s") == same.fingerprint("preview", "p", "s")
    others = [
        asked.fingerprint("other", "p", "s"),
        asked.fingerprint("preview", "q", "s"),
        asked.fingerprint("preview", "p", "t"),
        check(BOTH | {"seed": 421}, ()).fingerprint("preview", "p", "s"),
        check(BOTH | {"prompt": "x"}, ()).fingerprint("preview", "p", "s"),
        check(BOTH | {"metadata": {"k": "v"}}, ()).fingerprint("preview", "p", "s"),
    ]
    assert len({asked.fingerprint("preview", "p", "s"), *others}) == 7


FACES = PortraitFacts(
    width=400, height=300, faces=2, box=(210.0, 90.0, 300.0, 200.0), sha256="p",
    boxes=((60.0, 80.0, 130.0, 170.0), (210.0, 90.0, 300.0, 200.0)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "view"),
    [({}, "face"), ({"size": "512x512"}, "face"), ({"view": "picture"}, "picture"),
     ({"view": "picture", "size": "512x512"}, "picture"), ({"view": "face"}, "face")],
)  # fmt: skip
def test_view(given: dict[str, Any], view: str) -> None:
    """A clip that is asked for without a role shows the face, unless the picture is asked for."""
    assert check(BOTH | given, ()).options.view == view


@pytest.mark.parametrize(
    ("options", "given", "view"),
    [({}, {}, "picture"), ({"size": "256x256"}, {}, "face"), ({"view": "face"}, {}, "face"),
     ({}, {"size": "256x256"}, "face"), ({}, {"view": "face"}, "face"),
     ({"view": "picture", "size": "256x256"}, {}, "picture")],
)  # fmt: skip
def test_view_of_a_role(options: dict[str, Any], given: dict[str, Any], view: str) -> None:
    """It is the picture, unless the role or the request says otherwise or names a size."""
    role = Role(name="ada", file=RoleFile(portrait="p.png", options=options), portrait=FACES, picture=Path("p.png"))
    assert check(BOTH | given, (), role).options.view == view


@pytest.mark.parametrize("as_text", [False, True])
def test_framing(as_text: bool) -> None:
    """A crop, a dilation and a face, as JSON and as forms carry them."""
    crop = check(
        BOTH | {"crop": "200,80,330,210" if as_text else [200, 80, 330, 210], "face": "1" if as_text else 1}, ()
    )
    assert (crop.options.crop, crop.options.face) == ((200, 80, 330, 210), 1)
    check_framing(crop.options, FACES)
    assert check(BOTH | {"dilation": "1.5" if as_text else 1.5}, ()).options.dilation == 1.5


@pytest.mark.parametrize(
    ("given", "param"),
    [({"crop": "1,2,3"}, "crop"), ({"crop": [1, 2, 3, 4.5]}, "crop"), ({"crop": [-1, 2, 3, 4]}, "crop"),
     ({"crop": {}}, "crop"), ({"crop": [0, 0, 9, 9], "dilation": 1}, "crop"), ({"dilation": -0.1}, "dilation"),
     ({"dilation": 5}, "dilation"), ({"face": -1}, "face"), ({"face": 1.5}, "face"), ({"view": "body"}, "view")],
)  # fmt: skip
def test_refused_framing(given: dict[str, Any], param: str) -> None:
    """What cannot be read, or says the same in two ways, is refused by name."""
    assert refused(BOTH | given) == ("invalid_request", param)


@pytest.mark.parametrize(
    ("given", "param", "words"),
    [({"crop": "200,80,401,281"}, "crop", "inside the picture, which is 400 x 300"),
     ({"crop": "200,100,330,230"}, "crop", "all of the face, which is 210,90,300,200"),
     ({"crop": "200,80,330,210", "face": 0}, "crop", "all of the face, which is 60,80,130,170"),
     ({"face": 2}, "face", "the portrait shows 2, counted from left to right from 0 on")],
)  # fmt: skip
def test_what_the_portrait_has_not(given: dict[str, Any], param: str, words: str) -> None:
    """Faces and crops are checked against the portrait before a job is made."""
    with pytest.raises(EchodError, match=words) as refusal:
        check_framing(check(BOTH | given, ()).options, FACES)
    assert (refusal.value.code, refusal.value.param) == ("invalid_request", param)
