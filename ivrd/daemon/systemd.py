"""What is said between systemd and the daemon: readiness, figures, a watchdog that can be believed, sockets handed in.

The rule that holds here: the watchdog is fed only after a connection has come in through the shims' own socket and was
seen off by the loop that serves it, so that what systemd believes is what a caller would meet. Without systemd
(`NOTIFY_SOCKET` is not set) all of this does nothing. The protocols are those of sd_notify(3) and sd_listen_fds(3), in
plain datagrams and environment variables.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
import trio

from ivrd.errors import ServeError

__all__ = ["Inherited", "Manager", "inherit", "knock"]

log = structlog.get_logger("ivrd.daemon")

STATUS_INTERVAL = 5.0  # seconds between two looks at the figures; they are sent when they have changed
SEND_DEADLINE = 5.0  # seconds for a busy systemd to take a message
FIRST_FD = 3  # SD_LISTEN_FDS_START


class Manager:
    """The service manager, as far as it wants to be told.

    Args:
        address: where its datagrams go: a path, or an abstract name after an `@`; "" when there is none.
        watchdog: seconds after which it takes a silent daemon for hung; 0 when it does not watch.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._address = address
        self._watchdog = watchdog

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Manager:
        """Take what systemd said out of the environment, so that no child speaks in our name."""
        address = environment.pop("NOTIFY_SOCKET", "")
        interval = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        if address and address[0] not in "/@":
            log.warning("systemd_unreachable", address=address, reason="neither a path nor an abstract name")
            address = ""
        ours = pid in ("", str(os.getpid()))
        return cls(address, int(interval) / 1e6 if address and ours and interval.isdecimal() else 0.0)

    async def ready(self, status: str) -> None:
        """Calls are taken; the figures so far as one line."""
        await self._tell("READY=1", f"STATUS={_one_line(status)}")

    async def stopping(self, seconds: float) -> None:
        """No more calls are taken; it may take so many seconds until the end, whatever `TimeoutStopSec=` says."""
        await self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    @asynccontextmanager
    async def reloading(self) -> AsyncIterator[None]:
        """A reload, from its beginning to its end, however that is."""
        await self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await self._tell("READY=1")

    async def attend(self, status: Callable[[], str], path: str) -> None:
        """Show live figures and feed the watchdog, until cancelled.

        Args:
            status: the figures, as one line.
            path: the shims' socket.
        """
        if not self._address:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show, status)
            if self._watchdog:
                # The watchdog ends a hung daemon with SIGABRT: the log shows where it hung.
                faulthandler.enable()
                nursery.start_soon(self._feed, path)

    async def _show(self, status: Callable[[], str]) -> None:
        shown = ""
        while True:
            line = _one_line(status())
            if line != shown:
                await self._tell(f"STATUS={line}")
                shown = line
            await trio.sleep(STATUS_INTERVAL)

    async def _feed(self, path: str) -> None:
        while True:
            working = False
            with trio.move_on_after(self._watchdog / 4):
                working = await knock(path)
            if working:
                await self._tell("WATCHDOG=1")
                await trio.sleep(self._watchdog / 2)
            else:
                # A moment's trouble is given a few more tries before systemd acts.
                log.warning("watchdog_not_fed", socket=path, reason="no connection gets through to the shims' socket")
                await trio.sleep(self._watchdog / 20)

    async def _tell(self, *lines: str) -> None:
        """Send one message; one that systemd does not take is logged, for the calls go on without it."""
        if not self._address:
            return
        name = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with (
                trio.fail_after(SEND_DEADLINE),
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
            ):
                sock.connect(name)
                while True:
                    try:
                        sock.send("\n".join(lines).encode("utf-8", "replace"), socket.MSG_NOSIGNAL)
                        return
                    except BlockingIOError:
                        await trio.lowlevel.wait_writable(sock)
        except (OSError, trio.TooSlowError) as error:
            reason = "it does not read" if isinstance(error, trio.TooSlowError) else error.strerror
            log.warning("systemd_unreachable", address=self._address, message=lines[0], reason=reason)


def _one_line(text: str) -> str:
    return " ".join(text.split())  # a line break would begin another assignment


async def knock(path: str) -> bool:
    """Connect as a shim does, and leave.

    Returns:
        Whether the connection was taken in and seen off; cancel it when that takes too long.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as sock:
            sock.connect(path)
            sock.shutdown(socket.SHUT_WR)
            await trio.lowlevel.wait_readable(sock)  # who has served it closes it
            return True
    except OSError:
        return False  # nobody listens, the backlog is full, or no descriptor is left


@dataclass
class Inherited:
    """Listening sockets that were handed in; non-blocking, and not inherited any further.

    Attributes:
        shim: the shims' socket.
        metrics: the exporter's.
    """

    shim: socket.socket | None = None
    metrics: list[socket.socket] = field(default_factory=list)


def inherit(environment: MutableMapping[str, str], path: str) -> Inherited:
    """Take over the sockets that systemd (or `systemd-socket-activate`) opened for this process.

    Args:
        environment: where systemd says so; its variables are taken out.
        path: where the configuration wants the shims' socket.

    Raises:
        ServeError: a socket is not what its name says; tells what to write into its unit.
    """
    pid, count, names = (environment.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    given = Inherited()
    if pid != str(os.getpid()) or not count.isdecimal():
        return given
    labels = names.split(":") if names else []
    for place in range(int(count)):
        fd = FIRST_FD + place
        label = labels[place] if place < len(labels) else "unknown"
        sock = _socket(fd, label)
        match label:
            case "shim":
                if given.shim is not None:
                    raise ServeError("two sockets named shim were handed in; leave one ListenSequentialPacket=")
                if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
                    raise ServeError("the socket named shim is not of SEQPACKET: listen by ListenSequentialPacket=")
                if sock.getsockname() != path:
                    at = sock.getsockname()
                    raise ServeError(f"the socket named shim listens at {at!r}, the configuration says {path}: "
                                     "give server.socket and ListenSequentialPacket= the same path")  # fmt: skip
                given.shim = sock
            case "metrics":
                if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
                    raise ServeError("the socket named metrics is not of TCP: listen by ListenStream=ADDRESS:PORT")
                given.metrics.append(sock)
            case _:
                raise ServeError(f"descriptor {fd} was handed in under the name {label!r}: "
                                 "write FileDescriptorName=shim or =metrics into its socket unit")  # fmt: skip
    return given


def _socket(fd: int, label: str) -> socket.socket:
    try:
        listens = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        listens = False
    if listens:
        sock = socket.socket(fileno=fd)
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            os.set_inheritable(fd, False)
            sock.setblocking(False)
            return sock
        sock.detach()
    raise ServeError(f"descriptor {fd}, handed in under the name {label!r}, is not a listening socket: "
                     "only ivrd.socket and ivrd-metrics.socket may name ivrd.service")  # fmt: skip
