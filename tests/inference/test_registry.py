"""Engines of packages: which there are, and what is said of one that cannot be loaded."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from echod.inference.engines import load_engine
from echod.inference.errors import InputError
from echod.inference.registry import BUILT_IN, GROUP, find, installed
from tests.making.packages import scripted, write_package

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where packages are installed for one test."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    installed.cache_clear()
    yield tmp_path / "site"
    installed.cache_clear()


def refusal(name: str) -> str:
    with pytest.raises(InputError) as refused:
        load_engine(name, Path("weights"), "cpu")
    assert refused.value.code == "model_not_loaded"
    return str(refused.value)


def test_echods_own_are_registered() -> None:
    """The package registers what a checkout that was installed before knows by itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == dict(BUILT_IN)
    assert {find(name).licence for name in BUILT_IN} == {project["license"]}


@pytest.mark.parametrize(
    ("about", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("License: BSD", "BSD"),
        ("Classifier: Topic :: Video\nClassifier: License :: OSI Approved :: MIT License", "MIT License"),
        (f"License: {'Permission is granted. ' * 9}", None),
        ("Summary: no word on it", None),
    ],
)
def test_licence(site: Path, about: str, licence: str | None) -> None:
    """It is what the package says in one of three places, in short."""
    write_package(site, "odd", "", about=about)
    assert (find("odd").package, find("odd").version, find("odd").licence) == ("echod-odd", "1.0", licence)


def test_names(site: Path) -> None:
    """No package takes a name of echod's, or one that is none; of two with the same name neither is taken."""
    for package, name in (("a", "preview"), ("b", "Big"), ("c", "auto"), ("d", "same"), ("e", "same"), ("f", "fine")):
        write_package(site, package, "")
        (site / f"echod_{package}-1.0.dist-info" / "entry_points.txt").write_text(
            f"[echod.engines]\n{name} = nowhere:load"
        )
    (site / "damaged-1.0.dist-info").mkdir()
    (site / "damaged-1.0.dist-info" / "entry_points.txt").write_text("[echod.engines]\nno sense")
    assert list(installed()) == [*BUILT_IN, "fine"]
    assert find("preview").built_in
    assert re.search("several engines 'same', of the packages echod-d, echod-e; uninstall", refusal("same"))
    assert (
        refusal("sora")
        == "there is no engine 'sora'; installed are preview, echomimic, echomimic-fast, echomimic-quality, fine"
    )


def test_nothing_is_imported(site: Path) -> None:
    """To know of an engine its code is not run."""
    write_package(site, "odd", "raise SystemExit")
    assert find("odd").where_from == "odd (of the package echod-odd 1.0)"


UNUSABLE = {
    "a module that is not there": ("import nowhere", "cannot be imported: ModuleNotFoundError: No module named 'now"),
    "a loader that is not there": ("", "cannot be imported: AttributeError: .*load"),
    "a loader that is none": ("load = 1", "cannot be loaded: echod_odd:load is no function"),
    "no engine": ("def load(given): return 1", "does not keep the contract of engines: int has no settle, prepare"),
    "another name": (scripted("other"), "its name is 'other', not 'odd'"),
    "unknown stages": (scripted("odd", "shares = {'think': 1.0}"), "there is no stage think; shares may have face"),
    "shares too large": (scripted("odd", "shares = {'decode': 1.5}"), "sum to 1, not to 1.5"),
    "no shares": (scripted("odd", "shares = None"), "shares must be a mapping of stages to numbers"),
    "windows of no stage": (scripted("odd", "windows = 'denoise'"), "windows is 'denoise', and must be a stage"),
    "no word on exactness": (scripted("odd", "exact = None"), "exact must be True or False"),
    "numbers of a number": (scripted("odd", "numbers = 3"), "numbers must be text or None"),
    "files of text": (scripted("odd", "files = {'a': 'b'}"), "files must be a mapping of text to paths"),
}


@pytest.mark.parametrize(("code", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable(site: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str) -> None:
    """What is wrong with an engine is told with its package."""
    write_package(site, "odd", code)
    monkeypatch.delitem(sys.modules, "echod_odd", raising=False)
    assert re.search(rf"engine odd \(of the package echod-odd 1.0\) .*{reason}", refusal("odd"))


def test_its_own_errors(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that refuses to be loaded says so itself."""
    monkeypatch.delitem(sys.modules, "echod_odd", raising=False)
    write_package(
        site,
        "odd",
        "from echod.inference.errors import InputError\n"
        "def load(given): raise InputError('model_not_loaded', f'{given.weights} lacks {given.name}.pt')\n",
    )
    assert refusal("odd") == "weights lacks odd.pt"
