"""What `deploy/` has for Prometheus and Grafana asks for what a daemon shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from echod.jobs import life
from echod.workers.state import Cluster
from tests.drivers.asking import SECOND, until
from tests.drivers.talking import Talk
from tests.making.promql import Selector, selectors
from tests.stand_ins.backend import gives
from tests.stand_ins.daemon import Daemon

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HAPPENS = {"status", "code", "outcome", "function", "backend"}  # labels whose values come as they happen


def panels() -> Iterator[tuple[str, str]]:
    for panel in json.loads((DEPLOY / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def alerts() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


ASKED = [*panels(), *alerts()]


async def what_a_daemon_shows(daemon: Daemon, ada: Talk) -> dict[str, list[dict[str, str]]]:
    """Labels of every sample, by metric, after a clip, one that failed and one of a conversation."""
    [state] = daemon.states
    memory = {"taken": 1, "peak": 2, "free": 3, "size": 4}
    daemon.states = [msgspec.structs.replace(state, memory=memory, pid=1)]
    await daemon.submit()
    job = await daemon.hands.begin()
    await daemon.hands.grow(job, b"0")
    half = life.Progressed(attempt=1, stage="decode", progress=0.5, windows_done=2, windows_total=4)
    await daemon.desk.apply(job.id, half)  # which were there already
    await daemon.hands.complete(job)
    await daemon.submit()
    await daemon.hands.fail(await daemon.hands.begin(), "poison")
    await ada.update(output_modalities=["video"])
    daemon.backend.attempts = [gives("Noon."), gives(SECOND)]
    await ada.ask("What time is it?")
    await ada.until("response.output_video.added")
    job = await daemon.hands.begin()
    await daemon.hands.grow(job, b"0")
    await daemon.hands.complete(job)
    await ada.done()
    ended = daemon.metrics.registry.get_sample_value
    labels = {"engine": "preview", "status": "completed", "code": ""}
    await until(lambda: ended("echod_jobs_total", labels) == 2)
    shown: dict[str, list[dict[str, str]]] = {"up": [{}]}
    for family in text_string_to_metric_families((await daemon.http.get("/metrics")).text):
        for sample in family.samples:
            shown.setdefault(sample.name, []).append(sample.labels)
    return shown


async def test_queries_find_their_metrics(daemon: Daemon, ada: Talk) -> None:
    """Every query of the dashboard and of the alerts names metrics, labels and values that a daemon shows."""
    shown = await what_a_daemon_shows(daemon, ada)
    assert len(ASKED) > 40
    for name, expression in ASKED:
        found = list(selectors(expression))
        assert found, (name, expression)
        for selector in found:
            assert problem(selector, shown) is None, (name, expression, problem(selector, shown))


def problem(selector: Selector, shown: dict[str, list[dict[str, str]]]) -> str | None:
    samples = shown.get(selector.metric)
    if not samples:
        return f"{selector.metric} is not shown"
    for label in {label for label, _, _ in selector.matchers if selector.metric != "up"} | selector.grouped_by:
        if not any(label in labels for labels in samples):
            return f"{selector.metric} has no label {label}"
    for label, operator, value in selector.matchers:
        wanted = value.split("|") if operator.endswith("~") else [value]
        known = {labels.get(label) for labels in samples}
        if label not in HAPPENS and selector.metric != "up" and (lost := set(wanted) - known):
            return f"{selector.metric} has no {label} {lost}"
    return None


@pytest.mark.parametrize(
    "expression",
    [
        "echod_gone",
        'echod_worker_state{mood="idle"}',
        'echod_worker_state{state="asleep"}',
        "sum by (x) (echod_queue_jobs)",
    ],
)
def test_a_query_that_finds_nothing_is_noticed(expression: str) -> None:
    """The test above can fail: for a metric, a label, a value or a grouping that is not there."""
    shown: dict[str, list[dict[str, str]]] = {"echod_worker_state": [{"state": "idle"}], "echod_queue_jobs": [{}]}
    [selector] = selectors(expression)
    assert problem(selector, shown)


async def test_every_metric_is_described(daemon: Daemon) -> None:
    """docs/watching.md has each metric with its type and labels, and each alert; nothing is shown as `_created`."""
    page = (ROOT / "docs/watching.md").read_text("utf-8")
    rows = re.findall(r"^\| `(echod_\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    told = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    daemon.cluster = Cluster(address="auto")
    shown = {
        family.name + "_total" * (family.type == "counter"): family for family in daemon.metrics.registry.collect()
    }
    assert {name: kind for name, (kind, _) in told.items()} == {
        name + "_info" * (family.type == "info"): "gauge" if family.type == "info" else family.type
        for name, family in shown.items()
    }
    for name, (_, labels) in told.items():
        kept: Any = daemon.metrics.registry._names_to_collectors.get(name)
        if hasattr(kept, "_labelnames"):
            assert labels == list(kept._labelnames), name
    assert [alert for alert, _ in alerts() if f"| `{alert}` |" not in page] == []
    assert "_created" not in daemon.metrics.render().decode()
