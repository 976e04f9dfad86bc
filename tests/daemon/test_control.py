"""The control socket: whatever becomes of one request, the daemon goes on."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio

from ivrd.daemon.control import Control
from ivrd.wire import control as wire


async def test_a_bug_costs_one_answer_and_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    nothing: Any = None  # stands for a switchboard, and breaks at the first touch
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        async with trio.open_nursery() as home:
            theirs.send(wire.encode(wire.Status()))
            Control(nothing, nothing, nothing, home).take(ours)
        assert theirs.recv(wire.MAX_MESSAGE) == b""
    said = capsys.readouterr()
    assert "control_broke" in said.out + said.err
    assert "AttributeError" in said.out + said.err
