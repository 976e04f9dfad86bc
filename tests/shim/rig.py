"""Asterisk's side and the daemon's side of one shim, played step by step by a test: real pipes, a real socket."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 60.0  # on a machine that does many other things; a hang, not a limit on anything measured


class Asterisk:
    """Three pipes and the shim behind them, as `app_externalivr.c` starts it.

    Attributes:
        events_fd: write end of the shim's stdin, closed by `hang_up`.
        commands_fd: read end of its stdout.
        errors_fd: read end of its stderr.
        process: the shim.
        started: when it was started, on the monotonic clock.
    """

    def __init__(self, binary: Path, *args: str | bytes) -> None:
        stdin, self.events_fd = os.pipe()
        self.commands_fd, stdout = os.pipe()
        self.errors_fd, stderr = os.pipe()
        self.stdout_inode = os.fstat(stdout).st_ino
        self.started = time.monotonic()
        self.process = subprocess.Popen([binary, *args], stdin=stdin, stdout=stdout, stderr=stderr, cwd="/")
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        self.hung_up = self.dead = False

    def send(self, data: bytes) -> None:
        os.write(self.events_fd, data)

    def fill_events(self) -> int:
        """Write events until the pipe is full, as a caller does whose keys nobody reads."""
        os.set_blocking(self.events_fd, False)
        written = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                written += os.write(self.events_fd, b"1,0123456789\n" * 64)
        return written

    def command(self) -> bytes:
        """One read of stdout, as Asterisk does it; empty at its end."""
        return self._read(self.commands_fd)

    def error(self) -> bytes:
        """One read of stderr; empty at its end."""
        return self._read(self.errors_fd)

    def _read(self, fd: int) -> bytes:
        assert select.select([fd], [], [], PATIENCE_S)[0], "the shim wrote nothing"
        return os.read(fd, 2048)

    def fallback(self) -> list[bytes]:
        """Read up to the command that ends the call, see that the shim holds on, and close as Asterisk does.

        Returns:
            The commands, one per read.
        """
        commands = [self.command()]
        while not commands[-1].startswith((b"H,", b"E,")):
            assert commands[-1], f"stdout ended after {commands}"
            commands.append(self.command())
        # Asterisk sees the end of stderr before it reads stdout: whoever sends E must hold both until stdin ends.
        assert self.process.poll() is None
        self.hang_up()
        return commands

    def hang_up(self) -> None:
        if not self.hung_up:
            self.hung_up = True
            os.close(self.events_fd)

    def exit_status(self) -> int:
        return self.process.wait(PATIENCE_S)

    def die(self) -> None:
        """Close all three pipes, as the end of the Asterisk process does."""
        self.hang_up()
        if not self.dead:
            self.dead = True
            os.close(self.commands_fd)
            os.close(self.errors_fd)

    def close(self) -> None:
        self.die()
        self.process.kill()
        self.process.wait()


class Link:
    """One shim's connection, at the daemon's end."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.fds: list[int] = []

    def hello(self) -> bytes:
        """Receive the hello, and its descriptors into `fds`."""
        data, control, flags, _ = self.connection.recvmsg(65536, socket.CMSG_SPACE(64 * 4), socket.MSG_CMSG_CLOEXEC)
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        for level, kind, payload in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            self.fds += array.array("i", payload)
        return data

    def say(self, message: bytes) -> None:
        self.connection.send(message)

    def packet_mode(self) -> list[bool]:
        return [bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT) for fd in self.fds]

    def close(self) -> None:
        self.connection.close()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


class Daemon:
    """A listening socket that does what the test says."""

    def __init__(self, path: Path, backlog: int = 8) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.settimeout(PATIENCE_S)
        self.listener.bind(str(path))
        self.listener.listen(backlog)

    def accept(self) -> Link:
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE_S)
        return Link(connection)

    def close(self) -> None:
        self.listener.close()


@contextlib.contextmanager
def playing(binary: Path, *args: str | bytes) -> Iterator[Asterisk]:
    asterisk = Asterisk(binary, *args)
    try:
        yield asterisk
    finally:
        asterisk.close()
