"""A worker's own log, made when it is first needed.

The rule that holds here: a worker becomes ready without structlog, whose import takes as long as all others together;
it is imported on a thread afterwards, or at once if there is an error to tell before.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from ivrd.observe import logging
from ivrd.wire.messages import WorkerSpec

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["WorkerLog"]


class WorkerLog:
    """Writes log lines of one worker, each with its app and pid.

    Args:
        spec: says how.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._logger: FilteringBoundLogger | None = None
        self._lock = threading.Lock()

    def error(self, event: str, **fields: object) -> None:
        """Write a line; `exc_info` is an exception whose traceback goes along."""
        self.prepare().error(event, **fields)

    def prepare(self) -> FilteringBoundLogger:
        """Make the logger, so that the first error need not wait for it. Any thread may do that."""
        with self._lock:
            if self._logger is None:
                spec = self._spec
                logging.configure(spec.log_format, spec.log_level, app=spec.name, pid=os.getpid())
                self._logger = logging.get_logger()
            return self._logger

    def flush(self) -> None:
        """See that all lines have left this process."""
        sys.stderr.flush()
