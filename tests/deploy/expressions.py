"""All that is asked of Prometheus: the dashboard's panels, marks and choices, the recording rules, the alerts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DASHBOARD = ROOT / "grafana" / "dashboards" / "ivrd.json"
RULES = ROOT / "deploy" / "prometheus"


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, its headings left out."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def filled(expr: str, interval: str) -> str:
    """An expression with its variables as Grafana would fill them in, everything chosen."""
    for name, value in (("__rate_interval", interval), ("instance", ".*"), ("app", ".*")):
        expr = expr.replace(f"${name}", value)
    assert "$" not in expr, expr
    return expr


def dashboard_expressions(interval: str) -> dict[str, str]:
    """The dashboard's expressions by a name for each."""
    found = {
        f"{panel['title']} {target['refId']}": filled(target["expr"], interval)
        for panel in panels()
        for target in panel["targets"]
    }
    board = json.loads(DASHBOARD.read_text())
    found |= {f"mark {mark['name']}": filled(mark["expr"], interval) for mark in board["annotations"]["list"]}
    for variable in board["templating"]["list"]:
        if asked := re.fullmatch(r"label_values\((.*), \w+\)", str(variable["query"])):
            found[f"choice {variable['name']}"] = filled(asked[1], interval)
    return found
