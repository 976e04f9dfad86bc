"""The rules and alerts as promtool sees them, and each alert's place in the runbook."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = re.findall(r"(?m)^  - alert: (\w+)$", (PROMETHEUS / "ivrd.alerts.yml").read_text())


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing (Debian: apt install prometheus)")
        pytest.skip("promtool is not here (Debian: apt install prometheus)")
    return found


def test_there_are_enough_alerts_and_none_twice() -> None:
    assert len(ALERTS) >= 12
    assert len(set(ALERTS)) == len(ALERTS)


def test_the_rules_are_well_formed(promtool: str) -> None:
    files = ["ivrd.rules.yml", "ivrd.alerts.yml"]
    done = subprocess.run(
        [promtool, "check", "rules", *files], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", "ivrd.tests.yml"], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_both_ways_and_has_its_page(alert: str) -> None:
    tests = (PROMETHEUS / "ivrd.tests.yml").read_text()
    assert f"- name: {alert} fires\n" in tests
    assert f"- name: {alert} is quiet\n" in tests
    page = (ROOT / "docs" / "runbook.md").read_text()
    section = re.search(rf"(?ms)^## {alert}$(.*?)(?=^## |\Z)", page)
    assert section is not None
    assert all(word in section[1] for word in ("**Means:**", "**Look at:**", "**Do:**"))
    assert f"docs/runbook.md#{alert.lower()}\n" in (PROMETHEUS / "ivrd.alerts.yml").read_text()
