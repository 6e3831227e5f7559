"""A clip's options as people give them: in forms, in JSON, in a role.toml. One check for all of these."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast, get_args

from echod.errors import EchodError, invalid
from echod.inference.framing import DILATION, Rect, problem_of
from echod.inference.limits import (
    DEFAULT_SEED,
    LABEL_LANGUAGES,
    LABELS,
    MAX_FPS,
    MAX_SIDE,
    MIN_FPS,
    MIN_SIDE,
    SIDE_STEP,
)
from echod.inspection.facts import PortraitFacts
from echod.jobs.job import ClipOptions, View, face_box

T = TypeVar("T")

SIZE = "512x512"  # where none is named
VIEWS: tuple[str, ...] = get_args(View)
MAX_SEED = 2**63 - 1
MAX_DILATION, MAX_FACE = 4, 99


def check_options(given: Mapping[str, Any], view: View = "face") -> ClipOptions:
    """The options among `given`, defaults for the others. EchodError unsupported_size, invalid_request.

    `view` is for whoever asks for neither a view nor a size: a size asks for the face.
    """
    width, height = _size(given.get("size", SIZE))
    return ClipOptions(
        width=width,
        height=height,
        crop=_crop(given.get("crop"), "dilation" in given),
        dilation=_number(given, "dilation", float, 0, MAX_DILATION, DILATION),
        face=_number(given, "face", int, 0, MAX_FACE, None),
        view=check_view(given.get("view", "face" if "size" in given else view)),
        fps=_number(given, "fps", int, MIN_FPS, MAX_FPS, 24),
        steps=_number(given, "steps", int, 1, 100, None),
        guidance=_number(given, "guidance", float, 0, 20, None),
        seed=_number(given, "seed", int, 0, MAX_SEED, DEFAULT_SEED),
        lossless=_switch(given, "lossless"),
        live=_switch(given, "live"),
        label=_one_of(given, "label", LABELS),
        label_language=_one_of(given, "label_language", LABEL_LANGUAGES),
    )


def _size(value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(value))
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE and side % SIDE_STEP == 0 for side in sides):
        raise EchodError(
            "unsupported_size",
            f"size = {value!r}: it must be WIDTHxHEIGHT, each {MIN_SIDE} to {MAX_SIDE} in steps of {SIDE_STEP}, "
            "such as 512x512",
            param="size",
        )
    return sides


def _one_of(given: Mapping[str, Any], name: str, words: Sequence[str]) -> str | None:
    value = given.get(name)
    if value is not None and value not in words:
        raise invalid(f"{name} = {value!r}: it must be one of {', '.join(words)}", name)
    return value


def check_framing(options: ClipOptions, portrait: PortraitFacts) -> None:
    """Refuse a face or a crop that the portrait has not. EchodError invalid_request."""
    if options.face is not None and options.face >= len(portrait.boxes):
        known = len(portrait.boxes)
        shown = (
            f"the portrait shows {known}, counted from left to right from 0 on" if known else "send the portrait again"
        )
        raise invalid(f"face = {options.face}: {shown}", "face")
    shape, size = (portrait.height, portrait.width), (options.width, options.height)
    if options.crop and (problem := problem_of(options.crop, shape, face_box(options, portrait), size)):
        raise invalid(f"crop = {','.join(map(str, options.crop))}: {problem}", "crop")


def _crop(value: Any, dilated: bool) -> Rect | None:
    """Four numbers, or their text as forms carry it."""
    if value is None:
        return None
    if dilated:
        raise invalid("crop and dilation are two ways to say the same: leave out one of them", "crop")
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if not re.fullmatch(r"\s*\d{1,6}(\s*,\s*\d{1,6}){3}\s*", text):
        raise invalid(
            f"crop = {value!r}: it must be x0,y0,x1,y1 in pixels of the portrait, such as 100,40,400,340", "crop"
        )
    x0, y0, x1, y1 = (int(each) for each in text.split(","))
    return x0, y0, x1, y1


def check_view(value: Any, name: str = "view") -> View:
    """EchodError invalid_request, about the field `name`."""
    if value not in VIEWS:
        raise invalid(f"{name} = {value!r}: it must be one of {', '.join(VIEWS)}", name)
    return cast("View", value)


def _number(
    given: Mapping[str, Any], name: str, kind: Callable[[Any], Any], low: float, high: float, default: T
) -> int | T:
    """A number, or its text as forms carry it."""
    value = given.get(name, default)
    if value is default:
        return default
    try:
        number = kind(value if isinstance(value, str) else _plain_number(value))
    except (ValueError, OverflowError):
        number = None
    if number is None or not low <= number <= high or (kind is int and not isinstance(value, str) and number != value):
        word = "a whole number" if kind is int else "a number"
        raise invalid(f"{name} = {value!r}: it must be {word} from {low} to {high}", name)
    return number  # type: ignore[no-any-return]


def _plain_number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return value


def _switch(given: Mapping[str, Any], name: str) -> bool:
    value, words = given.get(name, False), {"true": True, "1": True, "false": False, "0": False}
    found = value if isinstance(value, bool) else words.get(str(value).lower())
    if found is None:
        raise invalid(f"{name} = {value!r}: it must be true or false", name)
    return found
