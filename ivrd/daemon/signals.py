"""Signals: what the operator says to the process without a tool.

The rule that holds here: one task receives them all and asks the daemon for what they mean; nothing is done in a
handler.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

import structlog
import trio

__all__ = ["obey"]

log = structlog.get_logger("ivrd.daemon")


async def obey(
    meanings: Mapping[signal.Signals, Callable[[], None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Act on signals until cancelled.

    Args:
        meanings: what to call for which signal; must not wait.
        task_status: told when signals are received.
    """
    with trio.open_signal_receiver(*meanings) as received:
        task_status.started()
        async for number in received:
            log.info("signal", signal=signal.Signals(number).name)
            meanings[signal.Signals(number)]()
