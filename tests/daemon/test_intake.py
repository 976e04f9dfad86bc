"""What comes through the shims' door that is not a call: refused with a word, closed, and the daemon goes on."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivrd.wire import hello as wire
from ivrd.wire.hello import Hello, Reply, Status
from tests.service import Service, until

APP = "async def main(call):\n    await call.set(SEEN='yes')\n"
CONFIG = '[apps.menu]\nhandler = "menu:main"\nworkers = 1'


@pytest.fixture(scope="module")
def ivrd() -> Iterator[Service]:
    with Service(CONFIG, files={"menu.py": APP}) as service:
        yield service


def open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def say(service: Service, data: bytes, fds: list[int]) -> Reply | None:
    """Send a hello and hear the answer; None where the daemon just closes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(10)
        sock.connect(str(service.socket))
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sock.sendmsg([data], ancillary)
        try:
            answer = sock.recv(wire.MAX_REPLY)
        except ConnectionResetError:
            answer = sock.recv(wire.MAX_REPLY)
    return wire.parse_reply(answer) if answer else None


HELLO = wire.encode_hello(Hello(app="menu", args=(), fallback="hangup", timeout_ms=2000))


@pytest.mark.parametrize("count", [0, 1, 2, 4, 8])
def test_a_wrong_number_of_descriptors_is_refused_and_all_are_closed(ivrd: Service, count: int) -> None:
    before = open_fds(ivrd.pid)
    pipes = [os.pipe() for _ in range(count)]
    reply = say(ivrd, HELLO, [read for read, _ in pipes])
    for read, _ in pipes:
        os.close(read)
    # Nobody but this test held the read ends: a write finds no reader once they are closed on the other side too.
    try:
        assert reply is not None
        assert (reply.kind, reply.status) == ("refused", Status.ERROR)
        assert "descriptors" in reply.reason
        until(lambda: open_fds(ivrd.pid) == before, what="closing what came")
        for _, write in pipes:
            with pytest.raises(BrokenPipeError):
                os.write(write, b"x")
    finally:
        for _, write in pipes:
            os.close(write)


def three(kind: str) -> list[int]:
    match kind:
        case "files":
            return [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
        case "wrong ends":
            pairs = [os.pipe() for _ in range(3)]
            for (read, write), keep_read in zip(pairs, (False, True, True), strict=True):
                os.close(write if keep_read else read)
            return [
                read if keep_read else write
                for (read, write), keep_read in zip(pairs, (False, True, True), strict=True)
            ]
        case "unconnected sockets":
            return [socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach() for _ in range(3)]
        case _:
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
            return [sock.detach() for sock in sockets]


@pytest.mark.parametrize("kind", ["files", "wrong ends", "datagram sockets", "unconnected sockets"])
def test_descriptors_that_no_call_comes_with_are_refused(ivrd: Service, kind: str) -> None:
    before = open_fds(ivrd.pid)
    fds = three(kind)
    try:
        reply = say(ivrd, HELLO, fds)
    finally:
        for fd in fds:
            os.close(fd)
    assert reply is not None
    assert (reply.kind, reply.status) == ("refused", Status.ERROR)
    assert "stdin" in reply.reason
    until(lambda: open_fds(ivrd.pid) == before, what="closing what came")


@pytest.mark.parametrize("data", [b"\0", b"ivrd9\0", b"x" * 20_000, b"\xff" * 100, b"ivrd1\0hangup\0nan\0menu\0"])
def test_a_hello_that_is_none_is_refused_in_one_line(ivrd: Service, data: bytes) -> None:
    pipes = [os.pipe() for _ in range(3)]
    try:
        reply = say(ivrd, data, [pipes[0][0], pipes[1][1], pipes[2][1]])
    finally:
        for pair in pipes:
            for fd in pair:
                os.close(fd)
    assert reply is not None
    assert (reply.kind, reply.status) == ("refused", Status.ERROR)
    assert "\n" not in reply.reason


def test_a_health_check_is_taken_calmly(ivrd: Service) -> None:
    before, said = open_fds(ivrd.pid), len(ivrd.lines("handoff_rejected"))
    for _ in range(20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(str(ivrd.socket))
    # They are taken in order: who comes behind them and is answered says that they were.
    assert say(ivrd, b"\0", []) is not None
    until(lambda: open_fds(ivrd.pid) <= before, what="closing the connections")
    assert len(ivrd.lines("handoff_rejected")) == said + 1, "the one that said what makes no sense"
    assert ivrd.ctl("status", "--json").returncode == 0


_STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
    sock.settimeout(10)
    sock.connect(sys.argv[1])
    print(sock.recv(512).decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_wrong_user_is_told_so(ivrd: Service, tmp_path: Path) -> None:
    os.chmod(ivrd.directory, 0o755)
    done = subprocess.run(
        [sys.executable, "-c", _STRANGER, str(ivrd.socket)], capture_output=True, text=True, check=False, timeout=20
    )
    reply = wire.parse_reply(done.stdout.strip().encode())
    assert (reply.kind, reply.status) == ("refused", Status.DENIED), done.stderr
    assert "65534" in reply.reason
    assert "allow_users" in reply.reason
