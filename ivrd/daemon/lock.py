"""One daemon per socket, and the book of its workers' process ids, for the daemon that comes after a crash.

The rule that holds here: who holds the lock on `SOCKET.lock` owns the sockets beside it, for life. The book in that
file is true whenever a worker could register: a worker is written down before a word of it is heard and crossed out
after its death, so that the next daemon knows which of the processes that knock are workers, and for whom it may wait.
A clean stop removes it, which is safe because who has locked a file looks whether it is still the one of that name.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress

from ivrd.errors import ServeError

__all__ = ["Lock"]

_UPGRADE = b"upgrade"


class Lock:
    """The lock of one installation, and the book in it.

    Attributes:
        path: the lock file.
        orphans: process ids in the book of the daemon before, of those that still live.
        upgrade: the daemon before left on purpose, so that its workers run code that may be old.
    """

    def __init__(self, socket_path: str) -> None:
        self.path = socket_path + ".lock"
        self.orphans: frozenset[int] = frozenset()
        self.upgrade = False
        self._fd = -1
        self._pids: set[int] = set()
        self._word = b""

    def __enter__(self) -> Lock:
        """Take the lock.

        Raises:
            ServeError: another daemon serves this socket, or the file cannot be opened.
        """
        while not self._take():
            pass  # who held it was just leaving, and took the file along
        words = os.pread(self._fd, 65_536, 0).split()
        self.upgrade = _UPGRADE in words
        pids = (int(word) for word in words if word.isdigit() and len(word) < 10)
        self.orphans = frozenset(pid for pid in pids if _lives(pid))
        self._pids = set(self.orphans)
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the lock; the file goes too when no worker is in the book."""
        if not self._pids:
            with suppress(OSError):
                os.unlink(self.path)
        os.close(self._fd)
        self._fd = -1

    def _take(self) -> bool:
        """Open and lock the file; false when it is not the one of that name any more."""
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            directory = os.path.dirname(self.path) or "."
            if error.errno == errno.ENOENT:
                advice = f"the directory {directory} does not exist: create it, owned by ivrd's user"
            elif error.errno in (errno.EACCES, errno.EPERM):
                advice = f"no permission: give {directory} and what is in it to ivrd's user, or serve as another"
            else:
                advice = error.strerror or str(error)
            raise ServeError(f"lock {self.path}: {advice}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            socket_path = self.path.removesuffix(".lock")
            raise ServeError(
                f"socket {socket_path} is served already by another ivrd: "
                "stop that one, or give this one sockets of its own"
            ) from None
        try:
            current = os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except FileNotFoundError:
            current = False
        if not current:
            os.close(self._fd)
        return current

    def add(self, pid: int) -> None:
        """Write a worker down."""
        self._pids.add(pid)
        self._write()

    def remove(self, pid: int) -> None:
        """Cross a dead worker out."""
        self._pids.discard(pid)
        self._write()

    def leave(self) -> None:
        """Note that this daemon goes on purpose and leaves its workers to the next one."""
        self._word = _UPGRADE + b"\n"
        self._write()

    def _write(self) -> None:
        text = self._word + "".join(f"{pid}\n" for pid in sorted(self._pids)).encode()
        # A full disk must not end the service: what is lost is only the next daemon's patience for these workers.
        with suppress(OSError):
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # somebody else's by now; ours have our user
    return True
