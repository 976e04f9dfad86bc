"""What goes wrong with one call, one log line or one operator is the affair of that one, never of the daemon."""

from __future__ import annotations

import array
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack

from ivrd.wire import control
from ivrd.wire import hello as wire
from ivrd.wire.hello import Hello
from tests.service import IVRD, Service, until

APP = """
async def main(call):
    if call.args:
        raise ValueError("boom")
    await call.set(HELD="yes")
    while True:
        await call.set(KEY=await call.digits(timeout=1000, max=1))
"""
ONE_PLACE = '[apps.x]\nhandler = "x:main"\nworkers = 1\nconcurrency = 1\nqueue = 600\nqueue_timeout = 60\n'


class Caller:
    """Asterisk's ends of one call, which a shim of the test's own has handed over."""

    def __init__(self, ivrd: Service, room: ExitStack, *args: str) -> None:
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        self.events, self.commands, self.errors = pipes[0][1], pipes[1][0], pipes[2][0]
        self.shim = room.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        self.shim.settimeout(30)
        self.shim.connect(str(ivrd.socket))
        hello = wire.encode_hello(Hello(app="x", args=args, fallback="hangup", timeout_ms=2000))
        self.shim.sendmsg([hello], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", theirs))])
        for fd in theirs:
            os.close(fd)
        for fd in (self.events, self.commands, self.errors):
            room.callback(os.close, fd)

    def heard(self, command: bytes) -> None:
        """Wait for a command of the app's or of the daemon's."""
        said = b""
        while command not in said:
            data = os.read(self.commands, 65_536)
            assert data, f"it closed without {command!r}; it said {said!r}"
            said += data

    def answers(self) -> None:
        os.write(self.events, b"5,1800000000\n")
        self.heard(b"V,KEY=5\n")


def test_a_line_of_callers_whose_shims_were_killed_is_worked_off() -> None:
    with Service(ONE_PLACE, files={"x.py": APP}, drain_timeout=0.0, max_calls=2000) as ivrd, ExitStack() as room:
        first = Caller(ivrd, room)
        first.heard(b"V,HELD=yes\n")
        waiting = [Caller(ivrd, room) for _ in range(450)]
        for caller in waiting:
            assert caller.shim.recv(100).startswith(b"queued")
        ivrd.signal(signal.SIGSTOP)  # so that all of it is news at once
        for caller in waiting:
            caller.shim.close()
        os.write(first.events, b"H,1800000000\n")
        ivrd.signal(signal.SIGCONT)
        for caller in waiting:
            caller.heard(b"H,ivrd: its shim went away before a worker had the call\n")
            os.write(caller.events, b"H,1800000000\n")
        until(lambda: not ivrd.calls(), what="the end of the line")


def test_a_log_that_nobody_reads_any_more_ends_nothing() -> None:
    service = Service('[apps.x]\nhandler = "x:main"\nworkers = 1\n', files={"x.py": APP}, drain_timeout=0.0)
    log, theirs = os.pipe()
    command = [*IVRD, "serve", "--config", str(service.config_file)]
    daemon = subprocess.Popen(command, env=service.env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        said = b""
        while b'"ready"' not in said:
            said += os.read(log, 65_536)
        os.close(log)
        with ExitStack() as room:
            held, leaves, breaks = Caller(service, room), Caller(service, room), Caller(service, room, "boom")
            held.heard(b"V,HELD=yes\n")
            leaves.heard(b"V,HELD=yes\n")
            os.write(leaves.events, b"H,1800000000\n")  # a line of the daemon's
            breaks.heard(b"H,ValueError: boom\n")  # and of the worker's, with a traceback
            os.write(breaks.events, b"H,1800000000\n")
            until(lambda: len(service.calls()) == 1, what="the end of the two")
            held.answers()
            assert daemon.poll() is None
        daemon.terminate()
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()
        service._clean_up()


def test_a_second_daemon_does_not_take_the_firsts_workers_or_operators_away() -> None:
    with Service('[apps.x]\nhandler = "x:main"\nworkers = 1\n', files={"x.py": APP}) as ivrd:
        other = ivrd.directory / "other.toml"
        other.write_text(ivrd.config_file.read_text().replace("ivrd.sock", "other.sock"))
        command = [*IVRD, "serve", "--config", str(other)]
        done = subprocess.run(command, env=ivrd.env, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        assert "workers.sock is served already by another ivrd" in done.stderr.splitlines()[-1]
        assert ivrd.status()["pid"] == ivrd.pid
        os.kill(ivrd.workers("x")[0], signal.SIGKILL)
        until(lambda: len(ivrd.lines("worker_ready")) == 2, what="a new worker's registration")
        assert sorted(path.name for path in ivrd.directory.iterdir() if "other" in path.name) == ["other.toml"]


def test_operators_may_leave_in_the_middle_of_a_trace() -> None:
    with (
        Service('[apps.x]\nhandler = "x:main"\nworkers = 1\n', files={"x.py": APP}, drain_timeout=0.0) as ivrd,
        ExitStack() as room,
    ):
        caller = Caller(ivrd, room)
        caller.heard(b"V,HELD=yes\n")
        (call,) = ivrd.calls()
        for _ in range(10):
            operator = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with operator:
                operator.connect(str(ivrd.directory / "control.sock"))
                operator.send(control.encode(control.Trace(id=call["id"])))
                assert isinstance(control.decode_answer(operator.recv(65_536)), control.Tracing)
                ivrd.signal(signal.SIGSTOP)
                caller.answers()
                time.sleep(0.25)  # the worker tells of it ten times a second
            ivrd.signal(signal.SIGCONT)
            until(lambda: ivrd.status()["calls"] == {"running": 1}, what="the daemon's answer")


def test_a_start_that_fails_leaves_no_socket_behind() -> None:
    for missing in ("worker_socket", "control_socket"):
        service = Service('[apps.x]\nhandler = "x:main"\n', files={"x.py": APP})
        try:
            service.configure(
                '[apps.x]\nhandler = "x:main"\n', **{missing: str(service.directory / "missing" / "a.sock")}
            )
            done = service.ctl("serve")
            assert done.returncode == 1
            assert "does not exist: create it" in done.stderr.splitlines()[-1]
            assert sorted(path.name for path in service.directory.iterdir()) == ["apps", "ivrd.toml", "log"]
        finally:
            service._clean_up()
