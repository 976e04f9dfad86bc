"""The rig: real Asterisk 22 and 16 on this machine, for tests and scripts. Other code imports from this package only.

    bind = {shim: "/usr/bin/ivrd-shim", socket_directory: "/run/ivrd"}
    with Asterisk("22", dialplan=DIALPLAN, sip=True, bind=bind) as asterisk:
        asterisk.call("1@menu", keys="12#")
        asterisk.wait_log("RESULT=paid")
        result = run_sipp(asterisk, "1", keys=[(1.0, "1"), (0.5, "#")], rate=20, calls=600)

`python -m tests.asterisk.rig setup` gets all that this needs; without it `RigUnavailable` says what is missing.
"""

from tests.asterisk.rig.roots import RELEASES, RigUnavailable, which
from tests.asterisk.rig.server import Asterisk, AsteriskError
from tests.asterisk.rig.sip import Sipp, SippResult, run_sipp

__all__ = ["RELEASES", "Asterisk", "AsteriskError", "RigUnavailable", "Sipp", "SippResult", "run_sipp", "which"]
