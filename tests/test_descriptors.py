"""Descriptors that travel: what comes in is owned or closed, and checked for what it is."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from ivrd.descriptors import READ_SIZE, Stdio, close_all, is_over, peer_credentials, receive, send
from ivrd.errors import WireError

Link: TypeAlias = tuple[socket.socket, socket.socket]


@pytest.fixture
def link() -> Iterator[Link]:
    """Two ends of a SEQPACKET connection, non-blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@contextlib.contextmanager
def pipes() -> Iterator[tuple[int, int, int, tuple[int, int, int]]]:
    """Three pipes as Asterisk makes them: the child's three ends, and Asterisk's own."""
    child_in, asterisk_out = os.pipe()
    asterisk_in, child_out = os.pipe()
    asterisk_err, child_err = os.pipe()
    try:
        yield child_in, child_out, child_err, (asterisk_out, asterisk_in, asterisk_err)
    finally:
        close_all([child_in, child_out, child_err, asterisk_out, asterisk_in, asterisk_err])


@contextlib.contextmanager
def opened(*fds: int) -> Iterator[list[int]]:
    """Copies of descriptors, closed at the end if nobody did."""
    copies = [os.dup(fd) for fd in fds]
    try:
        yield copies
    finally:
        close_all(copies)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def same(one: int, other: int) -> bool:
    return os.path.sameopenfile(one, other)


@contextlib.contextmanager
def as_user(uid: int) -> Iterator[int]:
    """Be somebody else for a moment, where root may; who that is in the end."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(uid)
    try:
        yield os.geteuid()
    finally:
        if root:
            os.seteuid(0)


def until_full(write: Callable[[], None]) -> None:
    for _ in range(100_000):
        write()


# Sending and receiving.


def test_descriptors_come_with_their_own_message_and_are_close_on_exec(link: Link) -> None:
    ours, theirs = link
    with pipes() as (stdin, stdout, stderr, _):
        send(theirs, b"one", [stdin, stdout, stderr])
        send(theirs, b"two")
        send(theirs, b"three", [stderr])
        data, fds = receive(ours, 100, 3)
        try:
            assert data == b"one"
            assert [same(*pair) for pair in zip(fds, (stdin, stdout, stderr), strict=True)] == [True] * 3
            assert not any(os.get_inheritable(fd) for fd in fds)
            assert is_open(stdin), "the sender keeps its copies"
        finally:
            close_all(fds)
        assert receive(ours, 100, 3) == (b"two", [])
        data, fds = receive(ours, 100, 3)
        assert (data, len(fds)) == (b"three", 1)
        close_all(fds)


def test_nothing_there_is_no_end(link: Link) -> None:
    ours, theirs = link
    with pytest.raises(BlockingIOError):
        receive(ours, 100, 3)
    theirs.close()
    assert receive(ours, 100, 3) == (b"", [])


@pytest.mark.parametrize("most", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("extra", [1, 2, 5])
def test_too_many_are_all_closed(link: Link, most: int, extra: int) -> None:
    # One more often fits in, since the kernel rounds the room up to a multiple of eight bytes.
    ours, theirs = link
    with pipes() as (stdin, *_):
        send(theirs, b"x", [stdin] * (most + extra))
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(WireError, match=f"^more than {most} descriptors came with one message"):
            receive(ours, 100, most)
        assert set(os.listdir("/proc/self/fd")) == before


def test_as_many_as_allowed_are_not_too_many(link: Link) -> None:
    ours, theirs = link
    with pipes() as (stdin, *_):
        send(theirs, b"x", [stdin] * 252)
        _, fds = receive(ours, 100, 252)
        close_all(fds)
        assert len(fds) == 252


def test_a_message_too_long_is_refused_and_its_descriptors_are_closed(link: Link) -> None:
    ours, theirs = link
    with pipes() as (stdin, *_):
        send(theirs, b"x" * 101, [stdin])
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(WireError, match=r"^a message of more than 100 bytes came; it was dropped$"):
            receive(ours, 100, 3)
        assert set(os.listdir("/proc/self/fd")) == before


def test_descriptors_without_a_message_are_no_end_of_the_connection(link: Link) -> None:
    ours, theirs = link
    with pipes() as (stdin, *_):
        send(theirs, b"", [stdin])
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(WireError, match=r"^1 descriptors came without a message"):
            receive(ours, 100, 3)
        assert set(os.listdir("/proc/self/fd")) == before


def test_a_full_table_of_open_files_is_said_to_be_that(link: Link) -> None:
    ours, theirs = link
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pipes() as (stdin, *_):
        send(theirs, b"x", [stdin] * 3)
        before = set(os.listdir("/proc/self/fd"))
        lowest_free = os.dup(stdin)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, hard))
        try:
            with pytest.raises(WireError, match=r"did not fit our limit on open files: raise it, or lower max_calls$"):
                receive(ours, 100, 3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert set(os.listdir("/proc/self/fd")) == before


def test_a_peer_that_reads_nothing_is_a_full_queue_and_one_that_is_gone_an_error(link: Link) -> None:
    ours, theirs = link
    with pytest.raises(BlockingIOError):
        until_full(lambda: send(ours, b"x" * 1000))
    theirs.close()
    with pytest.raises(ConnectionResetError):  # once, for what it left unread
        send(ours, b"x")
    with pytest.raises(BrokenPipeError):
        send(ours, b"x")


def test_too_many_descriptors_under_way_are_a_full_queue(link: Link) -> None:
    # The kernel lets root have as many under way as it likes, so root is somebody else here.
    ours, _ = link
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pipes() as (stdin, *_), as_user(3_000_000_000):
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        try:
            with pytest.raises(BlockingIOError) as caught:
                until_full(lambda: send(ours, b"x", [stdin] * 100))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.ETOOMANYREFS


def test_the_peer_is_who_connected() -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer,
    ):
        listener.bind("")  # a name of the kernel's choice, which no directory's permissions guard
        listener.listen()
        # A number that does not fit a signed integer is as good a user as any.
        with as_user(3_000_000_000) as uid:
            peer.connect(listener.getsockname())
        with listener.accept()[0] as connection:
            assert peer_credentials(connection) == (os.getpid(), uid, os.getegid())


# A call's three descriptors.


def test_a_call_is_adopted_non_blocking_and_in_packet_mode() -> None:
    with pipes() as (stdin, stdout, stderr, asterisk), opened(stdin, stdout, stderr) as fds:
        stdio = Stdio.adopt(fds)
        assert stdio.fds == tuple(fds)
        flags = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in stdio.fds]
        assert all(flag & os.O_NONBLOCK for flag in flags)
        assert [bool(flag & os.O_DIRECT) for flag in flags] == [False, True, True]
        # Each of Asterisk's reads returns one line, however many were written: trap 1.
        stdio.write(b"A,hello\n")
        stdio.write(b"P,1\n")
        stdio.complain("one")
        stdio.complain("two")
        _, asterisk_in, asterisk_err = asterisk
        assert [os.read(asterisk_in, 2048), os.read(asterisk_in, 2048)] == [b"A,hello\n", b"P,1\n"]
        assert [os.read(asterisk_err, 2048), os.read(asterisk_err, 2048)] == [b"one\n", b"two\n"]
        stdio.close()


def test_a_stream_socket_is_a_call_too() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs, opened(ours.fileno(), ours.fileno(), ours.fileno()) as fds:
        stdio = Stdio.adopt(fds)
        assert fcntl.fcntl(fds[0], fcntl.F_GETFL) & os.O_NONBLOCK
        stdio.write(b"P,1\n")
        assert theirs.recv(100) == b"P,1\n"
        stdio.close()
        assert theirs.fileno() >= 0


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_another_number_of_descriptors_is_no_call(number: int) -> None:
    with pipes() as (stdin, *_), opened(*[stdin] * number) as fds:
        with pytest.raises(WireError, match=f"^a call comes with 3 descriptors, not {number}$"):
            Stdio.adopt(fds)
        assert not any(is_open(fd) for fd in fds)


@pytest.mark.parametrize(("place", "name"), [(0, "stdin"), (1, "stdout"), (2, "stderr")])
def test_a_wrong_end_is_named_and_all_are_closed(place: int, name: str) -> None:
    with pipes() as (stdin, stdout, stderr, asterisk):
        ends = [stdin, stdout, stderr]
        ends[place] = asterisk[place]
        with opened(*ends) as fds:
            with pytest.raises(
                WireError, match=f"^the call's {name} is a pipe's wrong end; was ivrd-shim started by Ast"
            ):
                Stdio.adopt(fds)
            assert not any(is_open(fd) for fd in fds)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("kind", ["file", "null", "datagram", "packets", "unconnected", "path"])
def test_what_is_neither_pipe_nor_stream_is_named_and_all_are_closed(place: int, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        match kind:
            case "file":
                wrong = stack.enter_context(tempfile.TemporaryFile()).fileno()
            case "null":
                wrong = stack.enter_context(open(os.devnull, "r+b")).fileno()
            case "path":
                wrong = os.open("/", os.O_PATH)
                stack.callback(os.close, wrong)
            case "unconnected":
                wrong = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)).fileno()
            case _:
                types = {"datagram": socket.SOCK_DGRAM, "packets": socket.SOCK_SEQPACKET}
                for end in socket.socketpair(socket.AF_UNIX, types[kind]):
                    wrong = stack.enter_context(end).fileno()
        ends = list(stack.enter_context(pipes())[:3])
        ends[place] = wrong
        fds = stack.enter_context(opened(*ends))
        with pytest.raises(
            WireError, match=f"^the call's {('stdin', 'stdout', 'stderr')[place]} is neither a pipe nor a connected st"
        ):
            Stdio.adopt(fds)
        assert not any(is_open(fd) for fd in fds)


def test_descriptors_that_are_closed_already_are_refused() -> None:
    with pipes() as (stdin, stdout, stderr, _), opened(stdin, stdout, stderr) as fds:
        os.close(fds[1])
        with pytest.raises(WireError):
            Stdio.adopt(fds)
        assert not any(is_open(fd) for fd in fds)


@contextlib.contextmanager
def call() -> Iterator[tuple[Stdio, int, int, int]]:
    """A call, and Asterisk's ends: where events go, where commands and log lines come."""
    with pipes() as (stdin, stdout, stderr, asterisk), opened(stdin, stdout, stderr) as fds:
        close_all([stdin, stdout, stderr])
        stdio = Stdio.adopt(fds)
        yield stdio, *asterisk
        stdio.close()


def test_reading_gives_events_then_nothing_then_the_end() -> None:
    with call() as (stdio, events, _, _):
        os.write(events, b"1,1700000000\n")
        os.write(events, b"2,1700000000\n")
        assert stdio.read() == b"1,1700000000\n2,1700000000\n"
        with pytest.raises(BlockingIOError):
            stdio.read()
        os.close(events)
        assert stdio.read() == b""


def test_one_read_takes_all_that_a_pipe_holds() -> None:
    with call() as (stdio, events, _, _):
        os.set_blocking(events, False)
        line, written = b"1,1700000000\n" * 315, 0  # 4,095 bytes: Asterisk's writes of up to a page are of one piece
        with contextlib.suppress(BlockingIOError):
            while True:
                written += os.write(events, line)
        assert len(stdio.read()) == written <= READ_SIZE


def test_a_connection_that_was_reset_is_at_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        ours, _ = listener.accept()
        with opened(*[ours.fileno()] * 3) as fds:
            ours.close()
            stdio = Stdio.adopt(fds)
            # Closed with a linger of nought seconds: a reset instead of an end.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            caller.close()
            assert stdio.read() == b""
            stdio.close()


def test_a_full_pipe_blocks_nobody_and_a_log_line_is_given_up() -> None:
    with call() as (stdio, _, commands, errors):
        with pytest.raises(BlockingIOError):
            until_full(lambda: stdio.write(b"A,hello\n"))
        fcntl.fcntl(stdio.stderr, fcntl.F_SETPIPE_SZ, 4096)
        for number in range(40):
            stdio.complain(f"line {number}")
        assert os.read(errors, 2048) == b"line 0\n"
        os.close(commands)
        with pytest.raises(BrokenPipeError):
            stdio.write(b"A,hello\n")
        os.close(errors)
        stdio.complain("nobody hears this")


def test_a_log_line_is_one_line_of_bounded_length() -> None:
    with call() as (stdio, _, _, errors):
        stdio.complain("first\nH,x\rsecond \udcff")
        assert os.read(errors, 2048) == b"first H,x second ?\n"
        stdio.complain("é" * 2000)
        line = os.read(errors, 4096)
        assert len(line) <= 1023
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")


def test_a_call_is_closed_once_and_never_touches_the_next_one() -> None:
    with call() as (stdio, _, _, _):
        numbers = stdio.fds
        stdio.close()
        assert not any(is_open(fd) for fd in numbers)
        with pipes() as (_, stdout, _, (_, commands, _)):
            os.dup2(stdout, numbers[1])  # the kernel gives the lowest free number, so the next call has it soon
            with pytest.raises(OSError, match="Bad file descriptor"):
                stdio.write(b"H,x\n")
            stdio.close()
            assert is_open(numbers[1])
            os.close(numbers[1])
            os.set_blocking(commands, False)
            with pytest.raises(BlockingIOError):
                os.read(commands, 100)


def test_a_peer_is_gone_when_all_that_it_said_was_heard(link: Link) -> None:
    ours, theirs = link
    assert not is_over(ours)
    theirs.send(b"last words")
    theirs.close()
    assert not is_over(ours)
    assert ours.recv(100) == b"last words"
    assert is_over(ours)
