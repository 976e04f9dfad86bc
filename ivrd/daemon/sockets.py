"""Local sockets: listening, accepting for ever, and waiting for one message with its descriptors.

The rule that holds here: all of them are SEQPACKET (one message, one `sendmsg`), and an accept loop survives whatever
happens to
it: a full descriptor table is waited out, for the calls that end will free it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

import structlog
import trio

from ivrd import descriptors
from ivrd.errors import ServeError

__all__ = ["accept_for_ever", "listen", "receive", "unlink"]

log = structlog.get_logger("ivrd.daemon")

BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def listen(path: str, mode: int) -> socket.socket:
    """Open a listening socket at a path, in place of one that a dead daemon left.

    One that somebody listens on is not taken away: the lock of this installation is for the shims' socket, and another
    configuration may name the same worker or control socket.

    Args:
        path: where.
        mode: permissions of the socket file; whoever may write to it may connect.

    Returns:
        The socket, non-blocking.

    Raises:
        ServeError: the path cannot be used; says why and what to do.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise ServeError(f"{path} is there and is not a socket: move it away or configure another path")
            if _is_served(path):
                raise ServeError(
                    f"socket {path} is served already by another ivrd: "
                    "stop that one, or give this one sockets of its own"
                )
            os.unlink(path)
        # No moment in which the socket is more open than it should be.
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        os.chmod(path, mode)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ServeError(f"socket {path}: {_advice(error, path)}") from None
    except ServeError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False
        return True


def _advice(error: OSError, path: str) -> str:
    directory = os.path.dirname(path) or "."
    match error.errno:
        case errno.ENOENT:
            return f"the directory {directory} does not exist: create it, owned by ivrd's user"
        case errno.EACCES | errno.EPERM:
            return f"no permission to create it in {directory}: give that directory to ivrd's user, or serve as another"
        case errno.ENAMETOOLONG:
            return "the path is longer than the 107 bytes that a socket's may have: choose a shorter one"
        case _:
            return f"{error.strerror or error}"


def unlink(path: str) -> None:
    """Remove a socket's file; one that is gone already is no matter."""
    with suppress(OSError):
        os.unlink(path)


async def accept_for_ever(
    listener: socket.socket,
    take: Callable[[socket.socket], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections until cancelled.

    Args:
        listener: a listening socket, non-blocking.
        take: called with each connection (non-blocking), which is then its own to close; must not raise.
        task_status: told at once; connections that came before are in the backlog.
    """
    task_status.started()
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            await trio.lowlevel.wait_readable(listener)
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                # The peer was gone before we came to it: the next one may be well.
                await trio.lowlevel.checkpoint()
                continue
            log.warning("accept_waits", reason=error.strerror, socket=listener.getsockname())
            await trio.sleep(0.1)
        else:
            connection.setblocking(False)
            take(connection)
            # In a flood the calls that are up have their turn as well.
            await trio.lowlevel.checkpoint()


async def receive(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Wait for one message; arguments, result and errors as `descriptors.receive`."""
    while True:
        try:
            return descriptors.receive(sock, size, most)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
