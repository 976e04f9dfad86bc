"""The units as systemd reads them without being booted: no mistake in them, and no more exposure than is promised."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ivrd.config import check_descriptors, parse
from ivrd.config.keys import Server
from tests.systemd.rig import REPOSITORY

pytestmark = pytest.mark.systemd
UNITS = REPOSITORY / "deploy/systemd"


def analyze(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("systemd-analyze")
    if tool is None and os.environ.get("CI") != "true":
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    assert tool is not None, "with CI=true nothing is left out: install systemd"
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:", "SYSTEMD_COLORS": "0"}
    return subprocess.run([tool, *command], env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A copy of the units that starts a program which is there."""
    for unit in UNITS.glob("*.s*et"):
        shutil.copy(unit, tmp_path)
    text = (UNITS / "ivrd.service").read_text()
    (tmp_path / "ivrd.service").write_text(text.replace("/opt/ivrd/current/bin/ivrd", "/bin/true"))
    return tmp_path


def drop_in(units: Path, name: str) -> None:
    directory = units / "ivrd.service.d"
    directory.mkdir()
    shutil.copy(UNITS / "drop-ins" / name, directory)


@pytest.mark.parametrize("extra", ["", *sorted(path.name for path in (UNITS / "drop-ins").iterdir())])
def test_systemd_finds_no_mistake(units: Path, extra: str) -> None:
    if extra:
        drop_in(units, extra)
    names = [str(units / name) for name in ("ivrd.service", "ivrd.socket", "ivrd-metrics.socket")]
    done = analyze(units, "verify", "--man=no", *names)
    ours = [line for line in done.stderr.splitlines() if "ivrd" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize(("extra", "limit"), [("", 1.5), ("no-network.conf", 1.0)])
def test_the_exposure_is_within_its_limit(units: Path, extra: str, limit: float) -> None:
    if extra:
        drop_in(units, extra)
    done = analyze(units, "security", "--offline=true", "--no-pager", str(units / "ivrd.service"))
    found = re.search(r"Overall exposure level for ivrd\.service: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= limit, done.stdout


def test_there_is_time_and_room_for_the_defaults() -> None:
    text = (UNITS / "ivrd.service").read_text()
    server = Server()
    assert int(re.findall(r"(?m)^TimeoutStopSec=(\d+)$", text)[0]) > server.drain_timeout + server.close_timeout
    # These would take files and sockets away from workers that outlive the main process.
    assert not re.findall(r"(?m)^(?:RuntimeDirectory|PrivateTmp|RemoveIPC)=", text)


def test_there_are_descriptors_for_the_calls_that_are_promised() -> None:
    unit, page = (UNITS / "ivrd.service").read_text(), (UNITS / "README.md").read_text()
    limit = int(re.findall(r"(?m)^LimitNOFILE=(\d+)$", unit)[0])
    (promised,) = set(re.findall(r"max_calls = (\d+)", unit + page))
    # The dearest case: every call may wait at once, and there are workers by the hundred.
    apps = (f'[apps.menu{n}]\nhandler = "menu:main"\nworkers = 16\nqueue = 2000\n' for n in range(10))
    config = parse(f"[server]\nmax_calls = {promised}\n" + "".join(apps))
    assert check_descriptors(config, limit, limit) is None


def test_the_scripts_are_posix_sh() -> None:
    for script in ("install", "uninstall"):
        assert (UNITS / script).read_text().startswith("#!/bin/sh\n")
        assert os.access(UNITS / script, os.X_OK)
        subprocess.run(["sh", "-n", UNITS / script], check=True)
