"""The events of a call for an app that wants to see them all.

The rule that holds here: an app that does not take its events loses the oldest of them, and holds up nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from ivrd import eivr
from ivrd.errors import CallEnded

if TYPE_CHECKING:
    from ivrd.worker.channel import Channel

__all__ = ["EVENTS_KEPT", "EventQueue", "Events"]

EVENTS_KEPT: Final = 1024
"""Events that wait for an app in one `call.events()`; beyond that the oldest are dropped and counted."""


class EventQueue:
    """Events that one `call.events()` has still to give.

    Attributes:
        waiting: the events, the oldest first.
        dropped: how many were dropped because the app did not take them.
    """

    __slots__ = ("__weakref__", "dropped", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[eivr.Event] = deque(maxlen=EVENTS_KEPT)
        self.dropped = 0

    def put(self, event: eivr.Event) -> None:
        """Add an event; never waits."""
        self.dropped += len(self.waiting) == EVENTS_KEPT
        self.waiting.append(event)


class Events:
    """The events of a call as they come, from the moment at which `call.events()` was called."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._queue: EventQueue = channel.listen()

    @property
    def dropped(self) -> int:
        """How many were dropped because 1,024 others waited already."""
        return self._queue.dropped

    def __aiter__(self) -> AsyncIterator[eivr.Event]:
        return self

    async def __anext__(self) -> eivr.Event:
        try:
            await self._channel.until(lambda: bool(self._queue.waiting))
        except CallEnded:
            raise StopAsyncIteration from None
        return self._queue.waiting.popleft()
