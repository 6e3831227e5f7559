from __future__ import annotations

import pytest

from echod.inference.contract import Options, Portrait, check_options, check_size
from echod.inference.engines import load_engine
from echod.inference.errors import InputError
from echod.inference.portraits import PortraitCache


def portrait(nbytes: int) -> Portrait:
    return Portrait(size=(512, 512), crop=(0, 0, 512, 512), faces=1, nbytes=nbytes)


def test_cache_forgets_the_least_recently_used() -> None:
    """When the limit is passed, what nobody asked for longest goes first."""
    cache = PortraitCache(limit=100)
    first, second, third, fourth = (portrait(40) for _ in range(4))
    assert cache.get(1, lambda: first) is first
    assert cache.get(2, lambda: second) is second
    assert cache.get(1, lambda: fourth) is first
    assert cache.get(3, lambda: third) is third
    assert cache.get(1, lambda: fourth) is first
    assert cache.get(2, lambda: fourth) is fourth
    assert cache.nbytes == 80


def test_cache_never_holds_more_than_its_limit() -> None:
    """What is larger than the limit is given, but not kept."""
    cache = PortraitCache(limit=100)
    large, other = portrait(101), portrait(102)
    assert cache.get(1, lambda: large) is large
    assert cache.nbytes == 0
    assert cache.get(1, lambda: other) is other


@pytest.mark.parametrize("size", [(128, 128), (1024, 1024), (512, 768)])
def test_good_sizes(size: tuple[int, int]) -> None:
    """128 to 1024 in steps of 8."""
    check_size(size)


@pytest.mark.parametrize("size", [(120, 512), (512, 1032), (510, 512), (0, 0)])
def test_bad_sizes(size: tuple[int, int]) -> None:
    """Other sizes are refused with the size and the limits."""
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]}.*128 to 1024.*steps of 8") as caught:
        check_size(size)
    assert caught.value.code == "unsupported_size"


@pytest.mark.parametrize("fps", [0, 61])
def test_bad_frame_rates(fps: int) -> None:
    """1 to 60 frames a second."""
    with pytest.raises(InputError, match=f"fps {fps} .*1 to 60") as caught:
        check_options(Options(fps=fps))
    assert caught.value.code == "invalid_request"


def test_unknown_engine() -> None:
    """An engine that does not exist is refused by name."""
    with pytest.raises(InputError, match="no engine 'sora'") as caught:
        load_engine("sora", None, "cpu")
    assert caught.value.code == "model_not_loaded"
