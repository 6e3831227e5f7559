"""Content Credentials: what a finished clip says about itself, signed and bound to its bytes (C2PA).

They are signed last: whatever is written into a clip afterwards breaks them, and a remux leaves them out. No server
puts a time to the signature, and none is asked when one is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import c2pa

from echod import __version__
from echod.errors import EchodError
from echod.provenance.certificate import Identity, algorithm, private_key
from echod.provenance.manifest import Manifest

MP4 = "video/mp4"
LABEL = "echod.manifest"  # the assertion that is the manifest
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MODEL, PART_PHOTO = f"{SOURCES}trainedAlgorithmicMedia", f"{SOURCES}compositeWithTrainedAlgorithmicMedia"
UNTRUSTED = "signingCredential.untrusted"
MATCH = "assertion.bmffHash.match"
PROBLEMS = {"assertion.bmffHash.mismatch": "its bytes are not those that were signed"}
OFFLINE = {
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"backing_store_memory_threshold_in_mb": 16},  # larger clips go through a temporary file
}

State: TypeAlias = Literal["trusted", "untrusted", "tampered"]


def sign(source: Path, signed: Path, manifest: Manifest, identity: Identity) -> None:
    """Write the clip `source` with its credentials to `signed`. Raises whatever keeps it from being signed."""
    alg = algorithm(private_key(identity.key))
    info = c2pa.C2paSignerInfo(alg.encode(), identity.certificate.read_bytes(), identity.key.read_bytes(), None)
    with (
        c2pa.Context.from_dict(OFFLINE) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(_claim(manifest), context=context) as builder,
        source.open("rb") as given,
        signed.open("w+b") as made,
    ):
        builder.sign(signer, MP4, given, made)


def _claim(manifest: Manifest) -> dict[str, Any]:
    whole = manifest["options"].get("view") == "picture"
    agent = {"name": "echod", "version": __version__}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": PART_PHOTO if whole else MODEL,
        "softwareAgent": agent,
        "parameters": {"ingredientIds": list(_inputs(manifest))},
    }
    return {
        "claim_generator_info": [agent],
        "title": f"{manifest['job']}.mp4",
        "format": MP4,
        "ingredients": [
            {
                "label": name,
                "title": name,
                "relationship": "inputTo",
                "instance_id": f"sha256:{sha256}",
                "description": f"sha256 {sha256}",
            }
            for name, sha256 in _inputs(manifest).items()
        ],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": LABEL, "data": manifest, "kind": "Json"},
        ],
    }


def _inputs(manifest: Manifest) -> dict[str, str]:
    return {name.removesuffix("_sha256"): sha256 for name, sha256 in manifest["inputs"].items()}


@dataclass(frozen=True)
class Credentials:
    """What a file's credentials say. `problems` is why it counts as tampered with; `manifest` is that of our clips."""

    state: State
    signer: str
    generator: str
    source: str | None
    signed_by_echod: bool
    problems: tuple[str, ...]
    manifest: Manifest | None


def read(clip: Path, trusted: bytes | None = None) -> Credentials | None:
    """The credentials in a file; None: it has none. `trusted` are certificates in PEM of authorities that are believed.

    EchodError invalid_request for what is no video file, or so damaged that none can be read.
    """
    settings = OFFLINE | ({"trust": {"trust_anchors": trusted.decode()}} if trusted else {})
    try:
        with (
            clip.open("rb") as file,
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(MP4, file, context=context) as reader,
        ):
            report = json.loads(reader.json())
            # The report makes base64 of lists of small numbers; this one does not.
            plain = {each["label"]: each for each in json.loads(reader.crjson())["manifests"]}
            return _credentials(report, plain.get(report["active_manifest"], {}).get("assertions", {}).get(LABEL))
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, UnicodeDecodeError) as error:
        raise EchodError("invalid_request", f"{clip} cannot be read as an mp4 file: {_reason(error)}") from None


def _credentials(report: dict[str, Any], manifest: Any) -> Credentials:
    active = report["manifests"][report["active_manifest"]]
    results = report.get("validation_results", {}).get("activeManifest", {})
    failures = [each for each in results.get("failure", []) if each["code"] != UNTRUSTED]
    bound = any(each["code"] == MATCH for each in results.get("success", []))
    problems = [PROBLEMS.get(each["code"]) or each.get("explanation") or each["code"] for each in failures]
    if not (bound or problems):  # whoever left the hash out said nothing of the picture
        problems = ["it is not bound to the picture data"]
    state: State = "tampered" if problems else "trusted" if report["validation_state"] == "Trusted" else "untrusted"
    signature = active.get("signature_info", {})
    agent = (active.get("claim_generator_info") or [{}])[0]
    return Credentials(
        state=state,
        signer=signature.get("common_name") or signature.get("issuer") or "nobody who is named",
        generator=" ".join(filter(None, (agent.get("name"), agent.get("version")))) or "an unnamed program",
        source=next(_sources(active), None),
        signed_by_echod=agent.get("name") == "echod",
        problems=tuple(problems),
        manifest=manifest if isinstance(manifest, dict) else None,
    )


def _sources(active: dict[str, Any]) -> Iterator[str]:
    for assertion in active["assertions"]:
        if assertion["label"].startswith("c2pa.actions"):
            for action in assertion["data"]["actions"]:
                if found := action.get("digitalSourceType"):
                    yield found.rpartition("/")[2]


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
