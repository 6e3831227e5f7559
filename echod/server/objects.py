"""A job as clients see it, over HTTP and in events alike."""

from __future__ import annotations

from typing import Any

from echod.jobs import advice
from echod.jobs.desk import Desk
from echod.jobs.job import CONVERSATION, Job
from echod.server.services import Addresses

ETA_FROM = 0.05  # of an attempt's work; before that the time left cannot be told


def video_object(job: Job, desk: Desk, addresses: Addresses) -> dict[str, Any]:
    """OpenAI's Video object, and what it has no place for under "echod"."""
    width, height = job.size
    return {
        "id": job.id,
        "object": "video",
        "model": job.engine,
        "status": job.status,
        "progress": 100 if job.status == "completed" else min(int(job.progress * 100), 99),
        "created_at": int(job.created_at),
        "completed_at": _whole(job.finished_at),
        "expires_at": _whole(job.expires_at),
        "size": f"{width}x{height}",
        "seconds": f"{job.speech.seconds:.2f}" if job.speech else None,
        "prompt": job.prompt,
        "metadata": job.metadata,
        "remixed_from_video_id": None,
        "error": {"code": job.error.code, "message": job.error.message} if job.error else None,
        "echod": _extras(job, desk, addresses),
    }


def _extras(job: Job, desk: Desk, addresses: Addresses) -> dict[str, Any]:
    options, path = job.options, f"/v1/videos/{job.id}"
    return {
        "title": job.title,
        "created_at": job.created_at,  # to the fraction: many may be accepted in one second
        "account": job.account,
        # 0 while its dispatch is being committed
        "queue_position": (desk.queue.position(job.id) or 0) if job.status == "queued" else None,
        "eta_s": _seconds_left(job, desk),
        "stage": job.stage,
        "windows_done": job.windows_done,
        "windows_total": job.windows_total,
        "windows_resumed": job.windows_resumed,
        "view": options.view,
        "seed": options.seed,
        "fps": options.fps,
        "steps": options.steps,
        "guidance": options.guidance,
        "lossless": options.lossless,
        "live": options.live,
        "label": options.label,
        "label_language": options.label_language,
        "device": job.device,
        "devices": list(job.devices),
        "helpers": desk.helpers(job.id),
        "dtype": job.dtype,
        "approximation": job.approximation,
        "attempt": job.attempt,
        "engine": job.engine,
        "spoken": job.spoken,
        "conversation": job.priority == CONVERSATION,
        "voice": job.voice,
        "faces": job.portrait.faces if job.faces is None else job.faces,
        "portrait": {
            "width": job.portrait.width,
            "height": job.portrait.height,
            "box": job.box,
            "boxes": job.portrait.boxes,
        },
        "crop": job.crop,
        "framing": {"crop": options.crop, "dilation": options.dilation, "face": options.face},
        "warnings": advice.warnings(job.portrait, options),
        "frames": job.frames,
        "unsigned": job.unsigned,
        "url": addresses(f"{path}/content"),
        "thumbnail_url": addresses(f"{path}/content?variant=thumbnail"),
        "stream_url": addresses(f"{path}/stream"),
        "timings_ms": job.timings_ms,
    }


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


def _seconds_left(job: Job, desk: Desk) -> float | None:
    elapsed = desk.running_for(job.id)
    done, left = job.share - job.share_resumed, 1 - job.share
    if job.status != "in_progress" or elapsed is None or done <= ETA_FROM * (done + left):
        return None
    return round(elapsed * max(left, 0) / done, 1)


def listing(rows: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """A page in OpenAI's shape."""
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return {"object": "list", "data": rows, "first_id": first, "last_id": last, "has_more": more}
