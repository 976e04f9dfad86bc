"""Taking keys from a caller: how many, how long to wait, and what ends an entry.

The rule that holds here: a key is taken once, in the order in which it was pressed, and none is thrown away but the
terminator that a caller presses out of habit behind a full entry.
"""

from __future__ import annotations

from typing import NamedTuple

import anyio
import anyio.lowlevel

from ivrd.errors import InvalidValue
from ivrd.worker.channel import Channel
from ivrd.worker.playback import ANY_KEY

__all__ = ["Entry", "collect", "one_key"]


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

    def check(self) -> None:
        """Raise InvalidValue where this makes no sense."""
        if self.most < 1:
            raise InvalidValue(f"max={self.most}: ask for at least one digit")
        for key in self.terminators:
            one_key(key)


def one_key(key: str) -> str:
    """Give a key as events have it.

    Raises:
        InvalidValue: it is not exactly one key.
    """
    if len(key) != 1 or key.upper() not in ANY_KEY:
        raise InvalidValue(f"{key!r} is not a key: a caller can press one of {ANY_KEY}")
    return key.upper()


async def collect(channel: Channel, entry: Entry) -> str:
    """Take keys until the entry is complete or nobody presses any more.

    Returns:
        The keys, without the terminator.

    Raises:
        CallEnded: the call is over, or the caller hung up.
    """
    typed = ""
    while len(typed) < entry.most:
        key = await _next_key(channel, entry.digit_timeout if typed else entry.timeout)
        if key is None or key in entry.terminators:
            return typed
        typed += key
    # Some callers press # behind a PIN of fixed length too; left there it would answer the next question.
    if entry.terminators:
        if channel.keys and channel.keys[0] in entry.terminators:
            channel.keys.popleft()
        else:
            channel.expect_trailing(entry.terminators)
    return typed


async def _next_key(channel: Channel, timeout: float) -> str | None:
    await anyio.lowlevel.checkpoint()
    with anyio.move_on_after(timeout):
        await channel.until(lambda: bool(channel.keys), live=True)
    return channel.keys.popleft() if channel.keys else None
