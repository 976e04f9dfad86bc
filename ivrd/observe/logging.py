"""Log lines: structlog to stderr, for people (`console`) or for machines (`json`), the same in daemon and workers.

The rule that holds here: a line is a fixed event name (`call.ended`) and fields, never a sentence made of values; and a
traceback shows no local variables, for among them is what a caller typed. structlog is imported by `configure`, not by
this module, because it brings rich along and a worker that logs nothing should not wait for that at its start.
A flood of one warning or error is thinned out, with a count of what was left out.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from ivrd.observe import journal
from ivrd.observe.repeats import Repeats

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

__all__ = ["LEVELS", "Format", "configure", "get_logger", "natural", "print_whole_lines"]

Format = Literal["console", "json", "journal"]
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""Names of the levels that a configuration may give, and what they are to `logging`."""


class _StderrWriter:
    """As structlog's logger: a line on stderr, if it can be written; a full disk or a dead reader ends no call."""

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
            # Past the stream's buffer, which would keep what it is not rid of and fail once more when the process ends.
            os.write(sys.stderr.fileno(), f"{line}\n".encode("utf-8", "backslashreplace"))

    debug = info = warning = error = critical = msg


def print_whole_lines() -> None:
    """Have all that this process prints go out at once, and a line at a time.

    Into a file, a pipe or the journal an app's `print` would wait for 8 KiB of its like, and die with the process;
    under PYTHONUNBUFFERED it would be written in two pieces, between which another process's line fits.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def natural(configured: Literal["", "console", "json"]) -> Format:
    """Give the format that suits where stderr goes, unless one was asked for.

    Args:
        configured: `[server] log_format`.
    """
    if configured:
        return configured
    if journal.is_stderr(os.environ):
        return "journal"
    return "console" if sys.stderr.isatty() else "json"


def configure(
    format: Format,  # noqa: A002 - the configuration's own word
    level: str,
    repeats: Repeats | None = None,
    **fields: object,
) -> None:
    """Say how this process logs, before its first line and when that changes.

    Args:
        format: `console`, in colours where stderr is a terminal; `json`, one object a line; or `journal`, fields of
            journald's own.
        level: the least severe lines that are written, one of `LEVELS`.
        repeats: what was written lately, where this is not the first time.
        fields: put on each line, such as `app="menu"`.
    """
    import structlog

    def add_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**fields, **event}

    repeats = Repeats() if repeats is None else repeats

    def thin_out(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if LEVELS.get(method, 0) >= LEVELS["warning"]:
            kind = f"{event.get('event')} {event.get('app', '')}"  # one app's flood is not to hide another's word
            left_out = repeats.admit(kind, time.monotonic())
            if left_out is None:
                raise structlog.DropEvent
            if left_out:
                event["left_out"] = left_out
        return event

    processors: list[Processor] = [
        thin_out,
        structlog.contextvars.merge_contextvars,
        add_fields,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    writer: _StderrWriter | journal.JournalWriter = _StderrWriter()
    if format == "journal":
        writer = journal.JournalWriter()
        processors += [structlog.processors.format_exc_info, journal.render]
    elif format == "json":
        # The plain formatter prints source lines only; structlog's dictionaries of tracebacks would hold all locals.
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=repr)]
    else:
        processors.append(
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: writer,
    )


def get_logger(**fields: object) -> FilteringBoundLogger:
    """Give a logger whose lines carry these fields as well; `configure` comes first."""
    import structlog

    logger: FilteringBoundLogger = structlog.get_logger(**fields)
    return logger
