"""The fallback on real Asterisk: with no daemon the caller goes on in the dialplan or is hung up, every single time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.asterisk.conftest import StartAsterisk, start_asterisk

__all__ = ["start_asterisk"]  # the fixture, so that pytest finds it here

pytestmark = pytest.mark.asterisk
CALLS = 40
DIALPLAN = """
[app]
exten => leave,1,Answer()
 same => n,ExternalIVR(/usr/bin/ivrd-shim(--timeout=0.05,--fallback=exit,menu,${UNIQUEID}))
 same => n,Log(NOTICE,WENT ON: ${IVRD_STATUS}.)
 same => n,Hangup()
exten => end,1,Answer()
 same => n,ExternalIVR(/usr/bin/ivrd-shim(--timeout=0.05,menu))
 same => n,Log(NOTICE,WENT ON: never.)
exten => wrong,1,Answer()
 same => n,ExternalIVR(/usr/bin/ivrd-shim(--fallback=exit,--timeout=soon,menu))
 same => n,Log(NOTICE,WENT ON: ${IVRD_STATUS}.)
exten => h,1,Log(NOTICE,HUNG UP)
"""


@pytest.mark.parametrize("version", ["22", "16"])
def test_without_a_daemon_no_caller_sits_in_silence(
    version: str, start_asterisk: StartAsterisk, shim_binary: Path
) -> None:
    asterisk = start_asterisk(version, dialplan=DIALPLAN, bind={shim_binary: "/usr/bin/ivrd-shim"})
    for _ in range(CALLS):
        asterisk.originate("Local/leave@app", application="Wait 20")
    # A script that writes E and exits loses one call in ten here: the shim holds on until Asterisk has closed.
    asterisk.wait_log(r"WENT ON: UNAVAILABLE\.$", count=CALLS)
    asterisk.originate("Local/wrong@app", application="Wait 20")
    asterisk.wait_log(r"WENT ON: ERROR\.$")
    asterisk.originate("Local/end@app", application="Wait 20")
    reason = r"app menu: cannot reach a daemon at /run/ivrd/ivrd\.sock \(No such file or directory\)"
    asterisk.wait_log(rf"ivrd-shim: leaving to the dialplan: {reason}", count=CALLS)
    asterisk.wait_log(rf"ivrd-shim: hanging up: {reason}")
    asterisk.wait_log("HUNG UP", count=CALLS + 2)
    asterisk.wait_channels(0)
    assert "never" not in asterisk.log_text()
