from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from echod.host.directories import create_private
from echod.workers.compiling import Compiling
from echod.workers.spec import Spec


class Signs:
    """What is told meanwhile, and a way to wait for it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._more = threading.Condition()

    def __call__(self, doing: str) -> None:
        with self._more:
            self.told.append(doing)
            self._more.notify_all()

    def wait_for(self, words: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: any(words in doing for doing in self.told), 20), self.told


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS",
                     "TORCHINDUCTOR_DETERMINISTIC"):  # fmt: skip
        monkeypatch.setenv(variable, "")
    return tmp_path / "kernels"


def compiling(directory: Path, worker: int = 0, daemon: int = 77, signs: Signs | None = None) -> Compiling:
    spec = Spec(engines=(), weights="", directory="", reports="", kernels=str(directory), index=worker, parent=daemon,
                threads=3)  # fmt: skip
    return Compiling(spec, signs or Signs())


def test_where_kernels_are_kept(directory: Path) -> None:
    """Under the state directory, for the daemon's user alone; none is chosen by timing it."""
    made = compiling(directory)
    assert made(lambda: None)
    assert made.told and made.told.startswith("compiled in ")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (
        Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == Path(os.environ["TRITON_CACHE_DIR"]).parent == directory
    )
    assert (os.environ["TORCHINDUCTOR_DETERMINISTIC"], os.environ["TORCHINDUCTOR_COMPILE_THREADS"]) == ("1", "3")


def test_kernels_of_other_versions(directory: Path) -> None:
    """They go before the first worker compiles; those of the same versions stay."""
    assert compiling(directory)(lambda: None)
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        Path(os.environ[name]).mkdir()
        (Path(os.environ[name]) / "kernel").touch()
    assert compiling(directory, daemon=78)(lambda: None)
    assert {path.parent.name for path in directory.rglob("kernel")} == {"inductor", "triton"}
    (directory / "made-by").write_text("echod 0.0.1, torch 1.0")
    assert compiling(directory, daemon=79)(lambda: None)
    assert not list(directory.rglob("kernel"))


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
        ImportError("cannot import name 'triton_key'"),
        OSError(28, "No space left on device"),
        MemoryError("CUDA out of memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_is_told_once(directory: Path, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever prevents it, the worker goes on without and says why; the next process tries again."""
    made = compiling(directory)
    assert not made(lambda: fail(error))
    assert made.told == f"not compiled, clips take longer: {type(error).__name__}: {error}"
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert str(error) in told.getMessage()
    assert compiling(directory)(lambda: None)


def test_no_place_for_kernels(directory: Path) -> None:
    """A directory that cannot be made is no death either."""
    directory.touch()
    made = compiling(directory)
    assert not made(lambda: pytest.fail("compiled all the same"))
    assert made.told and "is no directory" in made.told


def test_a_context_that_is_lost(directory: Path) -> None:
    """An error after which nothing works is raised; the next process of this daemon goes without."""
    lost = RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory"):
        compiling(directory)(lambda: fail(lost))
    after = compiling(directory)
    assert not after(lambda: pytest.fail("compiled all the same"))
    assert after.told and "died while it compiled" in after.told
    assert compiling(directory, worker=1)(lambda: None), "another worker is not concerned"
    assert compiling(directory, daemon=78)(lambda: None)


class Killed(BaseException):
    pass


def test_a_death(directory: Path) -> None:
    """A process that was killed while it compiled is followed by one that goes without."""
    with pytest.raises(Killed):
        compiling(directory)(lambda: (_ for _ in ()).throw(Killed))
    for _ in range(2):
        assert not compiling(directory)(lambda: pytest.fail("compiled all the same"))


def test_the_first_compiles_alone(directory: Path) -> None:
    """Others wait for it, with signs of life, and then compile all at once, out of what it kept."""
    create_private(directory)
    began, go_on, together, signs = threading.Event(), threading.Event(), threading.Barrier(2, timeout=20), Signs()
    order: list[str] = []

    def first() -> None:
        began.set()
        assert go_on.wait(20)
        order.append("first")

    def other() -> None:
        together.wait()  # the two others are at it together
        order.append("other")

    one = threading.Thread(target=compiling(directory, 0), args=(first,))
    one.start()
    assert began.wait(20)
    others = [threading.Thread(target=compiling(directory, n, signs=signs), args=(other,)) for n in (1, 2)]
    for thread in others:
        thread.start()
    signs.wait_for("waiting for another worker to compile")
    assert order == []
    go_on.set()
    for thread in (one, *others):
        thread.join(20)
    assert order == ["first", "other", "other"]
    assert any(doing.startswith("compiling") for doing in signs.told)


def test_signs_of_life_end(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who compiles for longer than that may take is silent, so that the stall watch sees it."""
    monkeypatch.setattr("echod.workers.compiling.LONGEST", 0.0)
    signs = Signs()
    assert compiling(directory, signs=signs)(lambda: None)
    assert signs.told == []
