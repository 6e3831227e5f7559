"""What a node must have before a worker starts there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from echod.inference.download import Tell
from echod.inference.echomimic import hub, layout
from echod.inference.errors import InputError
from echod.workers.cluster.furnishing import furnish
from echod.workers.messages import Alive, NotReady
from echod.workers.spec import Spec

SPEC = Spec(
    device="ray", engines=("echomimic", "preview"), weights="/at/home", directory="/at/home", reports="", parent=1,
    threads=8, kernels="/at/home/kernels",
)  # fmt: skip


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's own."""
    monkeypatch.setenv("ECHOD_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("ECHOD_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))


async def furnished(spec: Spec, directory: Path) -> list[Alive | NotReady | Spec]:
    return [each async for each in furnish(spec, directory, "n1")]


async def test_weights_that_are_missing(tmp_path: Path) -> None:
    """Are told with node, directory and what fetches them, and no restart would change it."""
    (refused,) = await furnished(SPEC, tmp_path)
    assert isinstance(refused, NotReady)
    assert refused.final
    for words in ("node n1", str(tmp_path / "weights"), "denoising_unet", "`echod weights pull echomimic`"):
        assert words in refused.reason


async def test_weights_that_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that is wished, signs of life tell of it; then the worker has the node's directories."""

    def pull(directory: Path, engine: str, tell: Tell) -> None:
        tell(f"{engine}: 2 files")
        for part in layout.parts(engine):
            (directory / part.names[0]).parent.mkdir(parents=True, exist_ok=True)
            (directory / part.names[0]).touch()

    monkeypatch.setattr(hub, "pull", pull)
    *told, spec = await furnished(replace(SPEC, ray_pull_weights=True), tmp_path)
    assert told
    assert all(isinstance(each, Alive) and "fetching weights to node n1" in each.doing for each in told)
    assert isinstance(spec, Spec)
    assert (spec.weights, spec.device) == (str(tmp_path / "weights"), "cuda:0")
    assert spec.kernels == str(tmp_path / "state/cache/kernels")
    assert spec.inbox == f"{tmp_path}/inbox"


async def test_nothing_is_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why they could not be fetched is told as it is at home."""
    monkeypatch.setattr(hub, "pull", _refusing)
    *_, refused = await furnished(replace(SPEC, ray_pull_weights=True), tmp_path)
    assert refused == NotReady("node n1: the disk is full")


def _refusing(directory: Path, engine: str, tell: Tell) -> None:
    raise InputError("disk_full", "the disk is full")


async def test_the_preview_needs_nothing(tmp_path: Path) -> None:
    (spec,) = await furnished(replace(SPEC, engines=("preview",), device="ray/cpu", threads=1), tmp_path)
    assert isinstance(spec, Spec)
    assert (spec.device, spec.threads) == ("cpu", 1)
