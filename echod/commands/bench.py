"""`echod bench`: how fast the daemon makes a clip, and how much of the device that is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echod.commands.common import as_json, connect, note, print_line, print_result, quiet, to_daemon
from echod.commands.making import outcome
from echod.commands.meter import Meter, UnknownError
from echod.commands.tables import table_lines
from echod.commands.words import t
from echod.errors import EchodError

if TYPE_CHECKING:
    from echod.client.client import Client, Video

readable = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
SKETCH = "preview is no EchoMimic: `echod weights pull echomimic`, then `echod serve --engine echomimic`, to time that"


@click.command()
@click.argument("portrait", type=readable, required=False)
@click.argument("speech", type=readable, required=False)
@click.option("--engine", metavar="NAME", help="What makes the frames; default: the daemon's main engine.")
@click.option("--size", metavar="WxH", help="Size of the clip. [default: 512x512]")
@as_json
@quiet
@to_daemon
def bench(
    portrait: Path | None,
    speech: Path | None,
    engine: str | None,
    size: str | None,
    as_json: bool,
    quiet: bool,
    url: str | None,
    reconnect: float,
) -> None:
    """Time one job of PORTRAIT and SPEECH, or of examples, and print what it took; the job is removed again.

    Times count from handing in the job, so with upload,
    inspection and the wait for a worker; those of stages are the worker's own. Ctrl-C cancels the job.

    On the daemon's machine, over its unix socket, memory and watts are told too, and for EchoMimic how much of the
    device's peak its FLOP are: of a matrix product in the same dtype, timed after the clip. What cannot be had is said.
    The last line is for issues.
    """
    from echod.roles import examples as example_roles

    portrait, speech = portrait or example_roles.PORTRAIT, speech or example_roles.SPEECH
    with connect(url, reconnect, quiet) as client:
        meters = _meters(client)
        began = time.monotonic()
        video = client.submit(portrait, speech, engine=engine, size=size, view="face")
        try:
            note(f"{video['id']} accepted, engine {video['model']}", quiet)
            report = _timed(client, video["id"], began)
            _examine(client, client.video(video["id"]), report, meters)
        finally:
            client.remove(video["id"])
    if report["engine"] == "preview":
        note(SKETCH, quiet)
    rows = [(t(what), figure) for what, figure in _rows(report)]
    print_result(report, table_lines(("WHAT", "FIGURE"), rows), as_json)
    if not as_json:
        print_line(report["line"])


def _timed(client: Client, video_id: str, began: float) -> dict[str, Any]:
    first: float | None = None
    with contextlib.suppress(EchodError):  # what became of the job, it tells itself
        for _ in client.stream(video_id):
            first = first or time.monotonic() - began
    *_, event = client.follow(video_id)
    total, video = time.monotonic() - began, event["video"]
    if video["status"] != "completed":
        raise outcome(video)
    extras = video["echod"]
    return {
        "engine": video["model"],
        "device": extras["device"],
        "size": video["size"],
        "frames": extras["frames"],
        "first_fragment_s": first and round(first, 3),
        "total_s": round(total, 3),
        "frames_per_s": round(extras["frames"] / total, 2),
        "timings_ms": extras["timings_ms"],
    }


# Beyond time


def _meters(client: Client) -> dict[str, tuple[Meter, dict[str, Any]]]:
    """By device; none where the daemon is on another machine, or might be."""
    if client.address.socket is None:
        return {}
    return {state["device"]: (Meter(state), state) for state in client.readiness()["devices"]}


def _examine(
    client: Client, video: Video, report: dict[str, Any], meters: dict[str, tuple[Meter, dict[str, Any]]]
) -> None:
    """Add to the report what else can be had, and why the rest cannot."""
    from echod.commands.share import of_peak

    manifest = client.manifest(video["id"])
    computed, versions = manifest["computed"], manifest["versions"]
    report |= {"processor": computed.get("device"), "dtype": computed.get("dtype"), "unknown": {}}

    def ask(name: str, answer: Callable[[Meter, dict[str, Any]], Any]) -> None:
        try:
            if report["device"] not in meters:
                raise UnknownError("only over the unix socket, on the daemon's machine")
            report[name] = answer(*meters[report["device"]])
        except UnknownError as error:
            report[name], report["unknown"][name] = None, str(error)

    ask("watts", lambda meter, _: round(meter.watts(), 1))
    ask("host_memory", lambda meter, _: meter.host_memory())
    ask("card_memory", lambda meter, _: meter.card().memory())
    ask("driver", lambda meter, _: meter.card().driver())
    ask("peak", lambda _, state: of_peak(video, computed, state["cuda_visible_devices"]))
    report["versions"] = {name: versions[name] for name in ("echod", "torch") if name in versions}
    report["line"] = ", ".join(_line(report))


def _line(report: dict[str, Any]) -> Iterator[str]:
    yield f"echod {report['versions'].get('echod', '?')}"
    yield f"{report['engine']} {report['size']}"
    yield report["dtype"] or "no dtype"
    yield f"{report['device']} ({report['processor']})"
    yield f"torch {report['versions'].get('torch', '?')}"
    if report["driver"]:
        yield f"driver {report['driver']}"
    yield f"{report['frames_per_s']} frames/s"


def _rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    def figure(name: str, text: Callable[[Any], str]) -> str:
        return t(f"not known: {report['unknown'][name]}") if report[name] is None else text(report[name])

    first = report["first_fragment_s"]
    yield "engine", f"{report['engine']}, {report['size']}, {report['dtype'] or t('no dtype')}"
    yield "device", f"{report['device']}, {report['processor']}"
    yield "frames/s", t(f"{report['frames_per_s']}, {report['frames']} in {report['total_s']} s")
    unseen = t("not known: the clip could not be read while it was made")
    yield "first frame", unseen if first is None else f"{first} s"
    yield "stages", ", ".join(f"{t(stage)} {ms / 1000:.2f} s" for stage, ms in report["timings_ms"].items())
    yield "of the peak", figure("peak", _share)
    yield "host memory", figure("host_memory", _gib)
    yield "card memory", figure("card_memory", lambda held: t(f"{_gib(held)} in use on the card"))
    yield "watts", figure("watts", str)


def _share(peak: dict[str, float]) -> str:
    unit, per = ("TFLOP/s", 1e12) if peak["peak_flops"] >= 1e12 else ("GFLOP/s", 1e9)
    at_work, most = peak["flops"] / per, peak["peak_flops"] / per
    return t(f"{peak['share']:.1%}: {at_work:.1f} of {most:.1f} {unit} while it denoised and decoded")


def _gib(held: int) -> str:
    return f"{held / 2**30:.2f} GiB"
