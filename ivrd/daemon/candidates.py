"""A generation of workers that is being warmed beside the one in force, for a reload to put in its place.

The rule that holds here: all or nothing. It is good when each of its workers is ready, and bad as soon as one is not to
be had.
"""

from __future__ import annotations

import trio

__all__ = ["Candidates"]


class Candidates:
    """The workers of one generation, by key, until it is decided what becomes of them.

    Attributes:
        rejection: why they cannot be had; "" while nothing is held against them.
    """

    def __init__(self) -> None:
        self.rejection = ""
        self._wanted: dict[int, bool] = {}  # whether each is ready
        self._change = trio.Event()

    def __contains__(self, key: int) -> bool:
        return key in self._wanted

    def begin(self) -> None:
        """Begin with none, and nothing held against them."""
        self._wanted.clear()
        self.rejection = ""

    def add(self, key: int) -> None:
        """One is being started."""
        self._wanted[key] = False

    def ready(self, key: int) -> None:
        """One is ready."""
        self._wanted[key] = True
        self._change.set()

    def reject(self, text: str) -> None:
        """One of them is dead, or was not to be had; only the first reason counts."""
        self.rejection = self.rejection or text
        self._change.set()

    async def decided(self) -> None:
        """Wait until all are ready, or there is a `rejection`."""
        while not self.rejection and not all(self._wanted.values()):
            self._change = trio.Event()
            await self._change.wait()

    def dismiss(self) -> list[int]:
        """Hand them over to whoever knows what becomes of them; none is left here."""
        keys = list(self._wanted)
        self._wanted.clear()
        return keys
