"""Who may import whom, by package.

Read from the source, so that an import inside a function counts too where it must not be.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "echod"
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

# A package, or a module at the root, and what of echod it may import. `errors` is everybody's.
MAY: Mapping[str, str] = {
    "errors": "",
    "inference": "",
    "host": "",
    "journal": "journal_file",
    "journal_file": "host",
    "webhooks": "config host journal",
    "backup": "host jobs.folder jobs.job journal journal_file roles.folder",
    "client": "",
    "kinds": "host.cards host.cluster inference.limits inference.registry",
    "config": "inference.limits inference.registry host kinds",
    "inspection": "config host",
    "sound": "inspection.facts",
    "uploads": "config host inspection journal",
    "speech": "config host journal sound",
    "jobs": "config host inspection.facts inference.framing inference.limits journal sound uploads.quota webhooks.rows",
    "workers": "config gpu_proc host jobs provenance",
    "gpu_proc": "config host jobs provenance workers inference",
    "provenance": "config host inference jobs.folder jobs.job",
    "roles": "config host inference.registry inspection jobs.options jobs.job",
    "accounts": "host journal webhooks.rows",
    "conversation": "config host inspection.facts jobs roles sound speech",
    "server": "accounts config conversation host inference.framing inference.limits inference.registry inspection "
    "jobs roles sound speech uploads webhooks workers.state",
    "daemon": "accounts config conversation host inspection jobs journal journal_file provenance roles server speech "
    "uploads webhooks workers",
    "commands": "backup client config daemon host inference kinds provenance roles.folder roles.examples sound "
    "speech.sentences speech.trial",
    "cli": "commands",
    "__main__": "cli",
}
# What single modules may do beyond their package.
BESIDES: Mapping[str, str] = {
    "inspection.proc": "inference.face inference.room",
    "inspection.recordings": "inference.room",
    "commands.checks": "speech.openai.neighbours speech.plan",
    "commands.weights": "speech.local.registry",
    "daemon": "inference.echomimic.layout inference.registry",
    "jobs.speaking": "speech inference.room",
    "workers.attempt": "inference",
    "workers.cluster.files": "inference.publishing inference.room",
    "workers.cluster.incarnation": "inference.room",
    "workers.cluster.furnishing": "inference.echomimic.hub inference.echomimic.layout inference.errors "
    "inference.registry",
    "accounts.removal": "jobs uploads speech.usage",
}
# Packages from elsewhere, and who alone may import them.
ALONE: Mapping[str, str] = {
    "zmq": "workers gpu_proc",
    "torch": "inference gpu_proc speech.local.proc workers.fleet workers.devices commands.checks",
    "av": "inference inspection.recordings sound.flac sound.resample server.avatar.pictures commands.checks",
    "PIL": "inference inspection.pictures inspection.proc",
    "whisper": "inference speech.local.proc",
    "transformers": "inference speech.local.proc",
    "ray": "workers.cluster.carrier workers.cluster.connection workers.cluster.watch",
    "onnxruntime": "speech.local.speaker",
    "c2pa": "provenance.credentials",
    "httpcore": "webhooks.sending",
    "opentelemetry": "server.tracing",
    "cryptography": "provenance.certificate",
}


def imports(module: str, *, top_level: bool = False) -> set[str]:
    """Full names of what a module imports, modules where it can be told, what only type checkers read left out."""
    tree = ast.parse(MODULES[module].read_text())
    return set(_imports(module, _nodes(tree, top_level=top_level)))


def _imports(module: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES or not base.startswith("echod") else base


def _base(module: str, node: ast.ImportFrom) -> str:
    package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    above = package[: len(package) - node.level + 1] if node.level else []
    return ".".join((*above, *([node.module] if node.module else [])))


def _nodes(tree: ast.Module, *, top_level: bool) -> Iterator[ast.AST]:
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        pending.extend(ast.iter_child_nodes(node))


def within(name: str, names: Iterable[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in names)


def ours(module: str) -> str:
    """`jobs.desk` of `echod.jobs.desk`."""
    return module.partition(".")[2]


def allowed(module: str) -> set[str]:
    inside = ours(module)
    package = inside.partition(".")[0]
    return {"errors", package, *MAY[package].split(), *BESIDES.get(inside, "").split()}


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"echod"}))
def test_packages(module: str) -> None:
    """Each package imports what the table lets it import."""
    for name in sorted(imports(module)):
        if name.startswith("echod."):
            assert within(ours(name), allowed(module)), f"{module} imports {name}"
        if (alone := ALONE.get(name.partition(".")[0])) is not None:
            assert within(ours(module), alone.split()), f"{module} imports {name}"


def test_the_tables_name_what_exists() -> None:
    """A rule about something that was moved would hold for nothing."""
    assert {name.partition(".")[0] for name in map(ours, MODULES) if name} == set(MAY)
    alone = (*((who, "") for whos in ALONE.values() for who in whos.split()), *((name[6:], "") for name in OWN_NUMBERS))
    rows = (*MAY.items(), *BESIDES.items(), *alone)
    for who, whom in rows:
        for name in (who, *whom.split()):
            assert f"echod.{name}" in MODULES, name


def test_no_circles() -> None:
    """No module imports itself by way of others, at whatever level the imports stand."""
    left = {name: {each for each in imports(name) if each in MODULES} - {name} for name in MODULES}
    while free := {name for name, needs in left.items() if not needs & set(left)}:
        for name in free:
            del left[name]
    assert not left, f"in a circle or behind one: {sorted(left)}"


def test_cli_is_light() -> None:
    """At module level the command line imports click, config and errors of all that is not standard."""
    ours = {name for name in imports("echod.cli", top_level=True) if name.startswith("echod.")}
    assert all(within(name, ("echod.commands", "echod.errors", "echod.config")) for name in ours)


def test_workers_know_of_torch_only_how_to_start() -> None:
    """The fleet starts processes; tensors are the children's."""
    names = {name for name in imports("echod.workers.fleet") if name.startswith("torch")}
    assert names == {"torch.multiprocessing"}


SLOW = (
    "torch", "whisper", "transformers", "diffusers", "av", "PIL", "cv2", "onnxruntime", "hibari", "piper", "xllamacpp",
    "echod.inference", "echod.inspection.pictures", "echod.inspection.recordings",
)  # fmt: skip


CHILDREN = (
    "gpu_proc",
    "workers.cluster.link",
    "workers.cluster.child",
    "inspection.proc",
    "speech.local.proc",
    "speech.local.speaker",
    "speech.local.llama",
)


@pytest.mark.parametrize("child", CHILDREN)
def test_children_begin_light(child: str) -> None:
    """A child imports nothing slow before it is tied to its parent, a worker nothing of torch before it is pinned."""
    slow = {name for name in imports(f"echod.{child}", top_level=True) if within(name, SLOW)}
    assert not slow - {"echod.inference.room"}


# What decodes JSON without float_hook, and why it may: msgspec's own reading of numbers takes 11 us for 1e308, so that
# a MiB of them takes 2 s of the loop.
OWN_NUMBERS = {
    "echod.journal": "rows that the daemon wrote itself",
    "echod.backup.record": "a file of the admin, and no fractions",
    "echod.roles.store": "facts that the daemon wrote itself",
    "echod.inspection.messages": "a child of the daemon's own, and one number a field",
    "echod.server.routes.accounts": "few bytes, and one number a field",
    "echod.server.realtime.socket": "no numbers",
    "echod.speech.local.hibari": "a file of an installed package",
    "echod.speech.local.piper": "files of the admin, and no floats",
}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_numbers_are_read_in_bounded_time(module: str) -> None:
    """JSON that somebody else wrote is decoded with float_hook=float."""
    calls = [node for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Call)]
    decoding = [call for call in calls if ast.unparse(call.func) in ("msgspec.json.decode", "msgspec.json.Decoder")]
    hooked = [call for call in decoding if any(ast.unparse(word) == "float_hook=float" for word in call.keywords)]
    assert (len(hooked) < len(decoding)) == (module in OWN_NUMBERS)


def test_no_test_module_is_imported() -> None:
    """What several tests share stands in stand_ins, drivers and making, or is a fixture of a conftest."""
    for folder in ("tests", "benchmarks", "scripts"):
        for path in (ROOT.parent / folder).rglob("*.py"):
            nodes = [
                node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            names = [f"{getattr(node, 'module', '')}.{alias.name}".split(".") for node in nodes for alias in node.names]
            imported = [name for name in names if any(part.startswith("test_") or part == "conftest" for part in name)]
            assert not imported, path
