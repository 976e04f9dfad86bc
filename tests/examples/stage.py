"""The example apps and the dialplan of `deploy/asterisk`, set up as a newcomer would: by the files that are shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from tests.service import Service

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DIALPLAN = (ROOT / "deploy/asterisk/extensions.conf").read_text()
#: Calls with a caller's number, which a Local channel has not; a caller who wants a message recorded, then somebody to
#: talk to, then out; and whom `RECEPTION_AGENT` may name.
CALLS = """
[calls]
exten => _b.,1,Set(CALLERID(num)=100)
 same => n,Goto(ivr-${EXTEN:5},s,1)
exten => talker,1,Answer()
 same => n,Wait(0.5)
 same => n,SendDTMF(5)
 same => n,Wait(1)
 same => n,Playback(hello-world)
 same => n,SendDTMF(#)
 same => n,Wait(1.5)
 same => n,SendDTMF(0)
 same => n,Wait(2)
 same => n,SendDTMF(#)
 same => n,Wait(10)
exten => agent,1,Answer()
 same => n,Log(NOTICE,agent: hello)
 same => n,Wait(1)
exten => away,1,Wait(0.2)
 same => n,Busy(1)
"""


def example_apps(*names: str) -> str:
    """The tables of these apps (all, where none is named) in examples/ivrd.toml, for a service whose files are
    elsewhere.
    """
    tables = re.split(r"(?m)^(?=\[)", (EXAMPLES / "ivrd.toml").read_text())
    wanted = [
        table
        for table in tables
        if (name := re.match(r"\[apps\.(\w+)]", table)) and name[1] in (names or name.groups())
    ]
    return "".join(wanted).replace('path = "."', f"path = {json.dumps(str(EXAMPLES))}")


def bound(ivrd: Service) -> Mapping[Path, str]:
    """What an Asterisk must see of a service: the shim and the directory of its socket, where they are by default."""
    return {ivrd.shim: "/usr/bin/ivrd-shim", ivrd.directory: "/run/ivrd"}
