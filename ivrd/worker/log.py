"""A worker's own log, made when it is first needed.

The rule that holds here: a worker becomes ready without structlog, whose import takes as long as all others together;
it is imported on a thread afterwards, or at once if there is an error to tell before. Nothing is written in which the
secret of a call could be read, and that includes what Python itself writes of errors that nobody caught.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING
from weakref import WeakSet

from ivrd.errors import CallEnded
from ivrd.observe import logging
from ivrd.wire.messages import WorkerSpec
from ivrd.worker.secrets import Secrets

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
        self._lock = threading.RLock()  # a finalizer may fail while it is held
        self._secrets: WeakSet[Secrets] = WeakSet()

    def error(self, event: str, **fields: object) -> None:
        """Write a line, without the secrets of any call; `exc_info` is an exception whose traceback goes along."""
        error = fields.pop("exc_info", None)
        if isinstance(error, BaseException):
            fields["exception"] = "".join(traceback.format_exception(error))
        for name, value in fields.items():
            if isinstance(value, str) and name != "call":
                fields[name] = self.masked(value)
        self.prepare().error(event, **fields)

    def cover(self, secrets: Secrets) -> None:
        """Let a call's secrets appear in no line, for as long as anything of the call is there."""
        with self._lock:
            self._secrets.add(secrets)

    def masked(self, text: str) -> str:
        """Give a text that belongs to no call in particular without the secrets of all calls."""
        with self._lock:
            known = list(self._secrets)
        for secrets in known:
            text = secrets.masked_elsewhere(text)
        return text

    def tell_uncaught(self) -> None:
        """Tell of errors in an app's threads and finalizers too, which Python would write to stderr as they are."""
        threading.excepthook = self._thread_failed
        sys.unraisablehook = self._finalizer_failed

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        # SystemExit only ends its thread, as everywhere; CallEnded is how a thread that uses a call is told to end.
        if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit | CallEnded):
            line = traceback.format_exception_only(failed.exc_value)[-1].strip()
            name = failed.thread.name if failed.thread else None
            self.error("thread.failed", error=line, thread=name, exc_info=failed.exc_value)

    def _finalizer_failed(self, failed: sys.UnraisableHookArgs) -> None:
        # In Python's own words: this may come in the middle of anything, another line of the log included.
        what = failed.err_msg or "Exception ignored in"
        error = "".join(traceback.format_exception(failed.exc_type, failed.exc_value, failed.exc_traceback))
        sys.stderr.write(self.masked(f"{what}: {failed.object!r}\n{error}"))

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
