"""How many threads are at work for an event loop, whatever limiter they were started under.

The rule that holds here: asked on the loop's own thread, between two of its rounds. AnyIO counts no threads of its own
where it runs on asyncio, so its books are looked into; where a release keeps them elsewhere, those under the default
limiter are what is seen.
"""

from __future__ import annotations

from typing import Literal

import anyio
import anyio.to_thread

__all__ = ["threads_at_work"]


def threads_at_work(backend: Literal["asyncio", "trio"], default: anyio.CapacityLimiter) -> int:
    """Count the threads of `anyio.to_thread` (and of `trio.to_thread`) that are at work for the loop that runs here.

    Args:
        backend: which loop it is.
        default: its default limiter.

    Returns:
        How many there are. On asyncio also those that nobody waits for any more.
    """
    try:
        return _in_trio() if backend == "trio" else _in_asyncio()
    except (ImportError, AttributeError):
        return default.borrowed_tokens


def _in_trio() -> int:
    from trio.testing import active_thread_count

    return active_thread_count()


def _in_asyncio() -> int:
    from anyio._backends import _asyncio as books

    try:
        return len(books._threadpool_workers.get()) - len(books._threadpool_idle_workers.get())
    except LookupError:
        return 0  # there never was one
