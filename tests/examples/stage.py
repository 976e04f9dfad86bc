"""The example apps and the dialplan of `deploy/asterisk`, set up as a newcomer would: by the files that are shipped."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path

import trio

from ivrd.cli.client import ask
from ivrd.wire import control as wire
from tests.asterisk.rig import Asterisk
from tests.service import Service

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DIALPLAN = (ROOT / "deploy/asterisk/extensions.conf").read_text()
#: Calls with a caller's number, which a Local channel has not; a caller who wants a message recorded, then somebody to
#: talk to, then out; one who presses what the test says, see `press`; and whom `RECEPTION_AGENT` may name.
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
exten => _told.,1,Answer()
 same => n(listen),Wait(0.05)
 same => n,GotoIf($["${GLOBAL(${EXTEN})}" = ""]?listen)
 same => n,Set(KEYS=${GLOBAL(${EXTEN})})
 same => n,Set(GLOBAL(${EXTEN})=)
 same => n,GotoIf($["${KEYS}" = "hangup"]?over)
 same => n,SendDTMF(${KEYS})
 same => n,Playback(silence/1)
 same => n,Goto(listen)
 same => n(over),Hangup()
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


def press(asterisk: Asterisk, caller: str, keys: str) -> None:
    """Let a caller, `Local/told…@calls`, press keys or `hangup`."""
    asterisk.cli(f"dialplan set global {caller} {keys}")


class Ear:
    """`ivrd trace --app`, on the next call of an app from its first line, in this process."""

    def __init__(self, ivrd: Service, app: str) -> None:
        self._socket = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ivrd, self._app = ivrd, app
        self._id = ""
        self._lines: list[str] = []
        self._result = ""

    async def open(self) -> None:
        await self._socket.connect(str(self._ivrd.directory / "control.sock"))
        await self._socket.send(wire.encode(wire.Trace(app=self._app)))
        # Two who came later were answered: the daemon has heard of this wish.
        for _ in range(2):
            await trio.to_thread.run_sync(ask, str(self._ivrd.config_file), wire.Calls())

    async def found(self) -> None:
        """Wait until the call is there."""
        answer = wire.decode_answer(await self._socket.recv(wire.MAX_MESSAGE))
        assert isinstance(answer, wire.Tracing), answer
        self._id = answer.id

    async def hears(self, line: str) -> None:
        """Wait for a line, `command A,welcome`; those up to it are forgotten."""
        while line not in self._lines:
            assert await self._listen(), f"the call is over ({self._result}), without {line!r}"
        del self._lines[: self._lines.index(line) + 1]

    async def hear(self) -> tuple[tuple[str, ...], str]:
        """Listen to the call's end, and return the lines and the result."""
        with self._socket:
            while await self._listen():
                pass
        return tuple(self._lines), self._result

    async def _listen(self) -> bool:
        data = await self._socket.recv(wire.MAX_MESSAGE)
        assert data, f"the daemon went away; so far: {self._lines}"
        answer = wire.decode_answer(data)
        if isinstance(answer, wire.TraceOver):
            self._result = answer.result
            return False
        assert isinstance(answer, wire.TraceLines), answer
        assert not answer.dropped
        self._lines += [self.anonymous(f"{line.kind} {line.text}") for line in answer.lines]
        return True

    def anonymous(self, text: str) -> str:
        return text.replace(self._id, "ID")
