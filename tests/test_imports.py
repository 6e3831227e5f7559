"""Who may import whom. Read from the source, so that an import inside a function counts too where it must not be."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "echod"
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}

PURE = {"errors.py", "messages.py", "jobs.py"}
ZMQ = {"fleet.py", "worker.py", "gpu_proc.py"}
TORCH = {"gpu_proc.py", "speech/local_proc.py"}


def imports(path: Path, *, top_level: bool) -> Iterator[str]:
    """Full names of imported modules, those under TYPE_CHECKING left out."""
    tree = ast.parse(path.read_text())
    for node in _unguarded(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.relative_to(ROOT.parent).with_suffix("").parts[: -node.level]
                module = ".".join((*package, module)).rstrip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _unguarded(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when the module is imported: not functions' bodies, nor what only type checkers read."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        pending.extend(ast.iter_child_nodes(node))


def names(file: str, *, top_level: bool = False) -> set[str]:
    return set(imports(FILES[file], top_level=top_level))


def under(names: set[str], *packages: str) -> set[str]:
    return {name for name in names if any(name == p or name.startswith(p + ".") for p in packages)}


@pytest.mark.parametrize("file", sorted(PURE))
def test_pure_modules(file: str) -> None:
    """errors, messages and jobs import the standard library, msgspec and each other."""
    pure = {f"echod.{Path(name).stem}" for name in PURE}
    for name in names(file):
        assert name.partition(".")[0] in {*sys.stdlib_module_names, "msgspec"} or under({name}, *pure), name


@pytest.mark.parametrize("file", sorted(FILES))
def test_layers(file: str) -> None:
    """fleet and server never meet; inference stands alone; zmq and torch stay where they belong."""
    imported = names(file)
    if file in ("fleet.py", "worker.py"):
        assert not under(imported, "echod.server")
    if file.startswith("server/"):
        assert not under(imported, "echod.fleet", "echod.worker", "echod.gpu_proc")
    if file.startswith("inference/"):
        assert not {name for name in under(imported, "echod") if not name.startswith("echod.inference")}
    if file not in ZMQ:
        assert not under(imported, "zmq")
    if file not in TORCH and not file.startswith("inference/"):
        allowed = {"torch.multiprocessing", "torch.cuda"} if file == "fleet.py" else set()
        assert under(imported, "torch") <= allowed, under(imported, "torch")


def test_cli_is_light() -> None:
    """At module level the command line imports click, config and errors of all that is not standard."""
    ours = under(names("cli.py", top_level=True), "echod")
    assert all(
        name.startswith(("echod.config", "echod.errors", "echod.commands", "echod.__version__")) for name in ours
    )


def test_worker_pins_before_it_imports() -> None:
    """gpu_proc imports inference and torch inside functions only, after the device is pinned."""
    assert not under(names("gpu_proc.py", top_level=True), "torch", "echod.inference")


def test_speech_child_begins_light() -> None:
    """local_proc imports torch, whisper and transformers inside functions only, after it is tied to its parent."""
    assert not under(names("speech/local_proc.py", top_level=True), "torch", "whisper", "transformers")
    assert not under(names("speech/local_speaker.py", top_level=True), "onnxruntime", "hibari", "piper")
    assert not under(names("speech/local_llama.py", top_level=True), "xllamacpp")


# What decodes JSON without float_hook, and why it may: msgspec's own reading of numbers takes 11 us for 1e308, so that
# a MiB of them takes 2 s of the loop.
OWN_NUMBERS = {
    "journal.py": "rows that the daemon wrote itself",
    "roles.py": "facts that the daemon wrote itself",
    "inspection_messages.py": "a child of the daemon's own, and one number a field",
    "server/people.py": "few bytes, and one number a field",
    "server/realtime.py": "no numbers",
    "speech/local_hibari.py": "a file of an installed package",
    "speech/local_piper.py": "files of the admin, and no floats",
}


@pytest.mark.parametrize("file", sorted(FILES))
def test_numbers_are_read_in_bounded_time(file: str) -> None:
    """JSON that somebody else wrote is decoded with float_hook=float."""
    calls = [node for node in ast.walk(ast.parse(FILES[file].read_text())) if isinstance(node, ast.Call)]
    decoding = [call for call in calls if ast.unparse(call.func) in ("msgspec.json.decode", "msgspec.json.Decoder")]
    hooked = [call for call in decoding if any(ast.unparse(word) == "float_hook=float" for word in call.keywords)]
    assert (len(hooked) < len(decoding)) == (file in OWN_NUMBERS)
