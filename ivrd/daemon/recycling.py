"""Which workers of an app are to be replaced because of their age, their size or the calls that they had.

The rule that holds here: what is due is decided by `rules.staffing`; a limit that a new worker is beyond from the start
is no reason to replace it, but to tell the operator, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from ivrd.config import App
from ivrd.rules import staffing

if TYPE_CHECKING:
    from .workers import Worker

__all__ = ["Recycling"]

log = structlog.get_logger("ivrd.daemon")


class Recycling:
    """The workers of an app that are due.

    Args:
        app: the app's name, for the log.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        self._due: dict[int, str] = {}
        self._warned = False

    def __contains__(self, key: int) -> bool:
        return key in self._due

    def reason(self, key: int) -> str:
        """Why a worker is due; "" where it is not."""
        return self._due.get(key, "")

    def check(self, worker: Worker, app: App) -> bool:
        """Look at a worker that takes calls; tells whether it has just become due."""
        reason = staffing.due(
            served=worker.served,
            max_calls=app.max_calls_per_worker,
            memory=worker.rss,
            max_memory=app.max_memory_bytes,
            age=trio.current_time() - worker.born,
            max_age=app.max_age,
            jitter=worker.jitter,
        )
        if not reason or worker.key in self._due or worker.state != "ready":
            return False
        if reason == "max_memory" and worker.baseline > app.max_memory_bytes:
            self._warn(worker, app)
            return False
        log.info("worker_due", app=self._app, worker=worker.key, pid=worker.pid, reason=reason)
        self._due[worker.key] = reason
        return True

    def _warn(self, worker: Worker, app: App) -> None:
        # A new one would not be smaller, and so they would come and go for ever.
        if not self._warned:
            self._warned = True
            detail = f"a new worker has {worker.baseline >> 20} MiB before its first call: raise it"
            log.warning("max_memory_too_low", app=self._app, max_memory=app.max_memory, detail=detail)

    def forget(self, key: int) -> None:
        """A worker is gone."""
        self._due.pop(key, None)

    def begin_anew(self) -> None:
        """The configuration was read again: what is wrong with it may be told again."""
        self._warned = False
