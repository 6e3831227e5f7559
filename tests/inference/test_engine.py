from __future__ import annotations

import pytest

from echod.inference.contract import Options, Portrait, check_options, check_size
from echod.inference.engines import load_engine
from echod.inference.errors import InputError
from echod.inference.portraits import PortraitCache, PortraitKey


def key(number: int) -> PortraitKey:
    return f"{number:064x}", (512, 512), "preview"


def portrait(nbytes: int) -> Portrait:
    return Portrait(size=(512, 512), crop=(0, 0, 512, 512), faces=1, nbytes=nbytes)


def test_cache_forgets_the_least_recently_used() -> None:
    """When the limit is passed, the portrait that nobody asked for longest goes first."""
    cache = PortraitCache(limit=100)
    first, second, third = portrait(40), portrait(40), portrait(40)
    cache.put(key(1), first)
    cache.put(key(2), second)
    assert cache.get(key(1)) is first
    cache.put(key(3), third)
    assert cache.get(key(2)) is None
    assert cache.get(key(1)) is first
    assert cache.nbytes == 80


def test_cache_never_holds_more_than_its_limit() -> None:
    """A portrait larger than the limit is not kept."""
    cache = PortraitCache(limit=100)
    cache.put(key(1), portrait(101))
    assert cache.get(key(1)) is None
    assert cache.nbytes == 0


def test_cache_tells_sizes_and_engines_apart() -> None:
    """One picture at two sizes is two portraits."""
    cache = PortraitCache()
    cache.put(("a", (512, 512), "preview"), portrait(1))
    assert cache.get(("a", (256, 256), "preview")) is None
    assert cache.get(("a", (512, 512), "echomimic")) is None


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
