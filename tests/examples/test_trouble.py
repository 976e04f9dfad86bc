"""What becomes of callers whom ivrd could not serve: each way that the dialplan of `deploy/asterisk` has for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.asterisk.conftest import StartAsterisk, start_asterisk
from tests.asterisk.rig import Asterisk
from tests.examples.stage import CALLS, DIALPLAN, bound, example_apps, press
from tests.service import Service, until

__all__ = ["start_asterisk"]  # the fixture, so that pytest finds it here

pytestmark = pytest.mark.asterisk
both_versions = pytest.mark.parametrize("version", ["22", "16"])

# The bank as it is shipped, with room for one caller; and a callback that cannot do its work.
APPS = example_apps("bank").replace("\npath", "\nworkers = 1\nconcurrency = 1\nqueue = 0\nqueue_timeout = 0.2\npath")
APPS += re.sub(r"handler = .*|lifespan = .*|path = .*", "", example_apps("callback")) + 'handler = "broken:main"\n'
BROKEN = "async def main(call):\n    raise OSError('no database')\n"


def complaints(asterisk: Asterisk) -> list[str]:
    """What Asterisk says to somebody who should look, each with the extension where there is one."""
    return re.findall(r"(?m)(?:WARNING|ERROR)\[.*?\] (?:Ext\. )?(.*)$", asterisk.log_text())


@both_versions
def test_who_finds_no_place_meets_an_error_or_comes_at_the_end(version: str, start_asterisk: StartAsterisk) -> None:
    with Service(APPS, files={"broken.py": BROKEN}, drain_timeout=30.0) as ivrd:
        asterisk = start_asterisk(version, dialplan=DIALPLAN + CALLS, bind=bound(ivrd))
        asterisk.cli("dialplan set global RECEPTION_AGENT Local/agent@calls")
        asterisk.originate("Local/told1@calls", extension="bank-bank@calls")
        until(lambda: ivrd.status()["calls"].get("running") == 1, what="the call that takes all the room")

        asterisk.call("bank-bank@calls", hold_s=12)
        asterisk.wait_log("ivrd: OVERLOADED$")
        asterisk.wait_channels(2)  # hung up, after a word
        assert "agent: hello" not in asterisk.log_text()

        asterisk.call("bank-callback@calls", hold_s=12)
        asterisk.wait_log("ivrd: ERROR$")
        asterisk.wait_log("agent: hello$", count=1)

        assert ivrd.ctl("drain").returncode == 0
        asterisk.call("bank-bank@calls", hold_s=12)
        asterisk.wait_log("ivrd: DRAINING$")
        asterisk.wait_log("agent: hello$", count=2)
        press(asterisk, "told1", "hangup")
        asterisk.wait_channels(0)
        # And of nothing else: each prompt is there.
        assert complaints(asterisk) == ["OVERLOADED: ivrd: OVERLOADED", "i: ivrd: ERROR", "UNAVAILABLE: ivrd: DRAINING"]


@both_versions
def test_without_a_daemon_the_caller_gets_to_an_agent(
    version: str, start_asterisk: StartAsterisk, shim_binary: Path
) -> None:
    asterisk = start_asterisk(version, dialplan=DIALPLAN + CALLS, bind={shim_binary: "/usr/bin/ivrd-shim"})
    asterisk.cli("dialplan set global RECEPTION_AGENT Local/agent@calls")
    asterisk.call("bank-bank@calls", hold_s=12)
    asterisk.wait_log(r"ivrd: UNAVAILABLE$")
    asterisk.wait_log("agent: hello")
