"""Taking keys from a caller: how many, how long to wait, and what ends an entry.

The rule that holds here: a key is taken once, in the order in which it was pressed, and none is thrown away but the
terminator that a caller presses out of habit behind a full entry.
"""

from __future__ import annotations

from typing import NamedTuple

import anyio
import anyio.lowlevel

from ivrd.worker.channel import Channel
from ivrd.worker.keys import Press

__all__ = ["Entry", "collect"]


class Entry(NamedTuple):
    """What ends an entry of keys.

    Attributes:
        most: how many keys are enough.
        timeout: seconds to wait for the first key.
        digit_timeout: seconds to wait for each further key.
        terminators: keys that end it and are no part of it.
    """

    most: int
    timeout: float
    digit_timeout: float
    terminators: str


async def collect(channel: Channel, entry: Entry) -> str:
    """Take keys until the entry is complete or nobody presses any more.

    Returns:
        The keys, without the terminator.

    Raises:
        CallEnded: the call is over, or the caller hung up.
    """
    typed = ""
    while True:
        press = await _next_key(channel, entry.digit_timeout if typed else entry.timeout)
        if press is None or press.key in entry.terminators:
            return typed
        typed += press.key
        if len(typed) == entry.most:
            # Some callers press # behind a PIN of fixed length too; left there it would answer the next question.
            channel.keys.take_trailing(entry.terminators, press)
            return typed


async def _next_key(channel: Channel, timeout: float) -> Press | None:
    await anyio.lowlevel.checkpoint()
    with anyio.move_on_after(timeout):
        await channel.until(lambda: bool(channel.keys.waiting), live=True)
    return channel.keys.take() if channel.keys.waiting else None
