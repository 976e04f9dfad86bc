"""Descriptors that travel: receiving them with a message, checking what they are, owning and closing them.

The rule that holds here: a descriptor that came in is, when any function here returns or raises, either owned by the
object it returned or closed. Nothing here waits; who calls, waits. (Python's own `socket.recv_fds` drops its flags, so
that descriptors would leak into every child: cpython issue 107898.)
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterable, Sequence

from ivrd.errors import WireError

__all__ = ["READ_SIZE", "Stdio", "close_all", "is_over", "peer_credentials", "receive", "send"]

# One read ends where an event ends, since a pipe holds 64 KiB at most and Asterisk writes each event in one piece.
READ_SIZE = 65_536

_INT = array.array("i").itemsize
_CREDENTIALS = struct.Struct("iII")  # `struct ucred`: pid, uid, gid; the ids are unsigned


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors; one that is closed already is no matter."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def receive(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Receive one message and the descriptors attached to exactly that message; does not wait.

    Args:
        sock: a SEQPACKET socket, non-blocking.
        size: bytes a message may have at most.
        most: descriptors it may carry at most.

    Returns:
        The bytes (empty at EOF) and the descriptors, all of them close-on-exec and now the caller's to close.

    Raises:
        BlockingIOError: nothing is there.
        WireError: the message or its descriptors were cut, or there were too many, or they came without a
            message; all were closed.
        OSError: as `recvmsg`.
    """
    data, ancillary, flags, _ = sock.recvmsg(size, socket.CMSG_SPACE(most * _INT), socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(payload[: len(payload) - len(payload) % _INT])
            fds.extend(numbers)
    if flags & socket.MSG_CTRUNC and len(fds) < most:
        # There was room for more, so it is our table of open files that had none.
        close_all(fds)
        raise WireError("a message's descriptors did not fit our limit on open files: raise it, or lower max_calls")
    # CMSG_SPACE rounds up, so that one more than asked for may have fitted: count.
    if flags & socket.MSG_CTRUNC or len(fds) > most:
        close_all(fds)
        raise WireError(f"more than {most} descriptors came with one message; all of them were closed")
    if flags & socket.MSG_TRUNC:
        close_all(fds)
        raise WireError(f"a message of more than {size} bytes came; it was dropped")
    if fds and not data:
        # It would look like EOF, at which nobody expects descriptors.
        close_all(fds)
        raise WireError(f"{len(fds)} descriptors came without a message; all of them were closed")
    return data, fds


def send(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send one message with descriptors; does not wait. The caller keeps its copies.

    Raises:
        BlockingIOError: the peer's queue is full, or too many descriptors are on their way; try again when it is
            writable.
        OSError: as `sendmsg`; the peer is gone.
    """
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
    except OSError as error:
        # More descriptors under way than our own limit on open files: they count until the peer has received them.
        if error.errno == errno.ETOOMANYREFS:
            raise BlockingIOError(error.errno, error.strerror) from None
        raise


def is_over(sock: socket.socket) -> bool:
    """Whether the peer of a connection has gone, and nothing that it said waits to be received."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def peer_credentials(sock: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of who connected the other end of a Unix socket, as the kernel saw them then."""
    pid, uid, gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid, gid


class Stdio:
    """A call's three descriptors: events come from `stdin`, commands go to `stdout`, log lines to `stderr`.

    Attributes:
        stdin: read end, what Asterisk writes.
        stdout: write end, or the same stream socket as `stdin`.
        stderr: write end.
        closed: `close` was called.
    """

    __slots__ = ("closed", "stderr", "stdin", "stdout")

    def __init__(self, fds: Sequence[int]) -> None:
        self.stdin, self.stdout, self.stderr = fds
        self.closed = False

    @classmethod
    def adopt(cls, fds: Sequence[int]) -> Stdio:
        """Take over three received descriptors after checking their number, kind and direction; make them non-blocking.

        Packet mode (`O_DIRECT`) is set on both write ends: each of Asterisk's reads then returns exactly one line,
        which is the cure of the burst stall. Both flags sit on the open file, so that every holder of a copy shares
        them.

        Raises:
            WireError: they are not what a call comes with; all of them were closed.
        """
        try:
            if len(fds) != 3:
                raise WireError(f"a call comes with 3 descriptors, not {len(fds)}")
            for fd, name, direction in zip(
                fds, ("stdin", "stdout", "stderr"), (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True
            ):
                _check(fd, name, direction)
        except (WireError, OSError) as error:
            close_all(fds)
            raise WireError(str(error)) from None
        return cls(fds)

    @property
    def fds(self) -> tuple[int, int, int]:
        """The three descriptors, in the order in which they travel."""
        return (self.stdin, self.stdout, self.stderr)

    def channel(self) -> tuple[int, int]:
        """Tell this channel from all others that are up: by its pipe, which every copy of a descriptor shares."""
        status = os.fstat(self.stdin)
        return status.st_dev, status.st_ino

    def read(self) -> bytes:
        """Read what Asterisk sent, whole events; empty at EOF, and where reading is not possible any more.

        Raises:
            BlockingIOError: nothing is there.
        """
        try:
            return os.read(self.stdin, READ_SIZE)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def write(self, line: bytes) -> None:
        """Write one command in one piece.

        Raises:
            BlockingIOError: the pipe is full; in packet mode a small one holds two lines only.
            BrokenPipeError: Asterisk closed its side.
        """
        os.write(self.stdout, line)

    def complain(self, text: str) -> None:
        """Put one line into Asterisk's log by way of stderr, if there is room; a log line must never hold up a call."""
        line = text.replace("\n", " ").replace("\r", " ").encode("utf-8", "replace")[:1000] + b"\n"
        with contextlib.suppress(OSError):
            os.write(self.stderr, line)

    def close(self) -> None:
        """Close all three; once is enough."""
        if not self.closed:
            self.closed = True
            close_all(self.fds)
            # Their numbers are soon another call's: who still uses them meets EBADF, not that call.
            self.stdin = self.stdout = self.stderr = -1


def _check(fd: int, name: str, direction: int) -> None:
    mode = os.fstat(fd).st_mode
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    access = flags & os.O_ACCMODE
    if stat.S_ISFIFO(mode):
        if access not in (direction, os.O_RDWR):
            raise WireError(f"the call's {name} is a pipe's wrong end; was ivrd-shim started by Asterisk?")
        if direction == os.O_WRONLY:
            flags |= os.O_DIRECT
    elif not (stat.S_ISSOCK(mode) and _is_connected_stream(fd)):
        raise WireError(
            f"the call's {name} is neither a pipe nor a connected stream socket; was ivrd-shim started by Asterisk?"
        )
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)


def _is_connected_stream(fd: int) -> bool:
    with socket.socket(fileno=os.dup(fd)) as sock:
        try:
            sock.getpeername()
        except OSError:
            return False
        return bool(sock.type == socket.SOCK_STREAM)
