"""A real Prometheus for a test: it scrapes one daemon twice a second, with ivrd's own rules and alerts.

The rule here: expressions are those that are shipped; only their minutes are made seconds (`QUICK`), and limits on time
that a busy test machine would pass without any fault are raised.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.deploy.expressions import RULES

__all__ = ["WINDOW", "Prometheus", "free_port", "open_prometheus", "program"]

WINDOW = "6s"
_CONFIG = """
global: {{scrape_interval: 750ms, scrape_timeout: 750ms, evaluation_interval: 250ms}}
rule_files: ["*.rules.yml", "*.alerts.yml"]
scrape_configs:
- job_name: ivrd
  static_configs:
  - targets: ["127.0.0.1:{port}"]
"""
_QUICK = (
    (r"interval: 15s", "interval: 250ms"),
    (r"\[15m\]", "[60s]"),
    (r"\[(?:2|5|10)m\]", f"[{WINDOW}]"),
    (r"for: [1-9]\d*m", "for: 1500ms"),
    (r"loop_lag_seconds\) > 0\.25", "loop_lag_seconds) > 1.5"),
    (r"handoff_seconds:p95_5m > 0\.1", "handoff_seconds:p95_5m > 1.5"),
)
_PATIENCE_S = 60.0


def program(name: str) -> str:
    """Where a program of Prometheus' is; skips, or under CI fails, where it is missing."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing (Debian: apt install prometheus)")
        pytest.skip(f"{name} is not here (Debian: apt install prometheus)")
    return found


def free_port() -> int:
    """A port that nobody has right now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Prometheus:
    """A running Prometheus, asked by its API."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    async def get(self, path: str, **params: str) -> Any:
        """What the API says; an error is an AssertionError with its text."""
        url = f"{self._base}{path}?{urllib.parse.urlencode(params)}"
        try:
            text = await trio.to_thread.run_sync(lambda: urllib.request.urlopen(url, timeout=10).read())
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{params or path}: {error.read().decode()}") from None
        return json.loads(text)["data"]

    async def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """The series of an expression now: labels and value."""
        found = (await self.get("/api/v1/query", query=expr))["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    async def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire: name, and the app, reason or process that it is about."""
        alerts = (await self.get("/api/v1/alerts"))["alerts"]
        return {
            (labels["alertname"], labels.get("app") or labels.get("reason") or labels.get("process") or "")
            for labels in (alert["labels"] for alert in alerts if alert["state"] == "firing")
        }

    async def until(self, expr: str, what: str, timeout: float = _PATIENCE_S) -> None:
        """Ask until an expression gives something."""
        deadline = time.monotonic() + timeout
        while not await self.query(expr):
            assert time.monotonic() < deadline, f"{what} did not happen within {timeout:g} s: {expr}"
            await trio.sleep(0.1)

    async def until_firing(self, expected: set[tuple[str, str]], timeout: float = _PATIENCE_S) -> None:
        """Wait until these alerts fire, and no other one does on the way there."""
        deadline = time.monotonic() + timeout
        seen: set[tuple[str, str]] = set()
        while not seen >= expected:
            seen |= await self.firing()
            assert seen <= expected, f"not expected to fire: {sorted(seen - expected)}"
            assert time.monotonic() < deadline, f"does not fire: {sorted(expected - seen)}"
            await trio.sleep(0.1)


@asynccontextmanager
async def open_prometheus(target: int) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes the daemon on this port, from the first successful scrape to the end of the block."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ivrd-prometheus-") as name:
        process = _start(Path(name), target, port)
        try:
            prometheus = Prometheus(port)
            await _ready(prometheus, process, Path(name))
            await prometheus.until('up{job="ivrd"} == 1', "the first scrape")
            yield prometheus
        finally:
            process.kill()
            process.wait()


def _start(directory: Path, target: int, port: int) -> subprocess.Popen[bytes]:
    for file in ("ivrd.rules.yml", "ivrd.alerts.yml"):
        (directory / file).write_text(_quick((RULES / file).read_text()))
    (directory / "prometheus.yml").write_text(_CONFIG.format(port=target))
    command = [
        program("prometheus"), f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with open(directory / "log", "wb") as log:
        return subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)


def _quick(text: str) -> str:
    for pattern, quick in _QUICK:
        text = re.sub(pattern, quick, text)
    assert not re.search(r"\[\d+m\]|for: [1-9]\d*m\b", text)
    return text


def _log(directory: Path) -> str:
    return f"Prometheus does not become ready:\n{(directory / 'log').read_text()}"


async def _ready(prometheus: Prometheus, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        assert process.poll() is None, _log(directory)
        assert time.monotonic() < deadline, _log(directory)
        try:
            await prometheus.get("/api/v1/status/runtimeinfo")
        except (OSError, AssertionError):
            await trio.sleep(0.05)
        else:
            return
