"""What a load costs the daemon and an app's workers, from the kernel's books of their processes.

The rule that holds here: workers come and go under a load (they are recycled, an elastic pool grows), so who they are
is asked again and again, and of one that is gone the last that was read counts.
"""

from __future__ import annotations

import os

import msgspec

from ivrd.wire.control import StatusAnswer

__all__ = ["Books", "Cost"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a load cost the daemon and the app's workers, whoever else they served meanwhile.

    Attributes:
        daemon_cpu: seconds of CPU.
        workers_cpu: seconds of CPU of all the app's workers, those included that came or went meanwhile: one that came
            with what it took to start, one that went to within the last tenth of a second.
        daemon_rss: the most resident memory that was seen, bytes.
        workers_rss: the same, summed over the app's workers.
        workers: the most that were there at once.
        recycled: how many came beyond those that were there at first.
    """

    daemon_cpu: float
    workers_cpu: float
    daemon_rss: int
    workers_rss: int
    workers: int
    recycled: int


class Books:
    """The books, opened before a load.

    Args:
        app: the app.
        status: the daemon's word on who is there.
    """

    def __init__(self, app: str, status: StatusAnswer) -> None:
        self._app = app
        self._daemon = status.pid
        self._workers: list[int] = []
        self._before = {pid: _cpu(pid) for pid in (status.pid, *self._pids(status))}
        self._after = dict(self._before)
        self._daemon_rss = self._workers_rss = self._most = 0
        self.meet(status)

    def meet(self, status: StatusAnswer) -> None:
        """Hear who is there now."""
        self._workers = self._pids(status)
        self._most = max(self._most, len(self._workers))
        self.sample()

    def sample(self) -> None:
        """Read what they have used so far."""
        for pid in (self._daemon, *self._workers):
            # 0 is what one that is gone has.
            self._after[pid] = max(self._after.get(pid, 0.0), _cpu(pid))
        self._daemon_rss = max(self._daemon_rss, _rss(self._daemon))
        self._workers_rss = max(self._workers_rss, sum(map(_rss, self._workers)))

    def close(self) -> Cost:
        """Sum up."""
        self.sample()
        spent = {pid: used - self._before.get(pid, 0.0) for pid, used in self._after.items()}
        daemon = spent.pop(self._daemon)
        return Cost(
            daemon_cpu=round(daemon, 2),
            workers_cpu=round(sum(spent.values()), 2),
            daemon_rss=self._daemon_rss,
            workers_rss=self._workers_rss,
            workers=self._most,
            recycled=len(self._after.keys() - self._before.keys()),
        )

    def _pids(self, status: StatusAnswer) -> list[int]:
        return [worker.pid for app in status.apps if app.name == self._app for worker in app.workers]


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0
