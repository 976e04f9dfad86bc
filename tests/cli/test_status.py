"""`ivrd status` and `ivrd calls`: what an operator is told of a daemon that reloads, has files open, has many calls."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from ivrd.simulator.process import open_exchange
from tests.service import Service

APP = "import anyio\n\nasync def main(call):\n    await anyio.sleep(600)\n"
APPS = '[apps.main]\nhandler = "menu:main"\nworkers = 1\nconcurrency = 1000\n'
CALLS = 250  # more than go into one message of the control socket


@pytest.fixture(scope="module")
def ivrd() -> Iterator[Service]:
    with Service(APPS, files={"menu.py": APP}, drain_timeout=0.5) as service:
        service.env["COLUMNS"] = "200"
        yield service


def told(ivrd: Service) -> str:
    done = ivrd.ctl("status")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_last_reload(ivrd: Service) -> None:
    assert ivrd.status()["reload"] is None
    assert "last reload: none since the start" in told(ivrd)

    assert ivrd.ctl("reload").returncode == 0
    last = ivrd.status()["reload"]
    assert last["error"] == ""
    assert abs(last["at"] - time.time()) < 60
    assert re.search(r"last reload: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, well", told(ivrd))

    ivrd.configure(APPS + "\n[apps.a]\nhandler = 'gone:main'\n[apps.b]\nhandler = 'gone:main'\n")
    assert ivrd.ctl("reload").returncode == 1
    last = ivrd.status()["reload"]
    assert "does not start" in last["error"]
    text = told(ivrd)
    assert f", failed: {last['error'].splitlines()[0][:40]}" in text
    assert ", well" not in text


def test_the_daemons_own_health(ivrd: Service) -> None:
    status = ivrd.status()
    really = len(os.listdir(f"/proc/{ivrd.pid}/fd"))
    assert abs(status["descriptors"] - really) <= 3  # the connection that asks is one
    with open(f"/proc/{ivrd.pid}/limits") as file:
        limit = next(line.split()[3] for line in file if line.startswith("Max open files"))
    assert status["descriptor_limit"] == int(limit)
    assert 0 <= status["lag"] < 60
    assert re.search(rf"daemon: its loop was \d+ ms late at most, \d+ of {limit} descriptors open", told(ivrd))


async def test_many_calls_are_told_in_full(ivrd: Service) -> None:
    async with open_exchange() as exchange:
        for _ in range(CALLS):
            call = exchange.dial([str(ivrd.shim), f"--socket={ivrd.socket}", "main"])
            await call.exited()
        rows = ivrd.calls()
        assert len({row["id"] for row in rows}) == len(rows) == CALLS
        assert [row["started"] for row in rows] == sorted(row["started"] for row in rows)
        assert ivrd.ctl("calls", "--app", "nobody").stdout == "no live calls\n"
        assert ivrd.status()["descriptors"] > 3 * CALLS
