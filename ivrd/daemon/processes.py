"""A worker's operating-system process: started or taken over, watched by its pidfd, made to go.

The rule that holds here: a process id alone is never signalled, for it may be somebody else's by now; a pidfd is that
process for ever, whoever its parent is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import msgspec
import trio

from ivrd.wire.messages import WorkerSpec

__all__ = ["Process"]

# The steps of the ladder, each with the seconds that it is given.
LADDER = ((signal.SIGUSR1, 0.3), (signal.SIGTERM, 0.7), (signal.SIGKILL, float("inf")))

# What belongs to the daemon alone: a worker must not speak to systemd in its name.
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_DEFAULT_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
)


class Process:
    """A process that another daemon started, or that `spawn` did.

    Args:
        pid: its process id.

    Raises:
        OSError: it is gone, or no descriptor is free.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    @classmethod
    def spawn(cls, spec: WorkerSpec) -> Process:
        """Start a worker, in a session of its own and with no descriptor of the daemon's but stderr, its log.

        Raises:
            OSError: the system has no room for another process.
        """
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        environment["IVRD_WORKER"] = msgspec.json.encode(spec).decode()
        pid = os.posix_spawn(
            sys.executable,
            # -P: the directory in which the daemon was started is nobody's library.
            [sys.executable, "-P", "-m", "ivrd.worker", spec.name],
            environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)],
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
        try:
            return cls(pid)
        except OSError:
            # Our child, and not yet waited for, so that its id is still its own.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    async def dead(self) -> None:
        """Wait until it is dead."""
        await trio.lowlevel.wait_readable(self._pidfd)

    async def climb(self) -> None:
        """Make it go: ask for its stacks, then SIGTERM, then SIGKILL. Does not return: cancel it at the death."""
        for number, grace in LADDER:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
            await trio.sleep(grace)

    def close(self) -> os.waitid_result | None:
        """Let go of it, dead or alive.

        Returns:
            How it died; None while it lives, or where it is no child of ours and init has reaped it.
        """
        trio.lowlevel.notify_closing(self._pidfd)
        try:
            return os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None
        finally:
            os.close(self._pidfd)
