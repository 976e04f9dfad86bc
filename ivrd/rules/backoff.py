"""How long to wait before a worker is started again that would not live: exponential, capped, one count for each app.

The rule that holds here: only a worker that died before it was ready, or hardly after, is held against its app. One
that is killed in the middle of its work is replaced at once, since the calls that come now need it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]

FIRST = 0.5  # seconds
CAP = 30.0  # seconds
SETTLED = 1.0  # seconds of being ready after which a worker has proved that its app starts


@dataclass(slots=True)
class Backoff:
    """The memory of an app's failures.

    Attributes:
        failures: deaths in a row that were held against it.
        until: no worker is started before this time, on the clock of `now`.
        last: when the last of them was.
    """

    failures: int = 0
    until: float = 0.0
    last: float = float("-inf")

    def died(self, now: float, ready_for: float | None, jitter: float = 0.0) -> float:
        """Take note of a worker's death.

        Args:
            now: seconds.
            ready_for: seconds for which it was ready; None where it never was.
            jitter: a number from 0 to 1; the wait is lengthened by up to a fifth of itself, so that apps do not retry
                in step.

        Returns:
            Seconds until the next may be started; 0 where this death is not held against the app.
        """
        if ready_for is not None and ready_for >= SETTLED:
            self.forgives(now - ready_for, now)
            return 0.0
        wait: float = min(CAP, FIRST * 2 ** min(self.failures, 20)) * (1 + jitter / 5)
        self.failures += 1
        self.until = now + wait
        self.last = now
        return wait

    def forgives(self, ready_at: float, now: float) -> bool:
        """Forget the failures if a worker has proved that the app starts; one that is older than the last cannot.

        Args:
            ready_at: when the worker became ready.
            now: seconds.

        Returns:
            Whether nothing is held against the app now.
        """
        if ready_at > self.last and now - ready_at >= SETTLED:
            self.failures = 0
            self.until = 0.0
        return not self.failures
