"""The dashboard: the committed JSON is what the generator makes, and each panel says what it is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.expressions import DASHBOARD, ROOT, panels

METRICS = (ROOT / "docs" / "metrics.md").read_text()


@pytest.fixture
def sdk() -> None:
    """Skips where Grafana's SDK is missing."""
    if importlib.util.find_spec("grafana_foundation_sdk") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("grafana-foundation-sdk is missing (pip install -e '.[dev]')")
        pytest.skip("grafana-foundation-sdk is not here (pip install -e '.[dev]')")


@pytest.mark.usefixtures("sdk")
def test_the_committed_json_is_what_the_generator_makes() -> None:
    from grafana import generate

    assert generate.FILE.read_text() == generate.render(generate.build()), "run python -m grafana.generate"


@pytest.mark.usefixtures("sdk")
def test_the_sdk_reads_what_it_wrote() -> None:
    from grafana_foundation_sdk.models.dashboard import Dashboard

    from grafana import generate

    data = json.loads(DASHBOARD.read_text())
    again = json.loads(generate.render(Dashboard.from_json(data)))
    for mark in data["annotations"]["list"]:
        del mark["titleFormat"], mark["step"]  # which its model of a mark does not know
    assert again == data


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_each_panel_says_what_it_is(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"]
    assert defaults["thresholds"]["steps"]
    assert all(target["legendFormat"] for target in panel["targets"])
    assert len({panel["title"] for panel in panels()}) == len(panels())


def test_panels_do_not_overlap_and_fill_the_width() -> None:
    places: dict[tuple[int, int], str] = {}
    everything = json.loads(DASHBOARD.read_text())["panels"]
    for panel in everything:
        grid = panel["gridPos"]
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert places.setdefault((x, y), panel["title"]) == panel["title"]
                assert x < 24
    ids = [panel["id"] for panel in everything]
    assert len(set(ids)) == len(ids)


def test_the_rows_and_choices_that_operators_expect() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert [panel["title"] for panel in board["panels"] if panel["type"] == "row"] == [
        "Overview", "Calls", "Pool", "Runtime", "Security",
    ]  # fmt: skip
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "instance", "app"]
    assert [mark["name"] for mark in board["annotations"]["list"]] == ["Restarts", "Reloads", "Alerts"]


def test_every_metric_of_the_dashboard_exists() -> None:
    known = set(re.findall(r"(?m)^\| `((?:ivrd|process)_\w+)`", METRICS))
    used = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for panel in panels()
        for target in panel["targets"]
        for name in re.findall(r"\b(?:ivrd|process)_\w+", target["expr"])
    }
    assert used - known == set()
    assert {name for name in known if name.startswith("ivrd_")} - used == set(), "figures that nobody sees"


def test_provisioning_finds_the_dashboard() -> None:
    files = sorted(Path(ROOT / "grafana" / "provisioning").rglob("*.yaml"))
    assert [file.name for file in files] == ["ivrd.yaml", "prometheus.yaml"]
    assert "/var/lib/grafana/dashboards/ivrd" in files[0].read_text()
    assert "/var/lib/grafana/dashboards/ivrd/" in (ROOT / "grafana" / "README.md").read_text()
