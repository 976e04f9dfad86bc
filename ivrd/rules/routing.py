"""Who gets which call: one app's waiting line and the free places of its workers, as books without I/O.

The rule that holds here: these books are the only place where a call is counted against a worker or the line. Calls
wait first come, first served; each goes to the least loaded worker that takes calls, those of the newest generation
first, so that an old one runs dry. A place is free again when the worker has said that the call is over, not when we
think so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ivrd.rules.life import Admitted, TurnedAway
from ivrd.wire.hello import Status

__all__ = ["Desk", "Seat"]


@dataclass(slots=True, eq=False)
class Seat:
    """A worker's places.

    Attributes:
        worker: the worker's key.
        capacity: calls it holds at once.
        generation: a higher number is newer.
        open: it takes new calls.
        calls: ids of the calls it holds.
    """

    worker: int
    capacity: int
    generation: int
    open: bool = True
    calls: set[str] = field(default_factory=set)

    @property
    def free(self) -> int:
        """Places for new calls."""
        return max(0, self.capacity - len(self.calls)) if self.open else 0


class Desk:
    """One app's waiting line and its workers' places.

    Attributes:
        name: the app's name.
        queue_limit: calls that may wait when no place is free.
        seats: the places, by worker key.
    """

    def __init__(self, name: str, queue_limit: int) -> None:
        self.name = name
        self.queue_limit = queue_limit
        self.seats: dict[int, Seat] = {}
        self._line: deque[str] = deque()

    @property
    def waiting(self) -> int:
        """Calls in the line."""
        return len(self._line)

    def line(self) -> tuple[str, ...]:
        """The calls in the line, the first one first."""
        return tuple(self._line)

    @property
    def busy(self) -> int:
        """Calls in workers, those that still clean up included."""
        return sum(len(seat.calls) for seat in self.seats.values())

    @property
    def places(self) -> int:
        """Places of the workers that take calls."""
        return sum(seat.capacity for seat in self.seats.values() if seat.open)

    @property
    def taken(self) -> int:
        """How many of these places are taken; workers that are on their way out may hold further calls."""
        return sum(len(seat.calls) for seat in self.seats.values() if seat.open)

    def admit(self, call: str) -> Admitted | TurnedAway:
        """Let a call into the line, if it has room beyond what the free places will take at once.

        Returns:
            The fact that the call's life begins with.
        """
        room = self.queue_limit + sum(seat.free for seat in self.seats.values())
        if len(self._line) >= room:
            if self.queue_limit:
                reason = f"{self.busy} calls are up and {self.waiting} wait; raise workers, concurrency or queue"
            else:
                reason = f"{self.busy} calls are up and none may wait (queue = 0); raise workers or concurrency"
            return TurnedAway(Status.OVERLOADED, reason)
        self._line.append(call)
        return Admitted()

    def wait_again(self, call: str, *, first: bool) -> None:
        """Put a call back into the line: in front, where it was before bad luck, or at its end, for its second life."""
        if first:
            self._line.appendleft(call)
        else:
            self._line.append(call)

    def leave(self, call: str) -> None:
        """Take a call out of the line, if it is there."""
        if call in self._line:
            self._line.remove(call)

    def assign(self) -> Iterator[tuple[str, int]]:
        """Give out as many free places as there are calls, one by one.

        A call that could not be handed over may be back at the head of the line before the next one is looked at.

        Yields:
            Call and worker key, in the order in which the calls came; both are in the books.
        """
        while self._line and (seat := self._best()) is not None:
            call = self._line.popleft()
            seat.calls.add(call)
            yield call, seat.worker

    def release(self, call: str, worker: int) -> None:
        """Note that a worker holds this call no more."""
        seat = self.seats.get(worker)
        if seat is not None:
            seat.calls.discard(call)

    def _best(self) -> Seat | None:
        free = [seat for seat in self.seats.values() if seat.free]
        return max(free, key=lambda seat: (seat.generation, -len(seat.calls)), default=None)
