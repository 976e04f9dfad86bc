"""The shim's promises, on the real binary: it hands over, or the caller is sent on; and it never hangs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivrd.wire import hello as wire
from ivrd.wire.hello import Hello, Status
from tests.shim.rig import PATIENCE_S, Asterisk, Daemon, playing

UNAVAILABLE = b"V,IVRD_STATUS=UNAVAILABLE\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ivrd.sock"


@pytest.fixture
def daemon(path: Path) -> Iterator[Daemon]:
    with contextlib.closing(Daemon(path)) as daemon:
        yield daemon


@pytest.fixture
def asterisk(shim_binary: Path, path: Path, daemon: Daemon) -> Iterator[Asterisk]:
    # The daemon is there already; `--timeout` is long, so that a test that passes never waited for it.
    with playing(shim_binary, f"--socket={path}", "--timeout=50", "menu", "1700.1", "") as asterisk:
        yield asterisk


def test_a_call_is_handed_over(asterisk: Asterisk, daemon: Daemon) -> None:
    with contextlib.closing(daemon.accept()) as link:
        assert wire.parse_hello(link.hello()) == Hello("menu", ("1700.1", ""), "hangup", 50_000)
        assert len(link.fds) == 3
        assert link.packet_mode() == [False, True, True]
        assert os.fstat(link.fds[1]).st_ino == asterisk.stdout_inode
        link.say(wire.queued(50_000))
        assert asterisk.process.poll() is None
        link.say(wire.STARTED)
        assert asterisk.exit_status() == 0
        # The shim is gone, the call goes on: each read of Asterisk's gets one command.
        asterisk.send(b"1,0123456789\n")
        assert os.read(link.fds[0], 100) == b"1,0123456789\n"
        os.write(link.fds[1], b"A,beep\n")
        os.write(link.fds[1], b"P,1\n")
        os.write(link.fds[2], b"a line\n")
        os.write(link.fds[2], b"another\n")
        assert [asterisk.command(), asterisk.command()] == [b"A,beep\n", b"P,1\n"]
        assert [asterisk.error(), asterisk.error()] == [b"a line\n", b"another\n"]
    assert asterisk.command() == b""  # nobody else held the pipe
    assert asterisk.error() == b""


def test_a_caller_who_hung_up_in_the_queue_leaves_nothing_to_do(asterisk: Asterisk, daemon: Daemon) -> None:
    with contextlib.closing(daemon.accept()) as link:
        link.hello()
        link.say(wire.queued(50_000))
        link.say(wire.ENDED)
    assert asterisk.exit_status() == 0
    assert asterisk.command() == b""
    assert asterisk.error() == b""


@pytest.mark.parametrize("own", ["hangup", "exit"])
@pytest.mark.parametrize(("action", "queue_first"), [("hangup", False), ("exit", True), ("-", False)])
def test_a_refusal_is_carried_out(
    shim_binary: Path, path: Path, daemon: Daemon, own: str, action: wire.Action, queue_first: bool
) -> None:
    with playing(shim_binary, f"--socket={path}", "--timeout=50", f"--fallback={own}", "menu") as asterisk:
        with contextlib.closing(daemon.accept()) as link:
            assert wire.parse_hello(link.hello()).fallback == own
            if queue_first:
                link.say(wire.queued(50_000))
            link.say(wire.refused(Status.OVERLOADED, action, "queue full, 100 calls wait"))
            error = asterisk.error()
            assert link.connection.recv(1) == b""  # closed before the commands come: the daemon knows
            what = {"hangup": b"H", "exit": b"E"}[own if action == "-" else action]
            assert asterisk.fallback() == [
                b"V,IVRD_STATUS=OVERLOADED\n",
                what + b",ivrd: app menu: queue full, 100 calls wait\n",
            ]
        done = {b"H": b"hanging up", b"E": b"leaving to the dialplan"}[what]
        assert error == b"ivrd-shim: " + done + b": app menu: queue full, 100 calls wait\n"
        assert asterisk.exit_status() == 1


def test_an_action_of_a_later_version_leaves_it_to_the_fallback(shim_binary: Path, path: Path, daemon: Daemon) -> None:
    options = [f"--socket={path}", "--timeout=50", "--fallback=exit"]
    with playing(shim_binary, *options, "menu") as asterisk, contextlib.closing(daemon.accept()) as link:
        link.hello()
        link.say(b"refused NEW_WORD park x")
        assert asterisk.fallback() == [b"V,IVRD_STATUS=NEW_WORD\n", b"E,ivrd: app menu: x\n"]


def test_a_refusal_before_the_hello_is_read_is_heard(asterisk: Asterisk, daemon: Daemon) -> None:
    # The daemon closes with the hello unread: the shim's next read says ECONNRESET, and only then the message.
    with contextlib.closing(daemon.accept()) as link:
        assert select.select([link.connection], [], [], PATIENCE_S)[0]
        link.say(wire.refused(Status.DENIED, "-", "user 33 is not in allow_users"))
    assert asterisk.error() == b"ivrd-shim: hanging up: app menu: user 33 is not in allow_users\n"
    assert asterisk.fallback()[0] == b"V,IVRD_STATUS=DENIED\n"
    assert asterisk.exit_status() == 1


def test_no_daemon(shim_binary: Path, path: Path) -> None:
    with playing(shim_binary, f"--socket={path}", "--timeout=0.3", "menu") as asterisk:
        reason = f"app menu: cannot reach a daemon at {path} (No such file or directory)\n".encode()
        assert asterisk.fallback() == [UNAVAILABLE, b"H,ivrd: " + reason]
        assert time.monotonic() - asterisk.started >= 0.3
        assert asterisk.error() == b"ivrd-shim: hanging up: " + reason
        assert asterisk.exit_status() == 1


def test_a_socket_that_nobody_serves(shim_binary: Path, path: Path) -> None:
    Daemon(path).close()
    with playing(shim_binary, f"--socket={path}", "--timeout=0.1", "--fallback=exit", "menu") as asterisk:
        expected = f"E,ivrd: app menu: cannot reach a daemon at {path} (Connection refused)\n".encode()
        assert asterisk.fallback()[1] == expected
        assert asterisk.exit_status() == 1


def test_a_socket_of_another_kind_is_not_tried_again(shim_binary: Path, path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as other:
        other.bind(str(path))
        other.listen()
        with playing(shim_binary, f"--socket={path}", "--timeout=3000", "menu") as asterisk:
            assert b"(Protocol wrong type for socket)" in asterisk.fallback()[1]


def test_a_daemon_that_appears_in_time_gets_the_call(shim_binary: Path, path: Path) -> None:
    Daemon(path).close()  # a stale socket, as a daemon leaves that was killed
    with playing(shim_binary, f"--socket={path}", "--timeout=50", "menu") as asterisk:
        assert asterisk.process.poll() is None
        path.unlink()
        with contextlib.closing(Daemon(path)) as daemon, contextlib.closing(daemon.accept()) as link:
            assert wire.parse_hello(link.hello()).app == "menu"
            link.say(wire.queued(1000))
            link.say(wire.STARTED)
            assert asterisk.exit_status() == 0


def test_a_daemon_that_dies_before_it_took_note_is_tried_again(
    shim_binary: Path, path: Path, asterisk: Asterisk, daemon: Daemon
) -> None:
    daemon.accept().close()  # the hello unread, and its descriptors with it
    with contextlib.closing(daemon.accept()) as link:
        assert len(link.hello()) > 0
        link.say(wire.queued(50_000))
        link.say(wire.STARTED)
        assert asterisk.exit_status() == 0


def test_a_silent_daemon(shim_binary: Path, path: Path, daemon: Daemon) -> None:
    with playing(shim_binary, f"--socket={path}", "--timeout=0.2", "menu") as asterisk:
        # Never accepted: the hello and its descriptors sit in the socket's queue, so closing alone would end nothing.
        assert asterisk.fallback() == [UNAVAILABLE, b"H,ivrd: app menu: the daemon did not answer in time\n"]
        assert asterisk.exit_status() == 1
        with contextlib.closing(daemon.accept()) as link:
            link.hello()
            with pytest.raises(BrokenPipeError):
                link.say(wire.queued(1000))


def test_a_call_that_is_queued_and_never_started(shim_binary: Path, path: Path, daemon: Daemon) -> None:
    with playing(shim_binary, f"--socket={path}", "--timeout=50", "menu") as asterisk:
        with contextlib.closing(daemon.accept()) as link:
            link.hello()
            said = time.monotonic()
            link.say(wire.queued(200))
            assert asterisk.command() == UNAVAILABLE
            assert time.monotonic() - said >= 0.65  # 0.2 and half a second, for the daemon to say itself how it ended
            assert asterisk.fallback() == [b"H,ivrd: app menu: no worker took the call in time\n"]
            with pytest.raises(BrokenPipeError):
                link.say(wire.STARTED)
        assert asterisk.exit_status() == 1


def test_a_start_that_crosses_the_deadline_still_counts(shim_binary: Path, path: Path, daemon: Daemon) -> None:
    # The shim sleeps through its deadline with `started` in its queue: the daemon's send succeeded, so it counts.
    with playing(shim_binary, f"--socket={path}", "--timeout=0.5", "menu") as asterisk:
        with contextlib.closing(daemon.accept()) as link:
            link.hello()
            asterisk.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, asterisk.process.pid, os.WSTOPPED | os.WNOWAIT)
            link.say(wire.queued(0))
            link.say(wire.STARTED)
            while time.monotonic() < asterisk.started + 0.6:
                select.select([], [], [], 0.05)
            asterisk.process.send_signal(signal.SIGCONT)
            assert asterisk.exit_status() == 0
        assert asterisk.command() == b""


def test_a_daemon_that_goes_away_while_the_call_is_queued(asterisk: Asterisk, daemon: Daemon) -> None:
    with contextlib.closing(daemon.accept()) as link:
        link.hello()
        link.say(wire.queued(50_000))
    assert asterisk.fallback() == [
        UNAVAILABLE,
        b"H,ivrd: app menu: the daemon went away while the call was queued\n",
    ]
    assert asterisk.exit_status() == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"hello",
        b"start",
        b"queued",
        b"queued x",
        b"queued 1 2",
        b"queued -1",
        b"refused",
        b"refused lower - x",
        b"\xff\xfe",
        b"started " + b"x" * 600,
        b"refused ERROR - " + b"x" * 600,
    ],
)
def test_an_answer_that_makes_no_sense(asterisk: Asterisk, daemon: Daemon, answer: bytes) -> None:
    with contextlib.closing(daemon.accept()) as link:
        link.hello()
        link.say(answer)
        commands = asterisk.fallback()
    assert commands[0].startswith(b"V,IVRD_STATUS=")
    assert commands[1] == b"H,ivrd: app menu: the daemon's answer makes no sense: is it of this version?\n"
    assert asterisk.exit_status() == 1


def test_a_full_backlog(shim_binary: Path, path: Path) -> None:
    with contextlib.closing(Daemon(path, backlog=0)), contextlib.ExitStack() as queued:
        while True:  # take up the whole backlog
            client = queued.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)))
            client.setblocking(False)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
        with playing(shim_binary, f"--socket={path}", "--timeout=0.3", "menu") as asterisk:
            reason = f"app menu: cannot reach a daemon at {path} (Resource temporarily unavailable)\n"
            assert asterisk.fallback() == [UNAVAILABLE, f"H,ivrd: {reason}".encode()]


def test_limits_of_the_hello(shim_binary: Path, path: Path, daemon: Daemon) -> None:
    options = [f"--socket={path}", "--timeout=50"]
    head = len(b"ivrd1\0hangup\x0050000\0menu\0")
    for args in (["x"] * 32, ["x" * (wire.MAX_HELLO - head - 1)], [b"M\xfcller"]):
        with playing(shim_binary, *options, "menu", *args) as asterisk, contextlib.closing(daemon.accept()) as link:
            hello = wire.parse_hello(link.hello())
            assert [arg.encode(errors="surrogateescape") for arg in hello.args] == [
                arg if isinstance(arg, bytes) else arg.encode() for arg in args
            ]
            link.say(wire.ENDED)
            assert asterisk.exit_status() == 0


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["menu", *["x"] * 33], b"app menu: 33 arguments, but at most 32 are allowed"),
        (["menu", "x" * 16_384], b"app menu: the arguments exceed 16384 bytes"),
        (["m" * 20_000], b"app " + b"m" * 99 + b": the arguments exceed 16384 bytes"),
        ([], b"app ?: no app named; usage: ivrd-shim ["),
        ([""], b"app ?: no app named; usage: ivrd-shim ["),
        (["--timeout=", "menu"], b"app ?: --timeout= is no option, or its value is out of range; usage: "),
        (["--timeout=2x", "menu"], b"app ?: --timeout=2x is no option"),
        (["--timeout=0", "menu"], b"app ?: --timeout=0 is no option"),
        (["--timeout=-1", "menu"], b"app ?: --timeout=-1 is no option"),
        (["--timeout=nan", "menu"], b"app ?: --timeout=nan is no option"),
        (["--timeout=1e9", "menu"], b"app ?: --timeout=1e9 is no option"),
        (["--fallback=stay", "menu"], b"app ?: --fallback=stay is no option"),
        (["--socket=" + "x" * 108, "menu"], b"app ?: --socket=xxx"),
        (["--socket", "/x", "menu"], b"app ?: --socket is no option"),
        (["--evil=a\nH,b\x1b[2J\xe9", "menu"], b"app ?: --evil=a?H,b?[2J?? is no option"),
    ],
)
def test_bad_usage_does_not_leave_the_caller_in_silence(shim_binary: Path, args: list[str], reason: bytes) -> None:
    with playing(shim_binary, *args) as asterisk:
        commands = asterisk.fallback()
        assert commands[0] == b"V,IVRD_STATUS=ERROR\n"
        assert commands[1].startswith(b"H,ivrd: " + reason)
        assert all(len(command) <= 1023 and command.count(b"\n") == 1 for command in commands)
        assert asterisk.error().startswith(b"ivrd-shim: hanging up: " + reason)
        assert asterisk.exit_status() == 2


def test_bad_usage_heeds_the_fallback_wherever_it_stands(shim_binary: Path) -> None:
    with playing(shim_binary, "--wrong", "--fallback=exit", "menu") as asterisk:
        assert asterisk.fallback()[-1].startswith(b"E,")
        assert asterisk.exit_status() == 2


def fill_outputs(asterisk: Asterisk) -> None:
    """Make stdout and stderr one page each, and full."""
    for fd in (asterisk.commands_fd, asterisk.errors_fd):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)
        with open(f"/proc/self/fd/{fd}", "wb", buffering=0) as writer:
            writer.write(b"x" * 4096)


def test_events_that_block_asterisk_are_drained(asterisk: Asterisk, daemon: Daemon) -> None:
    # Asterisk writes its events without a time limit, and reads no command meanwhile.
    with contextlib.closing(daemon.accept()) as link:
        link.hello()
        fill_outputs(asterisk)
        filled = asterisk.fill_events()
        assert filled > 4096
        link.say(wire.refused(Status.ERROR, "-", "no"))
    written = 0
    while written < filled:
        assert select.select([], [asterisk.events_fd], [], PATIENCE_S)[1]
        written += asterisk.fill_events()
    assert os.read(asterisk.commands_fd, 4096) == b"x" * 4096
    assert asterisk.fallback() == [b"V,IVRD_STATUS=ERROR\n", b"H,ivrd: app menu: no\n"]


@pytest.mark.slow
def test_nobody_reads_at_all(asterisk: Asterisk, daemon: Daemon) -> None:
    # It tries to write for a while, holds on for a while, and goes.
    with contextlib.closing(daemon.accept()) as link:
        link.hello()
        fill_outputs(asterisk)
        link.say(wire.refused(Status.ERROR, "-", "no"))
        began = time.monotonic()
    assert asterisk.exit_status() == 1
    assert 10 < time.monotonic() - began < PATIENCE_S


def test_asterisk_is_gone_altogether(asterisk: Asterisk, daemon: Daemon) -> None:
    with contextlib.closing(daemon.accept()) as link:
        link.hello()
        asterisk.die()
        link.say(wire.refused(Status.ERROR, "-", "no"))
        assert asterisk.exit_status() == 1  # not killed by SIGPIPE


def test_the_shim_leaves_as_soon_as_asterisk_is_gone(shim_binary: Path, path: Path) -> None:
    with playing(shim_binary, f"--socket={path}", "--timeout=0.1", "menu") as asterisk:
        asterisk.hang_up()
        assert asterisk.exit_status() == 1
        assert time.monotonic() - asterisk.started < 8  # not the 10 s that it would hold on


def test_help_and_version(shim_binary: Path) -> None:
    from ivrd import __version__

    with playing(shim_binary, "--version") as asterisk:
        assert asterisk.command() == f"ivrd-shim {__version__}\n".encode()
        assert asterisk.exit_status() == 0
    with playing(shim_binary, "--help") as asterisk:
        assert asterisk.command().startswith(b"usage: ivrd-shim [--socket=PATH]")
        assert asterisk.exit_status() == 0
